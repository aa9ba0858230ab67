r"""Distances between densities, and the calibration of one.

A density is a callable ``log_density(X)`` -> array of shape (n,), in nats, such as ``est.score_samples``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_consistent_length

from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.grids import midpoint_grid
from skdiffusion._utils.validation import RandomState
from skdiffusion.compose import draw_samples, log_density_of

LogDensity = Callable[[np.ndarray], np.ndarray]
Bounds = tuple[ArrayLike, ArrayLike] | None
QUADRATURE_NODES = {1: 20_001, 2: 401}


def _check_log_density(name: str, log_density: LogDensity, points: np.ndarray) -> np.ndarray:
    values = np.asarray(log_density(points), dtype=np.float64)
    if values.ndim != 1 or np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError(f"{name} must return a log-density for each sample, finite or -inf.")
    return values


def _quadrature(bounds: tuple[ArrayLike, ArrayLike], n_nodes: int | None) -> tuple[np.ndarray, float]:
    """Mid-points of a box of one or two features, and the volume of a cell."""
    low, high = (np.atleast_1d(np.asarray(b, dtype=np.float64)) for b in bounds)
    if low.shape != high.shape or len(low) > 2 or not (low < high).all() or not np.isfinite([low, high]).all():
        raise ValueError(
            "The 'bounds' argument must be a pair (low, high) of finite arrays of one or two entries, low < high: "
            "for more features pass 'samples' instead."
        )
    nodes, widths = midpoint_grid(low, high, n_nodes or QUADRATURE_NODES[len(low)])
    return nodes, float(np.prod(widths))


def _evaluated(
    log_p: LogDensity, log_q: LogDensity, bounds: Bounds, samples: ArrayLike | None, n_nodes: int | None
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """log p and log q at quadrature nodes or at samples of p, and the volume of a cell (None for samples)."""
    if bounds is not None and samples is None:
        points, cell = _quadrature(bounds, n_nodes)
    elif samples is not None and bounds is None:
        points, cell = check_array(as_numbers(samples), dtype=np.float64, input_name="samples"), None
    else:
        raise ValueError(
            "Pass either 'bounds' (quadrature, one or two features) or 'samples' (samples drawn from p), not both."
        )
    p, q = _check_log_density("log_p", log_p, points), _check_log_density("log_q", log_q, points)
    if cell is None and np.isneginf(p).any():
        raise ValueError("'log_p' is minus infinity on a sample of 'samples': they cannot have been drawn from p.")
    return p, q, cell


def total_variation(
    log_p: LogDensity, log_q: LogDensity, *, bounds: Bounds = None, samples: Any = None, n_nodes: int | None = None
) -> float:
    r"""Total variation distance between two densities: :math:`\tfrac12\int |p - q|`, between 0 and 1.

    Parameters
    ----------
    log_p, log_q : callables, (n, n_features) -> (n,)
        Log-densities in nats.
    bounds : pair of array-likes of shape (n_features,), optional
        Box on which to integrate, for one or two features. Mass outside the box is ignored.
    samples : array-like of shape (n, n_features), optional
        Samples drawn from p, for any number of features: TV = E_p max(1 - q/p, 0), where q must integrate to 1.
    n_nodes : int, optional
        Nodes along each feature (mid-point rule); by default 20001 for one feature, 401 for two.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skdiffusion.metrics import total_variation
    >>> log_p, log_q = (lambda x, m=m: norm(m).logpdf(x[:, 0]) for m in (0.0, 1.0))
    >>> round(float(total_variation(log_p, log_q, bounds=([-9.0], [9.0]))), 4)
    0.3829
    """
    p, q, cell = _evaluated(log_p, log_q, bounds, samples, n_nodes)
    if cell is not None:
        return float(0.5 * np.abs(np.exp(p) - np.exp(q)).sum() * cell)
    return float(np.maximum(-np.expm1(np.minimum(q - p, 0.0)), 0.0).mean())


def kl_divergence(
    log_p: LogDensity, log_q: LogDensity, *, bounds: Bounds = None, samples: Any = None, n_nodes: int | None = None
) -> float:
    r"""Kullback-Leibler divergence :math:`\int p \log (p/q)`, in nats.

    Parameters
    ----------
    log_p, log_q : callables, (n, n_features) -> (n,)
        Log-densities in nats; p is the truth.
    bounds, samples, n_nodes : as for `total_variation`

    Returns
    -------
    float
        inf if q vanishes where p does not. The Monte Carlo mean over samples can be negative.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skdiffusion.metrics import kl_divergence
    >>> log_p, log_q = (lambda x, m=m: norm(m).logpdf(x[:, 0]) for m in (0.0, 1.0))
    >>> round(float(kl_divergence(log_p, log_q, bounds=([-9.0], [9.0]))), 4)  # (1 - 0)**2 / 2
    0.5
    """
    p, q, cell = _evaluated(log_p, log_q, bounds, samples, n_nodes)
    positive = np.isfinite(p)
    weight = np.exp(p[positive]) * cell if cell is not None else 1.0 / len(p)
    return float((weight * (p[positive] - q[positive])).sum())


def highest_density_coverage(
    estimator: BaseEstimator,
    X: ArrayLike,
    *,
    levels: ArrayLike | None = None,
    n_samples: int = 10_000,
    random_state: RandomState = 0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Fraction of samples in the model's highest-density regions of given mass: the calibration of a density.

    The region of mass c is :math:`\{x : \log p(x) \ge q_c\}`, where q_c is the 1 - c quantile of the log-density
    over the model's own samples. A calibrated density covers a fraction c of left-out samples: with less it is
    over-confident, with more too wide.

    Parameters
    ----------
    estimator : fitted density estimator
        With `score_samples` and `sample`.
    X : array-like of shape (n, n_features)
        Samples left out of the fit.
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

    Raises
    ------
    ValueError
        If a level is not strictly between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from skdiffusion.metrics import highest_density_coverage
    >>> rng = np.random.default_rng(0)
    >>> model = GaussianMixture(random_state=0).fit(rng.normal(size=(500, 2)))
    >>> levels, coverage = highest_density_coverage(model, rng.normal(size=(500, 2)))
    >>> bool(np.abs(coverage - levels).max() < 0.1)
    True
    """
    masses = np.linspace(0.05, 0.95, 19) if levels is None else np.asarray(levels, dtype=np.float64)
    if masses.ndim != 1 or not ((masses > 0) & (masses < 1)).all():
        raise ValueError("The 'levels' argument must hold masses strictly between 0 and 1.")
    own = np.sort(log_density_of(estimator, draw_samples(estimator, n_samples, random_state)))
    left_out = estimator.score_samples(X)
    thresholds = np.quantile(own, 1 - masses)
    return masses, (left_out[:, None] >= thresholds).mean(0)


