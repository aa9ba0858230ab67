r"""One network for the conditional distributions of all splits of the features, as fields of the flow.

The network sees the noised residuals z of the targets, the given features with the Gaussian means of the targets in
their places, and which features are targets and which are given; it is zero everywhere else. It learns the departure G
of the velocity from that of the Gaussian of the split (`SplitGaussians`). In :math:`w = A^{-1/2} z` the velocity is
:math:`A^{-1/2} G` and its divergence that of G by the targets, which two hidden layers have in closed form: the rows
and columns of the first and the last matrix that belong to the targets make one matrix a split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.blocks import padded_blocks
from skdiffusion._utils.numerics import samples_times_matrix
from skdiffusion._utils.protocols import Array, VelocityField
from skdiffusion.diffusion.networks import _bits
from skdiffusion.diffusion.networks._activations import ACTIVATIONS
from skdiffusion.diffusion.networks._field import ArrayField
from skdiffusion.diffusion.networks._film import FilmEnsemble, FilmEvaluator
from skdiffusion.diffusion.networks._reference import times
from skdiffusion.diffusion.networks._split import Split, SplitGaussians

_proved: dict[tuple, tuple[int, ...]] = {}  # block sizes of architectures that have been tried


def split_network(
    n_features: int, n_targets: int, hidden_layer_sizes: Sequence[int], activation: str, n_members: int
) -> FilmEnsemble:
    """Untrained networks for all splits of features, of which the first `n_targets` can be targets."""
    n_inputs = 2 * (n_targets + n_features)  # residuals, given features and means, and which these are
    return FilmEnsemble(n_targets, hidden_layer_sizes, activation, n_members, n_inputs)


class SplitEvaluator(FilmEvaluator):
    """Mean departure of an ensemble for one split, from residuals beside given features and means."""

    def __init__(self, network: FilmEnsemble, targets: np.ndarray, given: np.ndarray):
        self.network, self.act, self.depth = network, ACTIVATIONS[network.activation], 2
        (first, bias, film), (middle, *rest), last = network.views(network.flat)
        n_values = len(targets) + len(given)
        masks = torch.as_tensor(np.concatenate([targets, given]), dtype=network.dtype, device=network.device)
        self.layers = [(first, bias + (masks @ first[:, n_values:])[:, None], film), (middle, *rest), last]
        self.first_weight = first[:, :n_values].permute(1, 0, 2).reshape(n_values, -1).contiguous()
        self.last_weight = (last[0] / network.n_members).reshape(-1, network.n_features).T.contiguous()
        by_targets = first[:, : len(targets)] * masks[: len(targets), None]
        self.kernels = (middle * torch.bmm(last[0], by_targets).transpose(1, 2) / network.n_members,)
        self._levels = {}


class OneSplitField(VelocityField):
    """The flow of one split, of samples that carry what the network is given beside their targets.

    The first `n_targets` coordinates of a sample are w, zero for features that are no targets; the others stay as they
    are.
    """

    def __init__(self, network: FilmEnsemble, sizes: tuple[int, ...], gaussians: SplitGaussians):
        self.network, self.sizes, self.gaussians = network, sizes, gaussians
        self.evaluator = SplitEvaluator(network, gaussians.targets[0], gaussians.given[0])
        self._matrices: dict[float, tuple[Tensor, Tensor]] = {}

    def matrices(self, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
        """Square root of the noised covariance at an angle, and its inverse, zero off the targets."""
        if theta not in self._matrices:
            noised = self.gaussians.values[0] * math.cos(theta) ** 2 + math.sin(theta) ** 2
            roots = (self.gaussians.matrix(0, v) for v in (np.sqrt(noised), 1 / np.sqrt(noised)))
            root, inverse = (torch.as_tensor(m, dtype=like.dtype, device=like.device) for m in roots)
            self._matrices[theta] = root, inverse
        return self._matrices[theta]

    def __call__(self, state: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        d = self.network.n_features
        root, inverse = self.matrices(float(theta), state)
        seen = torch.cat([times(state[:, :d], root), state[:, d:]], 1).to(self.network.dtype)
        departure, trace = self.evaluator(seen, theta, divergence)
        velocity = torch.zeros_like(state)
        velocity[:, :d] = times(departure.double(), inverse)
        return velocity, None if trace is None else trace.double()

    @property
    def flow_field(self) -> VelocityField:
        return ArrayField(self, self.network.device)

    def blocks(self, samples: np.ndarray) -> Iterator[tuple[slice, Array]]:
        yield from padded_blocks(samples, self.sizes)


class SplitField(VelocityField):
    """Networks for the conditional distributions of all splits of centered features of unit variance.

    What the flow follows is the field `of` a split.

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
            targets = np.arange(d) % 2 == 0
            given = np.arange(n) % 2 == 1
            gaussians = SplitGaussians.of(_bits.trial_correlation(n), targets[None], given[None])
            field = OneSplitField(network.with_flat(_bits.trial_weights(network)), sizes, gaussians)
            z = np.random.default_rng(0).standard_normal((sizes[-1], d + n))
            with torch.no_grad():
                on_device = torch.as_tensor(z, device=network.device)
                _proved[key] = _bits.sizes_of_same_bits(field, on_device, sizes)
        return _proved[key]

    @property
    def n_targets(self) -> int:
        """Features that can be targets, the first ones."""
        return self.network.n_features

    def member(self, m: int) -> SplitField:
        """The field of member m alone."""
        return SplitField(self.network.member(m), self.covariance)

    def of(self, split: Split) -> OneSplitField:
        """The field of one split."""
        targets, given = split.masks(len(self.covariance), self.n_targets)
        gaussians = SplitGaussians.of(self.covariance, targets[None], given[None])
        return OneSplitField(self.network, self.sizes, gaussians)

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network.to(device="cpu"), "covariance": self.covariance}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.covariance = state["covariance"]
        self._prepare(state["network"])


def means_of_targets(gaussians: SplitGaussians, samples: np.ndarray) -> np.ndarray:
    """Gaussian means of the targets of the first split given samples (n, n_features), shape (n, n_targets)."""
    return samples_times_matrix(np.where(gaussians.given[0], samples, 0.0), gaussians.regression[0])
