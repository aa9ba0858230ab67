"""Batches of a few steps, which depend on no parameter, so that another process may prepare them ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from skdiffusion.diffusion.networks import GaussianReference
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


@dataclass(frozen=True)
class Noising:
    """How drawn samples become batches.

    Parameters
    ----------
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

    per_level: int
    own: slice
    targets: TargetSamples | None
    plain_below: float
    reference: GaussianReference | None

    def batches(self, piece: Piece) -> Iterator[Batch]:
        """The batches of a piece, one after the other."""
        drawn, noised, theta, seed = piece.drawn, piece.noised, piece.theta, piece.seed
        shape = (drawn.shape[1], theta.shape[1], self.per_level, drawn.shape[3])
        generator = torch.Generator(device=drawn.device).manual_seed(seed)
        for i, angles in enumerate(theta):
            noise = torch.randn(shape, generator=generator, dtype=drawn.dtype, device=drawn.device)[:, :, self.own]
            cos, sin = (
                torch.as_tensor(scale, dtype=drawn.dtype, device=drawn.device)
                for scale in (np.cos(angles), np.sin(angles))
            )
            x = self._by_level(drawn[i], shape)
            if noised is not None:
                yield noised_beside_given(x, self._by_level(noised[i], shape), noise, cos, sin)
            else:
                yield self._batch(drawn[i], x, noise, cos, sin, int((np.tan(angles) < self.plain_below).sum()))

    def _by_level(self, drawn: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The own samples of every level."""
        return drawn[:, : shape[1] * shape[2]].reshape(shape)[:, :, self.own]

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


def prepared(noising: Noising, drawn: np.ndarray, theta: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The batches of a piece as arrays, which processes exchange faster than tensors."""
    piece = Piece(torch.as_tensor(drawn), None, theta, seed)
    z, target = zip(*noising.batches(piece))
    return torch.stack(z).numpy(), torch.stack(target).numpy()
