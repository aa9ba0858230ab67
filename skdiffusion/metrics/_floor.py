"""What a perfect model would get: a metric between two samples of the same distribution."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array

from skdiffusion._utils.validation import RandomState


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
    real = check_array(X, dtype=np.float64, input_name="X", ensure_min_samples=2)
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
