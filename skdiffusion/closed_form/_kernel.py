"""The kernel law: an isotropic Gaussian at every row. With bandwidth 0 it is the empirical law, diffused."""

import numpy as np

from skdiffusion._numerics import log_sum_exp
from skdiffusion.closed_form._diffused import DiffusedLaw, Moments
from skdiffusion.closed_form._mixture import LOG_2PI


class KernelLaw(DiffusedLaw):
    """Gaussian kernel density of weighted rows.

    Parameters
    ----------
    rows : array of shape (n, d)
    bandwidth : float
        Standard deviation of the kernel; 0 is allowed when sigma > 0.
    weights : array of shape (n,), optional
        Non-negative; rows of weight zero are dropped.
    """

    def __init__(self, rows, bandwidth, weights=None):
        rows = np.asarray(rows, dtype=float)
        weights = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=float)
        self.rows, self.bandwidth = rows[weights > 0], float(bandwidth)
        self.weights = weights[weights > 0] / weights.sum()
        self.n_features = rows.shape[1]
        # Distances by a product lose digits far from the origin.
        self._centre = self.weights @ self.rows
        self._centred = self.rows - self._centre
        self._half_norms = (self._centred**2).sum(1) / 2
        self._log_weights = np.log(self.weights)

    def _row_cost(self):
        return 3 * len(self.rows)

    def _log_joint(self, x, alpha, variance):
        centred = x - alpha * self._centre
        squared = (centred**2).sum(1)[:, None] / 2 - alpha * (centred @ self._centred.T) + alpha**2 * self._half_norms
        constant = -0.5 * self.n_features * (np.log(variance) + LOG_2PI)
        return self._log_weights - np.maximum(squared, 0.0) / variance + constant

    def _moments(self, x, alpha, sigma):
        variance = alpha**2 * self.bandwidth**2 + sigma**2
        log_joint = self._log_joint(x, alpha, variance)
        log_density = log_sum_exp(log_joint, axis=1)
        r = np.exp(log_joint - log_density[:, None])
        mean_row = r @ self._centred + self._centre
        mean_u = (x - alpha * mean_row) / variance
        denoised = mean_row + alpha * self.bandwidth**2 * mean_u
        spread = (r @ (2 * self._half_norms)) - ((mean_row - self._centre) ** 2).sum(1)
        laplacian = -self.n_features / variance + alpha**2 * np.maximum(spread, 0.0) / variance**2
        return Moments(log_density, mean_u, denoised, laplacian)

    def log_density(self, x, alpha=1.0, sigma=0.0):
        """Log-density of the noised law at x, in nats, shape (n,)."""
        x = np.asarray(x, dtype=float)
        variance = alpha**2 * self.bandwidth**2 + sigma**2
        step = max(1, 1_000_000 // len(self.rows))
        parts = [log_sum_exp(self._log_joint(x[i : i + step], alpha, variance), axis=1) for i in range(0, len(x), step)]
        return np.concatenate(parts) if parts else np.empty(0)

    def sample_from_noise(self, noise, uniforms):
        """Rows from standard normal `noise` (n, d), centres chosen by `uniforms` (n,)."""
        row = np.minimum(np.searchsorted(np.cumsum(self.weights), uniforms, side="right"), len(self.rows) - 1)
        return self.rows[row] + self.bandwidth * noise


def _half_squared_distances(law, x):
    centred = x - law._centre
    norms = (centred**2).sum(1)[:, None]
    return np.maximum(norms / 2 - centred @ law._centred.T + law._half_norms, 0.0), norms


def leave_one_out(rows, weights, bandwidths, queries, seen_from=None):
    """Log-density at rows under the kernel law of all other rows.

    A copy of a query (distance zero) is left out with it: otherwise duplicates would reward a bandwidth
    of zero without bound.

    Parameters
    ----------
    rows, weights : arrays of shape (n, d) and (n,)
    bandwidths : sequence of float
    queries : int array of shape (n_queries,)
    seen_from : array of shape (n, d), optional
        Places of the queries, where these differ from their rows.

    Returns
    -------
    ndarray of shape (n_bandwidths, n_queries)
        Nats.
    """
    law = KernelLaw(rows, 1.0, weights)
    out = np.empty((len(bandwidths), len(queries)))
    step = max(1, 1_000_000 // len(rows))
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        squared, norms = _half_squared_distances(law, rows[block])
        same = squared <= 1e-12 * (1 + norms)
        if seen_from is not None:
            squared, _ = _half_squared_distances(law, seen_from[block])
        log_weights = np.where(same, -np.inf, law._log_weights)
        total = np.log(np.maximum(np.exp(log_weights).sum(1), 1e-300))
        for b, h in enumerate(bandwidths):
            log_joint = log_weights - squared / h**2
            out[b, start : start + len(block)] = (
                log_sum_exp(log_joint, axis=1) - total - 0.5 * rows.shape[1] * (2 * np.log(h) + LOG_2PI)
            )
    return out


def select_bandwidth(rows, weights, queries, seen_from=None):
    """Bandwidth of greatest leave-one-out mean log-density, on a refined geometric grid.

    Parameters
    ----------
    rows, weights, queries, seen_from : as for `leave_one_out`

    Returns
    -------
    bandwidth : float
    ndarray of shape (n_queries,)
        Log-densities of the queries with it, in nats.
    """
    grid = np.geomspace(0.02, 1.5, 14)
    ratio = grid[1] / grid[0]
    for _ in range(2):
        scores = leave_one_out(rows, weights, grid, queries, seen_from)
        k = np.argmax(np.maximum(scores, -1e6) @ weights[queries])
        best, density = grid[k], scores[k]
        ratio, grid = ratio**0.4, best * ratio ** np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    return float(best), density
