r"""One network for the conditional distributions of all splits of the features, as fields of the flow.

The network sees the noised residuals z of the targets, the given features with the Gaussian means of the targets in
their places, and which features are targets and which are given; it is zero everywhere else. It learns the departure G
of the velocity from that of the Gaussian of the split (`SplitGaussians`). In :math:`w = A^{-1/2} z` the velocity is
:math:`A^{-1/2} G` and its divergence that of G by the targets, which two hidden layers have in closed form
(`_split_kernels`). Samples of several splits go through the network together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.blocks import last_repeated, slices
from skdiffusion._utils.protocols import Array, VelocityField
from skdiffusion.diffusion.networks import _bits
from skdiffusion.diffusion.networks._activations import ACTIVATIONS
from skdiffusion.diffusion.networks._field import ArrayField
from skdiffusion.diffusion.networks._film import FilmEnsemble, FilmEvaluator, _summed
from skdiffusion.diffusion.networks._reference import MULTIPLE
from skdiffusion.diffusion.networks._split import Split, SplitGaussians
from skdiffusion.diffusion.networks._split_kernels import PartMatrices, Runs

NUMBER = 2.0**-300  # of which a coordinate is a multiple: its square vanishes in sums, and no bits are lost
TRIAL_SHARES = np.array([0.75, 0.125, 0.09375, 0.03125])  # of the splits of a trial in its samples
_proved: dict[tuple, tuple[int, ...]] = {}  # block sizes of architectures that have been tried


def split_network(
    n_features: int, n_targets: int, hidden_layer_sizes: Sequence[int], activation: str, n_members: int
) -> FilmEnsemble:
    """Untrained networks for all splits of features, of which the first `n_targets` can be targets."""
    n_inputs = 2 * (n_targets + n_features)  # residuals, given features and means, and which these are
    return FilmEnsemble(n_targets, hidden_layer_sizes, activation, n_members, n_inputs)


class SplitEvaluator(FilmEvaluator):
    """Mean departure of an ensemble from what it sees of samples of several splits.

    Parameters
    ----------
    network : FilmEnsemble
    targets : array of bool of shape (n_splits, n_targets)
    """

    _runs: list[Runs]  # of the block, for every part of the targets: the divergence takes them

    def __init__(self, network: FilmEnsemble, targets: np.ndarray):
        self.network, self.act, self.depth = network, ACTIVATIONS[network.activation], 2
        self.targets = targets
        self.layers = network.views(network.flat)
        first, last = self.layers[0][0], self.layers[-1][0]
        self.first_weight = first.permute(1, 0, 2).reshape(first.shape[1], -1).contiguous()
        self.last_weight = (last / network.n_members).reshape(-1, network.n_features).T.contiguous()
        self._levels = {}

    @cached_property
    def parts(self) -> list[PartMatrices]:
        """Matrices of the divergences, by parts of the targets."""
        return PartMatrices.of_parts(self.layers, self.targets)

    def of_runs(self, runs: list[Runs]) -> SplitEvaluator:
        """The evaluator of a block with these runs."""
        parts, other = self.parts, copy(self)
        other._runs, other.parts = runs, parts
        return other

    def _trace(self, slopes: list[Tensor]) -> Tensor:
        first, last = slopes
        of_parts = [runs.products(first, part.matrices) for runs, part in zip(self._runs, self.parts)]
        products = of_parts[0]
        for others in of_parts[1:]:
            products += others
        return _summed(products.mul_(last))


class SplitsField(VelocityField):
    r"""The flow of samples each of a split of its own, which carry what the network is given beside their targets.

    The first `n_targets` coordinates of a sample are :math:`A^{-1/2} z` along the axes of the covariance of its split.
    The others stay as they are: the given features with the means of the targets, and last the number of the split,
    times `NUMBER`.
    """

    def __init__(self, network: FilmEnsemble, sizes: tuple[int, ...], gaussians: SplitGaussians):
        self.network, self.sizes, self.gaussians = network, sizes, gaussians
        self.evaluator = SplitEvaluator(network, gaussians.targets)
        self._known_runs: dict[bytes, list[Runs]] = {}  # of every block, which the flow comes back to in every step
        padding = (0, -network.n_features % MULTIPLE)
        axes = np.pad(gaussians.axes, ((0, 0), padding, padding))
        given = np.concatenate([gaussians.targets, gaussians.given], axis=1)
        arrays = axes, axes.transpose(0, 2, 1), gaussians.values, gaussians.targets, given
        self._axes, self._to_axes, self._values, self._targets, self._masks = (
            torch.as_tensor(np.ascontiguousarray(a), dtype=torch.float64, device=network.device) for a in arrays
        )

    @staticmethod
    def _each(x: Tensor, matrices: Tensor, which: Tensor) -> Tensor:
        """Samples times the matrices of their splits, padded."""
        d, width, own = x.shape[1], matrices.shape[2], _of_splits(matrices, which)
        if d == 1:
            return x * own[:, 0, :1]
        rows = torch.constant_pad_nd(x, (0, width - d))[:, None]
        return torch.bmm(rows, own)[:, 0, :d]

    def _runs(self, which: Tensor) -> list[Runs]:
        """The runs of rows whose splits have these numbers, for every part of the targets."""
        numbers = which.cpu().numpy()
        key = numbers.tobytes()
        if key not in self._known_runs:
            given = self.sizes, self.network.n_members, self.network.device
            self._known_runs[key] = [Runs.of(part.which[numbers], *given) for part in self.evaluator.parts]
        return self._known_runs[key]

    def __call__(self, state: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        d, which = self.network.n_features, (state[:, -1] / NUMBER).long()
        targets = _of_splits(self._targets, which)
        deviations = _of_splits((self._values * math.cos(theta) ** 2 + math.sin(theta) ** 2).sqrt(), which)
        z = self._each(state[:, :d] * deviations, self._to_axes, which) * targets
        seen = torch.cat([z, state[:, d:-1], _of_splits(self._masks, which)], 1).to(self.network.dtype)
        evaluator = self.evaluator.of_runs(self._runs(which)) if divergence else self.evaluator
        departure, trace = evaluator(seen, theta, divergence)
        velocity = torch.zeros_like(state)
        velocity[:, :d] = self._each(departure.double() * targets, self._axes, which) / deviations
        return velocity, None if trace is None else trace.double()

    @property
    def flow_field(self) -> VelocityField:
        return ArrayField(self, self.network.device)

    def blocks(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, Array]]:
        order = np.argsort(samples[:, -1], kind="stable")
        for part in slices(len(order), self.sizes[-1]):
            where = last_repeated(order[part], next(s for s in self.sizes if s >= part.stop - part.start))
            yield where, samples[where]


def _of_splits(values: Tensor, which: Tensor) -> Tensor:
    """What samples take of values of splits, by the numbers of their splits."""
    return values.expand(len(which), *values.shape[1:]) if len(values) == 1 else values.index_select(0, which)


class SplitField(VelocityField):
    """Networks for the conditional distributions of all splits of centered features of unit variance.

    What the flow follows is the field `of` some splits.

    Parameters
    ----------
    network : FilmEnsemble
        Made by `split_network`, with two hidden layers; its parameters are copied.
    covariance : array of shape (n_features, n_features)
        Of the features, positive definite.
    """

    _saved = ("network", "covariance")

    def __init__(self, network: FilmEnsemble, covariance: np.ndarray):
        self.covariance = covariance
        self._prepare(network)

    def _prepare(self, network: FilmEnsemble) -> None:
        """Choose the arithmetic and the sizes of blocks, single precision where samples have their bits in all."""
        choices = _bits.BLOCK_SIZES.get(network.device.type, _bits.OTHER_BLOCK_SIZES)
        dtype, self.sizes = torch.float64, choices[0]
        for sizes in choices:
            if proved := self._proved_sizes(network, sizes):
                dtype, self.sizes = torch.float32, proved
                break
        self.network = network.copy(dtype, network.device)

    def _proved_sizes(self, network: FilmEnsemble, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """`sizes_of_same_bits` of an architecture, tried once for each device and setting of torch."""
        n, d = len(self.covariance), network.n_features
        shapes = n, d, network.hidden_layer_sizes, network.activation, network.n_members
        key = *shapes, str(network.device), torch.get_num_threads(), torch.get_float32_matmul_precision(), sizes
        if key not in _proved:
            with torch.no_grad():
                _proved[key] = _sizes_of_same_bits(network, n, sizes)
        return _proved[key]

    @property
    def n_targets(self) -> int:
        """Features that can be targets, the first ones."""
        return self.network.n_features

    def member(self, m: int) -> SplitField:
        """The field of member m alone."""
        return SplitField(self.network.member(m), self.covariance)

    def of(self, splits: Sequence[Split]) -> SplitsField:
        """The field of samples of several splits."""
        masks = zip(*(split.masks(len(self.covariance), self.n_targets) for split in splits))
        gaussians = SplitGaussians.of(self.covariance, *(np.stack(mask) for mask in masks))
        return SplitsField(self.network, self.sizes, gaussians)

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network.to(device="cpu"), "covariance": self.covariance}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.covariance = state["covariance"]
        self._prepare(state["network"])


def _sizes_of_same_bits(network: FilmEnsemble, n_features: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Block sizes in which a sample has the same bits, whether or not the others are of its split."""
    d, rng = network.n_features, np.random.default_rng(0)
    targets, given = rng.random((len(TRIAL_SHARES), d)) < 0.5, np.arange(n_features) % 2 == 1
    targets[0] = True
    given = given & ~np.pad(targets, ((0, 0), (0, n_features - d)))
    gaussians = SplitGaussians.of(_bits.trial_correlation(n_features), targets, given)
    trial = network.with_flat(_bits.trial_weights(network))
    z = rng.standard_normal((sizes[-1], d + n_features + 1))
    z[:, -1] = 0.0
    one = torch.as_tensor(z, device=network.device)
    proved = _bits.sizes_of_same_bits(SplitsField(trial, sizes, gaussians), one, sizes)
    if not proved:
        return ()
    field, several = SplitsField(trial, proved, gaussians), one.clone()
    ends = np.cumsum(TRIAL_SHARES) * len(one)
    which = torch.as_tensor(np.searchsorted(ends, np.arange(len(one)), side="right"), device=one.device)
    several[:, -1] = NUMBER * which.double()  # which single precision does not hold
    for theta in _bits.ANGLES:
        found, found_trace = field(several, theta, True)
        for k in range(len(targets)):
            one[:, -1], mine = NUMBER * k, which == k
            velocity, trace = field(one, theta, True)
            assert trace is not None
            assert found_trace is not None
            if not torch.equal(velocity[mine], found[mine]) or not torch.equal(trace[mine], found_trace[mine]):
                return ()
    return proved
