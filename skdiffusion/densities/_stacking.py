r"""Stacking: weights of a blend of densities from out-of-fold log-densities.

The weights maximize the mean of :math:`\log\sum_m w_m p_m(x_i)` over samples that were left out of the fit of every
component: a concave problem, solved by EM. A component may keep a least weight; a heavy-tailed one then bounds the loss
of any sample at :math:`-\log w` below its own log-density.

References
----------
Smyth and Wolpert (1999), Linearly combining density estimators via stacking.
"""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.numerics import effective_number, log_sum_exp


def stacking_weights(
    log_densities: np.ndarray,
    sample_weight: np.ndarray | None = None,
    min_weights: np.ndarray | None = None,
    prior_samples: np.ndarray | None = None,
    max_iter: int = 2000,
    tol: float = 1e-9,
) -> np.ndarray:
    """Weights of greatest out-of-fold mean log-density.

    Parameters
    ----------
    log_densities : array of shape (n_samples, n_components)
        Out-of-fold log-densities in nats; -inf is allowed where another component is finite.
    sample_weight : array of shape (n_samples,), optional
    min_weights : array of shape (n_components,), optional
        Least weight of each component; their sum must be below 1.
    prior_samples : array of shape (n_components,), optional
        Samples that each component is known to explain beforehand, of a Dirichlet prior of the weights, beside the
        effective number of samples.
    max_iter : int
    tol : float
        EM stops when no weight changes by more.

    Returns
    -------
    ndarray of shape (n_components,)
        Non-negative, sum 1.

    Raises
    ------
    ValueError
        If the least weights sum to 1 or more.
    """
    L = np.asarray(log_densities, dtype=float)
    n, m = L.shape
    w = np.full(n, 1.0 / n) if sample_weight is None else np.asarray(sample_weight, float) / np.sum(sample_weight)
    min_weights = np.zeros(m) if min_weights is None else np.asarray(min_weights, dtype=float)
    if min_weights.sum() >= 1:
        raise ValueError(f"The 'min_weights' must sum to less than 1. Got {min_weights.sum():.3g}.")
    usable = np.isfinite(L).any(1)
    L, w = L[usable], w[usable]
    pi = np.full(m, 1.0 / m)
    if not len(L):
        return pi
    density = np.exp(L - L.max(1, keepdims=True))
    w = w / w.sum()
    prior = None if prior_samples is None or not np.any(prior_samples) else prior_samples / effective_number(w)
    for _ in range(max_iter):
        share = pi * ((w / (density @ pi)) @ density)
        if prior is not None:
            share = (share + prior) / (1 + prior.sum())
        updated = _with_min_weights(share, min_weights)
        if np.abs(updated - pi).max() < tol:
            return updated
        pi = updated
    return pi


def _with_min_weights(share: np.ndarray, min_weights: np.ndarray) -> np.ndarray:
    """Maximizer of sum(share * log(w)) on the simplex with w >= min_weights."""
    fixed = np.zeros(len(share), dtype=bool)
    while True:
        free_mass = 1.0 - min_weights[fixed].sum()
        total = share[~fixed].sum()
        w = np.where(fixed, min_weights, share * (free_mass / total if total > 0 else 0.0))
        low = ~fixed & (w < min_weights)
        if not low.any():
            return w / w.sum()
        fixed |= low


def blend_log_density(log_densities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """log sum_m w_m p_m, shape (n_samples,), from log-densities of shape (n_samples, n_components)."""
    with np.errstate(divide="ignore"):
        return log_sum_exp(log_densities + np.log(weights), axis=1)


def choose_component(weights: np.ndarray, uniform: np.ndarray | None) -> np.ndarray:
    """Number of the component of a blend or mixture that each uniform random number chooses, shape (n_samples,).

    The weights, of sum 1, are those of all samples, or have a row for each of them.
    """
    assert uniform is not None, "The samples of a mixture take uniform random numbers."
    if weights.ndim == 2:
        return np.minimum((np.cumsum(weights, axis=1) <= uniform[:, None]).sum(1), weights.shape[1] - 1)
    chosen = np.searchsorted(np.cumsum(weights), uniform, side="right")
    return np.minimum(chosen, len(weights) - 1)  # the cumulative weights may end below 1 by round-off


def choose_and_rescale(weights: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of components by `choose_component`, and uniform numbers made of what the choice leaves of these."""
    which, below = choose_component(weights, uniform), np.cumsum(weights) - weights
    return which, np.clip((uniform - below[which]) / weights[which], 0.0, 1.0)
