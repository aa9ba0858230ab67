r"""Discrepancies by kernels and by a classifier."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state, gen_batches

from skdiffusion._utils.threads import one_thread
from skdiffusion.metrics._transport import check_pair

BLOCK_SAMPLES = 1000


def _mean_kernel(X, Y, wx, wy, kernel):
    """Weighted mean of kernel(distance) over all pairs, in blocks of samples."""
    return sum(wx[s] @ kernel(cdist(X[s], Y)) @ wy for s in gen_batches(len(X), BLOCK_SAMPLES))


def energy_distance(X, Y, *, x_weight=None, y_weight=None):
    r"""Square root of the energy distance of Szekely and Rizzo, in root units of the features.

    .. math:: D^2 = 2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|,

    with the means over all pairs of samples, a sample with itself included (the V-statistic): non-negative,
    zero for equal samples, and a metric.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features)
    x_weight, y_weight : array-like of shape (n,) and (m,), optional

    Returns
    -------
    float
        Two samples of the same distribution have D**2 of about E|X - X'| (1/n + 1/m): see `two_sample_floor`.

    Notes
    -----
    O((n + m)**2) time, O(n + m) memory.
    """
    X, Y, wx, wy = check_pair(X, Y, x_weight, y_weight)

    def distance(D):
        return D

    squared = 2 * _mean_kernel(X, Y, wx, wy, distance)
    squared -= _mean_kernel(X, X, wx, wx, distance) + _mean_kernel(Y, Y, wy, wy, distance)
    return float(np.sqrt(max(squared, 0.0)))


def maximum_mean_discrepancy(X, Y, *, x_weight=None, y_weight=None, bandwidth=None):
    r"""Maximum mean discrepancy with a Gaussian kernel (Gretton et al., 2012); no unit, between 0 and sqrt 2.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features)
    x_weight, y_weight : array-like of shape (n,) and (m,), optional
    bandwidth : float, optional
        Standard deviation of the kernel, in the units of the features. None takes the median distance
        between the samples of the first 1000 of both; fix it to compare values.

    Returns
    -------
    float
        Root of the biased (V-statistic) estimate: non-negative, a metric for a fixed bandwidth. Two samples
        of the same distribution have a square of about (1 - E k)(1/n + 1/m).

    Notes
    -----
    O((n + m)**2) time, O(n + m) memory.
    """
    X, Y, wx, wy = check_pair(X, Y, x_weight, y_weight)
    if bandwidth is None:
        both = np.concatenate([X[:1000], Y[:1000]])
        distances = cdist(both, both)[np.triu_indices(len(both), 1)]
        bandwidth = np.median(distances) if distances.any() else 1.0
        bandwidth = bandwidth or distances[distances > 0].min()
    if not np.isfinite(bandwidth) or bandwidth <= 0:
        raise ValueError(f"The 'bandwidth' argument must be a positive number. Got {bandwidth!r} instead.")

    def gaussian(D):
        return np.exp(-0.5 * (D / bandwidth) ** 2)

    squared = _mean_kernel(X, X, wx, wx, gaussian) + _mean_kernel(Y, Y, wy, wy, gaussian)
    squared -= 2 * _mean_kernel(X, Y, wx, wy, gaussian)
    return float(np.sqrt(max(squared, 0.0)))


def classifier_two_sample_test(X, Y, *, n_splits=5, random_state=0, return_error=False):
    """Cross-validated accuracy of boosted trees that tell two samples apart (C2ST).

    Parameters
    ----------
    X, Y : array-like of shape (n, n_features) and (m, n_features)
        The longer one is cut to the length of the shorter, so that chance is 0.5.
    n_splits : int, default=5
        Folds; every sample is classified once, by trees that have not seen it.
    random_state : int, RandomState or None, default=0
        Seed of the cut, the folds and the trees.
    return_error : bool, default=False
        Return the standard error of the accuracy too.

    Returns
    -------
    float, or (float, float)
        0.5 is indistinguishable, 1 is told apart without fail. Below 0.5 is chance.

    Notes
    -----
    The classifier is scikit-learn's HistGradientBoostingClassifier: O(n d) a tree; one thread. Its power
    grows with n, so that accuracies are comparable at equal n only.

    References
    ----------
    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    X, Y, _, _ = check_pair(X, Y)
    rng = check_random_state(random_state)
    m = min(len(X), len(Y))
    if m < n_splits:
        raise ValueError(f"Found {m} samples in the shorter sample while at least n_splits={n_splits} are required.")
    samples = np.concatenate([S if len(S) == m else S[rng.permutation(len(S))[:m]] for S in (X, Y)])
    label = np.repeat([0, 1], m)
    seed = int(rng.randint(np.iinfo(np.int32).max))
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
    with one_thread():
        correct = cross_val_predict(trees, samples, label, cv=folds) == label
    accuracy = float(correct.mean())
    return (accuracy, float(correct.std() / np.sqrt(len(correct)))) if return_error else accuracy
