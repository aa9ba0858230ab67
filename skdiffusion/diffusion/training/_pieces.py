"""Batches of a few steps, which depend on no parameter, so that another process may prepare them ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, Passes
from skdiffusion.diffusion.training._targets import TargetSamples, add_noise, plain_target, towards

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
        drawn, (n_steps, n_levels) = piece.drawn, piece.theta.shape
        shape = (n_steps, self.n_members, n_levels, self.per_level, drawn.shape[3])
        noise = torch.empty(shape, dtype=drawn.dtype, device=drawn.device)
        generator = torch.Generator(device=drawn.device).manual_seed(piece.seed)
        for of_step in noise:
            of_step.normal_(generator=generator)
        noise, x = noise[:, self.members, :, self.own], self._by_level(drawn, n_levels)
        # What is small and done to every sample is done for all steps at once.
        cos, sin = (torch.as_tensor(f(piece.theta), dtype=x.dtype, device=x.device)[:, None] for f in (np.cos, np.sin))
        if piece.noised is not None:
            return zip(*noised_beside_given(x, self._by_level(piece.noised, n_levels), noise, cos, sin))
        z, target = add_noise(x, noise, cos, sin), plain_target(x, noise, cos, sin)
        n_plain = (np.tan(piece.theta) < self.plain_below).sum(1).tolist()
        if min(n_plain) < n_levels and x.shape[3]:
            targets = TargetSamples(drawn) if self.targets is None else self.targets
            factors, mean = targets.factors(z, x, cos, sin), torch.empty_like(z)
            for i, k in enumerate(n_plain):
                if k < n_levels:
                    mean[i, :, k:] = (targets if self.targets else targets[i]).posterior_mean(factors[i, :, k:])
            stable = towards(mean, z, cos, sin)
            for i, k in enumerate(n_plain):
                target[i, :, k:] = stable[i, :, k:]
        if self.reference is not None:
            target.sub_(self.reference.velocity(z, cos, sin))
        return zip(z, target)

    def of_members(self, members: slice) -> Noising:
        """The same for some members."""
        targets = None if self.targets is None else self.targets[members]
        return replace(self, members=members, targets=targets)

    def _by_level(self, drawn: torch.Tensor, n_levels: int) -> torch.Tensor:
        """The own samples of every level."""
        first = drawn[:, :, : n_levels * self.per_level]
        return first.reshape(*first.shape[:2], n_levels, self.per_level, -1)[..., self.own, :]


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
