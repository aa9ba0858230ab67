"""Batches of a few steps, which depend on no parameter, so that another process may prepare them ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, Passes
from skdiffusion.diffusion.training._targets import TargetSamples, add_noise, plain_target

Batch = tuple[torch.Tensor, torch.Tensor]  # noised samples and targets, each (n_members, n_levels, n, d)


@dataclass(frozen=True)
class Piece:
    """What the batches of a few steps are made from.

    Parameters
    ----------
    drawn : tensor of shape (n_steps, n_members, n_drawn, d)
        Samples of each batch, the first of which are noised; all of them are targets.
    noised : bool tensor of the same shape or None
        Entries that get noise and are learned; None is all.
    theta : array of shape (n_steps, n_levels)
        Angles of the noise levels, which ascend.
    seed : int
        Of the noise, which is drawn on the device of the samples.
    """

    drawn: torch.Tensor
    noised: torch.Tensor | None
    theta: np.ndarray
    seed: int

    def of_members(self, members: slice) -> Piece:
        """The same for some members."""
        noised = None if self.noised is None else self.noised[:, members].clone()
        return replace(self, drawn=self.drawn[:, members].clone(), noised=noised)


@dataclass(frozen=True)
class Noising:
    """How drawn samples become batches.

    Parameters
    ----------
    n_members : int
        Of the ensemble, for all of which noise is drawn.
    members : slice
        Those of them that have batches.
    per_level : int
        Samples of a noise level.
    own : slice
        Those of them that this process trains on.
    targets : TargetSamples or None
        Of every batch; None where a batch brings its own.
    plain_below : float
        Noise level below which targets are plain.
    reference : GaussianReference or None
        From whose velocity networks learn the departure.
    """

    n_members: int
    members: slice
    per_level: int
    own: slice
    targets: TargetSamples | None
    plain_below: float
    reference: GaussianReference | None

    def batches(self, piece: Piece) -> Iterator[Batch]:
        """The batches of a piece, one after the other."""
        drawn, noised, theta, seed = piece.drawn, piece.noised, piece.theta, piece.seed
        shape = (self.n_members, theta.shape[1], self.per_level, drawn.shape[3])
        generator = torch.Generator(device=drawn.device).manual_seed(seed)
        scales = (torch.as_tensor(f(theta), dtype=drawn.dtype, device=drawn.device) for f in (np.cos, np.sin))
        n_plain, n_levels = (np.tan(theta) < self.plain_below).sum(1).tolist(), theta.shape[1]
        for i, (cos, sin) in enumerate(zip(*scales)):
            noise = torch.randn(shape, generator=generator, dtype=drawn.dtype, device=drawn.device)
            noise, x = noise[self.members, :, self.own], self._by_level(drawn[i], n_levels)
            if noised is not None:
                yield noised_beside_given(x, self._by_level(noised[i], n_levels), noise, cos, sin)
            else:
                yield self._batch(drawn[i], x, noise, cos, sin, n_plain[i])

    def of_members(self, members: slice) -> Noising:
        """The same for some members."""
        targets = None if self.targets is None else self.targets.of_members(members)
        return replace(self, members=members, targets=targets)

    def _by_level(self, drawn: torch.Tensor, n_levels: int) -> torch.Tensor:
        """The own samples of every level."""
        by_level = drawn[:, : n_levels * self.per_level].reshape(len(drawn), n_levels, self.per_level, -1)
        return by_level[:, :, self.own]

    def _batch(
        self,
        drawn: torch.Tensor,
        x: torch.Tensor,
        noise: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        n_plain: int,
    ) -> Batch:
        """Noised samples x, and targets, which are plain at the first levels."""
        z, target = add_noise(x, noise, cos, sin), plain_target(x, noise, cos, sin)
        if n_plain < len(cos) and x.shape[2]:
            targets, k = TargetSamples(drawn) if self.targets is None else self.targets, n_plain
            target[:, k:] = targets.stable_target(z[:, k:], x[:, k:], cos[k:], sin[k:])
        if self.reference is not None:
            target.sub_(self.reference.velocity(z, cos, sin))
        return z, target


def noised_beside_given(
    x: torch.Tensor, noised: torch.Tensor, noise: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> Batch:
    """Samples of which some entries are noised and the others given, and plain targets, NaN for the given entries."""
    z = torch.where(noised, add_noise(x, noise, cos, sin), x)
    return z, torch.where(noised, plain_target(x, noise, cos, sin), torch.nan)


def prepared(noising: Noising, piece: Piece) -> tuple[torch.Tensor, torch.Tensor]:
    """All batches of a piece."""
    z, target = zip(*noising.batches(piece))
    return torch.stack(z), torch.stack(target)


@dataclass(frozen=True)
class SquaredErrors:
    """The loss of velocities: mean squares of their errors, and the gradient.

    Parameters
    ----------
    has_given : bool
        Whether some targets are NaN, which do not count.
    own_share, counted_share : float
        Of the samples of a batch those that this process trains on, and of their entries those that count.
    """

    has_given: bool
    own_share: float
    counted_share: float

    def gradient(
        self, passes: Passes, z: torch.Tensor, features: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient of a batch, a buffer of the passes, and the losses of the members."""
        residual = passes.velocity(z, features) - target
        if self.has_given:
            residual.nan_to_num_(0.0)
        gradient = passes.gradient(residual * (2.0 * self.own_share / z[0].numel()))
        return gradient, residual.square_().flatten(1).mean(1) * (self.own_share / self.counted_share)


@dataclass(frozen=True)
class NoisedSteps:
    """Steps of some members on the batches of a few pieces.

    Parameters
    ----------
    noising : Noising
    pieces : list of Piece
    features : tensor of shape (n_steps, n_levels, n_noise_features)
    errors : SquaredErrors
    """

    noising: Noising
    pieces: list[Piece]
    features: torch.Tensor
    errors: SquaredErrors

    def gradients(self, network: FilmEnsemble) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Gradients and losses, step by step."""
        own = self.noising.own
        passes = Passes(network, self.features.shape[1], own.stop - own.start)
        batches = chain.from_iterable(map(self.noising.batches, self.pieces))
        for (z, target), features in zip(batches, self.features):
            yield self.errors.gradient(passes, z, features, target)
