r"""The flow of a trained ensemble on arrays, with all that depends on the noise level alone folded into its matrices.

A solver asks for thousands of velocities at a few noise levels. At one level the gains and shifts of the hidden layers,
and the matrices of a Gaussian reference, are constants: folded into the weights they cost nothing, and an evaluation is
the products of the layers with one pass of the activation for each. The products are torch's, whose bits do not depend
on the block. All the rest is done in place on arrays that share the memory of its tensors: NumPy has a fraction of the
overhead, which is most of the time of a single sample, and the faster hyperbolic tangent.

Preactivations are halved, :math:`q = p/2`: :math:`h = \mathrm{silu}(2q) = q\,(1 + \tanh q)` takes one hyperbolic
tangent, and its slope :math:`dh/dq = 1 + \tanh q + h\,(1 - \tanh q)` no further one.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.protocols import OptionalArray, VelocityField
from skdiffusion.diffusion.networks._film import FilmEvaluator, noise_features
from skdiffusion.diffusion.networks._folded_buffers import FoldedBuffers
from skdiffusion.diffusion.networks._reference import GaussianReference

MAX_BYTES = 2**25  # of the folded matrices that are kept
MIN_LEVELS = 48  # that must be kept for folding to pay: those of one call come again in the next
SMALL_BLOCK = 16  # samples, up to which the memory of a block is kept: to ask for it would be much of the time


class FoldedLevel(NamedTuple):
    """The matrices of a `FoldedFlow` at one angle, for every member, in single precision but for the last three."""

    first: Tensor  # (d + 1, units of all members), the shift in the last row
    first_by_member: Tensor  # (members, d, width), the same without the shift
    hidden: list[tuple[Tensor, np.ndarray]]  # weights (members, width, next width), shifts (members, 1, next width)
    hidden_back: list[Tensor]  # the weights transposed
    last: Tensor  # (d, units of all members)
    last_by_member: Tensor  # (members, d, width)
    kernels: tuple[Tensor, ...]  # of the divergence: one between two hidden layers; from the input and the output
    kernels_back: tuple[Tensor, ...]  # the same transposed
    offset: np.ndarray  # (d,)
    linear: np.ndarray | None  # (d, d), symmetric: what samples add to the velocity in proportion
    trace: float  # of `linear`


class FoldedFlow(VelocityField):
    """Velocity and divergence in coordinates of unit covariance, on blocks of float64 samples.

    Parameters
    ----------
    evaluator : FilmEvaluator
        Of an ensemble that `can_fold`.
    reference : GaussianReference or None
        Distribution of the samples before noise, of a `NetworkField`.
    """

    def __init__(self, evaluator: FilmEvaluator, reference: GaussianReference | None):
        self.network, self.reference = evaluator.network, reference
        self._layers = [tuple(part.numpy() for part in layer) for layer in evaluator.layers]
        self._kernels = tuple(kernel.numpy() for kernel in evaluator.kernels)
        self._levels: dict[float, FoldedLevel] = {}
        self._max_levels = MAX_BYTES // folded_size(evaluator)
        self._memory = threading.local()  # buffers of small blocks, by their number of samples

    @staticmethod
    def can_fold(evaluator: FilmEvaluator) -> bool:
        """Whether an ensemble has a divergence in closed form and the SiLU, in single precision on the CPU, and is
        small enough for the matrices of all levels of a call to be kept."""
        network = evaluator.network
        plain = network.device.type == "cpu" and network.dtype == torch.float32 and network.activation == "silu"
        return plain and bool(evaluator.kernels) and MAX_BYTES // folded_size(evaluator) >= MIN_LEVELS

    def level(self, theta: float) -> FoldedLevel:
        """The matrices at one angle."""
        level = self._levels.get(theta)
        if level is None:
            level = self._folded(theta)
            # The oldest one goes: grids that were tried once must not keep out those that every call asks for.
            if len(self._levels) >= self._max_levels:
                self._levels.pop(next(iter(list(self._levels))), None)
            self._levels[theta] = level
        return level

    def _folded(self, theta: float) -> FoldedLevel:
        features = noise_features(theta, torch.float64, "cpu").numpy()
        gains, shifts = [], []
        for _, b, film in self._layers[:-1]:
            gain, shift = np.split(np.matmul(features, film), 2, axis=2)
            gains.append(1 + gain)
            shifts.append((1 + gain) * b + shift)
        first, (last, offset) = self._layers[0][0].astype(float), self._layers[-1]
        last = last.transpose(0, 2, 1) / self.network.n_members
        offset, linear, trace = np.matmul(features, offset).mean(0)[0], None, 0.0
        if self.reference is not None:
            slopes, deviations = self.reference.at_angle(theta)
            inverse = self.reference.function(1 / deviations)
            first = self.reference.function(deviations) @ first
            last, offset = inverse @ last, offset @ inverse
            if not self.reference.relative:
                # The linear velocity commutes with the change of coordinates.
                linear, trace = -self.reference.function(slopes), -float(slopes.sum())
        hidden = [
            (_single(layer[0] * gain / 2), _single(shift / 2).numpy())
            for layer, gain, shift in zip(self._layers[1:-1], gains[1:], shifts[1:])
        ]
        first = np.concatenate([first * gains[0], shifts[0]], axis=1) / 2
        first_weight, last_weight = (_single(np.concatenate(list(m), axis=1)) for m in (first, last))
        by_member = (
            m.view(len(offset), self.network.n_members, -1).transpose(0, 1) for m in (first_weight[:-1], last_weight)
        )
        kernels = self._folded_kernels(gains)
        return FoldedLevel(
            first_weight, next(by_member), hidden, [weight.mT for weight, _ in hidden], last_weight, next(by_member),
            kernels, tuple(kernel.mT for kernel in kernels), offset, linear, trace,
        )  # fmt: skip

    def _folded_kernels(self, gains: list[np.ndarray]) -> tuple[Tensor, ...]:
        """The kernels of the divergence for slopes by halved preactivations, without gains: each is twice as large."""
        columns = [gain.transpose(0, 2, 1) for gain in gains]
        if len(gains) == 2:
            return (_single(self._kernels[0] * columns[0] * gains[1] / 4),)
        from_input, from_output = self._kernels
        middle = np.tile(gains[1], self.network.n_features)
        return _single(from_input * columns[0] * middle / 4), _single(from_output * columns[2] / 2)

    def __call__(self, w: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, OptionalArray]:
        level, at = self.level(theta), self._buffers(len(w))
        self._forward(w, level, at, divergence)
        velocity = at.velocity(level.last_by_member)
        velocity += level.offset
        if level.linear is not None:
            velocity += w @ level.linear
        if not divergence:
            return velocity, None
        left, right = self._factors(level, at)
        return velocity, np.einsum("mij,mij->mi", left, right).sum(0, dtype=float) + level.trace

    def _buffers(self, n: int) -> FoldedBuffers:
        """The memory of this thread for blocks of n samples."""
        if n > SMALL_BLOCK:
            return FoldedBuffers(n, self.network)
        known = self._memory.__dict__
        if n not in known:
            known[n] = FoldedBuffers(n, self.network)
        return known[n]

    def _forward(self, w: np.ndarray, level: FoldedLevel, at: FoldedBuffers, slopes: bool, bends: bool = False) -> None:
        """Units of all hidden layers, with the slopes dh/dq and the derivatives of these by q where they are asked."""
        at.samples[:, :-1] = w
        torch.mm(at.samples_tensor, level.first, out=at.layers[0].products)
        for k, layer in enumerate(at.layers):
            if k:
                weight, shift = level.hidden[k - 1]
                torch.bmm(at.layers[k - 1].units_tensor, weight, out=layer.products)
                layer.q += shift
            layer.activate(slopes, bends)

    def _factors(self, level: FoldedLevel, at: FoldedBuffers) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays (members, n, units) whose products add up to the divergence of the network."""
        layers = at.layers
        if len(layers) == 2:
            return torch.bmm(layers[0].slope_tensor, level.kernels[0]).numpy(), layers[1].slope
        from_input, from_output = (
            torch.bmm(layers[k].slope_tensor, kernel).numpy() for k, kernel in zip((0, 2), level.kernels)
        )
        middle = layers[1].slope[:, :, None]
        by_feature = from_output.reshape(*middle.shape[:2], -1, middle.shape[3])
        by_feature *= middle
        return from_input, from_output

    def pull_back(self, w: np.ndarray, theta: float, by_velocity: np.ndarray, by_trace: np.ndarray) -> np.ndarray:
        level, at = self.level(theta), self._buffers(len(w))
        self._forward(w, level, at, slopes=True, bends=True)
        by_slopes = self._by_slopes(level, at, by_trace.astype(np.float32)[:, None])
        by_value = (torch.from_numpy(by_velocity.astype(np.float32)) @ level.last).view(
            len(w), self.network.n_members, -1
        )
        by_value = by_value.transpose(0, 1)
        for k in reversed(range(len(at.layers))):
            layer, bend = at.layers[k], by_slopes[k].numpy()
            by_product = by_value.numpy()
            by_product *= layer.slope
            bend *= layer.bend
            by_product += bend
            if k:
                by_value = torch.bmm(by_value, level.hidden_back[k - 1])
        out = at.by_samples(level.first_by_member, by_product)
        if level.linear is not None:
            out += by_velocity @ level.linear
        return out

    @staticmethod
    def _by_slopes(level: FoldedLevel, at: FoldedBuffers, by_trace: np.ndarray) -> list[Tensor]:
        """Derivatives by the slopes of all layers of the divergence, times `by_trace` (n, 1)."""
        back, layers = level.kernels_back, at.layers
        if len(layers) == 2:
            first, last = (torch.from_numpy(layer.slope * by_trace) for layer in layers)
            return [torch.bmm(last, back[0]), torch.bmm(first, level.kernels[0])]
        middle = (layers[1].slope * by_trace)[:, :, None]
        shape = *middle.shape[:2], -1, middle.shape[3]
        a, b = (
            torch.bmm(layers[k].slope_tensor, kernel).numpy().reshape(shape) for k, kernel in zip((0, 2), level.kernels)
        )
        by_ends = [
            torch.bmm(torch.from_numpy((part * middle).reshape(*shape[:2], -1)), kernel)
            for part, kernel in zip((b, a), back)
        ]
        a *= b
        return [by_ends[0], torch.from_numpy(a.sum(2) * by_trace), by_ends[1]]


def folded_size(evaluator: FilmEvaluator) -> int:
    """Bytes of the folded matrices of one level."""
    matrices = (*(layer[0] for layer in evaluator.layers), *evaluator.kernels)
    return sum(matrix.numel() * matrix.element_size() for matrix in matrices)


def _single(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
