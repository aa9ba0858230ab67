"""DiffusionImputer: missing values filled in by what a fitted joint density says of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin, clone
from sklearn.utils import Tags, _safe_indexing
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from skdiffusion._utils.frames import as_numbers, frame_library
from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.validation import (
    HasMethods,
    RandomState,
    StrOptions,
    check_bounds,
    draw_seed,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion._utils.warnings import warn_user
from skdiffusion.estimators._base import DATA_TYPES, SavableEstimator
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself

N_DRAWS = 101  # of which the mean or the median is taken: the median of an odd number is one of them


class DiffusionImputer(CallbackSupportMixin, TransformerMixin, SavableEstimator):
    """Fill in missing values by a joint density that is fitted to incomplete samples.

    A missing value is drawn from its distribution given the known values of its sample, so that completed samples are
    distributed as the samples would be: variances, correlations and groups stay as they are. The mean or the median
    of that distribution are nearer to the value, and narrower than the data.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator or None, default=None
        The density to fit. None stands for one with default parameters.
    strategy : {"draw", "mean", "median"}, default="draw"
        One draw from the conditional distribution, or its mean or median, by 101 draws.
    add_indicator : bool, default=False
        Whether to append a feature for each one that had missing values in `fit`, 1 where a value is missing, as the
        imputers of scikit-learn do.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws and of the default density. An int gives a sample the same values in every call, whatever the
        other samples are; equal samples of a call have draws of their own, in their order.

    Attributes
    ----------
    estimator_ : DiffusionDensityEstimator
        The fitted density of the features of which a value is known.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.

    Notes
    -----
    Features without any known value in `fit` are left out, with a warning, as by `sklearn.impute.SimpleImputer`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator, DiffusionImputer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=200)
    >>> X = np.column_stack([x, x + 0.1 * rng.normal(size=200)])
    >>> X[::4, 1] = np.nan
    >>> imputer = DiffusionImputer(DiffusionDensityEstimator(max_iter=5, random_state=0), random_state=0)
    >>> bool(np.abs(imputer.fit(X).transform(X) - x[:, None]).max() < 1)
    True
    >>> imputer.get_feature_names_out(["a", "b"]).tolist()
    ['a', 'b']
    """

    _saved = ("n_features_in_", "feature_names_in_", "estimator_", "_known_features", "_indicated", "_sample_seed")

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "impute"]), None],
        "strategy": [StrOptions({"draw", "mean", "median"})],
        "add_indicator": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        strategy: str = "draw",
        add_indicator: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.strategy = strategy
        self.add_indicator = add_indicator
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None) -> DiffusionImputer:
        """Fit the density to incomplete samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN (or None, or a missing value of a frame) where a value is missing.
        y : ignored
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        with by_itself(self):
            samples = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2, allow_nan=True)
            missing = np.isnan(samples)
            self._known_features, self._indicated = ~missing.all(0), missing.any(0)
            if not self._known_features.all():
                names = getattr(self, "feature_names_in_", np.arange(samples.shape[1]))
                left_out = names[~self._known_features].tolist()
                warn_user(f"Features {left_out} have no known value and are left out.", UserWarning)
            self._sample_seed = generator_seed(self.random_state)
            if self.estimator is None:
                seed = None if self.random_state is None else self._sample_seed
                self.estimator_ = DiffusionDensityEstimator(random_state=seed)
            else:
                self.estimator_ = clone(self.estimator)
            self._check_kinds()
            self._drop_bounds(samples.shape[1])
            given = {} if sample_weight is None else {"sample_weight": sample_weight}
            with FitParts(self, 1) as parts:
                parts.fit("density", self.estimator_, self._known_part(X, samples), **given)
        return self

    def _check_kinds(self) -> None:
        """Refuse categories where their mean would be taken, and kinds of columns where some columns are left out."""
        categories = getattr(self.estimator_, "categorical_features", None)
        categories = None if isinstance(categories, str) else categories
        if categories is not None and self.strategy != "draw":
            raise ValueError(
                f"strategy={self.strategy!r} is not defined for the 'categorical_features' of the estimator: draw them."
            )
        if not self._known_features.all() and not (
            categories is None and getattr(self.estimator_, "atoms", None) is None
        ):
            raise ValueError(
                "The estimator has 'categorical_features' or 'atoms', and some features of X have no known value: "
                "leave these features out of X."
            )

    def _drop_bounds(self, n_features: int) -> None:
        """Leave out the bounds of the features that are left out."""
        if self._known_features.all() or getattr(self.estimator_, "bounds", None) is None:
            return
        bounds = check_bounds(self.estimator_.bounds, n_features)
        assert bounds is not None
        low, high = bounds
        self.estimator_.set_params(bounds=(low[self._known_features], high[self._known_features]))

    def _known_part(self, X: ArrayLike, samples: np.ndarray) -> Any:
        """The features that the density is of: columns of the frame X by their names, or of samples."""
        if frame_library(X) is None or not hasattr(self, "feature_names_in_"):
            return samples[:, self._known_features]
        return _safe_indexing(as_numbers(X), np.flatnonzero(self._known_features), axis=1)

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Fill in the missing values of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Known values to the bit.
        """
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=DATA_TYPES, reset=False, allow_nan=True)
        known, seed = samples[:, self._known_features].astype(np.float64), draw_seed(self, None)
        missing = np.isnan(known)
        if self.strategy == "draw" or not missing.any():
            complete = self._impute(X, samples, random_state=seed)
        else:
            draws = self._impute(X, samples, n_draws=N_DRAWS, random_state=seed)
            middle = draws.mean(0) if self.strategy == "mean" else np.median(draws, axis=0)
            complete = np.where(missing, middle, known)
        complete = complete.astype(samples.dtype)
        complete[~missing] = samples[:, self._known_features][~missing]
        if not self.add_indicator:
            return complete
        return np.hstack([complete, np.isnan(samples[:, self._indicated]).astype(samples.dtype)])

    def _impute(self, X: ArrayLike, samples: np.ndarray, **arguments: Any) -> np.ndarray:
        """Completed samples of the density, which may have been fitted to a frame where X is an array."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return self.estimator_.impute(self._known_part(X, samples), **arguments)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the features that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the features of `fit`, where it saw none.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        out = names[self._known_features]
        if not self.add_indicator:
            return out
        return np.concatenate([out, [f"missingindicator_{name}" for name in names[self._indicated]]]).astype(object)
