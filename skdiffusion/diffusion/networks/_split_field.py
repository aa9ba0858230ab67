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

NUMBER = 2.0**-300  # of which a coordinate is a multiple: its square vanishes in sums, and no bits are lost
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
    runs : sequence of (slice, int), default=()
        Rows of a block that are of one split, and its number: the divergence takes them.
    """

    def __init__(self, network: FilmEnsemble, targets: np.ndarray, runs: Sequence[tuple[slice, int]] = ()):
        self.network, self.act, self.depth = network, ACTIVATIONS[network.activation], 2
        self.targets, self.runs = targets, runs
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

    def of_runs(self, runs: Sequence[tuple[slice, int]]) -> SplitEvaluator:
        """The evaluator of a block with these runs."""
        kernels, other = self.split_kernels, copy(self)
        other.runs, other.split_kernels = runs, kernels
        return other

    def _trace(self, slopes: list[Tensor]) -> Tensor:
        first, last = slopes
        parts = [torch.bmm(first[:, rows], self.split_kernels[k]) for rows, k in self.runs]
        return _summed(torch.cat(parts, 1).mul_(last))


class SplitsField(VelocityField):
    r"""The flow of samples each of a split of its own, which carry what the network is given beside their targets.

    The first `n_targets` coordinates of a sample are :math:`A^{-1/2} z` along the axes of the covariance of its split.
    The others stay as they are: the given features with the means of the targets, and last the number of the split,
    times `NUMBER`. A block holds whole groups of samples of one split, so that one product serves those of a group.
    """

    def __init__(self, network: FilmEnsemble, sizes: tuple[int, ...], gaussians: SplitGaussians):
        self.network, self.sizes, self.gaussians = network, sizes, gaussians
        self.evaluator = SplitEvaluator(network, gaussians.targets)
        padding = (0, -network.n_features % MULTIPLE)
        axes = np.pad(gaussians.axes, ((0, 0), padding, padding))
        given = np.concatenate([gaussians.targets, gaussians.given], axis=1)
        arrays = axes, gaussians.values, gaussians.targets, given
        self._axes, self._values, self._targets, self._masks = (
            torch.as_tensor(a, dtype=torch.float64, device=network.device) for a in arrays
        )

    def _each(self, x: Tensor, matrices: Tensor) -> Tensor:
        """Samples times the matrix of the group of each, padded."""
        d, width = x.shape[1], matrices.shape[2]
        groups = torch.constant_pad_nd(x, (0, width - d)).view(len(matrices), -1, width)
        return torch.bmm(groups, matrices).view(len(x), width)[:, :d]

    def _runs(self, which: Tensor) -> list[tuple[slice, int]]:
        """Rows of one split, in the sizes of blocks."""
        runs, start = [], 0
        for k, count in zip(*(part.tolist() for part in torch.unique_consecutive(which, return_counts=True))):
            stop = start + count
            for size in reversed(self.sizes):
                while stop - start >= size:
                    runs.append((slice(start, start + size), k))
                    start += size
        return runs

    def __call__(self, state: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        d, which = self.network.n_features, (state[:, -1] / NUMBER).long()
        axes, targets = self._axes[which[:: self.sizes[0]]], self._targets[which]
        deviations = (self._values * math.cos(theta) ** 2 + math.sin(theta) ** 2).sqrt()[which]
        z = self._each(state[:, :d] * deviations, axes.transpose(1, 2)) * targets
        seen = torch.cat([z, state[:, d:-1], self._masks[which]], 1).to(self.network.dtype)
        evaluator = self.evaluator.of_runs(self._runs(which)) if divergence else self.evaluator
        departure, trace = evaluator(seen, theta, divergence)
        velocity = torch.zeros_like(state)
        velocity[:, :d] = self._each(departure.double() * targets, axes) / deviations
        return velocity, None if trace is None else trace.double()

    @property
    def flow_field(self) -> VelocityField:
        return ArrayField(self, self.network.device)

    def blocks(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, Array]]:
        which = samples[:, -1]
        order = np.argsort(which, kind="stable")
        groups = np.split(order, 1 + np.flatnonzero(np.diff(which[order])))
        rows = np.concatenate([last_repeated(group, len(group) + -len(group) % self.sizes[0]) for group in groups])
        for part in slices(len(rows), self.sizes[-1]):
            where = rows[part]
            where = last_repeated(where, next(size for size in self.sizes if size >= len(where)))
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
    several[:, -1] = NUMBER * (torch.arange(len(one), device=one.device) // proved[0])
    for theta in _bits.ANGLES:
        (velocity, trace), (found, found_trace) = (field(block, theta, True) for block in (one, several))
        assert trace is not None
        assert found_trace is not None
        if not torch.equal(velocity, found) or not torch.equal(trace, found_trace):
            return ()
    return proved
