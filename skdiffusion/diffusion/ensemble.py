"""What the average of an ensemble gains over its members."""

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp


def averaging_gain(log_densities: np.ndarray) -> np.ndarray:
    """Expected rise of log-densities (n_samples, n_members) when all members are averaged, shape (n_samples,), in nats.

    Out-of-fold log-densities come from single members, the final density from the average of all of them. The spread of
    the members on a sample (each member's mean level removed) predicts what averaging gains there; without it the blend
    would give the average too little weight. NaN is a member to leave out; fewer than three members gain 0.
    """
    L = np.asarray(log_densities, dtype=float)
    n, m = L.shape
    if m < 3:
        return np.zeros(n)
    seen = np.isfinite(L)
    level = np.nanmedian(np.where(seen, L, np.nan), axis=0)
    centered = np.where(seen, L - level, np.nan)
    sample_mean = np.nanmean(centered, axis=1)
    count = seen.sum(1)
    mixed = log_sum_exp(np.where(seen, centered, -np.inf), axis=1) - np.log(count)
    # m values lose a 1/m part of the variance to their mean; count of them were seen.
    factor = (1 - 1 / m) / np.maximum(1 - 1 / count, 0.5)
    return np.maximum(factor * (mixed - sample_mean), 0.0)
