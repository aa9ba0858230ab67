"""Distributions of regression residuals: standard normal, or a mixture where they are skewed, heavy or multimodal."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from skdiffusion._utils.numerics import exp_in_place, log_sum_exp
from skdiffusion.densities._mixture import LOG_2PI

N_PARTS = (2, 3, 5)  # Gaussians of the mixtures that are tried beside a single one
BINS = np.linspace(-6.4, 6.4, 161)  # in which residuals are counted
MIN_SCALE = 0.04  # standard deviation of a part: no spikes
N_STEPS = 30  # of expectation maximization
NEAR = 8.5  # standard deviations of a part from which it has no mass to see
MIN_DENSITY = 1e-290  # below which sums of exponentials lose digits


class ResidualDistribution:
    """Distributions of standardized residuals: for each feature a mixture of Gaussians in one dimension.

    Weights, means and scales have the shape (n_features, n_parts); a part of weight 0 is none.
    """

    _saved = ("weights", "means", "scales")

    def __init__(self, weights: np.ndarray, means: np.ndarray, scales: np.ndarray):
        self.weights, self.means, self.scales = weights, means, scales

    def log_joint(self, e: np.ndarray) -> np.ndarray:
        """Log-densities of the parts with their weights, shape (n_samples, n_features, n_parts)."""
        standard = (e[..., None] - self.means) / self.scales
        return np.log(np.maximum(self.weights, 1e-300)) - np.log(self.scales) - 0.5 * (LOG_2PI + standard**2)

    def log_prob(self, e: np.ndarray) -> np.ndarray:
        """Log-densities of residuals (n_samples, n_features), each under the distribution of its feature."""
        density = np.zeros(e.shape)
        for mean, scale, height in zip(self.means.T, self.scales.T, (self.weights / self.scales).T):
            part = e - mean
            part /= scale
            np.square(part, out=part)
            part *= -0.5
            exp_in_place(np.maximum(part, -700.0, out=part))
            part *= height
            density += part
        out = np.log(density) - 0.5 * LOG_2PI
        far = ~(density > MIN_DENSITY).all(1)
        out[far] = log_sum_exp(self.log_joint(e[far]), axis=2)
        return out

    def score(self, e: np.ndarray) -> np.ndarray:
        """Derivatives of `log_prob` by the residuals."""
        joint = self.log_joint(e)
        share = np.exp(joint - log_sum_exp(joint, axis=2)[..., None])
        return (share * (self.means - e[..., None]) / self.scales**2).sum(2)

    def from_normal(self, e: np.ndarray, j: int) -> np.ndarray:
        """Residuals (n_samples,) of feature j from standard normal numbers, by the quantiles of its distribution."""
        lower, upper = ndtr(e), ndtr(-e)
        below = np.concatenate([[0.0], np.cumsum(self.weights[j])])
        k = np.minimum(np.searchsorted(below[1:], lower, side="right"), np.flatnonzero(self.weights[j])[-1])
        # The share of the part below the residual, counted from the nearer end to keep the digits.
        from_below = (lower - below[k]) / self.weights[j, k]
        from_above = (upper - (1.0 - below[k + 1])) / self.weights[j, k]
        low = np.clip(np.minimum(from_below, from_above), 1e-300, 0.5)
        inside = np.where(from_below < from_above, ndtri(low), -ndtri(low))
        return self.means[j, k] + self.scales[j, k] * inside


class WithinLimits:
    """Distributions of residuals restricted to limits, which differ between samples.

    Parameters
    ----------
    residuals : ResidualDistribution
    low, high : array of shape (n_samples, n_features)
        Limits of the standardized residuals.
    features : slice, optional
        Those of the distribution that these are.

    Attributes
    ----------
    near : bool array of shape (n_samples, n_features)
        Where a limit cuts off some mass; there is none to see elsewhere.
    mass : array of shape (n_near,)
        Within the limits, where they are near.
    """

    def __init__(
        self, residuals: ResidualDistribution, low: np.ndarray, high: np.ndarray, features: slice = slice(None)
    ):
        weights, means, scales = (a[features] for a in (residuals.weights, residuals.means, residuals.scales))
        used = weights > 0
        least = np.where(used, means - NEAR * scales, np.inf).min(1)
        most = np.where(used, means + NEAR * scales, -np.inf).max(1)
        self.near = (low > least) | (high < most)
        j = np.nonzero(self.near)[1]
        self.weights, self.means, self.scales = weights[j], means[j], scales[j]
        self.ends = np.stack([low[self.near], high[self.near]])
        # Parts on the upper side are mirrored: differences of masses near 1 would lose their digits.
        standard = (self.ends[:, :, None] - self.means) / self.scales
        self.mirrored = standard.sum(0) > 0
        self.standard = np.where(self.mirrored, -standard[::-1], standard)
        self.below = ndtr(self.standard)
        self.parts = self.weights * (self.below[1] - self.below[0])
        self.mass = np.maximum(self.parts.sum(1), MIN_DENSITY)

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of the log-mass by the upper and by the lower limit, shape (n_near,) each."""
        standard = np.where(self.mirrored, -self.standard[::-1], self.standard)
        density = (self.weights / self.scales * np.exp(-0.5 * (LOG_2PI + standard**2))).sum(2) / self.mass
        return density[1], -density[0]

    def from_uniform(self, uniform: np.ndarray) -> np.ndarray:
        """Residuals (n_near,) from uniform numbers, where the limits are near."""
        sums = np.cumsum(self.parts, axis=1)
        uniform, samples = uniform * sums[:, -1], np.arange(len(uniform))
        k = np.minimum((uniform[:, None] >= sums).sum(1), np.argmax(sums >= sums[:, -1:], axis=1))
        part = self.parts[samples, k]
        share = np.clip((uniform - (sums[samples, k] - part)) / np.maximum(part, MIN_DENSITY), 0.0, 1.0)
        mirrored, (low, high) = self.mirrored[samples, k], self.below[:, samples, k]
        inside = ndtri(np.clip(low + np.where(mirrored, 1 - share, share) * (high - low), 1e-300, 1.0))
        inside = self.means[samples, k] + self.scales[samples, k] * np.where(mirrored, -inside, inside)
        return np.clip(inside, *self.ends)


