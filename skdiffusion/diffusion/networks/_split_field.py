r"""One network for the conditional distributions of all splits of the features, as fields of the flow.

The network sees the noised residuals z of the targets, the given features with the Gaussian means of the targets in
their places, and which features are targets and which are given; it is zero everywhere else. It learns the departure G
of the velocity from that of the Gaussian of the split (`SplitGaussians`). In :math:`w = A^{-1/2} z` the velocity is
:math:`A^{-1/2} G` and its divergence that of G by the targets, which two hidden layers have in closed form: the rows
and columns of the first and the last matrix that belong to the targets make one matrix a split. Samples of several
splits go through the network together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

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

NUMBER = 2.0**-300  # of which a coordinate is a multiple: its square vanishes in sums, and no bits are lost
_proved: dict[tuple, tuple[int, ...]] = {}  # block sizes of architectures that have been tried


def split_network(
    n_features: int, n_targets: int, hidden_layer_sizes: Sequence[int], activation: str, n_members: int
) -> FilmEnsemble:
    """Untrained networks for all splits of features, of which the first `n_targets` can be targets."""
    n_inputs = 2 * (n_targets + n_features)  # residuals, given features and means, and which these are
    return FilmEnsemble(n_targets, hidden_layer_sizes, activation, n_members, n_inputs)


class Runs(NamedTuple):
    """Rows of a block by their splits, of which those of one split stand side by side.

    Those that fill one of the sizes of blocks have a product for themselves. What is left of every split, fewer rows
    than the least size, has one together with all others, in groups of that size that other rows fill up.
    """

    whole: list[tuple[slice, int]]  # rows, and the number of their split
    left: Tensor  # rows of which a split has too few
    place: Tensor  # of these among the rows of all groups
    groups: Tensor  # (n_splits, least size), rows
    splits: slice  # numbers of the splits of the groups

    @classmethod
    def of(cls, which: Tensor, sizes: Sequence[int]) -> Runs:
        """Those of rows whose splits have these numbers, which rise."""
        numbers, counts = (part.tolist() for part in torch.unique_consecutive(which, return_counts=True))
        first, least = numbers[0], sizes[0]
        groups = torch.zeros(numbers[-1] - first + 1, least, dtype=torch.long)
        whole: list[tuple[slice, int]] = []
        left: list[int] = []
        place: list[int] = []
        start = 0
        for k, count in zip(numbers, counts):
            stop = start + count
            for size in reversed(sizes):
                while stop - start >= size:
                    whole.append((slice(start, start + size), k))
                    start += size
            rows = range(start, stop)
            left += rows
            place += range(least * (k - first), least * (k - first) + len(rows))
            groups[k - first, : len(rows)] = torch.tensor(rows, dtype=torch.long)
            start = stop
        rows_left, places = (torch.tensor(part, dtype=torch.long, device=which.device) for part in (left, place))
        return cls(whole, rows_left, places, groups.to(which.device), slice(first, numbers[-1] + 1))


class SplitEvaluator(FilmEvaluator):
    """Mean departure of an ensemble from what it sees of samples of several splits.

    Parameters
    ----------
    network : FilmEnsemble
    targets : array of bool of shape (n_splits, n_targets)
    """

    _runs: Runs  # of the block: the divergence takes them

    def __init__(self, network: FilmEnsemble, targets: np.ndarray):
        self.network, self.act, self.depth = network, ACTIVATIONS[network.activation], 2
        self.targets = targets
        self.layers = network.views(network.flat)
        first, last = self.layers[0][0], self.layers[-1][0]
        self.first_weight = first.permute(1, 0, 2).reshape(first.shape[1], -1).contiguous()
        self.last_weight = (last / network.n_members).reshape(-1, network.n_features).T.contiguous()
        self._levels = {}

    @cached_property
    def split_kernels(self) -> Tensor:
        """Matrices of the divergences by the targets alone, (n_splits, n_members, width, width)."""
        (first, *_), (middle, *_), (last, _) = self.layers
        targets = torch.as_tensor(self.targets, dtype=first.dtype, device=first.device)
        by_targets = first[:, : self.network.n_features] * targets[:, None, :, None]
        return (middle * torch.matmul(last, by_targets).transpose(2, 3) / self.network.n_members).contiguous()

    def of_runs(self, runs: Runs) -> SplitEvaluator:
        """The evaluator of a block with these runs."""
        kernels, other = self.split_kernels, copy(self)
        other._runs, other.split_kernels = runs, kernels
        return other

    def _trace(self, slopes: list[Tensor]) -> Tensor:
        (first, last), runs = slopes, self._runs
        products = torch.empty_like(first)
        for rows, k in runs.whole:
            products[:, rows] = torch.bmm(first[:, rows], self.split_kernels[k])
        if len(runs.left):
            (n, size), (members, _, width) = runs.groups.shape, first.shape
            groups = first[:, runs.groups.flatten()].view(members, n, size, width).transpose(0, 1)
            kernels = self.split_kernels[runs.splits]
            of_groups = torch.bmm(groups.reshape(-1, size, width), kernels.flatten(0, 1)).view(n, members, size, -1)
            products[:, runs.left] = of_groups.transpose(0, 1).flatten(1, 2)[:, runs.place]
        return _summed(products.mul_(last))


class SplitsField(VelocityField):
    r"""The flow of samples each of a split of its own, which carry what the network is given beside their targets.

    The first `n_targets` coordinates of a sample are :math:`A^{-1/2} z` along the axes of the covariance of its split.
    The others stay as they are: the given features with the means of the targets, and last the number of the split,
    times `NUMBER`. In a block samples of one split stand side by side, so that one product gives their divergences.
    """

    def __init__(self, network: FilmEnsemble, sizes: tuple[int, ...], gaussians: SplitGaussians):
        self.network, self.sizes, self.gaussians = network, sizes, gaussians
        self.evaluator = SplitEvaluator(network, gaussians.targets)
        self._known_runs: dict[bytes, Runs] = {}  # of every block, which the flow comes back to in every step
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
        d, width = x.shape[1], matrices.shape[2]
        rows = torch.constant_pad_nd(x, (0, width - d))[:, None]
        return torch.bmm(rows, matrices[which])[:, 0, :d]

    def _runs(self, which: Tensor) -> Runs:
        """The runs of rows whose splits have these numbers."""
        key = which.cpu().numpy().tobytes()
        if key not in self._known_runs:
            self._known_runs[key] = Runs.of(which, self.sizes)
        return self._known_runs[key]

    def __call__(self, state: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        d, which = self.network.n_features, (state[:, -1] / NUMBER).long()
        targets = self._targets[which]
        deviations = (self._values * math.cos(theta) ** 2 + math.sin(theta) ** 2).sqrt()[which]
        z = self._each(state[:, :d] * deviations, self._to_axes, which) * targets
        seen = torch.cat([z, state[:, d:-1], self._masks[which]], 1).to(self.network.dtype)
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
    d, n_groups = network.n_features, sizes[-1] // sizes[0]
    targets, given = np.arange(d) % 2 == 0, np.arange(n_features) % 2 == 1
    masks = (np.repeat(mask[None], n_groups, axis=0) for mask in (targets, given))
    gaussians = SplitGaussians.of(_bits.trial_correlation(n_features), *masks)
    trial = network.with_flat(_bits.trial_weights(network))
    z = np.random.default_rng(0).standard_normal((sizes[-1], d + n_features + 1))
    z[:, -1] = 0.0
    one = torch.as_tensor(z, device=network.device)
    proved = _bits.sizes_of_same_bits(SplitsField(trial, sizes, gaussians), one, sizes)
    if not proved:
        return ()
    field, several = SplitsField(trial, proved, gaussians), one.clone()
    several[:, -1] = NUMBER * (torch.arange(len(one), device=one.device) // (proved[0] + 1))
    for theta in _bits.ANGLES:
        (velocity, trace), (found, found_trace) = (field(block, theta, True) for block in (one, several))
        assert trace is not None
        assert found_trace is not None
        if not torch.equal(velocity, found) or not torch.equal(trace, found_trace):
            return ()
    return proved
