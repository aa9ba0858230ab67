"""Noised residuals of random splits of the features, with the departures that one network for all splits learns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.collective import collective
from skdiffusion.diffusion.networks import Passes, SplitGaussians, noise_features
from skdiffusion.diffusion.training._plans import SplitPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._targets import noise_angles

N_SPLITS = 256  # of which those of the batches of a draw are


def random_splits(
    rng: np.random.Generator, count: int, shape: tuple[int, int], plan: SplitPlan
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the targets (count, n_targets) and of the given features (count, n_features) of random splits.

    Shares of the plan are all features as targets, some of them as targets and the others absent, and some given
    while others are absent; the rest are targets given all others. Sizes of the parts are uniform. Features that are
    never targets are given, but for a share in which each of them is given or absent at random.

    Parameters
    ----------
    rng : numpy Generator
    count : int
    shape : (n_features, n_targets)
    plan : SplitPlan
    """
    n_features, d = shape
    kind, order = rng.random(count), np.argsort(rng.random((count, d)), axis=1)
    rank = np.argsort(order, axis=1)
    # With a single feature that can be a target, it always is.
    n_targets = rng.integers(1, max(d, 2), count)
    left = d - n_targets
    # A single feature that is left is given.
    n_given = 1 + (rng.random(count) * np.maximum(left - 1, 0)).astype(int)
    ends = np.cumsum([plan.joint_share, plan.marginal_share, plan.absent_share])
    joint, marginal, absent = kind < ends[0], (ends[0] <= kind) & (kind < ends[1]), (ends[1] <= kind) & (kind < ends[2])
    n_targets = np.where(joint, d, n_targets)
    n_given = np.where(joint | marginal, 0, np.where(absent, np.minimum(n_given, left), left))
    targets = rank < n_targets[:, None]
    given = np.zeros((count, n_features), dtype=bool)
    given[:, :d] = (rank >= n_targets[:, None]) & (rank < (n_targets + n_given)[:, None])
    some = rng.random((count, 1)) < plan.absent_share
    given[:, d:] = ~some | (rng.random((count, n_features - d)) < 0.5)
    return targets, given


class SplitSpace(NamedTuple):
    """Features whose splits are learned: their covariance, and how many of them, the first ones, can be targets."""

    covariance: np.ndarray
    n_targets: int


class Noised(NamedTuple):
    """What networks see, and what they learn from it, of samples each with a split of its own.

    Tensors with axes (n_members, n_levels, n_samples, ...).
    """

    seen: Tensor
    target: Tensor  # zero for features that are no targets
    weight: Tensor  # (n_samples, n_targets), of the squared errors


class SplitTensors:
    """The Gaussians of several splits as tensors."""

    def __init__(self, gaussians: SplitGaussians, like: Tensor):
        self.targets, self.given, self.regression, self.values, self.axes = (
            torch.as_tensor(part, dtype=like.dtype, device=like.device) for part in gaussians
        )

    @classmethod
    def random(
        cls, rng: np.random.Generator, count: int, space: SplitSpace, plan: SplitPlan, like: Tensor
    ) -> SplitTensors:
        """Those of random splits."""
        masks = random_splits(rng, count, (len(space.covariance), space.n_targets), plan)
        return cls(SplitGaussians.of(space.covariance, *masks), like)

    def noised(self, samples: Tensor, noise: Tensor, cos: Tensor, sin: Tensor, which: Tensor) -> Noised:
        """Noised residuals of the targets with their departures from the Gaussian velocity.

        Parameters
        ----------
        samples : tensor of shape (n_members, n_levels, n_samples, n_features)
        noise : tensor of shape (n_members, n_levels, n_samples, n_targets)
        cos, sin : tensors of shape (n_levels,)
        which : tensor of shape (n_samples,)
            Numbers of the splits of the samples.
        """
        members, levels, n, _ = samples.shape
        targets, given = self.targets[which], self.given[which]

        def each(x: Tensor, matrices: Tensor) -> Tensor:
            """Products with the matrix of the split of each sample."""
            by_sample = x.permute(2, 0, 1, 3).reshape(n, members * levels, -1)
            return torch.bmm(by_sample, matrices).view(n, members, levels, -1).permute(1, 2, 0, 3)

        known = samples * given
        mean, d = each(known, self.regression[which]), targets.shape[1]
        residual = samples[..., :d] * targets - mean
        cos, sin = cos[:, None, None], sin[:, None, None]
        z = (residual * cos + noise * sin) * targets
        values, axes = self.values[which], self.axes[which]
        gains = sin * cos * (values - 1) / (values * cos**2 + sin**2)
        reference = each(each(z, axes) * gains, axes.transpose(1, 2))
        target = (residual * sin - noise * cos - reference) * targets
        masks = torch.cat([targets, given], 1).expand(members, levels, -1, -1)
        known = torch.cat([known[..., :d] + mean, known[..., d:]], -1)
        weight = targets / targets.sum(1, keepdim=True).clamp(min=1).sqrt() * d**0.5
        return Noised(torch.cat([z, known, masks], -1), target, weight)


