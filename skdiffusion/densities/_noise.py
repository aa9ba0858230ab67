"""Noise in one dimension: standard normal, or a mixture where residuals are skewed, heavy or of several modes."""

import numpy as np
from scipy.special import ndtr, ndtri

from skdiffusion._utils.numerics import exp_in_place, log_sum_exp
from skdiffusion.densities._mixture import LOG_2PI

COMPONENTS = (2, 3, 5)  # of the noise, beside a single normal
BINS = np.linspace(-6.4, 6.4, 161)  # in which its residuals are counted
MIN_SCALE = 0.04  # standard deviation of a component: no spikes
N_STEPS = 30  # of expectation maximization
MIN_DENSITY = 1e-290  # below which sums of exponentials lose digits


class Noise:
    """Distributions of standardized residuals, one a feature: mixtures of Gaussians, arrays of shape (d, k) of their parts."""

    _saved = ("weights", "means", "scales")

    def __init__(self, weights, means, scales):
        self.weights, self.means, self.scales = weights, means, scales

    def log_joint(self, e):
        """Log-densities of the parts with their weights, shape (n, d, k)."""
        standard = (e[..., None] - self.means) / self.scales
        return np.log(np.maximum(self.weights, 1e-300)) - np.log(self.scales) - 0.5 * (LOG_2PI + standard**2)

    def log_prob(self, e):
        """Log-densities of residuals (n, d), each under the distribution of its feature."""
        density = np.zeros(e.shape)
        for weight, mean, scale in zip(self.weights.T, self.means.T, self.scales.T):
            part = np.square((e - mean) / scale)
            part *= -0.5
            exp_in_place(np.maximum(part, -700.0, out=part))
            part *= weight / scale
            density += part
        out = np.log(density) - 0.5 * LOG_2PI
        far = ~(density > MIN_DENSITY).all(1)
        out[far] = log_sum_exp(self.log_joint(e[far]), axis=2)
        return out

    def score(self, e):
        """Their derivatives."""
        joint = self.log_joint(e)
        share = np.exp(joint - log_sum_exp(joint, axis=2)[..., None])
        return (share * (self.means - e[..., None]) / self.scales**2).sum(2)

    def from_normal(self, e, j):
        """Draws (n,) of the distribution of feature j from standard normal ones."""
        lower, upper = ndtr(e), ndtr(-e)
        below = np.concatenate([[0.0], np.cumsum(self.weights[j])])
        k = np.minimum(np.searchsorted(below[1:], lower, side="right"), np.flatnonzero(self.weights[j])[-1])
        # Where it lies within its part, from the nearer end.
        from_below = (lower - below[k]) / self.weights[j, k]
        from_above = (upper - (1.0 - below[k + 1])) / self.weights[j, k]
        low = np.clip(np.minimum(from_below, from_above), 1e-300, 0.5)
        inside = np.where(from_below < from_above, ndtri(low), -ndtri(low))
        return self.means[j, k] + self.scales[j, k] * inside


def fit_noise(e, w):
    """`Noise` of standardized residuals (n, d): per feature a standard normal or, by BIC, a mixture.

    Expectation maximization on a histogram, of all features at once.
    """
    d, total, n_bins = e.shape[1], w.sum(), len(BINS) - 1
    centers, most = (BINS[1:] + BINS[:-1]) / 2, max(COMPONENTS)
    bins = np.clip(np.searchsorted(BINS, e) - 1, 0, n_bins - 1) + n_bins * np.arange(d)
    counts = np.bincount(bins.ravel(), np.repeat(w, d), minlength=d * n_bins).reshape(d, n_bins)
    at = np.repeat(centers[:, None], d, axis=1)
    chosen = np.zeros((d, most)), np.zeros((d, most)), np.ones((d, most))
    chosen[0][:, 0] = 1.0
    best = -0.5 * counts @ (LOG_2PI + centers**2)
    for k in COMPONENTS:
        quantiles = np.argmax(np.cumsum(counts, axis=1)[..., None] >= total * (np.arange(k) + 0.5) / k, axis=1)
        noise = Noise(np.full((d, k), 1 / k), centers[quantiles], np.full((d, k), 0.6))
        for _ in range(N_STEPS):
            share = noise.log_joint(at)
            share -= share.max(2, keepdims=True)
            exp_in_place(np.maximum(share, -700.0, out=share))
            share *= (counts.T / share.sum(2))[..., None]
            mass = np.maximum(share.sum(0), 1e-6)
            means = np.einsum("bdk,b->dk", share, centers) / mass
            variances = np.einsum("bdk,b->dk", share, centers**2) / mass - means**2
            scales = np.sqrt(np.maximum(variances, 0.0) + MIN_SCALE**2)
            noise = Noise(mass / mass.sum(1, keepdims=True), means, scales)
        value = (counts.T * noise.log_prob(at)).sum(0) - 0.5 * (3 * k - 1) * np.log(total)
        better = value > best
        best = np.where(better, value, best)
        for whole, part, rest in zip(chosen, (noise.weights, noise.means, noise.scales), (0.0, 0.0, 1.0)):
            whole[better, :k], whole[better, k:] = part[better], rest
    return Noise(*chosen)
