"""Discrepancies by kernels and by a classifier, and what a perfect model would get."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.utils import check_array, check_random_state

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.threads import one_thread
from skdiffusion._utils.validation import RandomState
from skdiffusion.metrics._checks import Weights, check_pair

BLOCK_SAMPLES = 1000
BANDWIDTH_SAMPLES = 1000  # of each set, whose distances give the default bandwidth


def _mean_kernel(x: np.ndarray, y: np.ndarray, wx: np.ndarray, wy: np.ndarray, kernel: Callable = np.asarray) -> float:
    """Weighted mean of kernel(distance) over all pairs, in blocks of samples; of the distance itself by default."""
    return sum(wx[s] @ kernel(cdist(x[s], y)) @ wy for s in slices(len(x), BLOCK_SAMPLES))


def energy_distance(X: ArrayLike, Y: ArrayLike, *, x_weight: Weights = None, y_weight: Weights = None) -> float:
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import energy_distance
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(200, 2)), rng.normal(1.0, 1.0, size=(200, 2))
    >>> bool(energy_distance(X, X) < 1e-6 < energy_distance(X, Y))
    True
    """
    x, y, wx, wy = check_pair(X, Y, x_weight, y_weight)
    squared = 2 * _mean_kernel(x, y, wx, wy)
    squared -= _mean_kernel(x, x, wx, wx) + _mean_kernel(y, y, wy, wy)
    return float(np.sqrt(max(squared, 0.0)))


def _median_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Median distance between the first samples of both sets; the smallest positive one, or 1, where it vanishes."""
    both = np.concatenate([x[:BANDWIDTH_SAMPLES], y[:BANDWIDTH_SAMPLES]])
    distances = cdist(both, both)[np.triu_indices(len(both), 1)]
    if not distances.any():
        return 1.0
    return np.median(distances) or distances[distances > 0].min()


def maximum_mean_discrepancy(
    X: ArrayLike, Y: ArrayLike, *, x_weight: Weights = None, y_weight: Weights = None, bandwidth: float | None = None
) -> float:
    r"""Maximum mean discrepancy with a Gaussian kernel (Gretton et al., 2012); no unit, between 0 and sqrt 2.

    Parameters
    ----------
    X, Y, x_weight, y_weight : as for `energy_distance`
    bandwidth : float, optional
        Standard deviation of the kernel, in the units of the features. None takes the median distance
        between the first 1000 samples of both; fix it to compare values.

    Returns
    -------
    float
        Root of the biased (V-statistic) estimate: non-negative, a metric for a fixed bandwidth. Two sets of
        samples of the same distribution have a square of about (1 - E k)(1/n + 1/m).

    Raises
    ------
    ValueError
        If `bandwidth` is not a positive number.

    Notes
    -----
    O((n + m)**2) time, O(n + m) memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import maximum_mean_discrepancy
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(200, 2)), rng.normal(1.0, 1.0, size=(200, 2))
    >>> bool(maximum_mean_discrepancy(X, X) < 1e-6 < maximum_mean_discrepancy(X, Y))
    True
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import classifier_two_sample_test
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(200, 2)), rng.normal(1.0, 1.0, size=(200, 2))
    >>> bool(classifier_two_sample_test(X, Y) > 0.6)
    True
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


def two_sample_floor(
    metric: Callable[[np.ndarray, np.ndarray], float],
    X: ArrayLike,
    *,
    n_samples: int | None = None,
    n_repeats: int = 20,
    random_state: RandomState = 0,
) -> tuple[float, float]:
    """Mean of a metric between disjoint halves of real samples: what a perfect model would get.

    Every two-sample metric is positive for two finite sets of samples of the same distribution. This bias depends on
    the number of samples and on the distribution: a distance is informative only beside its floor.

    Parameters
    ----------
    metric : callable
        ``metric(A, B)`` -> float, such as `wasserstein_1`.
    X : array-like of shape (n, n_features)
        Real samples, drawn independently of any model.
    n_samples : int, optional
        Number of samples in each half; n // 2 by default. Compare with a distance between as many samples.
    n_repeats : int, default=20
        Random splits.
    random_state : int, RandomState or None, default=0
        Seed of the splits.

    Returns
    -------
    floor : float
    standard_error : float
        Of the mean over the splits. The splits share samples: the variation over other real samples is not included.

    Raises
    ------
    ValueError
        If `n_samples` is not between 1 and n // 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import two_sample_floor, wasserstein_1
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> floor, error = two_sample_floor(wasserstein_1, X)
    >>> 0.1 < floor < 0.5
    True
    """
    real = check_array(as_numbers(X), dtype=np.float64, input_name="X", ensure_min_samples=2)
    largest = len(real) // 2
    n_samples = largest if n_samples is None else n_samples
    if not 1 <= n_samples <= largest:
        raise ValueError(f"The 'n_samples' argument must lie between 1 and {largest}. Got {n_samples!r} instead.")
    rng = check_random_state(random_state)
    values = []
    for _ in range(n_repeats):
        pick = rng.permutation(len(real))[: 2 * n_samples]
        values.append(metric(real[pick[:n_samples]], real[pick[n_samples:]]))
    return float(np.mean(values)), float(np.std(values) / np.sqrt(n_repeats))
