r"""Noised samples and the velocities that networks learn from them.

A sample x and noise e give :math:`z = x\cos\theta + e\sin\theta`; the velocity to learn is
:math:`E[x\sin\theta - e\cos\theta \mid z] = (E[x\mid z] - z\cos\theta)/\sin\theta`.

The plain target puts x itself in place of :math:`E[x\mid z]`. The stable target is the posterior mean over a set of
target samples that contains x: the same expectation with less variance.

References
----------
Xu, Tong, Jaakkola (2023), Stable target field for reduced variance score estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import ndtr, ndtri

from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets

CACHE_FLOATS = 100_000  # size of a block of weights: several passes over it stay in cache
MIN_ROWS = 16  # of a block
LOG_2 = np.log(2.0)
MAX_COMPARED = 2000  # samples whose nearest neighbors are searched


def noise_angles(rng: np.random.Generator, shape: tuple[int, int], plan: TrainingPlan) -> np.ndarray:
    """Angles of truncated log-normal noise levels, of shape (n_steps, n_levels): one from each of `n_levels` strata."""
    mean, spread, sigma_range = plan.noise_mean, plan.noise_spread, plan.sigma_range
    low, high = ndtr((np.log(sigma_range) - mean) / spread)
    u = (np.arange(shape[1]) + rng.random(shape)) / shape[1]
    log_sigma = mean + spread * ndtri(low + (high - low) * u)
    return np.arctan(np.exp(np.clip(log_sigma, *np.log(sigma_range))))


def add_noise(samples: torch.Tensor, noise: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """z = samples cos + noise sin for (..., n_levels, n, d) tensors and (..., n_levels) scales."""
    return (samples * cos[..., None, None]).add_(noise * sin[..., None, None])


def plain_target(samples: torch.Tensor, noise: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Velocity along the own path of each sample, samples sin - noise cos."""
    return (samples * sin[..., None, None]).sub_(noise * cos[..., None, None])


def plain_target_level(samples: np.ndarray, n_targets: int, rng: np.random.Generator) -> float:
    """Noise level below which a plain target is as steady as a stable one: a quarter of the distance between samples.

    The posterior mean is then mostly the sample itself: all others weigh less than exp(-8).
    """
    samples = rng.permutation(samples)[: min(n_targets, MAX_COMPARED)]
    if len(samples) < 2:
        return np.inf
    return float(np.median(cKDTree(samples).query(samples, k=2)[0][:, 1]) / 4)


class TargetSamples:
    """Samples prepared for posterior means: shape (..., n_members, n_targets, d), with log-weights."""

    def __init__(self, samples: torch.Tensor, log_weights: torch.Tensor | None = None) -> None:
        ones = torch.ones_like(samples[..., :1])
        self._samples_and_ones = torch.cat([samples, ones], -1).mT.contiguous()
        columns = [samples, samples.square().sum(-1, keepdim=True) / 2, ones]
        if log_weights is not None:
            columns.append(log_weights[..., None].clamp(min=-1e6) / LOG_2)
        self._extended = torch.cat(columns, -1).mT.contiguous()
        # As many samples at a time whatever the group of members, which then have the same bits.
        members, n_targets = samples.shape[-3:-1]
        self._step = max(MIN_ROWS, CACHE_FLOATS // (members * n_targets) // MIN_ROWS * MIN_ROWS)

    @property
    def n_samples(self) -> int:
        """Target samples of a member."""
        return self._extended.shape[-1]

    def __getitem__(self, index: int | slice) -> TargetSamples:
        """The target samples of a step, or of some members."""
        part = copy(self)
        part._samples_and_ones, part._extended = self._samples_and_ones[index], self._extended[index]
        return part

    def factors(self, z: torch.Tensor, samples: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """What z of shape (..., n_members, n_levels, n, d) multiplies the target samples by, in their log-weights.

        `samples` are the clean samples of z, which must be among the target samples: relative to their own log-weight
        no other can overflow, and no maximum need be searched.
        """
        scale, level_cos = (cos / sin.square())[..., None, None] / LOG_2, cos[..., None, None]
        own = scale * ((z * samples).sum(-1, keepdim=True) - level_cos * samples.square().sum(-1, keepdim=True) / 2)
        parts = [z * scale, (-level_cos * scale).expand(own.shape), -own]
        if self._extended.shape[-2] == z.shape[-1] + 3:
            parts.append(torch.ones_like(own))
        return torch.cat(parts, -1)

    def posterior_mean(self, factors: torch.Tensor) -> torch.Tensor:
        """Posterior means of the target samples for `factors` of shape (n_members, n_levels, n, n_factors)."""
        members, levels, n_samples, _ = factors.shape
        n_rows, n_targets, step = levels * n_samples, self.n_samples, self._step
        left = factors.reshape(members, n_rows, -1)
        # Few samples times many features: the other way round the same product takes four times as long.
        sums = factors.new_empty(members, self._samples_and_ones.shape[1], n_rows)
        buffer = factors.new_empty(members * min(step, n_rows) * n_targets)
        for start in range(0, n_rows, step):
            block = left[:, start : start + step]
            weights = buffer[: members * block.shape[1] * n_targets].view(members, -1, n_targets)
            torch.bmm(block, self._extended, out=weights)
            # Below 2 ** -86 a weight cannot be seen in float32, and subnormal numbers are ten times slower. Powers of
            # two cost half of what powers of e do.
            weights.clamp_(min=-86.0).exp2_()
            sums[:, :, start : start + step] = torch.bmm(self._samples_and_ones, weights.transpose(1, 2))
        return (sums[:, :-1] / sums[:, -1:]).transpose(1, 2).reshape(members, levels, n_samples, -1)

    def stable_target(
        self, z: torch.Tensor, samples: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        """Velocity towards the posterior mean of the target samples, for z of shape (n_members, n_levels, n, d)."""
        return towards(self.posterior_mean(self.factors(z, samples, cos, sin)), z, cos, sin)


def towards(mean: torch.Tensor, z: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Velocity of z towards these posterior means."""
    return (mean - z * cos[..., None, None]).div_(sin[..., None, None])


def target_samples(sets: TrainingSets, index_sets: Sequence[np.ndarray]) -> TargetSamples:
    """All samples of each member's index set as its target samples; shorter sets are padded with weight zero."""
    samples, longest = sets.samples, max(len(t) for t in index_sets)
    index = np.stack([np.resize(t, longest) for t in index_sets])
    inside = np.arange(longest) < np.array([[len(t)] for t in index_sets])
    with np.errstate(divide="ignore"):
        log_weights = np.where(inside, np.log(sets.sample_weight[index]), -np.inf)
    weights = torch.as_tensor(log_weights).to(samples.device, samples.dtype)
    return TargetSamples(samples[torch.as_tensor(index)], weights)
