"""Scorers for cross-validation and grid searches: ``scorer(estimator, X, y=None) -> float``, greater is better."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_array

from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import NON_NEGATIVE, at_least, validated
from skdiffusion.compose import draw_samples, training_scale
from skdiffusion.metrics._discrepancies import classifier_two_sample_test, energy_distance, maximum_mean_discrepancy
from skdiffusion.metrics._support import novelty
from skdiffusion.metrics._transport import sliced_wasserstein_1, wasserstein_1, wasserstein_2

SAMPLE_METRICS = {
    "wasserstein_1": wasserstein_1,
    "wasserstein_2": wasserstein_2,
    "sliced_wasserstein_1": sliced_wasserstein_1,
    "energy_distance": energy_distance,
    "maximum_mean_discrepancy": maximum_mean_discrepancy,
    "c2st": classifier_two_sample_test,
}
LIKELIHOOD = "mean_log_likelihood"


def _likelihood(estimator, X):
    return float(np.mean(estimator.score_samples(X)))


class SampleScorer:
    """Scores a density estimator by metrics of its samples against the samples given, and by its likelihood.

    Use `make_sample_scorer`, or one of the ready scorers. Two scorers of the same settings give the same
    number, since the seed of the draws is the scorer's own.
    """

    def __init__(self, metrics, single, n_samples, reference, novelty_weight, random_state):
        self.metrics = metrics
        self.single = single
        self.n_samples = n_samples
        self.reference = reference
        self.novelty_weight = novelty_weight
        self.random_state = random_state

    def __repr__(self):
        return f"make_sample_scorer({self.metrics[0] if self.single else list(self.metrics)!r})"

    def __call__(self, estimator, X, y=None):
        """The score, or a dict of scores by name.

        Parameters
        ----------
        estimator : fitted density estimator, Pipeline or search object
        X : array-like of shape (n_samples, n_features)
            Held-out samples.
        y : ignored
        """
        with one_thread():
            scores = {}
            if LIKELIHOOD in self.metrics:
                scores[LIKELIHOOD] = _likelihood(estimator, X)
            sampled = [m for m in self.metrics if m != LIKELIHOOD]
            if sampled:
                scores |= self._sample_scores(estimator, X, sampled)
        return next(iter(scores.values())) if self.single else scores

    def _sample_scores(self, estimator, X, names):
        X = check_array(X, dtype=np.float64, input_name="X")
        rng = np.random.default_rng(self.random_state)
        real = X if len(X) <= self.n_samples else X[rng.permutation(len(X))[: self.n_samples]]
        draws = draw_samples(estimator, self.n_samples, int(rng.integers(2**31 - 1)))
        for name, table in {"X": X, "reference": self.reference}.items():
            if table is not None and table.shape[1] != draws.shape[1]:
                raise ValueError(
                    f"{name} has {table.shape[1]} features, but the estimator draws samples of {draws.shape[1]}."
                )
        scale = training_scale(estimator, X)
        train = None
        if self.reference is not None:
            scale = np.where(self.reference.std(0) > 0, self.reference.std(0), 1.0)
            train = _samples_not_in(self.reference, X)
        penalty = 1.0
        if self.novelty_weight:
            if not len(train):
                raise ValueError("No sample of 'reference' is missing from X: novelty needs the training samples.")
            penalty += self.novelty_weight * max(0.0, 1.0 - novelty(draws / scale, train / scale, X / scale))
        return {f"neg_{m}": -float(SAMPLE_METRICS[m](draws / scale, real / scale)) * penalty for m in names}


def _samples_not_in(samples, others):
    """Samples that are not, to the last bit, among the others."""
    view = [np.ascontiguousarray(a, dtype=np.float64) + 0.0 for a in (samples, others)]
    known = {r.tobytes() for r in view[1]}
    return view[0][[r.tobytes() not in known for r in view[0]]]


@validated(metric=[str, list, tuple], n_samples=at_least(2, Integral), novelty_weight=NON_NEGATIVE)
def make_sample_scorer(metric="wasserstein_1", *, n_samples=1000, reference=None, novelty_weight=0.0, random_state=0):
    """A scorer for `cross_val_score`, `cross_validate` and the search classes of scikit-learn.

    Parameters
    ----------
    metric : str or list of str, default="wasserstein_1"
        "wasserstein_1", "wasserstein_2", "sliced_wasserstein_1", "energy_distance",
        "maximum_mean_discrepancy", "c2st" (all from one set of draws, negated: greater is better) or
        "mean_log_likelihood" (nats). A list makes a scorer that returns a dict, for multi-metric use; its
        keys are ``neg_`` and the name, and "mean_log_likelihood".
    n_samples : int, default=1000
        Samples drawn from the model; as many held-out samples at most are compared with them.
    reference : array-like of shape (n, n_features), optional
        All samples of the search. Features are divided by their standard deviation, and those that are not in
        the fold being scored are its training samples (for novelty). None asks the fitted estimator for the
        scale of its training samples (`feature_scale_`; KernelDensity and GaussianMixture are known), and
        takes that of the scored samples where it does not tell.
    novelty_weight : float, default=0
        Multiplies the distance by ``1 + novelty_weight * max(0, 1 - novelty)``, where novelty is the median
        distance of draws to the nearest training sample over that of held-out samples. Needs `reference`.
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
        For an unknown metric, bad numbers, or a novelty weight without reference samples.

    Notes
    -----
    When Wasserstein cannot tell: in one and two features the raw training samples already reach the minimax
    rate n**(-1/2) of W1, whatever the smoothness of the density (Niles-Weed and Berthet, 2022), so a model
    that copies them scores as well as the truth; in more features the floor of about n**(-1/d) hides
    small differences. Search by "mean_log_likelihood", or give a `novelty_weight` (1 doubles the distance
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
    single = isinstance(metric, str)
    known = [*SAMPLE_METRICS, LIKELIHOOD]
    metrics = (metric,) if single else tuple(metric)
    if not metrics or any(not isinstance(m, str) or m not in known for m in metrics):
        raise ValueError(f"The 'metric' argument must be one or several of {known}. Got {metric!r} instead.")
    if novelty_weight and reference is None:
        raise ValueError("A 'novelty_weight' needs 'reference': pass all samples of the search.")
    if reference is not None:
        reference = check_array(reference, dtype=np.float64, input_name="reference")
    return SampleScorer(metrics, single, int(n_samples), reference, float(novelty_weight), random_state)


def mean_log_likelihood(estimator, X, y=None):
    """Mean log-density of held-out samples, in nats a sample: a scorer.

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
    """
    return _likelihood(estimator, X)


neg_wasserstein_1 = make_sample_scorer("wasserstein_1")
neg_sliced_wasserstein_1 = make_sample_scorer("sliced_wasserstein_1")
neg_c2st = make_sample_scorer("c2st")
