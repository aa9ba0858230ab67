r"""Distances between densities, and the calibration of one.

A density is a callable ``log_density(X)`` -> array of shape (n,), in nats, such as ``est.score_samples``.
"""

import numpy as np
from scipy.special import logsumexp
from sklearn.utils.validation import check_array, check_consistent_length

from skdiffusion.compose import draw_samples, log_density_of

QUADRATURE_NODES = {1: 20_001, 2: 401}


def _check_log_density(name, values):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError(f"{name} must hold one log-density a sample, finite or -inf.")
    return values


def _grid(bounds, n_nodes):
    """Mid-points of a box of one or two features, and the volume of a cell."""
    low, high = (np.atleast_1d(np.asarray(b, dtype=np.float64)) for b in bounds)
    if low.shape != high.shape or len(low) > 2 or not (low < high).all() or not np.isfinite([low, high]).all():
        raise ValueError(
            "The 'bounds' argument must be a pair (low, high) of finite arrays of one or two entries, low < high: "
            "for more features pass 'samples' instead."
        )
    n_nodes = n_nodes or QUADRATURE_NODES[len(low)]
    axes = [a + (b - a) * (np.arange(n_nodes) + 0.5) / n_nodes for a, b in zip(low, high)]
    nodes = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    return nodes, float(np.prod((high - low) / n_nodes))


def _evaluated(log_p, log_q, bounds, samples, n_nodes):
    """log p and log q at quadrature nodes or at samples of p, and the volume of a cell (None for samples)."""
    if (bounds is None) == (samples is None):
        raise ValueError(
            "Pass either 'bounds' (quadrature, one or two features) or 'samples' (samples drawn from p), not both."
        )
    if bounds is not None:
        points, cell = _grid(bounds, n_nodes)
    else:
        points, cell = check_array(samples, dtype=np.float64, input_name="samples"), None
    p, q = _check_log_density("log_p", log_p(points)), _check_log_density("log_q", log_q(points))
    if cell is None and np.isneginf(p).any():
        raise ValueError("'log_p' is minus infinity on a sample of 'samples': they cannot have been drawn from p.")
    return p, q, cell


def total_variation(log_p, log_q, *, bounds=None, samples=None, n_nodes=None):
    r"""Total variation distance between two densities: :math:`\tfrac12\int |p - q|`, between 0 and 1.

    Parameters
    ----------
    log_p, log_q : callables, (n, n_features) -> (n,)
        Log-densities in nats.
    bounds : pair of array-likes of shape (n_features,), optional
        Box on which to integrate, for one or two features. Mass outside the box is not seen.
    samples : array-like of shape (n, n_features), optional
        Samples drawn from p, for any number of features: TV = E_p max(1 - q/p, 0), which needs q integrate to 1.
    n_nodes : int, optional
        Nodes along each feature (mid-point rule); 20001 for one feature, 401 for two.

    Returns
    -------
    float
    """
    p, q, cell = _evaluated(log_p, log_q, bounds, samples, n_nodes)
    if cell is not None:
        return float(0.5 * np.abs(np.exp(p) - np.exp(q)).sum() * cell)
    return float(np.maximum(-np.expm1(np.minimum(q - p, 0.0)), 0.0).mean())


def kl_divergence(log_p, log_q, *, bounds=None, samples=None, n_nodes=None):
    r"""Kullback-Leibler divergence :math:`\int p \log (p/q)`, in nats.

    Parameters
    ----------
    log_p, log_q : callables, (n, n_features) -> (n,)
        Log-densities in nats; p is the truth.
    bounds : pair of array-likes of shape (n_features,), optional
        Box on which to integrate, for one or two features.
    samples : array-like of shape (n, n_features), optional
        Samples drawn from p, for any number of features. The Monte Carlo mean can be negative.
    n_nodes : int, optional
        Nodes along each feature (mid-point rule); 20001 for one feature, 401 for two.

    Returns
    -------
    float
        inf where q vanishes on samples of p.
    """
    p, q, cell = _evaluated(log_p, log_q, bounds, samples, n_nodes)
    seen = np.isfinite(p)
    weight = np.exp(p[seen]) * cell if cell is not None else 1.0 / len(p)
    return float((weight * (p[seen] - q[seen])).sum())


def highest_density_coverage(estimator, X, *, levels=None, n_samples=10_000, random_state=0):
    r"""Share of samples inside the model's highest-density regions of given mass: the calibration of a density.

    The region of mass c is :math:`\{x : \log p(x) \ge q_c\}` with q_c the 1 - c quantile of the log-density over
    the model's own samples. A calibrated density covers a share c of fresh samples: less is over-confident,
    more is too wide.

    Parameters
    ----------
    estimator : fitted density estimator
        With `score_samples` and `sample`.
    X : array-like of shape (n, n_features)
        Held-out samples.
    levels : array-like of shape (n_levels,), optional
        Masses in (0, 1); 0.05, 0.1, ..., 0.95 by default.
    n_samples : int, default=10000
        Samples drawn from the model.
    random_state : int, RandomState or None, default=0
        Seed of the draws.

    Returns
    -------
    levels : ndarray of shape (n_levels,)
    coverage : ndarray of shape (n_levels,)
        Its standard error is sqrt(c (1 - c) (1/n + 1/n_samples)).
    """
    levels = np.linspace(0.05, 0.95, 19) if levels is None else np.asarray(levels, dtype=np.float64)
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError("The 'levels' argument must hold masses strictly between 0 and 1.")
    own = np.sort(log_density_of(estimator, draw_samples(estimator, n_samples, random_state)))
    held_out = estimator.score_samples(X)
    thresholds = np.quantile(own, 1 - levels)
    return levels, (held_out[:, None] >= thresholds).mean(0)


def importance_mass(log_q, samples, log_proposal):
    r"""Integral of a density by importance sampling: should be 1.

    Parameters
    ----------
    log_q : callable, (n, n_features) -> (n,)
        Log-density in nats.
    samples : array-like of shape (n, n_features)
        Samples of a proposal distribution that covers the density, wider than it.
    log_proposal : array-like of shape (n,)
        Log-densities of these samples under the proposal.

    Returns
    -------
    mass : float
    standard_error : float
    """
    points = check_array(samples, dtype=np.float64, input_name="samples")
    log_proposal = check_array(log_proposal, dtype=np.float64, ensure_2d=False, input_name="log_proposal")
    check_consistent_length(points, log_proposal)
    ratio = _check_log_density("log_q", log_q(points)) - log_proposal.ravel()
    n = len(ratio)
    mass = float(np.exp(logsumexp(ratio) - np.log(n)))
    return mass, float(np.sqrt(max(np.exp(logsumexp(2 * ratio) - np.log(n)) - mass**2, 0.0) / n))
