"""What a perfect model would get: a metric between two samples of the same distribution."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array


def two_sample_floor(metric, X, *, n_samples=None, n_repeats=20, random_state=0, **arguments):
    """Mean of a metric between disjoint halves of real samples: the value of a model that is the truth.

    Every two-sample metric is positive for two finite samples of the same distribution. This bias depends on the
    number of samples and on the distribution, so a distance means something only beside its floor: report the ratio.

    Parameters
    ----------
    metric : callable
        ``metric(A, B, **arguments)`` -> float, such as `wasserstein_1`.
    X : array-like of shape (n, n_features)
        Real samples, drawn independently of any model.
    n_samples : int, optional
        Samples of each half; n // 2 by default. Compare with a distance taken at this size.
    n_repeats : int, default=20
        Random splits.
    random_state : int, RandomState or None, default=0
        Seed of the splits.
    **arguments
        Passed to the metric.

    Returns
    -------
    floor : float
    standard_error : float
        Of the mean over the splits. The splits share samples: it does not include the spread over tables.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import two_sample_floor, wasserstein_1
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> floor, error = two_sample_floor(wasserstein_1, X)
    >>> 0.1 < floor < 0.5
    True
    """
    X = check_array(X, dtype=np.float64, input_name="X", ensure_min_samples=2)
    n_samples = len(X) // 2 if n_samples is None else n_samples
    if not 1 <= n_samples <= len(X) // 2:
        raise ValueError(f"The 'n_samples' argument must lie between 1 and {len(X) // 2}. Got {n_samples!r} instead.")
    rng = check_random_state(random_state)
    values = []
    for _ in range(n_repeats):
        pick = rng.permutation(len(X))[: 2 * n_samples]
        values.append(metric(X[pick[:n_samples]], X[pick[n_samples:]], **arguments))
    return float(np.mean(values)), float(np.std(values) / np.sqrt(n_repeats))
