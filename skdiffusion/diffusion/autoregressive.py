"""The density of a masked network on whitened samples: a log-density takes one pass, a sample one pass per feature."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from skdiffusion._utils.blocks import padded_blocks, write
from skdiffusion._utils.protocols import LatentDensity, SampleNoise
from skdiffusion.diffusion.networks import MaskedNetwork

BLOCK_SAMPLES = 512  # in a block of this size, a sample has the same bits whatever the other samples are
MIN_MASS = 1e-300
BISECTIONS = 60


class AutoregressiveDensity(LatentDensity):
    """The density of a masked network, which gives the distribution of every feature given those before it.

    Parameters
    ----------
    network : MaskedNetwork
    """

    _saved = ("network",)

    def __init__(self, network: MaskedNetwork):
        self.network = network
        self._layers = network.layers(network.masks())

    def __getstate__(self) -> dict[str, MaskedNetwork]:
        return {"network": self.network.to("cpu")}

    def __setstate__(self, state: dict[str, MaskedNetwork]) -> None:
        AutoregressiveDensity.__init__(self, state["network"])

    def _blocks(self, samples: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        """Padded blocks of samples as float32 tensors, each with the slice of the samples that it holds."""
        for where, block in padded_blocks(samples, (BLOCK_SAMPLES,)):
            yield where, torch.as_tensor(block, dtype=torch.float32, device=self.network.flat.device)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log-density of whitened samples z (n, d), in nats, shape (n,)."""
        out = np.empty(len(z))
        with torch.no_grad():
            for where, block in self._blocks(z):
                write(out, where, self.network.log_prob(block, self._layers))
        return out

    def score(self, z: np.ndarray) -> np.ndarray:
        """Gradient of the log-density at z, shape (n, d)."""
        out = np.empty_like(z)
        for where, block in self._blocks(z):
            with torch.enable_grad():
                block.requires_grad_(True)
                log_prob = self.network.log_prob(block, self._layers)
                write(out, where, torch.autograd.grad(log_prob.sum(), block)[0])
        return out

    def _conditionals(self, x: np.ndarray, which: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and scales of features of samples x, each (n, n_features, n_components)."""
        shape = len(x), len(range(x.shape[1])[which]), self.network.n_components
        weight, mean, scale = np.empty(shape), np.empty(shape), np.empty(shape)
        with torch.no_grad():
            for where, block in self._blocks(x):
                log_weights, means, log_scales = self.network.conditionals(block, self._layers)
                write(weight, where, log_weights[:, which].exp())
                write(mean, where, means[:, which])
                write(scale, where, log_scales[:, which].exp())
        return weight / weight.sum(-1, keepdims=True), mean, scale

    def to_latent(self, z: np.ndarray) -> np.ndarray:
        """Standard normal codes of whitened samples z: normal quantiles of the features' conditional distributions."""
        weight, mean, scale = self._conditionals(z)
        u = (z[:, :, None] - mean) / scale
        below, above = (weight * ndtr(u)).sum(-1), (weight * ndtr(-u)).sum(-1)
        # Each tail from its own end: in one less the mass of the rest, its digits would be lost.
        return np.where(below < above, ndtri(np.maximum(below, MIN_MASS)), -ndtri(np.maximum(above, MIN_MASS)))

    def _by_feature(self, codes: np.ndarray, draw: Callable[..., np.ndarray]) -> np.ndarray:
        """Samples feature by feature: ``draw(weight, mean, scale, codes)`` makes a feature of its distribution."""
        x = np.zeros(codes.shape)
        for j in self.network.order:
            weight, mean, scale = (part[:, 0] for part in self._conditionals(x, slice(j, j + 1)))
            x[:, j] = draw(weight, mean, scale, codes[:, j])
        return x

    def from_latent(self, codes: np.ndarray) -> np.ndarray:
        """Whitened samples of codes, the inverse of `to_latent`, by bisection."""
        return self._by_feature(codes, _quantile)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Whitened samples from random numbers, of which the normal ones choose the components as well."""
        return self._by_feature(noise.normal, _component_draw)


def _quantile(weight: np.ndarray, mean: np.ndarray, scale: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Where mixtures have as much mass below as the standard normal distribution has below `code`."""
    ends = mean + scale * code[:, None]  # the quantile of a mixture lies between those of its components
    low, high = ends.min(1), ends.max(1)
    mass, side = ndtr(-np.abs(code)), np.where(code < 0, 1.0, -1.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tail = (weight * ndtr(side[:, None] * (middle[:, None] - mean) / scale)).sum(1)
        beyond = (tail < mass) == (code < 0)  # the quantile lies above
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return (low + high) / 2


def _component_draw(weight: np.ndarray, mean: np.ndarray, scale: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Draws of mixtures: the uniform value of `noise` chooses a component, and what is left of it the value there."""
    uniform, sums = ndtr(noise), np.cumsum(weight, 1)
    k = np.minimum((uniform[:, None] >= sums).sum(1), weight.shape[1] - 1)
    samples = np.arange(len(k))
    left = (uniform - (sums[samples, k] - weight[samples, k])) / weight[samples, k]
    return mean[samples, k] + scale[samples, k] * ndtri(np.clip(left, 1e-12, 1 - 1e-12))
