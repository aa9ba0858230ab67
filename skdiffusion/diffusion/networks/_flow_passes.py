r"""Forward and backward pass of a `FilmEnsemble` of two hidden layers with its divergence, level by level.

Fine-tuning takes the gradient of log-densities with respect to the parameters. Here it is written by hand, into buffers
made once: automatic differentiation of the same passes spends most of its time on the many small tensors of the flow.
With preactivations :math:`p_l = g_l q_l + c_l` and :math:`q_1 = zW_1,\ q_2 = h_1 W_2`, the divergence is

.. math:: \mathrm{tr} = s_1^T K s_2,\quad s_l = \phi'(p_l) g_l,\quad K = W_2 \odot (W_3 W_1)^T .

A test compares the gradient to automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion.diffusion.networks._activations import ACTIVATIONS
from skdiffusion.diffusion.networks._film import FilmEnsemble, noise_features


class _Units(NamedTuple):
    """A hidden layer at all levels, each (n_levels, members, n, width)."""

    products: Tensor  # q
    values: Tensor  # h
    kept: Tensor  # what the activation keeps for its derivatives, then its second derivative
    slopes: Tensor  # phi'
    scaled: Tensor  # s


class _Modulation(NamedTuple):
    """Gains and shifts of a hidden layer at all levels, or their derivatives, (n_levels, members, 1, width)."""

    gains: Tensor
    shifts: Tensor


class FlowPasses:
    """Velocity and divergence of every member on its own samples, and the gradient of a loss of these.

    The levels of a flow are asked one after another by `forward`, and then by `backward` in any order; `gradient` adds
    up what these have left.

    Parameters
    ----------
    network : FilmEnsemble
        Of two hidden layers, and an activation with second derivatives.
    n_samples : int
        Samples of every member.
    n_levels : int
        Most levels of a flow.
    """

    def __init__(self, network: FilmEnsemble, n_samples: int, n_levels: int):
        assert self.can_pass(network), "The divergence of two hidden layers is written by hand, that of others is not."
        self._activation, members = ACTIVATIONS[network.activation], network.n_members

        def empty(width: int) -> Tensor:
            return torch.empty(n_levels, members, n_samples, width, dtype=network.dtype, device=network.device)

        self._units = [_Units(*(empty(width) for _ in _Units._fields)) for width in network.hidden_layer_sizes]
        self._by_second = empty(network.hidden_layer_sizes[1])  # derivatives of the divergence by the second slopes

    @staticmethod
    def can_pass(network: FilmEnsemble) -> bool:
        """Whether the passes of an architecture are written here."""
        return len(network.hidden_layer_sizes) == 2 and ACTIVATIONS[network.activation].curve is not None

    def begin(self, network: FilmEnsemble, thetas: Sequence[float]) -> None:
        """Prepare the levels of a flow, for the parameters of a network."""
        self._features = noise_features(np.asarray(thetas), network.dtype, network.device)
        self._layers, self._grad = network.views(network.flat), torch.zeros_like(network.flat)
        self._gradients = network.views(self._grad)
        *hidden, (self._last, offset) = self._layers
        self._modulation, self._by_modulation = [], []
        for _, b, film in hidden:
            gains, shifts = (self._features @ film).chunk(2, dim=2)
            gains = 1 + gains
            levels = [part.transpose(0, 1)[:, :, None] for part in (gains, torch.addcmul(shifts, gains, b))]
            self._modulation.append(_Modulation(*(part.contiguous() for part in levels)))
            self._by_modulation.append(_Modulation(*(torch.zeros_like(part) for part in levels)))
        self._offsets = (self._features @ offset).transpose(0, 1)[:, :, None].contiguous()
        self._by_offsets = torch.zeros_like(self._offsets)
        self._inner = torch.bmm(self._last, hidden[0][0]).mT
        self._kernel = hidden[1][0] * self._inner
        self._by_kernel = torch.zeros_like(self._kernel)
        self._samples: dict[int, Tensor] = {}

    def forward(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities (members, n, d) and divergences (members, n) at samples z of the k-th level."""
        self._samples[k], x = z, z
        for (weight, *_), units, (gains, shifts) in zip(self._layers, self._units, self._modulation):
            products, value, kept, slope, scaled = (part[k] for part in units)
            torch.bmm(x, weight, out=products)
            p = torch.addcmul(shifts[k], products, gains[k], out=scaled)
            self._activation.value(p, value, kept)
            self._activation.slope(p, value, kept, out=slope)
            kept.copy_(self._activation.curve(p, value, kept))  # type: ignore[misc]
            torch.mul(slope, gains[k], out=scaled)
            x = value
        first, second = self._units
        by_second = torch.bmm(first.scaled[k], self._kernel, out=self._by_second[k])
        return torch.bmm(x, self._last).add_(self._offsets[k]), torch.einsum("mnw,mnw->mn", by_second, second.scaled[k])

    def backward(self, k: int, by_velocity: Tensor, by_trace: float) -> Tensor:
        """Derivatives by the samples of the k-th level, from those by its velocities and, the same for all, traces."""
        first, second = self._units
        (grad_first, *_), (grad_second, *_), (grad_last, _) = self._gradients
        self._by_offsets[k] = by_velocity.sum(1, keepdim=True)
        grad_last.baddbmm_(second.values[k].mT, by_velocity)
        self._by_kernel.baddbmm_(first.scaled[k].mT, second.scaled[k], alpha=by_trace)
        by_first = torch.bmm(second.scaled[k], self._kernel.mT).mul_(by_trace)
        by_product = self._through(1, k, torch.bmm(by_velocity, self._last.mT), self._by_second[k].mul_(by_trace))
        grad_second.baddbmm_(first.values[k].mT, by_product)
        by_product = self._through(0, k, torch.bmm(by_product, self._layers[1][0].mT), by_first)
        grad_first.baddbmm_(self._samples[k].mT, by_product)
        return torch.bmm(by_product, self._layers[0][0].mT)

    def _through(self, layer: int, k: int, by_value: Tensor, by_scaled: Tensor) -> Tensor:
        """Derivatives by the products of a layer, from those by its values and its slopes; overwrites them."""
        products, _, curve, slope, _ = (part[k] for part in self._units[layer])
        gains, (by_gains, by_shifts) = self._modulation[layer].gains[k], self._by_modulation[layer]
        by_gain = (by_scaled * slope).sum(1, keepdim=True)
        by_value.mul_(slope).addcmul_(by_scaled.mul_(gains), curve)  # by the preactivations
        torch.sum(by_value, 1, keepdim=True, out=by_shifts[k])
        torch.add(by_gain, torch.mul(by_value, products, out=by_scaled).sum(1, keepdim=True), out=by_gains[k])
        return by_value.mul_(gains)

    def gradient(self) -> Tensor:
        """Gradient with respect to ``network.flat``, of all levels that went back."""
        (grad_first, *_), (grad_second, *_), (grad_last, grad_offset) = self._gradients
        grad_second.addcmul_(self._by_kernel, self._inner)
        by_inner = (self._by_kernel * self._layers[1][0]).mT
        grad_last.baddbmm_(by_inner, self._layers[0][0].mT)
        grad_first.baddbmm_(self._last.mT, by_inner)
        features = self._features.T
        grad_offset.copy_(features @ self._by_offsets[:, :, 0].transpose(0, 1))
        for (_, b, _), (_, grad_b, grad_film), (gains, _), by in zip(
            self._layers, self._gradients, self._modulation, self._by_modulation
        ):
            gains, by_gains, by_shifts = (part[:, :, 0].transpose(0, 1) for part in (gains, *by))
            torch.sum(gains * by_shifts, 1, keepdim=True, out=grad_b)
            grad_film.copy_(features @ torch.cat([torch.addcmul(by_gains, by_shifts, b), by_shifts], 2))
        return self._grad