class SplitBatches:
    """Batches for the steps of a training run; `draw` draws the samples, levels and splits of several steps at once.

    The samples of a level have a split each, the same at every level and for every member. Where a plan is `mirrored`
    there are half as many, each with a noise and with its opposite. Several processes draw the same batches, and each
    has its share `own` of the samples of every level.
    """

    def __init__(self, sets: TrainingSets, space: SplitSpace, plan: SplitPlan, rng: np.random.Generator):
        self.sets, self.space, self.plan, self.rng = sets, space, plan, rng
        self.times = 2 if plan.mirrored else 1
        self.n_drawn = max(1, plan.batch_size // plan.n_levels // self.times)  # different samples of a level
        self.own = collective().share(self.n_drawn)
        self.per_level, self.n_own = (self.times * n for n in (self.n_drawn, self.own.stop - self.own.start))
        self._streams = sets.streams(sets.training, rng)
        seed = int(rng.integers(2**62))
        self._noise = torch.Generator(device=sets.samples.device).manual_seed(seed)

    def draw(self, n_batches: int) -> None:
        """Draw what the next batches are made of, but for their noise."""
        samples, plan, rng = self.sets.samples, self.plan, self.rng
        theta = noise_angles(rng, (n_batches, plan.n_levels), plan)
        self._features = noise_features(theta.ravel(), samples.dtype, samples.device).view(n_batches, plan.n_levels, -1)
        self._cos, self._sin = (
            torch.as_tensor(a, dtype=samples.dtype, device=samples.device) for a in (np.cos(theta), np.sin(theta))
        )
        self._splits = SplitTensors.random(rng, N_SPLITS, self.space, plan, samples)
        self._which = torch.as_tensor(rng.integers(N_SPLITS, size=(n_batches, self.n_drawn)))
        size = plan.n_levels * self.n_drawn
        picks = np.stack([s.take(n_batches * size).reshape(n_batches, size) for s in self._streams], 1)
        self._picks = torch.as_tensor(picks).to(samples.device)

    def __getitem__(self, i: int) -> tuple[Tensor, Noised]:
        """Features of the noise levels, and the noised samples, of batch i of a draw; asked for once."""
        samples, levels = self.sets.samples, self.plan.n_levels
        x = samples[self._picks[i]].view(-1, levels, self.n_drawn, samples.shape[1])[:, :, self.own]
        noise, which = self._draw_noise(), self._which[i][self.own]
        if self.plan.mirrored:
            x, noise, which = torch.cat([x, x], 2), torch.cat([noise, -noise], 2), torch.cat([which, which])
        return self._features[i], self._splits.noised(x, noise, self._cos[i], self._sin[i], which)

    def skip(self) -> None:
        """Draw what a batch draws, and leave it."""
        self._draw_noise()

    def _draw_noise(self) -> Tensor:
        """The own noise of a batch; that of the others is drawn too."""
        samples = self.sets.samples
        shape = len(self.sets.training), self.plan.n_levels, self.n_drawn, self.space.n_targets
        noise = torch.randn(shape, generator=self._noise, dtype=samples.dtype, device=samples.device)
        return noise[:, :, self.own]


class SplitValidation:
    """Validation samples of every member with fixed noise and splits, so that the losses of checks compare."""

    def __init__(self, sets: TrainingSets, space: SplitSpace, plan: SplitPlan, rng: np.random.Generator) -> None:
        samples, levels = sets.samples, plan.validation_levels
        self.n_draws = max(1, plan.validation_draws // levels)
        picks = np.stack([s.take(levels * self.n_draws) for s in sets.streams(sets.validation, rng)])
        x = samples[torch.as_tensor(picks).to(samples.device)].view(len(picks), levels, self.n_draws, -1)
        theta = noise_angles(rng, (1, levels), plan)[0]
        self.features = noise_features(theta, samples.dtype, samples.device)
        noise = rng.standard_normal((*x.shape[:3], space.n_targets))
        e, cos, sin = (
            torch.as_tensor(a, dtype=samples.dtype, device=samples.device)
            for a in (noise, np.cos(theta), np.sin(theta))
        )
        splits = SplitTensors.random(rng, N_SPLITS, space, plan, samples)
        self.noised = splits.noised(x, e, cos, sin, torch.arange(self.n_draws) % N_SPLITS)

    def losses(self, passes: Passes) -> np.ndarray:
        """Losses of the members, shape (n_members,), by passes of one level with `n_draws` samples."""
        seen, target, weight = self.noised
        total = torch.zeros(len(seen), dtype=torch.float64)
        for k in range(len(self.features)):
            level = slice(k, k + 1)
            error = passes.velocity(seen[:, level], self.features[level]) - target[:, level]
            total += (error.square() * weight).mean((1, 2, 3)).double().cpu()
        return total.numpy() / len(self.features)
