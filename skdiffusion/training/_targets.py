r"""Noised rows and the velocities they teach.

A row x and noise e give :math:`z = x\cos\theta + e\sin\theta`; the velocity to learn is
:math:`E[x\sin\theta - e\cos\theta \mid z] = (E[x\mid z] - z\cos\theta)/\sin\theta`.

The plain target puts x itself in place of :math:`E[x\mid z]`. The stable target is the posterior mean
over a set of reference rows that contains x: the same expectation with less variance.

References
----------
Xu, Tong, Jaakkola (2023), Stable target field for reduced variance score estimation.
"""

import numpy as np
import torch
from scipy.special import ndtr, ndtri

CACHE_FLOATS = 100_000  # size of a block of weights: several passes over it stay in cache


def noise_angles(rng, n_steps, n_levels, mean, spread, sigma_range):
    """Angles of truncated log-normal noise levels, one from each of `n_levels` strata."""
    low, high = ndtr((np.log(sigma_range) - mean) / spread)
    u = (np.arange(n_levels) + rng.random((n_steps, n_levels))) / n_levels
    log_sigma = mean + spread * ndtri(low + (high - low) * u)
    return np.arctan(np.exp(np.clip(log_sigma, *np.log(sigma_range))))


def add_noise(rows, noise, cos, sin):
    """z = rows cos + noise sin for (members, levels, rows, d) tensors and (levels,) scales."""
    return rows * cos[:, None, None] + noise * sin[:, None, None]


def plain_target(rows, noise, cos, sin):
    """Velocity along each row's own path, rows sin - noise cos."""
    return rows * sin[:, None, None] - noise * cos[:, None, None]


class ReferenceRows:
    """Rows prepared for posterior means: shape (members, n_references, d), with log-weights."""

    def __init__(self, rows, log_weights=None):
        self._rows_and_ones = torch.cat([rows, torch.ones_like(rows[..., :1])], -1).transpose(1, 2).contiguous()
        half_norm = rows.square().sum(-1, keepdim=True) / 2
        self._log_weights = None if log_weights is None else log_weights[:, None, :]
        self._extended = torch.cat([rows, half_norm, torch.ones_like(half_norm)], -1).transpose(1, 2).contiguous()

    def stable_target(self, z, rows, cos, sin):
        """Velocity towards the posterior mean of the references, for z (members, levels, n_rows, d).

        `rows` are the clean rows of z, which must be among the references: measured from their own
        log-weight, the others cannot overflow, and no maximum need be searched.
        """
        members, levels, n_rows, d = z.shape
        scale = (cos / sin.square())[:, None, None]
        level_cos = cos[:, None, None]
        own = scale * ((z * rows).sum(-1, keepdim=True) - level_cos * rows.square().sum(-1, keepdim=True) / 2)
        left = torch.cat([z * scale, (-level_cos * scale).expand(members, levels, n_rows, 1), -own], -1)
        left = left.reshape(members, levels * n_rows, d + 2)
        # Few rows times many columns: the other way round the same product takes four times as long.
        sums = torch.empty(members, d + 1, levels * n_rows, dtype=z.dtype, device=z.device)
        step = max(16, CACHE_FLOATS // (members * self._extended.shape[2]))
        for start in range(0, levels * n_rows, step):
            logits = torch.bmm(left[:, start : start + step], self._extended)
            if self._log_weights is not None:
                logits += self._log_weights
            # Below exp(-60) a weight cannot be seen in float32, and subnormal numbers are ten times slower.
            weights = logits.clamp_(min=-60.0).exp_()
            sums[:, :, start : start + step] = torch.bmm(self._rows_and_ones, weights.transpose(1, 2))
        posterior_mean = (sums[:, :d] / sums[:, d:]).transpose(1, 2).reshape(z.shape)
        return (posterior_mean - z * level_cos) / sin[:, None, None]
