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
    """z = samples cos + noise sin for (n_members, n_levels, n, d) tensors and (n_levels,) scales."""
    return samples * cos[:, None, None] + noise * sin[:, None, None]


def plain_target(samples: torch.Tensor, noise: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Velocity along the own path of each sample, samples sin - noise cos."""
    return samples * sin[:, None, None] - noise * cos[:, None, None]


def plain_target_level(samples: np.ndarray, n_targets: int, rng: np.random.Generator) -> float:
    """Noise level below which a plain target is as steady as a stable one: a quarter of the distance between samples.

    The posterior mean is then mostly the sample itself: all others weigh less than exp(-8).
    """
    samples = rng.permutation(samples)[: min(n_targets, MAX_COMPARED)]
    if len(samples) < 2:
        return np.inf
    return float(np.median(cKDTree(samples).query(samples, k=2)[0][:, 1]) / 4)


class TargetSamples:
    """Samples prepared for posterior means: shape (n_members, n_targets, d), with log-weights."""

    def __init__(self, samples: torch.Tensor, log_weights: torch.Tensor | None = None) -> None:
        ones = torch.ones_like(samples[..., :1])
        self._samples_and_ones = torch.cat([samples, ones], -1).transpose(1, 2).contiguous()
        columns = [samples, samples.square().sum(-1, keepdim=True) / 2, ones]
        if log_weights is not None:
            columns.append(log_weights[..., None].clamp(min=-1e6) / LOG_2)
        self._extended = torch.cat(columns, -1).transpose(1, 2).contiguous()
        # As many samples at a time whatever the group of members, which then have the same bits.
        self._step = max(MIN_ROWS, CACHE_FLOATS // (len(samples) * samples.shape[1]) // MIN_ROWS * MIN_ROWS)

    @property
    def n_samples(self) -> int:
        """Target samples of a member."""
        return self._extended.shape[2]

    def of_members(self, members: slice) -> TargetSamples:
        """The target samples of some members."""
        part = copy(self)
        part._samples_and_ones, part._extended = self._samples_and_ones[members], self._extended[members]
        return part

    def stable_target(
        self, z: torch.Tensor, samples: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        """Velocity towards the posterior mean of the target samples, for z of shape (n_members, n_levels, n, d).

        `samples` are the clean samples of z, which must be among the target samples: relative to their own log-weight
        no other can overflow, and no maximum need be searched.
        """
        members, levels, n_samples, d = z.shape
        scale = (cos / sin.square())[:, None, None] / LOG_2
        level_cos = cos[:, None, None]
        own = scale * ((z * samples).sum(-1, keepdim=True) - level_cos * samples.square().sum(-1, keepdim=True) / 2)
        factors = [z * scale, (-level_cos * scale).expand(members, levels, n_samples, 1), -own]
        if self._extended.shape[1] == d + 3:
            factors.append(torch.ones_like(own))
        left = torch.cat(factors, -1).view(members, levels * n_samples, -1)
        # Few samples times many features: the other way round the same product takes four times as long.
        sums = torch.empty(members, d + 1, levels * n_samples, dtype=z.dtype, device=z.device)
        n_targets, step = self._extended.shape[2], self._step
        buffer = torch.empty(members * min(step, levels * n_samples) * n_targets, dtype=z.dtype, device=z.device)
        for start in range(0, levels * n_samples, step):
            block = left[:, start : start + step]
            weights = buffer[: members * block.shape[1] * n_targets].view(members, -1, n_targets)
            torch.bmm(block, self._extended, out=weights)
            # Below 2 ** -86 a weight cannot be seen in float32, and subnormal numbers are ten times slower. Powers of
            # two cost half of what powers of e do.
            weights.clamp_(min=-86.0).exp2_()
            sums[:, :, start : start + step] = torch.bmm(self._samples_and_ones, weights.transpose(1, 2))
        posterior_mean = (sums[:, :d] / sums[:, d:]).transpose(1, 2).reshape(z.shape)
        return (posterior_mean - z * level_cos) / sin[:, None, None]


def target_samples(sets: TrainingSets, index_sets: Sequence[np.ndarray]) -> TargetSamples:
    """All samples of each member's index set as its target samples; shorter sets are padded with weight zero."""
    samples, longest = sets.samples, max(len(t) for t in index_sets)
    index = np.stack([np.resize(t, longest) for t in index_sets])
    inside = np.arange(longest) < np.array([[len(t)] for t in index_sets])
    with np.errstate(divide="ignore"):
        log_weights = np.where(inside, np.log(sets.sample_weight[index]), -np.inf)
    weights = torch.as_tensor(log_weights).to(samples.device, samples.dtype)
    return TargetSamples(samples[torch.as_tensor(index)], weights)
