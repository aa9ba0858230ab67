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

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.protocols import OptionalArray, VelocityField
from skdiffusion.diffusion.networks._film import MIN_COLUMNS, FilmEvaluator, noise_features
from skdiffusion.diffusion.networks._reference import GaussianReference

MAX_BYTES = 2**25  # of the folded matrices that are kept
MIN_LEVELS = 48  # that must be kept for folding to pay: those of one call come again in the next


class FoldedLevel(NamedTuple):
    """The matrices of a `FoldedFlow` at one angle, for every member, in single precision but for the last three."""

    first: Tensor  # (d + 1, units of all members), the shift in the last row
    hidden: list[tuple[Tensor, np.ndarray]]  # weights (members, width, next width), shifts (members, 1, next width)
    last: Tensor  # (d, units of all members)
    kernels: tuple[Tensor, ...]  # of the divergence: one between two hidden layers; from the input and the output
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
        return FoldedLevel(first_weight, hidden, last_weight, self._folded_kernels(gains), offset, linear, trace)

    def _folded_kernels(self, gains: list[np.ndarray]) -> tuple[Tensor, ...]:
        """The kernels of the divergence for slopes by halved preactivations, without gains: each is twice as large."""
        columns = [gain.transpose(0, 2, 1) for gain in gains]
        if len(gains) == 2:
            return (_single(self._kernels[0] * columns[0] * gains[1] / 4),)
        from_input, from_output = self._kernels
        middle = np.tile(gains[1], self.network.n_features)
        return _single(from_input * columns[0] * middle / 4), _single(from_output * columns[2] / 2)

    def __call__(self, w: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, OptionalArray]:
        level = self.level(theta)
        slopes: list[Tensor] = []
        units = self._forward(w, level, slopes if divergence else None)
        velocity = self._added_up(level.last, units) + level.offset
        if level.linear is not None:
            velocity += w @ level.linear
        if not divergence:
            return velocity, None
        left, right = self._factors(level, slopes)
        return velocity, np.einsum("mij,mij->mi", left, right).sum(0, dtype=float) + level.trace

    def _forward(
        self, w: np.ndarray, level: FoldedLevel, slopes: list[Tensor] | None, bends: list[np.ndarray] | None = None
    ) -> Tensor:
        """Units of the last hidden layer, (members, n, width).

        The slopes dh/dq of all layers go to `slopes`, and their derivatives by q to `bends`, if given.
        """
        n, d = w.shape
        x = np.ones((n, d + 1), dtype=np.float32)
        x[:, :d] = w
        units = self._by_member(torch.from_numpy(x) @ level.first)
        for k in range(len(level.hidden) + 1):
            if k:
                weight, shift = level.hidden[k - 1]
                units = torch.bmm(units, weight)
            q = units.numpy()
            if k:
                q += shift
            rise = np.tanh(q)
            if slopes is not None:
                slope = np.subtract(1, rise)
                if bends is not None:
                    bends.append(2 * (1 + rise) * slope * (1 - q * rise))
            rise += 1
            q *= rise
            if slopes is not None:
                slope *= q
                slope += rise
                slopes.append(torch.from_numpy(slope))
        return units

    def _factors(self, level: FoldedLevel, slopes: list[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays (members, n, units) whose products add up to the divergence of the network."""
        if len(slopes) == 2:
            return torch.bmm(slopes[0], level.kernels[0]).numpy(), slopes[1].numpy()
        from_input, from_output = (torch.bmm(slopes[k], kernel) for k, kernel in zip((0, 2), level.kernels))
        middle = slopes[1].numpy()[:, :, None]
        by_feature = from_output.numpy().reshape(*middle.shape[:2], -1, middle.shape[3])
        by_feature *= middle
        return from_input.numpy(), from_output.numpy()

    def pull_back(self, w: np.ndarray, theta: float, by_velocity: np.ndarray, by_trace: np.ndarray) -> np.ndarray:
        level = self.level(theta)
        slopes: list[Tensor] = []
        bends: list[np.ndarray] = []
        self._forward(w, level, slopes, bends)
        by_slopes = self._by_slopes(level, slopes, by_trace.astype(np.float32)[:, None])
        by_value = self._by_member(torch.from_numpy(by_velocity.astype(np.float32)) @ level.last)
        for k in reversed(range(len(slopes))):
            by_product, bend = by_value.numpy(), bends[k]
            by_product *= slopes[k].numpy()
            bend *= by_slopes[k].numpy()
            by_product += bend
            if k:
                by_value = torch.bmm(by_value, level.hidden[k - 1][0].transpose(1, 2))
        out = self._added_up(level.first[:-1], by_value)
        if level.linear is not None:
            out += by_velocity @ level.linear
        return out

    def _by_slopes(self, level: FoldedLevel, slopes: list[Tensor], by_trace: np.ndarray) -> list[Tensor]:
        """Derivatives by the slopes of all layers of the divergence, times `by_trace` (n, 1)."""
        back = [kernel.transpose(1, 2) for kernel in level.kernels]
        if len(slopes) == 2:
            first, last = (torch.from_numpy(slope.numpy() * by_trace) for slope in slopes)
            return [torch.bmm(last, back[0]), torch.bmm(first, level.kernels[0])]
        middle = (slopes[1].numpy() * by_trace)[:, :, None]
        shape = *middle.shape[:2], -1, middle.shape[3]
        a, b = (torch.bmm(slopes[k], kernel).numpy().reshape(shape) for k, kernel in zip((0, 2), level.kernels))
        by_ends = [
            torch.bmm(torch.from_numpy((part * middle).reshape(*shape[:2], -1)), kernel)
            for part, kernel in zip((b, a), back)
        ]
        a *= b
        return [by_ends[0], torch.from_numpy(a.sum(2) * by_trace), by_ends[1]]

    def _by_member(self, x: Tensor) -> Tensor:
        """Units of all members (n, units) or matrices of them, one member after the other, (members, n, width)."""
        return x.view(len(x), self.network.n_members, -1).transpose(0, 1)

    def _added_up(self, weight: Tensor, units: Tensor) -> np.ndarray:
        """Units (members, n, width) times a matrix (d, units of all members), (n, d) in float64."""
        n = units.shape[1]
        if n < MIN_COLUMNS:
            padded = np.zeros((len(units), MIN_COLUMNS, units.shape[2]), dtype=np.float32)
            padded[:, :n] = units.numpy()
            units = torch.from_numpy(padded)
        # With few features a product is five times faster the other way round.
        products = torch.bmm(self._by_member(weight), units.transpose(1, 2))
        return products.numpy()[:, :, :n].sum(0, dtype=float).T


def folded_size(evaluator: FilmEvaluator) -> int:
    """Bytes of the folded matrices of one level."""
    matrices = (*(layer[0] for layer in evaluator.layers), *evaluator.kernels)
    return sum(matrix.numel() * matrix.element_size() for matrix in matrices)


def _single(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
