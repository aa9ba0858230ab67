"""Scorers for cross-validation and grid searches: ``scorer(estimator, X, y=None) -> float``, greater is better."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array

from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import NON_NEGATIVE, at_least, validated
from skdiffusion.compose import draw_samples, mean_log_density, training_scale
from skdiffusion.metrics._discrepancies import classifier_two_sample_test, energy_distance, maximum_mean_discrepancy
from skdiffusion.metrics._support import novelty
from skdiffusion.metrics._transport import sliced_wasserstein_1, wasserstein_1, wasserstein_2

SAMPLE_METRICS: dict[str, Callable[..., Any]] = {
    "wasserstein_1": wasserstein_1,
    "wasserstein_2": wasserstein_2,
    "sliced_wasserstein_1": sliced_wasserstein_1,
    "energy_distance": energy_distance,
    "maximum_mean_discrepancy": maximum_mean_discrepancy,
    "c2st": classifier_two_sample_test,
}
LIKELIHOOD = "mean_log_likelihood"


def mean_log_likelihood(estimator: BaseEstimator, X: ArrayLike, y: None = None) -> float:
    """Mean log-density of left-out samples, in nats a sample: a scorer.

    Unlike ``estimator.score`` it is the mean for every estimator (KernelDensity.score is a sum). Through a
    plain Pipeline it is in the units of the last step, and not comparable between preprocessings: use a
    DensityPipeline.

    Parameters
    ----------
    estimator : fitted density estimator with `score_samples`
    X : array-like of shape (n_samples, n_features)
    y : ignored

    Returns
    -------
    float

    Warns
    -----
    ZeroDensityWarning
        If samples of density zero make it -inf.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.neighbors import KernelDensity
    >>> from skdiffusion.metrics import mean_log_likelihood
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> cross_val_score(KernelDensity(), X, scoring=mean_log_likelihood).shape
    (5,)
    """
    return mean_log_density(estimator.score_samples(X))


@dataclass(frozen=True, eq=False, repr=False)
class SampleScorer:
    """Scores a density estimator by its likelihood and by metrics between its samples and left-out samples.

    Use `make_sample_scorer`, or one of the ready scorers. Two scorers of the same settings give the same
    number, since the seed of the draws is the scorer's own.
    """

    metric: str | tuple[str, ...]
    n_samples: int
    X_ref: np.ndarray | None
    novelty_weight: float
    random_state: int

    def __repr__(self) -> str:
        return f"make_sample_scorer({self.metric if isinstance(self.metric, str) else list(self.metric)!r})"

    def __call__(self, estimator: BaseEstimator, X: ArrayLike, y: None = None) -> float | dict[str, float]:
        """The score of a fitted estimator on samples left out of the fit, or a dict of scores by name."""
        metrics = (self.metric,) if isinstance(self.metric, str) else self.metric
        by_samples = [m for m in metrics if m != LIKELIHOOD]
        with one_thread():
            scores = {LIKELIHOOD: mean_log_likelihood(estimator, X)} if LIKELIHOOD in metrics else {}
            if by_samples:
                scores |= self._sample_scores(estimator, X, by_samples)
        return next(iter(scores.values())) if isinstance(self.metric, str) else scores

    def _sample_scores(self, estimator: BaseEstimator, X: ArrayLike, metrics: list[str]) -> dict[str, float]:
        """Negated distances between draws of the estimator and samples, in features of unit variance."""
        left_out = check_array(as_numbers(X), dtype=np.float64, input_name="X")
        rng = np.random.default_rng(self.random_state)
        pick = slice(None) if len(left_out) <= self.n_samples else rng.permutation(len(left_out))[: self.n_samples]
        draws = draw_samples(estimator, self.n_samples, int(rng.integers(2**31 - 1)))
        for name, samples in {"X": left_out, "X_ref": self.X_ref}.items():
            if samples is not None and samples.shape[1] != draws.shape[1]:
                raise ValueError(
                    f"{name} has {samples.shape[1]} features, but the estimator draws samples of {draws.shape[1]}."
                )
        scale = training_scale(estimator, left_out) if self.X_ref is None else self.X_ref.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        factor = self._novelty_factor(draws, left_out, scale)
        real = left_out[pick] / scale
        return {f"neg_{m}": -float(SAMPLE_METRICS[m](draws / scale, real)) * factor for m in metrics}

    def _novelty_factor(self, draws: np.ndarray, left_out: np.ndarray, scale: np.ndarray) -> float:
        """What multiplies the distances of draws: 1, and more the nearer they are to training samples."""
        if self.X_ref is None or not self.novelty_weight:
            return 1.0
        train = _samples_not_in(self.X_ref, left_out)
        if not len(train):
            raise ValueError("Every sample of 'X_ref' is in X: novelty needs the training samples as well.")
        missing = max(0.0, 1.0 - novelty(draws / scale, train / scale, left_out / scale))
        return 1.0 + self.novelty_weight * missing


def _samples_not_in(samples: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Samples that are not, to the last bit, among the others."""
    own, known = (np.ascontiguousarray(a, dtype=np.float64) + 0.0 for a in (samples, others))
    seen = {row.tobytes() for row in known}
    return own[[row.tobytes() not in seen for row in own]]


