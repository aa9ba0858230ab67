"""Grids of angles, rising from data (`start`) to noise (`stop`): float64 arrays of n_steps + 1 knots."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import erf


def angle_grid(n_steps: int, start: float, stop: float) -> np.ndarray:
    """Uniform in the angle: optimal for a standard Gaussian."""
    return np.linspace(start, stop, n_steps + 1)


def power_grid(n_steps: int, start: float, stop: float, power: float = 1.5) -> np.ndarray:
    """Uniform in theta^(1/power): finer near the data as `power` rises."""
    grid = np.linspace(start ** (1 / power), stop ** (1 / power), n_steps + 1) ** power
    grid[0], grid[-1] = start, stop
    return grid


def log_snr_grid(n_steps: int, start: float, stop: float) -> np.ndarray:
    """Uniform in the log signal-to-noise ratio, -2 log tan(theta)."""
    grid = np.arctan(np.exp(np.linspace(np.log(np.tan(start)), np.log(np.tan(stop)), n_steps + 1)))
    grid[0], grid[-1] = start, stop
    return grid


def bell_grid(n_steps: int, start: float, stop: float, height: float = 1.5, width: float = 2.0) -> np.ndarray:
    r"""Denser than `log_snr_grid` where noise and signal are alike, by the factor 1 + `height` exp(-x^2 / (2 width^2)).

    There, in x = log tan(theta), most fields change most. On ten data sets of two thousand samples the error of
    log-densities by "abm4" is less than half of that on the uniform grid, at 18 evaluations.
    """
    low, high = np.log(np.tan(start)), np.log(np.tan(stop))
    x = np.linspace(low, high, 1025)
    knots_below = x + height * width * np.sqrt(np.pi / 2) * erf(x / (width * np.sqrt(2)))
    grid = np.arctan(np.exp(np.interp(np.linspace(knots_below[0], knots_below[-1], n_steps + 1), knots_below, x)))
    grid[0], grid[-1] = start, stop
    return grid


def grid_with_edges(
    grid: Callable[[int, float, float], np.ndarray], n_steps: int, start: float, stop: float, edges: Sequence[float]
) -> np.ndarray:
    """A grid of about `n_steps` steps with knots at the edges: every interval has its share, and at least one step."""
    edges = [e for e in edges if start < e < stop]
    if not edges:
        return grid(n_steps, start, stop)
    ends = np.array([start, *edges, stop])
    shares = np.diff(np.interp(ends, grid(n_steps, start, stop), np.arange(n_steps + 1)))
    pieces = [grid(max(1, round(share)), low, high) for share, low, high in zip(shares, ends, ends[1:])]
    return np.concatenate([pieces[0], *(p[1:] for p in pieces[1:])])


def equidistributed_grid(
    n_steps: int, start: float, stop: float, density: Callable[[np.ndarray], np.ndarray], n_quadrature: int = 4096
) -> np.ndarray:
    r"""Knots at equal increments of :math:`\int \mathrm{density}(\theta)\,d\theta`.

    With ``density = sqrt(G Y)``, the square root of the error that a unit step makes at theta and carries to the end,
    this is the grid that minimizes a first-order discretization bound. The quadrature is log-uniform in tan(theta).
    """
    theta = log_snr_grid(n_quadrature, start, stop)
    values = np.maximum(np.asarray(density(theta), dtype=float), 0.0) + 1e-12
    total = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(theta))])
    grid = np.interp(np.linspace(0.0, total[-1], n_steps + 1), total, theta)
    grid[0], grid[-1] = start, stop
    return grid


GRIDS = {"power": power_grid, "angle": angle_grid, "log-snr": log_snr_grid, "bell": bell_grid}
