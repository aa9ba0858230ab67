"""DiffusionTransformer: the map to Gaussian codes as a scikit-learn transformer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.validation import (
    HasMethods,
    RandomState,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion.estimators._base import DATA_TYPES, SavableEstimator
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself


class DiffusionTransformer(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, SavableEstimator):
    """Map samples to independent standard normal codes by the flow of a diffusion model, and back.

    The map is smooth and invertible. It does to all features together, dependence included, what a quantile transformer
    does to every feature alone.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator or None, default=None
        The model to fit. None stands for one without further components, which have no part in the map.
    random_state : int, RandomState instance or None, default=None
        Seed of the default model.

    Attributes
    ----------
    estimator_ : DiffusionDensityEstimator
        The fitted model.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator, DiffusionTransformer
    >>> X = np.random.default_rng(0).exponential(size=(200, 2))
    >>> mapper = DiffusionTransformer(DiffusionDensityEstimator(max_iter=5, random_state=0)).fit(X)
    >>> codes = mapper.transform(X)
    >>> bool(np.abs(mapper.inverse_transform(codes) - X).max() < 0.05)
    True
    """

    _saved = ("n_features_in_", "feature_names_in_", "estimator_")

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "to_latent", "from_latent"]), None],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator: Any = None, *, random_state: RandomState = None) -> None:
        self.estimator = estimator
        self.random_state = random_state

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None) -> DiffusionTransformer:
        """Fit the model to the samples of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self
        """
        with by_itself(self):
            samples = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2)
            if self.estimator is None:
                seed = None if self.random_state is None else generator_seed(self.random_state)
                self.estimator_ = DiffusionDensityEstimator(components=None, random_state=seed)
            else:
                self.estimator_ = clone(self.estimator)
            if isinstance(self.estimator_, DiffusionDensityEstimator):
                if isinstance(self.estimator_.categorical_features, str):
                    # Of an array that finds one-hot groups alone, which have no codes.
                    self.estimator_.set_params(categorical_features=None)
            with FitParts(self, 1) as parts:
                parts.fit("density", self.estimator_, samples)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Map samples to their codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        return self.estimator_.to_latent(validate_data(self, X, dtype=DATA_TYPES, reset=False))

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Map codes to samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        # Codes in a frame have the names of `get_feature_names_out`, which `from_latent` does not know.
        return self.estimator_.from_latent(np.asarray(X))
