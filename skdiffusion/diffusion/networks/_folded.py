r"""The flow of a trained ensemble on arrays, with what depends on the noise level alone prepared level by level.

A solver asks for thousands of velocities at a few noise levels. At one level the gains and shifts of the hidden layers,
and the matrices of a Gaussian reference, are constants: they are folded into the small first and last weights. The
large matrices between hidden layers and those of the divergence are the same at all levels, and stay in the cache of
the processor; the gains are applied to what they are multiplied with. The products are torch's, whose bits do not
depend on the block. All the rest is done in place on arrays that share the memory of its tensors: NumPy has a fraction
of the overhead, which is most of the time of a single sample, and the faster hyperbolic tangent.

Preactivations are halved, :math:`q = p/2`: :math:`h = \mathrm{silu}(2q) = q\,(1 + \tanh q)` takes one hyperbolic
tangent, and its slope :math:`dh/dq = 1 + \tanh q + h\,(1 - \tanh q)` no further one.
Slopes are multiplied by the gains, and their derivatives by the squares of the gains: those by what the gains multiply.
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

MAX_WEIGHTS = 700_000  # bytes of the matrices of a network that is folded: larger ones take torch's threads
MAX_BYTES = 2**25  # of the matrices of the levels that are kept


class FoldedLevel(NamedTuple):
    """What belongs to one angle, for every member, in single precision but for the last three."""

    first: Tensor  # (d + 1, units of all members), the gain and, in the last row, the shift of the first layer in it
    first_back: Tensor  # (members, d, width), the same without the gain and the shift
    gains: list[np.ndarray]  # of the hidden layers: (units of all members,) of the first, (members, 1, width) of others
    squares: list[np.ndarray]  # of the gains
    shifts: list[np.ndarray]  # of the hidden layers after the first, (members, 1, width)
    last: Tensor  # (members, d, width)
    last_back: Tensor  # (d, units of all members), the same
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
        self._levels: dict[float, FoldedLevel] = {}
        self._max_levels = max(1, MAX_BYTES // (16 * self._layers[0][0].size))
        # By halved preactivations every slope is twice as large.
        self._hidden = [_single(layer[0] / 2) for layer in self._layers[1:-1]]
        self._kernels = [_single(kernel.numpy() / (4, 2)[k]) for k, kernel in enumerate(evaluator.kernels)]
        self._memory = threading.local()  # buffers by the number of samples of a block

    @staticmethod
    def can_fold(evaluator: FilmEvaluator) -> bool:
        """Whether an ensemble has a divergence in closed form and the SiLU, in single precision on the CPU, and small
        matrices."""
        network = evaluator.network
        plain = network.device.type == "cpu" and network.dtype == torch.float32 and network.activation == "silu"
        return plain and bool(evaluator.kernels) and n_bytes(evaluator) <= MAX_WEIGHTS

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
        joined = np.concatenate([first * gains[0], shifts[0]], axis=1) / 2
        by_layer = [_single(gain).numpy() for gain in gains]
        by_layer[0] = by_layer[0].ravel()
        return FoldedLevel(
            _single(np.concatenate(list(joined), axis=1)), _single(first / 2), by_layer, [g * g for g in by_layer],
            [_single(shift / 2).numpy() for shift in shifts[1:]], _single(last),
            _single(np.concatenate(list(last), axis=1)), offset, linear, trace,
        )  # fmt: skip

    def __call__(self, w: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, OptionalArray]:
        level, at = self.level(theta), self._buffers(len(w))
        self._forward(w, level, at, divergence)
        velocity = at.velocity(level.last)
        velocity += level.offset
        if level.linear is not None:
            velocity += w @ level.linear
        if not divergence:
            return velocity, None
        left, right = self._factors(at)
        return velocity, np.einsum("mij,mij->mi", left, right).sum(0, dtype=float) + level.trace

    def _buffers(self, n: int) -> FoldedBuffers:
        """The memory of this thread for blocks of n samples."""
        known: dict[int, FoldedBuffers] = self._memory.__dict__.setdefault("buffers", {})
        if n not in known:
            known[n] = FoldedBuffers(n, self.network)
        return known[n]

    def _forward(self, w: np.ndarray, level: FoldedLevel, at: FoldedBuffers, slopes: bool, bends: bool = False) -> None:
        """Units of all hidden layers, with their slopes and the derivatives of these where they are asked."""
        at.samples[:, :-1] = w
        torch.mm(at.samples_tensor, level.first, out=at.layers[0].products)
        for k, layer in enumerate(at.layers):
            if k:
                torch.bmm(at.layers[k - 1].units_tensor, self._hidden[k - 1], out=layer.products)
                layer.q *= level.gains[k]
                layer.q += level.shifts[k - 1]
            layer.activate(level.gains[k] if slopes else None, level.squares[k] if bends else None)

    def _factors(self, at: FoldedBuffers) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays (members, n, units) whose products add up to the divergence of the network."""
        layers = at.layers
        if len(layers) == 2:
            return torch.bmm(layers[0].slope_tensor, self._kernels[0]).numpy(), layers[1].slope
        from_input, from_output = (
            torch.bmm(layers[k].slope_tensor, kernel).numpy() for k, kernel in zip((0, 2), self._kernels)
        )
        middle = layers[1].slope[:, :, None]
        by_feature = from_output.reshape(*middle.shape[:2], -1, middle.shape[3])
        by_feature *= middle
        return from_input, from_output

    def pull_back(self, w: np.ndarray, theta: float, by_velocity: np.ndarray, by_trace: np.ndarray) -> np.ndarray:
        level, at = self.level(theta), self._buffers(len(w))
        self._forward(w, level, at, slopes=True, bends=True)
        by_slopes = self._by_slopes(at, by_trace.astype(np.float32)[:, None])
        by_units = torch.from_numpy(by_velocity.astype(np.float32)) @ level.last_back
        by_value = by_units.view(len(w), self.network.n_members, -1).transpose(0, 1)
        for k in reversed(range(len(at.layers))):
            layer, bend = at.layers[k], by_slopes[k].numpy()
            by_product = by_value.numpy()
            by_product *= layer.slope
            bend *= layer.bend
            by_product += bend
            if k:
                by_value = torch.bmm(by_value, self._hidden[k - 1].mT)
        out = at.by_samples(level.first_back, by_product)
        if level.linear is not None:
            out += by_velocity @ level.linear
        return out

    def _by_slopes(self, at: FoldedBuffers, by_trace: np.ndarray) -> list[Tensor]:
        """Derivatives by the slopes of all layers of the divergence, times `by_trace` (n, 1)."""
        back, layers = [kernel.mT for kernel in self._kernels], at.layers
        if len(layers) == 2:
            first, last = (torch.from_numpy(layer.slope * by_trace) for layer in layers)
            return [torch.bmm(last, back[0]), torch.bmm(first, self._kernels[0])]
        middle = (layers[1].slope * by_trace)[:, :, None]
        shape = *middle.shape[:2], -1, middle.shape[3]
        a, b = (
            torch.bmm(layers[k].slope_tensor, kernel).numpy().reshape(shape) for k, kernel in zip((0, 2), self._kernels)
        )
        by_ends = [
            torch.bmm(torch.from_numpy((part * middle).reshape(*shape[:2], -1)), kernel)
            for part, kernel in zip((b, a), back)
        ]
        a *= b
        return [by_ends[0], torch.from_numpy(a.sum(2) * by_trace), by_ends[1]]


def n_bytes(evaluator: FilmEvaluator) -> int:
    """Bytes of the matrices of an ensemble."""
    matrices = (*(layer[0] for layer in evaluator.layers), *evaluator.kernels)
    return sum(matrix.numel() * matrix.element_size() for matrix in matrices)


def _single(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
