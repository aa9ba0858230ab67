"""The kernel distribution: an isotropic Gaussian at every sample. With bandwidth 0 it is the empirical distribution, diffused."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from skdiffusion._utils.numerics import best_blend, clearly_better, log_sum_exp
from skdiffusion.densities._diffused import DiffusedDensity, Moments
from skdiffusion.densities._mixture import LOG_2PI

MIN_BANDWIDTH, MAX_BANDWIDTH = 0.02, 0.95  # beyond, the distribution of the samples is hardly told from a Gaussian
COARSE_BANDWIDTHS = 9  # of a first look, as a geometric grid
MARGIN = 2.0  # standard errors by which another than the best bandwidth alone must add more: it is the best of many
MAX_LEVERAGE = 0.9  # of a sample in its own covariance; more than this is round-off or shrinkage
MIN_SPACING = 0.05  # of the geometric mean: nearer samples say nothing about the density around them


class GaussianKernelDensity(DiffusedDensity):
    """Gaussian kernel density of weighted samples.

    Parameters
    ----------
    samples : array of shape (n, d)
    bandwidth : float or array of shape (n,)
        Standard deviation of the kernels; 0 is allowed when sigma > 0.
    weights : array of shape (n,), optional
        Non-negative; samples of weight zero are dropped.
    """

    _saved = ("n_features", "samples", "bandwidth", "weights", "_center", "_centered", "_half_norms", "_log_weights")

    def __init__(self, samples, bandwidth, weights=None):
        samples = np.asarray(samples, dtype=float)
        weights = np.ones(len(samples)) if weights is None else np.asarray(weights, dtype=float)
        kept = weights > 0
        self.samples, self.bandwidth = (
            samples[kept],
            np.broadcast_to(np.asarray(bandwidth, dtype=float), len(samples))[kept],
        )
        self.weights = weights[kept] / weights.sum()
        self.n_features = samples.shape[1]
        # Distances by a product lose digits far from the origin.
        self._center = self.weights @ self.samples
        self._centered = self.samples - self._center
        self._half_norms = (self._centered**2).sum(1) / 2
        self._log_weights = np.log(self.weights)

    def _sample_cost(self):
        return 4 * len(self.samples)

    def _variances(self, alpha, sigma):
        return alpha**2 * np.square(self.bandwidth) + sigma**2

    def _log_joint(self, x, alpha, variances):
        """Log-densities of the kernels at x with their weights, and half the squared distances over the variances."""
        centered = x - alpha * self._center
        energy = (-alpha * centered) @ self._centered.T
        energy += (centered**2).sum(1)[:, None] / 2
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
        centered = x - alpha * self._center
        mean_u = over.sum(1)[:, None] * centered - alpha * (over @ self._centered)
        over *= np.square(self.bandwidth)
        drawn = over.sum(1)[:, None] * centered - alpha * (over @ self._centered)
        denoised = r @ self._centered + self._center + alpha * drawn
        spread = (r * (2 * energy / variances)).sum(1) - (mean_u**2).sum(1)
        laplacian = -self.n_features * (r / variances).sum(1) + np.maximum(spread, 0.0)
        return Moments(log_density, mean_u, denoised, laplacian)

    def log_prob(self, x, alpha=1.0, sigma=0.0):
        """Log-density of the noised distribution at x, in nats, shape (n,)."""
        x = np.asarray(x, dtype=float)
        variances = np.broadcast_to(self._variances(alpha, sigma), len(self.samples))
        step = max(1, 100_000 // len(self.samples))
        blocks = [x[i : i + step] for i in range(0, len(x), step)]
        parts = [log_sum_exp(self._log_joint(block, alpha, variances)[0], axis=1) for block in blocks]
        return np.concatenate(parts) if parts else np.empty(0)

    def sample(self, noise):
        """Samples from random numbers: the uniform ones choose the kernels."""
        sample = np.minimum(
            np.searchsorted(np.cumsum(self.weights), noise.uniform, side="right"), len(self.samples) - 1
        )
        return self.samples[sample] + np.broadcast_to(self.bandwidth, len(self.samples))[sample, None] * noise.normal


@dataclass(frozen=True)
class Spacing:
    """How far apart samples lie around each of them: kernels as wide as that follow the density.

    Parameters
    ----------
    scale : array of shape (n,)
        Distance to a near neighbor over the geometric mean of all these distances.
    reach : array of shape (n,)
        That distance: of the samples within it,
    without : array of shape (n,)
        any that is missing would change `scale` by this factor.
    """

    scale: np.ndarray
    reach: np.ndarray
    without: np.ndarray

    @classmethod
    def of_distances(cls, near, following, weights):
        """From the distances to a near neighbor and to the one after it, and the weights of the samples, all (n,)."""
        near, following = (np.maximum(distances, 1e-12 * np.max(near)) for distances in (near, following))  # round-off
        mean = np.exp(np.average(np.log(near), weights=weights))
        scale, next_scale = np.maximum(near / mean, MIN_SPACING), np.maximum(following / mean, MIN_SPACING)
        return cls(scale, near, next_scale / scale)


def kernel_density(samples, bandwidth, weights=None, spacing=None):
    """The samples under variance-preserving noise of standard deviation `bandwidth`.

    Samples are drawn to their mean by ``sqrt(1 - bandwidth**2)``, so that whitened samples keep their covariance: a plain
    kernel density adds the square of its bandwidth to it, which costs the more the more features there are.

    Parameters
    ----------
    samples : array of shape (n, d)
        In features of unit variance.
    bandwidth : float
        In (0, 1): from the samples themselves to one Gaussian.
    weights : array of shape (n,), optional
        Non-negative.
    spacing : Spacing, optional
        Of these samples: the noise of a sample is `bandwidth` times its scale.

    Returns
    -------
    GaussianKernelDensity
    """
    mean = np.average(samples, axis=0, weights=weights)
    scale = 1.0 if spacing is None else spacing.scale
    return GaussianKernelDensity(mean + np.sqrt(1 - bandwidth**2) * (samples - mean), bandwidth * scale, weights)


def leave_one_out(samples, weights, bandwidths, queries, seen_from=None, whitened=0.0, spacing=None):
    """Log-density at samples under the `kernel_density` of all other samples.

    A copy of a query (distance zero) is left out with it: otherwise duplicates would reward a bandwidth
    of zero without bound.

    Parameters
    ----------
    samples, weights : arrays of shape (n, d) and (n,)
        Weights are positive.
    bandwidths : sequence of float
    queries : int array of shape (n_queries,)
    seen_from : array of shape (n, d), optional
        Places of the queries, where these differ from their samples.
    whitened : float, default=0.0
        Share that the samples' own covariance has in the one that whitens them, 0 where none does. A query is left out of
        it as well: its distances to the others would else be too small, by a share of about d / n.
    spacing : Spacing, optional
        Of the samples; queries are left out of it too.

    Returns
    -------
    ndarray of shape (n_bandwidths, n_queries)
        Nats.
    """
    mean, (n, d) = np.average(samples, axis=0, weights=weights), samples.shape
    places = (samples if seen_from is None else seen_from) - mean
    samples, shares = samples - mean, weights / weights.sum()
    norms = (samples**2).sum(1)
    out = np.empty((len(bandwidths), len(queries)))
    step = max(1, 100_000 // n)
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        own, gram = norms[block, None], samples[block] @ samples.T
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
        # The others have the mean -odds sample, and about it the covariance (I - odds sample sample^T) / (1 - missing).
        odds, missing = missing / (1 - missing), whitened * missing
        leverage = np.minimum(whitened * odds * own, MAX_LEVERAGE)
        log_det = 0.5 * (d * np.log1p(-missing) - np.log1p(-leverage))[:, 0]
        products = gram if seen_from is None else places[block] @ samples.T
        for b, h in enumerate(bandwidths):
            kept = np.sqrt(1 - h**2)
            moved = (1 - kept) * odds
            place = places[block] + moved * samples[block]
            squared = kept**2 * norms - 2 * kept * (products + moved * gram)
            squared += (place**2).sum(1)[:, None]
            if whitened:
                along = (samples[block] * place).sum(1)[:, None] - kept * gram
                squared += whitened * odds / (1 - leverage) * np.square(along, out=along)
                squared *= 1 - missing
            np.maximum(squared, 0.0, out=squared)
            squared *= halves
            total = log_sum_exp(log_weights - squared / h**2, axis=1)
            out[b, start : start + len(block)] = total + log_det - 0.5 * d * (2 * np.log(h) + LOG_2PI)
    return out


class BandwidthSearch:
    """Search for the bandwidth of the `kernel_density` that adds most to others, by samples left out.

    It starts on a coarse grid; `refine` goes on about the best ones.

    Parameters
    ----------
    samples, weights, queries, seen_from, whitened, spacing : as for `leave_one_out`
    others : array of shape (n_queries,)
        Held-out log-densities of the queries under the distribution that the kernel is to be blended with, in nats.
    """

    def __init__(self, samples, weights, queries, others, seen_from=None, whitened=0.0, spacing=None):
        self.share = weights[queries] / weights[queries].sum()
        self.others = others
        context = {"queries": queries, "seen_from": seen_from, "whitened": whitened, "spacing": spacing}
        self._leave_out = partial(leave_one_out, samples, weights, **context)
        self._found, self._ratio = {}, (MAX_BANDWIDTH / MIN_BANDWIDTH) ** (1 / (COARSE_BANDWIDTHS - 1))
        self._evaluate(np.geomspace(MIN_BANDWIDTH, MAX_BANDWIDTH, COARSE_BANDWIDTHS).tolist())

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
    def max_gained(self):
        """Nats that the best blend of any bandwidth adds to the others at all queries together."""
        return len(self.share) * float(self.share @ (self._found[self._best(1)][1] - self.others))

    def refine(self):
        """Narrow the grid about the bandwidth that is best alone, and about the one that is best beside the others."""
        for k in range(1, 4):
            step = self._ratio**0.5**k
            about = [h for which in (0, 1) for h in (self._best(which) / step, self._best(which) * step)]
            self._evaluate([min(h, MAX_BANDWIDTH) for h in about])
