"""StackedDensityEstimator: a blend of any density estimators by out-of-fold likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import check_cv
from sklearn.neighbors import KernelDensity
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.frames import note_frame, to_frame, wants_frame
from skdiffusion._utils.measure import numbers_alone
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion._utils.validation import (
    check_count,
    check_groups,
    draw_seed,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion.compose import draw_samples
from skdiffusion.densities import Blend, stacking_weights
from skdiffusion.estimators._base import DATA_TYPES, MeanLogDensity
from skdiffusion.estimators._distributed import by_itself
from skdiffusion.estimators._table_kinds import (
    DiscretePart,
    discrete_part,
    may_have_categories,
    refuse_different_measures,
)
from skdiffusion.preprocessing import random_folds, together_with_copies


def _is_split(split: Any, n: int) -> bool:
    """Whether a split is a pair of arrays of sample numbers (or masks) of n samples."""
    if not isinstance(split, (tuple, list)) or len(split) != 2:
        return False
    samples = [np.asarray(part) for part in split]
    return all(
        r.ndim == 1 and len(r) and (len(r) == n if r.dtype.kind == "b" else r.dtype.kind in "iu" and r.max() < n)
        for r in samples
    )


@dataclass(frozen=True)
class EstimatorDensity(Density):
    """A fitted density estimator as a component of a blend.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `score_samples`.
    """

    estimator: Any

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X, in nats, shape (n_samples,)."""
        return self.estimator.score_samples(X)

    def score(self, X: np.ndarray) -> np.ndarray:
        """No gradient is known of an estimator of another library."""
        raise TypeError(f"The gradient of the density of {type(self.estimator).__name__} is not known.")

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """An estimator of another library draws its own random numbers."""
        raise TypeError(f"{type(self.estimator).__name__} draws its own samples: use `sample` of the estimator.")


