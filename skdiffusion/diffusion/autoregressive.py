"""The distribution of a masked network on whitened samples: its density takes one pass, a sample one pass a feature."""

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from skdiffusion._utils.protocols import LatentDensity

BLOCK_SAMPLES = 512  # padded to this, a sample has the same bits whatever its neighbors
MIN_MASS = 1e-300
BISECTIONS = 60


class AutoregressiveDensity(LatentDensity):
    """Autoregressive density, with the interface of the other distributions on whitened samples.

    Parameters
    ----------
    network : MaskedNetwork
    """

    _saved = ("network",)

    def __init__(self, network):
        self.network = network
        self._layers = network.layers(network.masks())

    def __getstate__(self):
        network = self.network
        if network.flat.device.type != "cpu":
            network = object.__new__(type(network))
            network.__dict__.update(self.network.__dict__, flat=self.network.flat.cpu())
        return {"network": network}

    def __setstate__(self, state):
        self.__init__(state["network"])

    def _run(self, function, samples):
        """Apply `function` (tensor in, tensor out) to padded blocks of samples (n, d); float64 arrays in and out."""
        parts, device = [], self.network.flat.device
        for start in range(0, len(samples), BLOCK_SAMPLES):
            block = samples[start : start + BLOCK_SAMPLES]
            padded = np.zeros((BLOCK_SAMPLES, samples.shape[1]))
            padded[: len(block)] = block
            out = function(torch.as_tensor(padded, dtype=torch.float32, device=device))
            parts.append(out[: len(block)].double().cpu().numpy())
        return np.concatenate(parts) if parts else None

    def log_prob(self, z):
        """Log-density of whitened samples z (n, d), nats, shape (n,)."""
        with torch.no_grad():
            out = self._run(lambda block: self.network.log_prob(block, self._layers), z)
        return np.empty(0) if out is None else out

    def score(self, z):
        """Gradient of the log-density at z, shape (n, d)."""

        def gradient(block):
            with torch.enable_grad():
                block.requires_grad_(True)
                (slope,) = torch.autograd.grad(self.network.log_prob(block, self._layers).sum(), block)
            return slope

        out = self._run(gradient, z)
        return np.empty_like(z) if out is None else out

    def _conditionals(self, x, columns=slice(None)):
        """Weights, means and scales of features of samples x, each (n, n_features, n_components)."""

        def stacked(block):
            log_weight, mean, log_scale = (p[:, columns] for p in self.network.conditionals(block, self._layers))
            return torch.stack([log_weight.exp(), mean, log_scale.exp()], 1)

        with torch.no_grad():
            weight, mean, scale = self._run(stacked, x).swapaxes(0, 1)
        return weight / weight.sum(-1, keepdims=True), mean, scale

    def to_latent(self, z):
        """Standard normal codes of whitened samples z: the normal quantile of each feature's conditional distribution."""
        if not len(z):
            return np.empty_like(z)
        weight, mean, scale = self._conditionals(z)
        u = (z[:, :, None] - mean) / scale
        below, above = (weight * ndtr(u)).sum(-1), (weight * ndtr(-u)).sum(-1)
        # Each tail from its own end: one less the rest would be round-off.
        return np.where(below < above, ndtri(np.maximum(below, MIN_MASS)), -ndtri(np.maximum(above, MIN_MASS)))

    def _by_feature(self, codes, place):
        """Samples feature by feature: `place` makes a feature of its weights, means, scales and codes."""
        x = np.zeros(codes.shape)
        for j in self.network.order if len(codes) else ():
            weight, mean, scale = (part[:, 0] for part in self._conditionals(x, slice(j, j + 1)))
            x[:, j] = place(weight, mean, scale, codes[:, j])
        return x

    def from_latent(self, codes):
        """Whitened samples of codes, the inverse of `to_latent`, by bisection."""
        return self._by_feature(codes, _quantile)

    def sample(self, noise):
        """Whitened samples from random numbers, of which the normal ones choose the components as well."""
        return self._by_feature(noise.normal, _component_draw)


def _quantile(weight, mean, scale, code):
    """Where mixtures have as much mass below as the standard normal distribution has below `code`."""
    ends = mean + scale * code[:, None]  # the mixture's lies between the components' own
    low, high = ends.min(1), ends.max(1)
    mass, side = ndtr(-np.abs(code)), np.where(code < 0, 1.0, -1.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tail = (weight * ndtr(side[:, None] * (middle[:, None] - mean) / scale)).sum(1)
        beyond = (tail < mass) == (code < 0)  # the quantile lies above
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return (low + high) / 2


def _component_draw(weight, mean, scale, noise):
    """Draws of mixtures: the uniform value of `noise` chooses a component, what is left of it the place there."""
    uniform, sums = ndtr(noise), np.cumsum(weight, 1)
    k = np.minimum((uniform[:, None] >= sums).sum(1), weight.shape[1] - 1)
    samples = np.arange(len(k))
    left = (uniform - (sums[samples, k] - weight[samples, k])) / weight[samples, k]
    return mean[samples, k] + scale[samples, k] * ndtri(np.clip(left, 1e-12, 1 - 1e-12))
