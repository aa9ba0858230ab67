r"""Masked networks: from every sample, the conditional distribution of each feature given those before it, in one pass.

Feature j, given the features that come before it in a fixed order, has the distribution

.. math:: p(x_j\mid x_{<j}) = \sum_k w_{jk}\,N(x_j;\mu_{jk},s_{jk}^2),

whose weights, means and scales are the outputs of one multilayer perceptron. Its weight matrices are masked so that no
output sees the feature itself or one after it.

References
----------
Germain et al. (2015), MADE: masked autoencoder for distribution estimation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LOG_SCALE_RANGE = (-9.0, 5.0)


class MaskedNetwork:
    """Conditional Gaussian mixtures of all features, with all parameters in one flat buffer.

    Parameters
    ----------
    n_features : int
        Features of the samples.
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers. Layers of equal width have a skip connection.
    n_components : int
        Of the mixture of every feature.
    rng : numpy Generator
        Draws the order of the features and the first parameters.
    device : torch device, default="cpu"
        Where the parameters live.
    """

    _saved = ("n_features", "n_components", "hidden_layer_sizes", "order", "flat")

    def __init__(
        self,
        n_features: int,
        hidden_layer_sizes: Sequence[int],
        n_components: int,
        rng: np.random.Generator,
        device: torch.device | str = "cpu",
    ):
        self.n_features, self.n_components = n_features, n_components
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        self.order = rng.permutation(n_features)
        widths = self._widths
        self.flat = torch.zeros(sum((a + 1) * b for a, b in zip(widths, widths[1:])), device=device)
        layers = self._views(self.flat)
        for weight, bias in layers:
            bound = 1 / math.sqrt(len(weight))
            weight.copy_(torch.as_tensor(rng.uniform(-bound, bound, tuple(weight.shape))))
            bias.copy_(torch.as_tensor(rng.uniform(-bound, bound, tuple(bias.shape))))
        weight, bias = layers[-1]
        weight.mul_(0.1)
        # Components side by side make features that are nearly standard normal.
        log_weight, mean, log_scale = bias.view(n_features, 3, n_components).unbind(1)
        log_weight.zero_()
        mean.copy_(torch.linspace(-2.0, 2.0, n_components).expand_as(mean))
        log_scale.fill_(-0.5)

    @property
    def _widths(self) -> tuple[int, ...]:
        return (self.n_features, *self.hidden_layer_sizes, 3 * self.n_components * self.n_features)

    def to(self, device: torch.device | str) -> MaskedNetwork:
        """The network with its parameters on another device."""
        other = object.__new__(MaskedNetwork)
        other.__dict__.update(self.__dict__, flat=self.flat.to(device))
        return other

    def _views(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        layers, start, widths = [], 0, self._widths
        for n_in, n_out in zip(widths, widths[1:]):
            middle, stop = start + n_in * n_out, start + (n_in + 1) * n_out
            layers.append((flat[start:middle].view(n_in, n_out), flat[middle:stop]))
            start = stop
        return layers

    def masks(self) -> list[Tensor]:
        """0 or 1 for every weight, one array of shape (n_in, n_out) a layer."""
        degrees = np.empty(self.n_features, dtype=int)
        degrees[self.order] = np.arange(1, self.n_features + 1)
        of_features, out = degrees, []
        for width in self.hidden_layer_sizes:
            following = np.arange(width) % max(self.n_features - 1, 1) + 1
            out.append(degrees[:, None] <= following)
            degrees = following
        out.append(degrees[:, None] < np.repeat(of_features, 3 * self.n_components))
        return [torch.as_tensor(mask, dtype=self.flat.dtype, device=self.flat.device) for mask in out]

    def layers(self, masks: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Masked weights and biases, layer by layer."""
        return [(weight * mask, bias) for mask, (weight, bias) in zip(masks, self._views(self.flat))]

    def conditionals(self, x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log-scales of the features of samples x (n, d), each of shape (n, d, n_components)."""
        h, last = x, len(layers) - 1
        for k, (weight, bias) in enumerate(layers):
            out = torch.addmm(bias, h, weight)
            if k < last:
                out = torch.nn.functional.silu(out)
                if k and out.shape == h.shape:
                    out = out + h
            h = out
        log_weight, mean, log_scale = h.view(len(x), self.n_features, 3, self.n_components).unbind(2)
        return torch.log_softmax(log_weight, -1), mean, log_scale.clamp(*LOG_SCALE_RANGE)

    def log_prob(self, x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Log-density of samples x (n, d), nats, shape (n,)."""
        log_weight, mean, log_scale = self.conditionals(x, layers)
        u = (x[:, :, None] - mean) * torch.exp(-log_scale)
        terms = log_weight - log_scale - 0.5 * u * u
        return torch.logsumexp(terms, -1).sum(-1) - 0.5 * self.n_features * math.log(2 * math.pi)