class StackedDensityEstimator(MeanLogDensity):
    r"""Mixture of density estimators, weighted by cross-validated likelihood.

    Each component is fitted without one fold of the samples at a time and scored on it. The weights maximize the mean
    of :math:`\log\sum_m w_m p_m(x)` over these out-of-fold log-densities, and the components are fitted again to all
    samples.

    Parameters
    ----------
    estimators : list of (str, estimator) or None, default=None
        Density estimators with `score_samples` (and `sample`, to draw). None stands for a Gaussian
        mixture of 3 components (fewer with fewer samples) and a kernel density.
    cv : int or cross-validation generator, default=5
        Folds; an int stands for shuffled folds.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of `sample`.

    Attributes
    ----------
    estimators_ : list of estimators
        Components, fitted to all samples.
    blend_ : Blend
        The fitted density.
    component_weights_ : dict
        Weight of every component, by name.
    feature_scale_ : ndarray of shape (n_features,)
        Standard deviations of the training features.
    n_features_in_ : int

    References
    ----------
    Smyth and Wolpert (1999), Linearly combining density estimators via stacking.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import StackedDensityEstimator
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> blend = StackedDensityEstimator(random_state=0).fit(X)
    >>> sorted(blend.component_weights_)
    ['kernel', 'mixture']
    >>> blend.score_samples(X[:5]).shape, blend.sample(5, random_state=0).shape
    ((5,), (5, 2))
    >>> bool(blend.score(X) < 0)
    True
    """

    _parameter_constraints: dict = {
        "estimators": [list, None],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
    }

    def __init__(self, estimators: Any = None, cv: Any = 5, random_state: Any = None):
        self.estimators = estimators
        self.cv = cv
        self.random_state = random_state

    def _components(self, n_train: int) -> list:
        """Names and estimators of the components, for the fewest samples that one of them is fitted to."""
        if self.estimators is None:
            mixture = GaussianMixture(min(3, n_train), random_state=0)
            # In one leaf the kernel's sum is exact; over a tree it is off by nats from about 16 features.
            return [("mixture", mixture), ("kernel", KernelDensity(bandwidth="scott", leaf_size=n_train))]
        pairs = [e for e in self.estimators if isinstance(e, (tuple, list)) and len(e) == 2 and isinstance(e[0], str)]
        if not pairs or len({name for name, _ in pairs}) < len(self.estimators):
            raise ValueError(
                "The 'estimators' parameter must hold (name, estimator) pairs of distinct names. "
                f"Got {self.estimators!r}."
            )
        for name, estimator in self.estimators:
            if not hasattr(estimator, "score_samples"):
                raise ValueError(f"The estimator {name!r} in 'estimators' has no 'score_samples' method.")
        return self.estimators

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> StackedDensityEstimator:
        """Fit the components and their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
        groups : array-like of shape (n_samples,), optional
            Labels of samples that belong together. The folds of an int `cv` do not split a group, nor copies of a
            sample; a splitter is given the labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If components, in one fold or in several, differ in which features are categories, or in their atoms:
            probabilities and densities do not compare. Give them the same atoms, not "auto".
        """
        # The components see numpy arrays: not all of them know other namespaces.
        with by_itself(self), config_context(array_api_dispatch=False):
            note_frame(self, X)
            self._fit(X, groups)
        return self

    def _splits(self, X: np.ndarray, groups: np.ndarray | None, seed: int) -> list:
        """Pairs of training and validation samples.

        Raises
        ------
        ValueError
            If `cv` gives anything else.
        """
        cv = self.cv
        if isinstance(cv, (int, np.integer)):
            together = together_with_copies(X, groups)
            folds = random_folds(np.ones(len(X)), together, int(cv), np.random.default_rng(seed), np.inf)
            splits = [(np.setdiff1d(np.arange(len(X)), f), f) for f in folds]
        elif isinstance(cv, Iterable) and not hasattr(cv, "split"):
            splits = list(cv) if getattr(cv, "ndim", 1) else []  # an array without dimensions cannot be walked
        else:
            splits = list(check_cv(cv).split(X, groups=groups))
        if not splits or not all(_is_split(split, len(X)) for split in splits):
            raise ValueError(
                "The 'cv' parameter must give pairs (train, test) of sample numbers: pass a number of folds or a "
                f"splitter. Got {self.cv!r}."
            )
        return splits

    def _fit(self, X: Any, groups: Any) -> None:
        X = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2)
        seed = generator_seed(self.random_state)
        splits = self._splits(X, check_groups(groups, X), seed)
        components = self._components(min(len(train) for train, _ in splits))
        # Beside an estimator that has no probabilities of categories columns of numbers are nothing else.
        with nullcontext() if all(may_have_categories(e) for _, e in components) else numbers_alone():
            self._fit_components(X, splits, components)
        self.component_weights_ = self.blend_.weights
        self.feature_scale_ = X.std(0, dtype=np.float64)
        self._sample_seed = seed

    def _fit_components(self, X: np.ndarray, splits: list, components: list) -> None:
        """Fit the components without each fold and to all samples, and weigh them."""
        tables: list[np.ndarray] = []
        parts: dict[str, DiscretePart] = {}
        for i, (train, validation) in enumerate(splits):
            fitted = {name: clone(e).fit(X[train]) for name, e in components}
            parts |= {f"{name!r} without the samples of fold {i}": discrete_part(e) for name, e in fitted.items()}
            refuse_different_measures(parts)
            tables.append(np.column_stack([e.score_samples(X[validation]) for e in fitted.values()]))
        weights = stacking_weights(np.concatenate(tables))
        self.estimators_ = [clone(estimator).fit(X) for _, estimator in components]
        parts |= {f"{name!r}": discrete_part(e) for (name, _), e in zip(components, self.estimators_)}
        refuse_different_measures(parts)
        names = [name for name, _ in components]
        densities: dict[str, Density] = {n: EstimatorDensity(e) for n, e in zip(names, self.estimators_)}
        self.blend_ = Blend(densities, {name: float(weight) for name, weight in zip(names, weights)})

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of every sample, nats, shape (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=DATA_TYPES, reset=False)
        return self.blend_.log_prob(X)

    def sample(self, n_samples: int = 1, random_state: Any = None, *, as_frame: bool | str = "auto") -> Any:
        """Draw samples: each from a component chosen by its weight.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
            None repeats the estimator's own seed, or draws one from NumPy's global generator where that is None too.
        as_frame : "auto" or bool, default="auto"
            Whether to return a frame of the library, feature names and dtypes seen in `fit`; "auto" does where `fit`
            saw a frame of pandas or polars, or a table of pyarrow. Integer features are rounded, and categories that
            are numbers are the nearest ones.

        Returns
        -------
        ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        wanted = wants_frame(self, as_frame)
        check_count(n_samples)
        seed = draw_seed(self, random_state)
        choice = np.random.default_rng(seed).choice(
            len(self.estimators_), n_samples, p=list(self.component_weights_.values())
        )
        out = np.empty((n_samples, self.n_features_in_))
        for i, estimator in enumerate(self.estimators_):
            mine = choice == i
            if mine.any():
                out[mine] = draw_samples(estimator, int(mine.sum()), (seed + i) % (2**31))
        return to_frame(out, self) if wanted else out
