"""Forward and backward pass of a `FilmEnsemble` through batches of one shape, in buffers made once.

The gradient with respect to the parameters is written by hand, and every large result goes to memory that is in
use already, so that one step costs little more than its matrix products. A test compares it to automatic
differentiation.
"""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from skdiffusion.diffusion.networks._activations import ACTIVATIONS
from skdiffusion.diffusion.networks._film import FilmEnsemble


class Passes:
    """Velocities of every member on its own samples, and the gradient of a loss of these velocities.

    A batch has `n_samples` samples of each of `n_levels` noise levels. The parameters of the network may change in
    place between calls. What a method returns is a buffer, which the next call overwrites.
    """

    def __init__(self, network: FilmEnsemble, n_levels: int, n_samples: int):
        self.network, self.n_levels, self.n_samples = network, n_levels, n_samples
        self.grad = torch.zeros_like(network.flat)
        self._activation = ACTIVATIONS[network.activation]
        self._parameters, self._gradients = network.views(network.flat), network.views(self.grad)
        members, d = network.n_members, network.n_features
        self._hidden = [
            [self._empty(members, n_levels * n_samples, width) for _ in range(4)]
            for width in network.hidden_layer_sizes
        ]
        self._out = self._empty(members, d, n_levels * n_samples)
        self._velocity = self._empty(members, n_levels, n_samples, d)
        self._kept: tuple[Tensor, Tensor, list[Tensor]] | None = None

    def of_members(self, members: slice) -> Passes:
        """The passes of some members, in the memory of these."""
        part = copy(self)
        part.network, part.grad = self.network.with_flat(self.network.flat[members]), self.grad[members]
        part._parameters, part._gradients = self.network.views(part.network.flat), self.network.views(part.grad)
        part._hidden = [[buffer[members] for buffer in layer] for layer in self._hidden]
        part._out, part._velocity = self._out[members], self._velocity[members]
        return part

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(*shape, dtype=self.network.dtype, device=self.network.device)

    def _by_level(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.n_levels, self.n_samples, -1)

    def velocity(self, z: Tensor, features: Tensor) -> Tensor:
        """Velocity of each member on its samples z (n_members, n_levels, n_samples, d), with `noise_features`."""
        *hidden, (weight, offset) = self._parameters
        features = features.expand(len(z), -1, -1)
        x, gains = z.reshape(len(z), self.n_levels * self.n_samples, -1), []
        for (w, b, film), (a, p, value, kept) in zip(hidden, self._hidden):
            width = w.shape[2]
            modulation = torch.bmm(features, film)
            gain = 1 + modulation[..., :width]
            # The bias goes into the shift: one pass less over the samples.
            shift = torch.addcmul(modulation[..., width:], gain, b)
            torch.bmm(x, w, out=a)
            torch.addcmul(shift[:, :, None], self._by_level(a), gain[:, :, None], out=self._by_level(p))
            self._activation.value(p, value, kept)
            x = value
            gains.append(gain)
        # With few features a product is five times faster the other way round.
        torch.bmm(weight.transpose(1, 2), x.transpose(1, 2), out=self._out)
        out = self._by_level(self._out.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))
        torch.add(out, torch.bmm(features, offset)[:, :, None], out=self._velocity)
        self._kept = z, features, gains
        return self._velocity

    def gradient(self, grad_velocity: Tensor) -> Tensor:
        """Gradient of sum(grad_velocity * velocity), of the last call, with respect to ``network.flat``."""
        assert self._kept is not None, "`velocity` comes first"
        z, features, gains = self._kept
        *hidden, (weight, _) = self._parameters
        *grad_hidden, (grad_weight, grad_offset) = self._gradients
        g = grad_velocity.reshape(len(z), self.n_levels * self.n_samples, -1)
        x = self._hidden[-1][2]
        grad_weight.copy_(torch.bmm(g.transpose(1, 2), x).transpose(1, 2))
        torch.bmm(features.transpose(1, 2), grad_velocity.sum(2), out=grad_offset)
        for k in reversed(range(len(hidden))):
            a, p, value, kept = self._hidden[k]
            slope = self._activation.slope(p, value, kept, kept)
            # The layer above has used the values: the gradient takes their place.
            g = torch.bmm(g, weight.transpose(1, 2), out=value)
            g.mul_(slope)
            by_level, gain, (weight, b, _) = self._by_level(g), gains[k], hidden[k]
            grad_w, grad_b, grad_film = grad_hidden[k]
            shift_sums = by_level.sum(2)
            gain_sums = self._by_level(a.mul_(g)).sum(2).addcmul_(shift_sums, b)
            torch.bmm(features.transpose(1, 2), torch.cat([gain_sums, shift_sums], -1), out=grad_film)
            torch.sum(gain * shift_sums, 1, keepdim=True, out=grad_b)
            by_level.mul_(gain[:, :, None])
            x = self._hidden[k - 1][2] if k else z.reshape(len(z), self.n_levels * self.n_samples, -1)
            torch.bmm(x.transpose(1, 2), g, out=grad_w)
        return self.grad
