r"""Noised samples and the velocities they teach.

A sample x and noise e give :math:`z = x\cos\theta + e\sin\theta`; the velocity to learn is
:math:`E[x\sin\theta - e\cos\theta \mid z] = (E[x\mid z] - z\cos\theta)/\sin\theta`.

The plain target puts x itself in place of :math:`E[x\mid z]`. The stable target is the posterior mean
over a set of reference samples that contains x: the same expectation with less variance.

References
----------
Xu, Tong, Jaakkola (2023), Stable target field for reduced variance score estimation.
"""

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import ndtr, ndtri

CACHE_FLOATS = 100_000  # size of a block of weights: several passes over it stay in cache
LOG_2 = np.log(2.0)
MAX_COMPARED = 2000


def noise_angles(rng, n_steps, n_levels, mean, spread, sigma_range):
    """Angles of truncated log-normal noise levels, one from each of `n_levels` strata."""
    low, high = ndtr((np.log(sigma_range) - mean) / spread)
    u = (np.arange(n_levels) + rng.random((n_steps, n_levels))) / n_levels
    log_sigma = mean + spread * ndtri(low + (high - low) * u)
    return np.arctan(np.exp(np.clip(log_sigma, *np.log(sigma_range))))


def add_noise(samples, noise, cos, sin):
    """z = samples cos + noise sin for (members, levels, samples, d) tensors and (levels,) scales."""
    return samples * cos[:, None, None] + noise * sin[:, None, None]


def plain_target(samples, noise, cos, sin):
    """Velocity along each sample's own path, samples sin - noise cos."""
    return samples * sin[:, None, None] - noise * cos[:, None, None]


def level_of_references(samples, n_references, rng):
    """Noise level below which the posterior mean is the sample itself, mostly: a quarter of the distance between samples.

    Other samples then weigh less than exp(-8), and a stable target is no steadier than the plain one.
    """
    samples = rng.permutation(samples)[: min(n_references, MAX_COMPARED)]
    if len(samples) < 2:
        return np.inf
    return np.median(cKDTree(samples).query(samples, k=2)[0][:, 1]) / 4


class ReferenceSamples:
    """Samples prepared for posterior means: shape (members, n_references, d), with log-weights."""

    def __init__(self, samples, log_weights=None):
        ones = torch.ones_like(samples[..., :1])
        self._samples_and_ones = torch.cat([samples, ones], -1).transpose(1, 2).contiguous()
        columns = [samples, samples.square().sum(-1, keepdim=True) / 2, ones]
        if log_weights is not None:
            columns.append(log_weights[..., None].clamp(min=-1e6) / LOG_2)
        self._extended = torch.cat(columns, -1).transpose(1, 2).contiguous()

    def stable_target(self, z, samples, cos, sin):
        """Velocity towards the posterior mean of the references, for z (members, levels, n_samples, d).

        `samples` are the clean samples of z, which must be among the references: measured from their own
        log-weight, the others cannot overflow, and no maximum need be searched.
        """
        members, levels, n_samples, d = z.shape
        scale = (cos / sin.square())[:, None, None] / LOG_2
        level_cos = cos[:, None, None]
        own = scale * ((z * samples).sum(-1, keepdim=True) - level_cos * samples.square().sum(-1, keepdim=True) / 2)
        left = [z * scale, (-level_cos * scale).expand(members, levels, n_samples, 1), -own]
        if self._extended.shape[1] == d + 3:
            left.append(torch.ones_like(own))
        left = torch.cat(left, -1).view(members, levels * n_samples, -1)
        # Few samples times many features: the other way round the same product takes four times as long.
        sums = torch.empty(members, d + 1, levels * n_samples, dtype=z.dtype, device=z.device)
        n_references = self._extended.shape[2]
        step = max(16, CACHE_FLOATS // (members * n_references))
        buffer = torch.empty(members * min(step, levels * n_samples) * n_references, dtype=z.dtype, device=z.device)
        for start in range(0, levels * n_samples, step):
            block = left[:, start : start + step]
            weights = buffer[: members * block.shape[1] * n_references].view(members, -1, n_references)
            torch.bmm(block, self._extended, out=weights)
            # Below 2 ** -86 a weight cannot be seen in float32, and subnormal numbers are ten times slower. Powers
            # of two cost half of what powers of e do.
            weights.clamp_(min=-86.0).exp2_()
            sums[:, :, start : start + step] = torch.bmm(self._samples_and_ones, weights.transpose(1, 2))
        posterior_mean = (sums[:, :d] / sums[:, d:]).transpose(1, 2).reshape(z.shape)
        return (posterior_mean - z * level_cos) / sin[:, None, None]
