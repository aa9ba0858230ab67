"""Kernel densities: an isotropic Gaussian at every sample, all of one width or as wide as samples lie apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skdiffusion._utils.blocks import VECTOR, slices
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.protocols import AxesSplit, SampleNoise
from skdiffusion.densities._diffused import DiffusedDensity, Moments
from skdiffusion.densities._mixture import LOG_2PI
from skdiffusion.densities._stacking import choose_component

MAX_PAIRS = 100_000  # of a block of samples and the samples of the kernels: they stay in cache
NEIGHBOR = 4  # whose distance is the spacing of a sample
MIN_SPACING = 0.05  # of the geometric mean: nearer samples say nothing about the density around them


class GaussianKernelDensity(DiffusedDensity):
    """Gaussian kernel density of weighted samples; with bandwidth 0 the empirical distribution.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
    bandwidth : float or array of shape (n_samples,)
        Standard deviation of the kernels; 0 is allowed when sigma > 0.
    weights : array of shape (n_samples,), optional
        Non-negative; samples of weight zero are dropped.
    """

    _saved = ("n_features", "samples", "bandwidth", "weights", "_center", "_centered", "_half_norms", "_log_weights")

    def __init__(self, samples: np.ndarray, bandwidth: float | np.ndarray, weights: np.ndarray | None = None):
        samples = np.asarray(samples, dtype=float)
        weights = np.ones(len(samples)) if weights is None else np.asarray(weights, dtype=float)
        kept = weights > 0
        self.samples = samples[kept]
        self.bandwidth = np.broadcast_to(np.asarray(bandwidth, dtype=float), len(samples))[kept]
        self.weights = weights[kept] / weights.sum()
        self.n_features = samples.shape[1]
        # Distances by products of matrices lose digits far from the origin.
        self._center = self.weights @ self.samples
        self._centered = self.samples - self._center
        self._half_norms = (self._centered**2).sum(1) / 2
        self._log_weights = np.log(self.weights)

    def take(self, kept: np.ndarray) -> GaussianKernelDensity:
        """The density of some of the kernels, of which at least one is kept, a bool for each."""
        return GaussianKernelDensity(self.samples[kept], self.bandwidth[kept], self.weights[kept])

    def _sample_cost(self) -> int:
        return 4 * len(self.samples)

    def _blocks(self, n_samples: int) -> Iterator[slice]:
        """Blocks of whole vectors of samples: in others, samples have other last bits."""
        return slices(n_samples, max(VECTOR, MAX_PAIRS // len(self.samples) // VECTOR * VECTOR))

    def _variances(self, alpha: float, sigma: float) -> np.ndarray:
        return alpha**2 * np.square(self.bandwidth) + sigma**2

    def _log_joint(self, x: np.ndarray, alpha: float, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities of the kernels at x with their weights, and half the squared distances over the variances."""
        centered = x - alpha * self._center
        energy = (-alpha * centered) @ self._centered.T
        energy += (centered**2).sum(1)[:, None] / 2
        energy += alpha**2 * self._half_norms
        np.maximum(energy, 0.0, out=energy)
        energy /= variances
        constant = self._log_weights - 0.5 * self.n_features * (np.log(variances) + LOG_2PI)
        return constant - energy, energy

    def _moments(self, x: np.ndarray, alpha: float, sigma: float) -> Moments:
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

    def log_prob(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> np.ndarray:
        """Log-density of the noised distribution at x, in nats, shape (n_samples,)."""
        x = np.asarray(x, dtype=float)
        variances = np.broadcast_to(self._variances(alpha, sigma), len(self.samples))
        out = np.empty(len(x))
        for block in self._blocks(len(x)):
            out[block] = log_sum_exp(self._log_joint(x[block], alpha, variances)[0], axis=1)
        return out

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the uniform ones choose the kernels."""
        kernel = choose_component(self.weights, noise.uniform)
        return self.samples[kernel] + self.bandwidth[kernel, None] * noise.normal

    def marginal(self, axes: np.ndarray) -> GaussianKernelDensity:
        """The density along some axes: the kernels are round."""
        return GaussianKernelDensity(self.samples @ axes, self.bandwidth, self.weights)

    def sample_given(self, axes: AxesSplit, given: np.ndarray, which: np.ndarray, noise: SampleNoise) -> np.ndarray:
        out = np.empty((len(given), axes.others.shape[2]))
        for k, own in enumerate(zip(*axes)):
            mine = np.flatnonzero(which == k)
            out[mine] = self._sample_given(AxesSplit(*own), given[mine], noise.take(mine))
        return out

    def _sample_given(self, axes: AxesSplit, given: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Coordinates along the other axes, of kernels chosen by how likely the given ones are under each."""
        assert noise.uniform is not None, "The samples of a kernel density take uniform random numbers."
        marginal = self.marginal(axes.given)
        variances = np.broadcast_to(marginal._variances(1.0, 0.0), len(self.samples))
        kernel = np.empty(len(given), dtype=int)
        for block in self._blocks(len(given)):
            log_joint, _ = marginal._log_joint(given[block], 1.0, variances)
            share = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None])
            kernel[block] = choose_component(share, noise.uniform[block])
        return (self.samples @ axes.others)[kernel] + self.bandwidth[kernel, None] * noise.normal


@dataclass(frozen=True)
class Spacing:
    """How far apart samples lie around each of them: kernels as wide as that follow the density."""

    scale: np.ndarray  # (n_samples,), distance to a near neighbor over the geometric mean of all these distances
    reach: np.ndarray  # (n_samples,), the distance itself
    without: np.ndarray  # (n_samples,), factor of `scale` if any of the samples within `reach` were missing

    @classmethod
    def of_samples(cls, samples: np.ndarray, weights: np.ndarray) -> Spacing | None:
        """The spacing of weighted samples (n_samples, n_features) among distinct ones; None where these are too few."""
        distinct, inverse = np.unique(samples, axis=0, return_inverse=True)
        if len(distinct) < NEIGHBOR + 2:
            return None
        distances, _ = NearestNeighbors(n_neighbors=NEIGHBOR + 2).fit(distinct).kneighbors(distinct)
        least = 1e-12 * np.max(distances[:, NEIGHBOR])  # round-off
        near, following = np.ascontiguousarray(np.maximum(distances[inverse.ravel(), NEIGHBOR:], least).T)
        mean = np.exp(np.average(np.log(near), weights=weights))
        scale, next_scale = np.maximum(near / mean, MIN_SPACING), np.maximum(following / mean, MIN_SPACING)
        return cls(scale, near, next_scale / scale)


def kernel_density(
    samples: np.ndarray, bandwidth: float, weights: np.ndarray | None = None, spacing: Spacing | None = None
) -> GaussianKernelDensity:
    """The empirical distribution under variance-preserving noise of standard deviation `bandwidth`.

    The kernels stand at the samples, shrunk to their mean by ``sqrt(1 - bandwidth**2)``, so that whitened samples keep
    their covariance. A plain kernel density adds the square of its bandwidth to it, which costs the more the more
    features there are.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
        In features of unit variance.
    bandwidth : float
        In (0, 1): from the samples themselves to one Gaussian.
    weights : array of shape (n_samples,), optional
        Non-negative.
    spacing : Spacing, optional
        Of these samples: the noise of a sample is `bandwidth` times its scale.
    """
    mean = np.average(samples, axis=0, weights=weights)
    scale = 1.0 if spacing is None else spacing.scale
    return GaussianKernelDensity(mean + np.sqrt(1 - bandwidth**2) * (samples - mean), bandwidth * scale, weights)