@validated(metric=[str, list, tuple], n_samples=at_least(2, Integral), novelty_weight=NON_NEGATIVE)
def make_sample_scorer(
    metric: str | list[str] = "wasserstein_1",
    *,
    n_samples: int = 1000,
    X_ref: ArrayLike | None = None,
    novelty_weight: float = 0.0,
    random_state: int = 0,
) -> SampleScorer:
    """A scorer for `cross_val_score`, `cross_validate` and the search classes of scikit-learn.

    Parameters
    ----------
    metric : str or list of str, default="wasserstein_1"
        "wasserstein_1", "wasserstein_2", "sliced_wasserstein_1", "energy_distance",
        "maximum_mean_discrepancy", "c2st" (all from one set of draws, negated: greater is better) or
        "mean_log_likelihood" (nats). A list makes a scorer that returns a dict, for multi-metric use; its
        keys are ``neg_`` and the name, and "mean_log_likelihood".
    n_samples : int, default=1000
        Samples drawn from the model; they are compared with at most as many left-out samples.
    X_ref : array-like of shape (n, n_features), optional
        All samples of the search. Features are divided by their standard deviation, and the samples that are not in
        the scored fold are its training samples (for novelty). None asks the fitted estimator for the
        scale of its training samples (`feature_scale_`; KernelDensity and GaussianMixture are known), and
        takes that of the scored samples where it gives none.
    novelty_weight : float, default=0
        Multiplies the distance by ``1 + novelty_weight * max(0, 1 - novelty)``, where novelty is the median
        distance of draws to the nearest training sample over that of left-out samples. Needs `X_ref`.
    random_state : int, default=0
        Seed of the draws: the same for every candidate, so that noise does not pick the winner.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``; picklable; draws through a Pipeline, a DensityPipeline and a
        fitted search object.

    Raises
    ------
    ValueError
        For an unknown metric, for numbers out of range, or for a novelty weight without `X_ref`.

    Notes
    -----
    Wasserstein distances do not always tell good models apart. In one and two features the raw training samples
    already reach the minimax rate n**(-1/2) of W1, whatever the smoothness of the density (Niles-Weed and Berthet,
    2022), so a model that copies them scores as well as the truth; in more features the floor of about n**(-1/d)
    hides small differences. Search by "mean_log_likelihood", or give a `novelty_weight` (1 doubles the distance
    of a copy).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.model_selection import cross_val_score
    >>> from skdiffusion.metrics import make_sample_scorer
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> scores = cross_val_score(GaussianMixture(1), X, scoring=make_sample_scorer("wasserstein_1"), cv=2)
    >>> bool((scores < 0).all())
    True
    """
    known = [*SAMPLE_METRICS, LIKELIHOOD]
    metrics = (metric,) if isinstance(metric, str) else tuple(metric)
    if not metrics or any(not isinstance(m, str) or m not in known for m in metrics):
        raise ValueError(f"The 'metric' argument must be one or several of {known}. Got {metric!r} instead.")
    if novelty_weight and X_ref is None:
        raise ValueError("A 'novelty_weight' needs 'X_ref': pass all samples of the search.")
    samples = None if X_ref is None else check_array(as_numbers(X_ref), dtype=np.float64, input_name="X_ref")
    chosen = metric if isinstance(metric, str) else metrics
    return SampleScorer(chosen, int(n_samples), samples, float(novelty_weight), random_state)


neg_wasserstein_1 = make_sample_scorer("wasserstein_1")
neg_sliced_wasserstein_1 = make_sample_scorer("sliced_wasserstein_1")
neg_c2st = make_sample_scorer("c2st")
