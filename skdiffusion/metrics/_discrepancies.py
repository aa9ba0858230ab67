r"""Discrepancies by kernels and by a classifier."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import RandomState
from skdiffusion.metrics._checks import check_pair

BLOCK_SAMPLES = 1000
BANDWIDTH_SAMPLES = 1000  # of each set, whose distances give the default bandwidth


def _mean_kernel(
    x: np.ndarray, y: np.ndarray, wx: np.ndarray, wy: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Weighted mean of kernel(distance) over all pairs, in blocks of samples."""
    return sum(wx[s] @ kernel(cdist(x[s], y)) @ wy for s in slices(len(x), BLOCK_SAMPLES))


def energy_distance(
    X: ArrayLike, Y: ArrayLike, *, x_weight: ArrayLike | None = None, y_weight: ArrayLike | None = None
) -> float:
    r"""Square root of the energy distance of Szekely and Rizzo, in root units of the features.

    .. math:: D^2 = 2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|,

    with the means over all pairs of samples, the pairs of a sample with itself included (the V-statistic):
    non-negative, zero for equal sets of samples, and a metric.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features)
    x_weight, y_weight : array-like of shape (n,) and (m,), optional

    Returns
    -------
    float
        Two sets of samples of the same distribution have D**2 of about E|X - X'| (1/n + 1/m): see
        `two_sample_floor`.

    Notes
    -----
    O((n + m)**2) time, O(n + m) memory.
    """
    x, y, wx, wy = check_pair(X, Y, x_weight, y_weight)

    def distance(D: np.ndarray) -> np.ndarray:
        return D

    squared = 2 * _mean_kernel(x, y, wx, wy, distance)
    squared -= _mean_kernel(x, x, wx, wx, distance) + _mean_kernel(y, y, wy, wy, distance)
    return float(np.sqrt(max(squared, 0.0)))


def _median_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Median distance between the first samples of both sets; the smallest positive one, or 1, where it vanishes."""
    both = np.concatenate([x[:BANDWIDTH_SAMPLES], y[:BANDWIDTH_SAMPLES]])
    distances = cdist(both, both)[np.triu_indices(len(both), 1)]
    if not distances.any():
        return 1.0
    return np.median(distances) or distances[distances > 0].min()


def maximum_mean_discrepancy(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    x_weight: ArrayLike | None = None,
    y_weight: ArrayLike | None = None,
    bandwidth: float | None = None,
) -> float:
    r"""Maximum mean discrepancy with a Gaussian kernel (Gretton et al., 2012); no unit, between 0 and sqrt 2.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
    Y : array-like of shape (m, n_features)
    x_weight, y_weight : array-like of shape (n,) and (m,), optional
    bandwidth : float, optional
        Standard deviation of the kernel, in the units of the features. None takes the median distance
        between the first 1000 samples of both; fix it to compare values.

    Returns
    -------
    float
        Root of the biased (V-statistic) estimate: non-negative, a metric for a fixed bandwidth. Two sets of
        samples of the same distribution have a square of about (1 - E k)(1/n + 1/m).

    Notes
    -----
    O((n + m)**2) time, O(n + m) memory.
    """
    x, y, wx, wy = check_pair(X, Y, x_weight, y_weight)
    width = _median_distance(x, y) if bandwidth is None else bandwidth
    if not np.isfinite(width) or width <= 0:
        raise ValueError(f"The 'bandwidth' argument must be a positive number. Got {bandwidth!r} instead.")

    def gaussian(D: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (D / width) ** 2)

    squared = _mean_kernel(x, x, wx, wx, gaussian) + _mean_kernel(y, y, wy, wy, gaussian)
    squared -= 2 * _mean_kernel(x, y, wx, wy, gaussian)
    return float(np.sqrt(max(squared, 0.0)))


def classifier_two_sample_test(
    X: ArrayLike, Y: ArrayLike, *, n_splits: int = 5, random_state: RandomState = 0, return_error: bool = False
) -> float | tuple[float, float]:
    """Cross-validated accuracy of boosted trees that tell two sets of samples apart (C2ST).

    Parameters
    ----------
    X, Y : array-like of shape (n, n_features) and (m, n_features)
        The longer one is cut to the length of the shorter, so that chance is 0.5.
    n_splits : int, default=5
        Folds; every sample is classified once, by trees of which it was left out.
    random_state : int, RandomState or None, default=0
        Seed of the cut, the folds and the trees.
    return_error : bool, default=False
        Return the standard error of the accuracy too.

    Returns
    -------
    float, or (float, float)
        0.5 if the sets are indistinguishable, 1 if every sample is classified correctly. Below 0.5 is chance.

    Raises
    ------
    ValueError
        If one set has fewer samples than there are folds.

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

    x, y, _, _ = check_pair(X, Y)
    rng = check_random_state(random_state)
    m = min(len(x), len(y))
    if m < n_splits:
        raise ValueError(f"Found {m} samples in the shorter set while at least n_splits={n_splits} are required.")
    samples = np.concatenate([S if len(S) == m else S[rng.permutation(len(S))[:m]] for S in (x, y)])
    label = np.repeat([0, 1], m)
    seed = int(rng.randint(np.iinfo(np.int32).max))
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
    with one_thread():
        correct = cross_val_predict(trees, samples, label, cv=folds) == label
    accuracy = float(correct.mean())
    return (accuracy, float(correct.std() / np.sqrt(len(correct)))) if return_error else accuracy
