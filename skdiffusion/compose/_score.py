"""The score of a density estimator: the mean of its log-densities."""

import numpy as np
from numpy.typing import ArrayLike

from skdiffusion._utils.validation import check_weights
from skdiffusion._utils.warnings import warn_user
from skdiffusion.exceptions import ZeroDensityWarning


def mean_log_density(log_density: np.ndarray, sample_weight: ArrayLike | None = None) -> float:
    """Mean log-density of samples, with a warning where it is minus infinity.

    Parameters
    ----------
    log_density : array of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), optional
        Samples of weight zero do not count, whatever their log-density.

    Returns
    -------
    float

    Warns
    -----
    ZeroDensityWarning
        With the number of samples of density zero, if there are any.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.compose import mean_log_density
    >>> mean_log_density(np.array([-1.0, -3.0]), sample_weight=[3, 1])
    -1.5
    """
    if sample_weight is not None:
        w = check_weights(sample_weight, log_density[:, None])
        log_density, w = log_density[w > 0], w[w > 0]
    if n_outside := np.isneginf(log_density).sum():
        warn_user(
            f"{n_outside} of {len(log_density)} samples have density zero, and the mean log-density is -inf. Samples "
            "outside 'bounds' have: bounds that are learned from training samples, as by a scaler, do not hold all "
            "others. Give the known bounds of the features, or none.",
            ZeroDensityWarning,
        )
    return float(log_density.mean() if sample_weight is None else np.average(log_density, weights=w))
