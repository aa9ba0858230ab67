"""Kernel densities at their own samples, each of which is left out of the density that it is scored by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion.densities._kernel import MAX_PAIRS, GaussianKernelDensity, kernel_density
from skdiffusion.densities._mixture import LOG_2PI
from skdiffusion.densities._spacing import Spacing

MAX_LEVERAGE = 0.9  # of a sample in its own covariance; more than this is round-off or shrinkage


@dataclass(frozen=True, eq=False)
class KernelSamples:
    """Samples at which kernels stand, for densities of every bandwidth.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
        In features of unit variance.
    weights : array of shape (n_samples,)
        Positive.
    seen_from : array of shape (n_samples, n_features), optional
        Places at which samples are scored when they are left out, where these differ from their own.
    whitened : float, default=0.0
        Share that the samples' own covariance has in the one that whitens them, 0 where none does. A sample is left out
        of it as well: its distances to the others would else be too small, by a share of about n_features / n_samples.
    spacing : Spacing, optional
        Of the samples, for kernels as wide as that. A sample is left out of it too.
    """

    samples: np.ndarray
    weights: np.ndarray
    seen_from: np.ndarray | None = None
    whitened: float = 0.0
    spacing: Spacing | None = None

    @cached_property
    def mean(self) -> np.ndarray:
        return np.average(self.samples, axis=0, weights=self.weights)

    @cached_property
    def centered(self) -> np.ndarray:
        return self.samples - self.mean

    @cached_property
    def norms(self) -> np.ndarray:
        """Squared norms of the centered samples."""
        return (self.centered**2).sum(1)

    @cached_property
    def shares(self) -> np.ndarray:
        return self.weights / self.weights.sum()

    def density(self, bandwidth: float) -> GaussianKernelDensity:
        """The kernel density of all samples."""
        return kernel_density(self.samples, bandwidth, self.weights, self.spacing)

    def leave_one_out(self, bandwidths: Sequence[float], queries: np.ndarray) -> np.ndarray:
        """Log-density at samples under the `kernel_density` of all other samples.

        A copy of a query (distance zero) is left out with it: otherwise duplicates would reward a bandwidth of zero
        without bound.

        Parameters
        ----------
        bandwidths : sequence of float
        queries : int array of shape (n_queries,)
            Numbers of the samples.

        Returns
        -------
        ndarray of shape (n_bandwidths, n_queries)
            Nats.
        """
        out = np.empty((len(bandwidths), len(queries)))
        for block in slices(len(queries), MAX_PAIRS // len(self.samples)):
            left_out = _LeftOut(self, queries[block])
            for b, bandwidth in enumerate(bandwidths):
                out[b, block] = left_out.log_prob(bandwidth)
        return out


class _LeftOut:
    """A block of samples, each under the kernels of all others."""

    def __init__(self, kernels: KernelSamples, block: np.ndarray):
        samples, d = kernels.centered, kernels.samples.shape[1]
        self.kernels, self.own_samples, self.n_features = kernels, samples[block], d
        own, self.gram = kernels.norms[block, None], samples[block] @ samples.T
        apart = own + kernels.norms - 2 * self.gram
        same = apart <= 2e-12 * (1 + own)
        missing = np.minimum((same * kernels.shares).sum(1)[:, None], 1 - 1e-9)
        self.log_weights = np.where(same, -np.inf, np.log(kernels.shares / (1 - missing)))
        self.half_precisions: float | np.ndarray = 0.5
        if kernels.spacing is not None:
            near = apart <= np.square(kernels.spacing.reach) * (1 + 1e-9)
            log_scale = np.log(kernels.spacing.scale) + np.where(near, np.log(kernels.spacing.without), 0.0)
            self.log_weights -= d * log_scale
            self.half_precisions = 0.5 * np.exp(-2 * log_scale)
        # The others have the mean -odds sample, and about it the covariance (I - odds sample sample^T) / (1 - missing).
        self.odds, self.missing = missing / (1 - missing), kernels.whitened * missing
        self.leverage = np.minimum(kernels.whitened * self.odds * own, MAX_LEVERAGE)
        self.log_det = 0.5 * (d * np.log1p(-self.missing) - np.log1p(-self.leverage))[:, 0]
        if kernels.seen_from is None:
            self.places, self.products = self.own_samples, self.gram
        else:
            self.places = kernels.seen_from[block] - kernels.mean
            self.products = self.places @ samples.T

    def log_prob(self, bandwidth: float) -> np.ndarray:
        """Log-densities, in nats, shape (n_block,)."""
        kept, whitened = np.sqrt(1 - bandwidth**2), self.kernels.whitened
        moved = (1 - kept) * self.odds
        place = self.places + moved * self.own_samples
        squared = kept**2 * self.kernels.norms - 2 * kept * (self.products + moved * self.gram)
        squared += (place**2).sum(1)[:, None]
        if whitened:
            along = (self.own_samples * place).sum(1)[:, None] - kept * self.gram
            squared += whitened * self.odds / (1 - self.leverage) * np.square(along, out=along)
            squared *= 1 - self.missing
        np.maximum(squared, 0.0, out=squared)
        squared *= self.half_precisions
        total = log_sum_exp(self.log_weights - squared / bandwidth**2, axis=1)
        return total + self.log_det - 0.5 * self.n_features * (2 * np.log(bandwidth) + LOG_2PI)
