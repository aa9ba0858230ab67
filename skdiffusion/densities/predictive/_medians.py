r"""Medians of draws in the place of some draws: a blend of calibrated distributions is broader than what it predicts.

With the distribution function F of a blend of density p, and a share :math:`\lambda` of medians of three draws,

.. math:: \tilde p(z) = p(z)\,[1 - \lambda + 6 \lambda F(z) (1 - F(z))], \qquad
    \tilde F(z) = (1 - \lambda) F(z) + \lambda F(z)^2 (3 - 2 F(z)) ,

a mixture of two beta distributions of F(z), which is uniform where the blend is right. The share is that of greatest
out-of-fold log-density.

References
----------
Gneiting and Ranjan (2013), Combining predictive distributions: linear pools of calibrated distributions are too broad,
and beta distributions of their values mend it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skdiffusion.densities import choose_and_rescale, stacking_weights
from skdiffusion.densities.predictive._distributions import Distributions, TargetNoise
from skdiffusion.densities.predictive._pool import BlendedDistributions

PRIOR = 1.0  # samples that are single draws, beside those of the fit: no place has a density of zero
NEWTON_STEPS = 3


def median_share(cdf: np.ndarray, sample_weight: np.ndarray) -> float:
    """The share of medians of greatest log-density, from out-of-fold distribution functions of a blend (n_samples,)."""
    log_densities = np.stack([np.zeros(len(cdf)), np.log(6 * np.clip(cdf * (1 - cdf), 1e-300, None))], axis=1)
    return float(stacking_weights(log_densities, sample_weight, prior_samples=np.array([PRIOR, 0.0]))[1])


@dataclass(frozen=True)
class WithMedians(Distributions):
    """Distributions of draws of a blend, of which some are medians of three.

    Parameters
    ----------
    pool : BlendedDistributions
    share : float
        Of the medians, in [0, 1).
    """

    pool: BlendedDistributions
    share: float

    def __len__(self) -> int:
        return len(self.pool)

    def _raised(self, u: np.ndarray) -> np.ndarray:
        """Distribution functions from those of the blend."""
        return u * (1 - self.share + self.share * u * (3 - 2 * u))

    def _slope(self, u: np.ndarray) -> np.ndarray:
        return 1 - self.share + 6 * self.share * u * (1 - u)

    def _lowered(self, probabilities: np.ndarray) -> np.ndarray:
        """The inverse: the root of a cubic by its sine, and by Newton's method for the digits of small ones."""
        p = np.minimum(probabilities, 1 - probabilities)
        linear = (1 + self.share / 2) / (2 * self.share)
        reach = 2 * np.sqrt(linear / 3)
        sine = np.clip(4 * (p - 0.5) / (2 * self.share * reach**3), -1.0, 1.0)
        u = np.clip(0.5 + reach * np.sin(np.arcsin(sine) / 3), 0.0, 0.5)
        for _ in range(NEWTON_STEPS):
            u = np.clip(u - (self._raised(u) - p) / self._slope(u), 0.0, 0.5)
        return np.where(probabilities > 0.5, 1 - u, u)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        return self.pool.log_prob(z) + np.log(self._slope(self.pool.cdf(z[:, None])[:, 0]))

    def cdf(self, z: np.ndarray) -> np.ndarray:
        return self._raised(self.pool.cdf(z))

    def fast_cdf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        cdf = self.pool.fast_cdf()
        return lambda z, samples: self._raised(np.clip(cdf(z, samples), 0.0, 1.0))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the blend, in rising order, weighted by what the intervals that they stand for have."""
        z, shares = self.pool.nodes()
        order = np.argsort(z, axis=1, kind="stable")
        z, shares = (np.take_along_axis(a, order, axis=1) for a in (z, shares))
        below = np.minimum(np.cumsum(shares, axis=1), 1.0)
        below[:, -1] = 1.0
        return z, np.diff(self._raised(below), axis=1, prepend=0.0)

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1)."""
        return self.pool.quantiles(self._lowered(probabilities))

    def sample(self, noise: TargetNoise) -> np.ndarray:
        which, choice = choose_and_rescale(np.array([1 - self.share, self.share]), noise.choice)
        out, medians = self.pool.sample(noise._replace(choice=choice)), np.flatnonzero(which == 1)
        if len(medians):
            pool = self.pool.take(medians)
            others = [pool.sample(other.take(medians)) for other in noise.others]
            out[medians] = np.median([out[medians], *others], axis=0)
        return out

    def take(self, samples: np.ndarray) -> WithMedians:
        return WithMedians(self.pool.take(samples), self.share)
