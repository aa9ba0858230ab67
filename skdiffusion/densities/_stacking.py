r"""Stacking: weights of a mixture of densities from held-out log-densities.

The weights maximize the mean of :math:`\log\sum_m w_m p_m(x_i)` over samples that no member has seen: a
concave problem, solved by EM. A member may keep a least weight; a heavy-tailed one then bounds the loss
of any sample at :math:`-\log w` below its own log-density.

References
----------
Smyth and Wolpert (1999), Linearly combining density estimators via stacking.
"""

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp


def stacking_weights(log_densities, sample_weight=None, least=None, max_iter=2000, tol=1e-9):
    """Weights of greatest held-out mean log-density.

    Parameters
    ----------
    log_densities : array of shape (n_samples, n_members)
        Held-out log-densities in nats; -inf is allowed where another member is finite.
    sample_weight : array of shape (n_samples,), optional
    least : array of shape (n_members,), optional
        Least weight of each member; their sum must be below 1.

    Returns
    -------
    ndarray of shape (n_members,)
        Non-negative, sum 1.
    """
    L = np.asarray(log_densities, dtype=float)
    n, m = L.shape
    w = np.full(n, 1.0 / n) if sample_weight is None else np.asarray(sample_weight, float) / np.sum(sample_weight)
    least = np.zeros(m) if least is None else np.asarray(least, dtype=float)
    if least.sum() >= 1:
        raise ValueError(f"The least weights must sum to less than 1. Got {least.sum():.3g}.")
    usable = np.isfinite(L).any(1)
    L, w = L[usable], w[usable]
    pi = np.full(m, 1.0 / m)
    if not len(L):
        return pi
    density = np.exp(L - L.max(1, keepdims=True))
    for _ in range(max_iter):
        share = w @ (density * pi / (density @ pi)[:, None]) / w.sum()
        updated = _with_floor(share, least)
        if np.abs(updated - pi).max() < tol:
            return updated
        pi = updated
    return pi


def _with_floor(share, least):
    """Maximizer of sum(share * log(w)) on the simplex with w >= least."""
    fixed = np.zeros(len(share), dtype=bool)
    while True:
        free_mass = 1.0 - least[fixed].sum()
        total = share[~fixed].sum()
        w = np.where(fixed, least, share * (free_mass / total if total > 0 else 0.0))
        low = ~fixed & (w < least)
        if not low.any():
            return w / w.sum()
        fixed |= low


def blend_log_density(log_densities, weights):
    """log sum_m w_m p_m, shape (n,), from (n, m) log-densities."""
    with np.errstate(divide="ignore"):
        return log_sum_exp(log_densities + np.log(weights), axis=1)
