"""DiffusionOutlierDetector: samples of low density as outliers, by scikit-learn's conventions."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc
from sklearn.base import OutlierMixin, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.progress import CallbackSupportMixin, FitParts, with_callbacks
from skdiffusion._utils.validation import (
    HasMethods,
    Interval,
    RandomState,
    StrOptions,
    check_magnitude,
    fit_context,
    generator_seed,
    validate_data,
)
from skdiffusion.compose import draw_samples
from skdiffusion.densities import IncompleteSamples, fit_incomplete_student_t, fit_student_t
from skdiffusion.estimators._base import DATA_TYPES, SavableEstimator
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distributed import by_itself
from skdiffusion.preprocessing import Preprocessor

MIN_TRIMMED = 0.1  # least share of the samples that is left out of the fit
MIN_SAMPLES = 20  # fewer are all kept
AUTO_SHARE, AUTO_SAMPLES = 0.01, 5000  # share of so many samples of the fitted density that "auto" calls outliers
N_COMPLETIONS = 16  # of every incomplete sample, whose mean log-density is its score
NO_KERNEL = ["mixture", "student", "regression"]  # under a kernel density every training sample is likely


class DiffusionOutlierDetector(CallbackSupportMixin, OutlierMixin, SavableEstimator):
    """Detect outliers as the samples of lowest density under a diffusion model of the others.

    A flexible density that is fitted to outliers finds them likely. The samples of lowest density under a robust
    distribution, a multivariate Student-t, are therefore left out of the fit: a tenth of them, or the share
    `contamination` where that is more.

    NaN means unknown, where the estimator takes it: the score of an incomplete sample is the mean log-density of the
    samples that it may be, drawn from the density given what is known. What is known decides, and scores compare with
    those of complete samples, which the density of fewer features does not.

    Parameters
    ----------
    estimator : density estimator or None, default=None
        The model to fit, with `score_samples`, and with `sample` if `contamination` is "auto". None stands for a
        DiffusionDensityEstimator without the kernel component, under which an outlier among the training samples is
        likely.
    contamination : "auto" or float, default="auto"
        Share of outliers among the training samples, in (0, 0.5]. "auto" sets the threshold below which 1 % of the
        samples of the fitted density fall.
    random_state : int, RandomState instance or None, default=None
        Seed of the default model and of its samples.

    Attributes
    ----------
    estimator_ : estimator
        The fitted density.
    offset_ : float
        Threshold: log-density, in nats, below which a sample is an outlier.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str
        Names of the features, where `X` had them.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator, DiffusionOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = DiffusionDensityEstimator(max_iter=5, random_state=0)
    >>> detector = DiffusionOutlierDetector(model, random_state=0).fit(X)
    >>> detector.predict([[0.0, 0.0], [6.0, -6.0]])
    array([ 1, -1])
    >>> bool((detector.decision_function(X[:5]) == detector.score_samples(X[:5]) - detector.offset_).all())
    True
    """

    _saved = ("n_features_in_", "feature_names_in_", "estimator_", "offset_")

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "score_samples"]), None],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, estimator: Any = None, *, contamination: str | float = "auto", random_state: RandomState = None
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_nan
        return tags

    @property
    def _takes_nan(self) -> bool:
        """Whether the estimator takes incomplete samples, and completes them."""
        if self.estimator is None:
            return True
        return hasattr(self.estimator, "impute") and get_tags(self.estimator).input_tags.allow_nan

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: object = None) -> DiffusionOutlierDetector:
        """Fit the density to the samples that are no outliers, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN means unknown, where the estimator takes it.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For samples that are not finite or too few, and bad parameter values. An earlier fit is then left as it was.
        """
        with by_itself(self):
            samples = validate_data(self, X, dtype=DATA_TYPES, ensure_min_samples=2, allow_nan=self._takes_nan)
            check_magnitude(X=samples)
            seed = None if self.random_state is None else generator_seed(self.random_state)
            own = DiffusionDensityEstimator(components=NO_KERNEL, random_state=seed)
            self.estimator_ = own if self.estimator is None else clone(self.estimator)
            with FitParts(self, 1) as parts:
                parts.fit("density", self.estimator_, samples[self._inliers(samples)])
                self.offset_ = self._threshold(samples, seed)
        return self

    def _threshold(self, X: np.ndarray, seed: int | None) -> float:
        """Log-density below which samples are outliers."""
        if self.contamination == "auto":
            generated = draw_samples(self.estimator_, AUTO_SAMPLES, seed)
            return float(np.quantile(self.estimator_.score_samples(generated), AUTO_SHARE))
        return float(np.percentile(self._log_density(X), 100.0 * float(self.contamination)))

    def _log_density(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples; of incomplete ones, the mean over samples that they may be."""
        incomplete = np.isnan(X).any(1)
        if not incomplete.any():
            return self.estimator_.score_samples(X)
        out = np.empty(len(X))
        if not incomplete.all():
            out[~incomplete] = self.estimator_.score_samples(X[~incomplete])
        # Equal samples are scored once: they would be completed by different draws.
        some = X[incomplete]
        values = np.hstack([np.where(np.isnan(some), 0.0, some), np.isnan(some)])
        _, first, place = np.unique(values, axis=0, return_index=True, return_inverse=True)
        out[incomplete] = self._mean_log_density(some[first])[place.ravel()]
        return out

    def _mean_log_density(self, X: np.ndarray) -> np.ndarray:
        """Mean log-density of draws that complete distinct samples; -inf outside bounds."""
        out, inside = np.full(len(X), -np.inf), np.ones(len(X), dtype=bool)
        if (preprocessor := getattr(self.estimator_, "preprocessor_", None)) is not None:
            inside = preprocessor.inside(X)
        if inside.any():
            drawn = self.estimator_.impute(X[inside], n_draws=N_COMPLETIONS, random_state=0)
            log_prob = self.estimator_.score_samples(drawn.reshape(-1, X.shape[1]))
            # Sample by sample: a mean over the first axis rounds a single sample in another way than many.
            out[inside] = np.ascontiguousarray(log_prob.reshape(N_COMPLETIONS, -1).T).mean(1)
        return out

    def _inliers(self, X: np.ndarray) -> np.ndarray:
        """Indices of the samples to which the density is fitted: those of highest density under a Student-t."""
        share = max(MIN_TRIMMED, 0.0 if self.contamination == "auto" else float(self.contamination))
        n_kept = len(X) - int(share * len(X))
        if n_kept < MIN_SAMPLES:
            return np.arange(len(X))
        X, weights = X.astype(np.float64), np.ones(len(X))
        if np.isnan(X).any():
            return np.sort(np.argsort(-tail_probability(X), kind="stable")[:n_kept])
        z, log_det = Preprocessor(X, weights).transform(X)
        log_density = fit_student_t(z, weights).log_prob(z) + log_det
        return np.sort(np.argsort(-log_density, kind="stable")[:n_kept])

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Log-density of samples, in nats: the lower, the more abnormal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN means unknown, where the estimator takes it.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=DATA_TYPES, reset=False, allow_nan=self._takes_nan)
        return self._log_density(samples)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Log-density minus the threshold `offset_`: negative for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label samples: -1 for outliers, 1 for inliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of int, shape (n_samples,)
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


def tail_probability(X: np.ndarray) -> np.ndarray:
    """The probability that a sample of a Student-t, fitted to what is known, is farther out by the known features.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        NaN means unknown.

    Returns
    -------
    ndarray of shape (n_samples,)
        1 where nothing is known.
    """
    known = ~np.isnan(X)
    share = np.maximum(known.sum(0), 1)
    center = np.where(known, X, 0.0).sum(0) / share
    scale = np.sqrt((np.where(known, X - center, 0.0) ** 2).sum(0) / share)
    samples = IncompleteSamples((X - center) / np.where(scale > 0, scale, 1.0), np.ones(len(X)))
    density, n_known = fit_incomplete_student_t(samples), np.maximum(known.sum(1), 1)
    squared = samples.distances(density.location[None], density.scale[None]).squared[0]
    return fdtrc(n_known, density.degrees, squared / n_known)