def importance_mass(log_q: LogDensity, samples: ArrayLike, log_proposal: ArrayLike) -> tuple[float, float]:
    r"""Integral of a density by importance sampling, which should be 1.

    Parameters
    ----------
    log_q : callable, (n, n_features) -> (n,)
        Log-density in nats.
    samples : array-like of shape (n, n_features)
        Samples of a proposal distribution with heavier tails than the density.
    log_proposal : array-like of shape (n,)
        Log-densities of these samples under the proposal.

    Returns
    -------
    mass : float
    standard_error : float

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from skdiffusion.metrics import importance_mass
    >>> wide = norm(0.0, 2.0)
    >>> samples = wide.rvs(size=(10_000, 1), random_state=0)
    >>> mass, error = importance_mass(lambda x: norm.logpdf(x[:, 0]), samples, wide.logpdf(samples[:, 0]))
    >>> bool(abs(mass - 1) < 4 * error)
    True
    """
    points = check_array(as_numbers(samples), dtype=np.float64, input_name="samples")
    log_p = check_array(log_proposal, dtype=np.float64, ensure_2d=False, input_name="log_proposal")
    check_consistent_length(points, log_p)
    ratio = _check_log_density("log_q", log_q, points) - log_p.ravel()
    n = len(ratio)
    mass = float(np.exp(logsumexp(ratio) - np.log(n)))
    return mass, float(np.sqrt(max(np.exp(logsumexp(2 * ratio) - np.log(n)) - mass**2, 0.0) / n))
