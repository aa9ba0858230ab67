"""The kernel law: an isotropic Gaussian at every row. With bandwidth 0 it is the empirical law, diffused."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from skdiffusion._utils.numerics import best_blend, clearly_better, log_sum_exp
from skdiffusion.densities._diffused import DiffusedLaw, Moments
from skdiffusion.densities._mixture import LOG_2PI

LEAST_BANDWIDTH, MAX_BANDWIDTH = 0.02, 0.95  # beyond, the law of the rows is hardly told from a Gaussian
COARSE_BANDWIDTHS = 9  # of a first look, as a geometric grid
MARGIN = 2.0  # standard errors by which another than the best bandwidth alone must add more: it is the best of many
MOST_LEVERAGE = 0.9  # of a row in its own covariance; more than this is round-off or shrinkage
LEAST_SPACING = 0.05  # of the geometric mean: nearer rows say nothing about the density around them


class KernelLaw(DiffusedLaw):
    """Gaussian kernel density of weighted rows.

    Parameters
    ----------
    rows : array of shape (n, d)
    bandwidth : float or array of shape (n,)
        Standard deviation of the kernels; 0 is allowed when sigma > 0.
    weights : array of shape (n,), optional
        Non-negative; rows of weight zero are dropped.
    """

    def __init__(self, rows, bandwidth, weights=None):
        rows = np.asarray(rows, dtype=float)
        weights = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=float)
        kept = weights > 0
        self.rows, self.bandwidth = rows[kept], np.broadcast_to(np.asarray(bandwidth, dtype=float), len(rows))[kept]
        self.weights = weights[kept] / weights.sum()
        self.n_features = rows.shape[1]
        # Distances by a product lose digits far from the origin.
        self._centre = self.weights @ self.rows
        self._centred = self.rows - self._centre
        self._half_norms = (self._centred**2).sum(1) / 2
        self._log_weights = np.log(self.weights)

    def _row_cost(self):
        return 4 * len(self.rows)

    def _variances(self, alpha, sigma):
        return alpha**2 * np.square(self.bandwidth) + sigma**2

    def _log_joint(self, x, alpha, variances):
        """Log-densities of the kernels at x with their weights, and half the squared distances over the variances."""
        centred = x - alpha * self._centre
        energy = (-alpha * centred) @ self._centred.T
        energy += (centred**2).sum(1)[:, None] / 2
        energy += alpha**2 * self._half_norms
        np.maximum(energy, 0.0, out=energy)
        energy /= variances
        constant = self._log_weights - 0.5 * self.n_features * (np.log(variances) + LOG_2PI)
        return constant - energy, energy

    def _moments(self, x, alpha, sigma):
        variances = self._variances(alpha, sigma)
        log_joint, energy = self._log_joint(x, alpha, variances)
        log_density = log_sum_exp(log_joint, axis=1)
        r = np.exp(log_joint - log_density[:, None])
        over = r / variances
        centred = x - alpha * self._centre
        mean_u = over.sum(1)[:, None] * centred - alpha * (over @ self._centred)
        over *= np.square(self.bandwidth)
        drawn = over.sum(1)[:, None] * centred - alpha * (over @ self._centred)
        denoised = r @ self._centred + self._centre + alpha * drawn
        spread = (r * (2 * energy / variances)).sum(1) - (mean_u**2).sum(1)
        laplacian = -self.n_features * (r / variances).sum(1) + np.maximum(spread, 0.0)
        return Moments(log_density, mean_u, denoised, laplacian)

    def log_density(self, x, alpha=1.0, sigma=0.0):
        """Log-density of the noised law at x, in nats, shape (n,)."""
        x = np.asarray(x, dtype=float)
        variances = np.broadcast_to(self._variances(alpha, sigma), len(self.rows))
        step = max(1, 100_000 // len(self.rows))
        blocks = [x[i : i + step] for i in range(0, len(x), step)]
        parts = [log_sum_exp(self._log_joint(block, alpha, variances)[0], axis=1) for block in blocks]
        return np.concatenate(parts) if parts else np.empty(0)

    def sample_from_noise(self, noise, uniforms):
        """Rows from standard normal `noise` (n, d), centres chosen by `uniforms` (n,)."""
        row = np.minimum(np.searchsorted(np.cumsum(self.weights), uniforms, side="right"), len(self.rows) - 1)
        return self.rows[row] + np.broadcast_to(self.bandwidth, len(self.rows))[row, None] * noise


@dataclass(frozen=True)
class Spacing:
    """How far apart rows lie around each of them: kernels as wide as that follow the density.

    Parameters
    ----------
    scale : array of shape (n,)
        Distance to a near neighbour over the geometric mean of all these distances.
    reach : array of shape (n,)
        That distance: of the rows within it,
    without : array of shape (n,)
        any that is missing would change `scale` by this factor.
    """

    scale: np.ndarray
    reach: np.ndarray
    without: np.ndarray

    @classmethod
    def of_distances(cls, near, following, weights):
        """From the distances to a near neighbour and to the one after it, and the weights of the rows, all (n,)."""
        near, following = (np.maximum(distances, 1e-12 * np.max(near)) for distances in (near, following))  # round-off
        mean = np.exp(np.average(np.log(near), weights=weights))
        scale, next_scale = np.maximum(near / mean, LEAST_SPACING), np.maximum(following / mean, LEAST_SPACING)
        return cls(scale, near, next_scale / scale)


def empirical_law(rows, bandwidth, weights=None, spacing=None):
    """The rows under variance-preserving noise of standard deviation `bandwidth`.

    Rows are drawn to their mean by ``sqrt(1 - bandwidth**2)``, so that whitened rows keep their covariance: a plain
    kernel density adds the square of its bandwidth to it, which costs the more the more columns there are.

    Parameters
    ----------
    rows : array of shape (n, d)
        In columns of unit variance.
    bandwidth : float
        In (0, 1): from the rows themselves to one Gaussian.
    weights : array of shape (n,), optional
        Non-negative.
    spacing : Spacing, optional
        Of these rows: the noise of a row is `bandwidth` times its scale.

    Returns
    -------
    KernelLaw
    """
    mean = np.average(rows, axis=0, weights=weights)
    scale = 1.0 if spacing is None else spacing.scale
    return KernelLaw(mean + np.sqrt(1 - bandwidth**2) * (rows - mean), bandwidth * scale, weights)


def leave_one_out(rows, weights, bandwidths, queries, seen_from=None, whitened=0.0, spacing=None):
    """Log-density at rows under the `empirical_law` of all other rows.

    A copy of a query (distance zero) is left out with it: otherwise duplicates would reward a bandwidth
    of zero without bound.

    Parameters
    ----------
    rows, weights : arrays of shape (n, d) and (n,)
        Weights are positive.
    bandwidths : sequence of float
    queries : int array of shape (n_queries,)
    seen_from : array of shape (n, d), optional
        Places of the queries, where these differ from their rows.
    whitened : float, default=0.0
        Share that the rows' own covariance has in the one that whitens them, 0 where none does. A query is left out of
        it as well: its distances to the others would else be too small, by a share of about d / n.
    spacing : Spacing, optional
        Of the rows; queries are left out of it too.

    Returns
    -------
    ndarray of shape (n_bandwidths, n_queries)
        Nats.
    """
    mean, (n, d) = np.average(rows, axis=0, weights=weights), rows.shape
    places = (rows if seen_from is None else seen_from) - mean
    rows, shares = rows - mean, weights / weights.sum()
    norms = (rows**2).sum(1)
    out = np.empty((len(bandwidths), len(queries)))
    step = max(1, 100_000 // n)
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        own, gram = norms[block, None], rows[block] @ rows.T
        apart = own + norms - 2 * gram
        same = apart <= 2e-12 * (1 + own)
        missing = np.minimum((same * shares).sum(1)[:, None], 1 - 1e-9)
        log_weights = np.where(same, -np.inf, np.log(shares / (1 - missing)))
        halves = 0.5
        if spacing is not None:
            seen = apart <= np.square(spacing.reach) * (1 + 1e-9)
            log_scale = np.log(spacing.scale) + np.where(seen, np.log(spacing.without), 0.0)
            log_weights -= d * log_scale
            halves = 0.5 * np.exp(-2 * log_scale)
        # The others have the mean -odds row, and about it the covariance (I - odds row row^T) / (1 - missing).
        odds, missing = missing / (1 - missing), whitened * missing
        leverage = np.minimum(whitened * odds * own, MOST_LEVERAGE)
        log_det = 0.5 * (d * np.log1p(-missing) - np.log1p(-leverage))[:, 0]
        products = gram if seen_from is None else places[block] @ rows.T
        for b, h in enumerate(bandwidths):
            kept = np.sqrt(1 - h**2)
            moved = (1 - kept) * odds
            place = places[block] + moved * rows[block]
            squared = kept**2 * norms - 2 * kept * (products + moved * gram)
            squared += (place**2).sum(1)[:, None]
            if whitened:
                along = (rows[block] * place).sum(1)[:, None] - kept * gram
                squared += whitened * odds / (1 - leverage) * np.square(along, out=along)
                squared *= 1 - missing
            np.maximum(squared, 0.0, out=squared)
            squared *= halves
            total = log_sum_exp(log_weights - squared / h**2, axis=1)
            out[b, start : start + len(block)] = total + log_det - 0.5 * d * (2 * np.log(h) + LOG_2PI)
    return out


class BandwidthSearch:
    """Search for the bandwidth of the `empirical_law` that adds most to others, by rows left out.

    It starts on a coarse grid; `refine` goes on about the best ones.

    Parameters
    ----------
    rows, weights, queries, seen_from, whitened, spacing : as for `leave_one_out`
    others : array of shape (n_queries,)
        Held-out log-densities of the queries under the law that the kernel is to be blended with, in nats.
    """

    def __init__(self, rows, weights, queries, others, seen_from=None, whitened=0.0, spacing=None):
        self.share = weights[queries] / weights[queries].sum()
        self.others = others
        context = {"queries": queries, "seen_from": seen_from, "whitened": whitened, "spacing": spacing}
        self._leave_out = partial(leave_one_out, rows, weights, **context)
        self._found, self._ratio = {}, (MAX_BANDWIDTH / LEAST_BANDWIDTH) ** (1 / (COARSE_BANDWIDTHS - 1))
        self._evaluate(np.geomspace(LEAST_BANDWIDTH, MAX_BANDWIDTH, COARSE_BANDWIDTHS).tolist())

    def _evaluate(self, bandwidths):
        """Log-densities of the kernel, and of the best blend, by bandwidth."""
        new = sorted({*bandwidths} - {*self._found})
        for h, density in zip(new, self._leave_out(new) if new else []):
            self._found[h] = np.maximum(density, -1e6), best_blend(density, self.others, self.share)

    def _best(self, which):
        return max(self._found, key=lambda h: self.share @ self._found[h][which])

    @property
    def bandwidth(self):
        """The one that is best alone, if no other is clearly better beside the others."""
        alone, beside = self._best(0), self._best(1)
        better = clearly_better(self._found[beside][1], self._found[alone][1], self.share, MARGIN)
        return beside if better else alone

    @property
    def blended(self):
        """Log-densities of the queries under the best blend with the others, in nats, shape (n_queries,)."""
        return self._found[self.bandwidth][1]

    @property
    def most_gained(self):
        """Nats that the best blend of any bandwidth adds to the others at all queries together."""
        return len(self.share) * float(self.share @ (self._found[self._best(1)][1] - self.others))

    def refine(self):
        """Narrow the grid about the bandwidth that is best alone, and about the one that is best beside the others."""
        for k in range(1, 4):
            step = self._ratio**0.5**k
            about = [h for which in (0, 1) for h in (self._best(which) / step, self._best(which) * step)]
            self._evaluate([min(h, MAX_BANDWIDTH) for h in about])