class _Histogram:
    """Counts of standardized residuals in bins, and EM of mixtures on them, for all features at once."""

    def __init__(self, e: np.ndarray, w: np.ndarray):
        d, n_bins = e.shape[1], len(BINS) - 1
        bins = np.clip(np.searchsorted(BINS, e) - 1, 0, n_bins - 1) + n_bins * np.arange(d)
        self.counts = np.bincount(bins.ravel(), np.repeat(w, d), minlength=d * n_bins).reshape(d, n_bins)
        self.total, self.centers = w.sum(), (BINS[1:] + BINS[:-1]) / 2
        filled = self.counts.any(0)  # the others count for nothing
        self.counts, self.centers = self.counts[:, filled], self.centers[filled]
        self.at = np.repeat(self.centers[:, None], d, axis=1)
        self.powers = np.stack([np.ones(len(self.centers)), self.centers, self.centers**2], axis=1)

    def fit(self, n_parts: int) -> ResidualDistribution:
        """Mixtures of so many Gaussians by EM from quantiles."""
        shape = n_parts, len(self.counts)  # the parts come first: sums over them run through whole vectors of bins
        levels = self.total * (np.arange(n_parts) + 0.5) / n_parts
        quantiles = np.argmax(np.cumsum(self.counts, axis=1) >= levels[:, None, None], axis=2)
        weights, means, scales = np.full(shape, 1 / n_parts), self.centers[quantiles], np.full(shape, 0.6)
        for _ in range(N_STEPS):
            share = np.square((self.centers - means[..., None]) / scales[..., None])
            share *= -0.5
            share += np.log(np.maximum(weights, 1e-300) / scales)[..., None]
            share -= share.max(0)
            exp_in_place(np.maximum(share, -700.0, out=share))
            share *= self.counts / share.sum(0)
            mass, first, second = np.moveaxis(share @ self.powers, 2, 0)
            mass = np.maximum(mass, 1e-6)
            means = first / mass
            scales = np.sqrt(np.maximum(second / mass - means**2, 0.0) + MIN_SCALE**2)
            weights = mass / mass.sum(0)
        return ResidualDistribution(weights.T, means.T, scales.T)


def fit_residuals(e: np.ndarray, w: np.ndarray) -> ResidualDistribution:
    """The distribution of standardized residuals: for each feature a standard normal or, by BIC, a mixture.

    The weights sum to the effective number of samples.
    """
    histogram, d, largest = _Histogram(e, w), e.shape[1], max(N_PARTS)
    weights, means, scales = np.zeros((d, largest)), np.zeros((d, largest)), np.ones((d, largest))
    weights[:, 0] = 1.0
    best = -0.5 * histogram.counts @ (LOG_2PI + histogram.centers**2)
    for k in N_PARTS:
        fitted = histogram.fit(k)
        likelihood = (histogram.counts.T * fitted.log_prob(histogram.at)).sum(0)
        value = likelihood - 0.5 * (3 * k - 1) * np.log(histogram.total)
        better = value > best
        best = np.where(better, value, best)
        parts = fitted.weights, fitted.means, fitted.scales
        for whole, part, rest in zip((weights, means, scales), parts, (0.0, 0.0, 1.0)):
            whole[better, :k], whole[better, k:] = part[better], rest
    return ResidualDistribution(weights, means, scales)
