r"""Sharper draws of a blend, which is broader than what it predicts where its components are calibrated.

With the distribution function F of a blend of density p, a share :math:`\lambda` of medians of three draws and a share
:math:`|\mu|` of the greater of two draws (:math:`\mu > 0`) or of the lesser (:math:`\mu < 0`),

.. math:: \tilde p = p\,[1 - \lambda + 6 \lambda F (1 - F) + \mu (2 F - 1)], \qquad
    \tilde F = (1 - \lambda) F + \lambda F^2 (3 - 2 F) + \mu F (F - 1) ,

a mixture of beta distributions of F, which is uniform where the blend is right. Medians of skewed draws have another
mean than the draws. In terms of the L-moments of the blend, that of a draw of the mixture is :math:`\ell_1 - \lambda
\ell_3 + \mu \ell_2`, so that :math:`\mu = \lambda \ell_3 / \ell_2` keeps it, with averages over the samples of the fit
in the place of the L-moments of each. The share is that of greatest out-of-fold log-density.

References
----------
Gneiting and Ranjan (2013), Combining predictive distributions: linear pools of calibrated distributions are too broad,
and beta distributions of their values mend it.

Hosking (1990), L-moments: analysis and estimation of distributions using linear combinations of order statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skdiffusion.densities import choose_and_rescale, stacking_weights
from skdiffusion.densities.predictive._distributions import Distributions, TargetNoise
from skdiffusion.densities.predictive._pool import BlendedDistributions

PRIOR = 1.0  # samples that are single draws, beside those of the fit: no place has a density of zero
NEWTON_STEPS = 8


@dataclass(frozen=True)
class Sharpening:
    """Shares of draws that are order statistics of several draws, as functions of the distribution function.

    Parameters
    ----------
    medians : float
        Share of the medians of three, in (0, 1).
    extremes : float
        Share of the greater of two, or negative that of the lesser; both shares sum to less than 1.
    """

    medians: float
    extremes: float

    @classmethod
    def fit(cls, cdf: np.ndarray, sample_weight: np.ndarray, l_skewness: float) -> Sharpening:
        """The shares of greatest log-density that keep the mean.

        Parameters
        ----------
        cdf : array of shape (n_samples,)
            Out-of-fold distribution functions of the blend.
        sample_weight : array of shape (n_samples,)
        l_skewness : float
            Of the blend, in (-1, 1).
        """
        whole = 1 + abs(l_skewness)
        u = np.clip(cdf, 1e-300, 1.0)
        extreme = u if l_skewness >= 0 else 1 - u
        sharper = np.maximum(6 * u * (1 - u) + 2 * abs(l_skewness) * extreme, 1e-300) / whole
        log_densities = np.stack([np.zeros(len(cdf)), np.log(sharper)], axis=1)
        share = float(stacking_weights(log_densities, sample_weight, prior_samples=np.array([PRIOR, 0.0]))[1])
        return cls(share / whole, share * l_skewness / whole)

    @property
    def share(self) -> float:
        """Of draws that are no single ones."""
        return self.medians + abs(self.extremes)

    def density(self, u: np.ndarray) -> np.ndarray:
        """Factors of the density where the distribution function of the blend is u."""
        return 1 - self.medians + 6 * self.medians * u * (1 - u) + self.extremes * (2 * u - 1)

    def cdf(self, u: np.ndarray) -> np.ndarray:
        """Distribution functions, where those of the blend are u."""
        return u * (1 - self.medians + self.medians * u * (3 - 2 * u) + self.extremes * (u - 1))

    def inverse(self, probabilities: np.ndarray) -> np.ndarray:
        """The u of given probabilities in (0, 1), from the nearer end, so that small ones keep their digits."""
        mirrored = Sharpening(self.medians, -self.extremes)
        upper = probabilities > self.cdf(np.array(0.5))
        with np.errstate(invalid="ignore"):
            return np.where(upper, 1 - mirrored._of_lower(1 - probabilities), self._of_lower(probabilities))

    def _of_lower(self, probabilities: np.ndarray) -> np.ndarray:
        """The u in (0, 0.5): the root of the quadratic terms, then Newton's method for the cubic."""
        linear = 1 - self.medians - self.extremes
        quadratic = 3 * self.medians + self.extremes
        root = np.sqrt(linear**2 + 4 * quadratic * probabilities)
        u = np.clip(2 * probabilities / (linear + root), 0.0, 0.5)
        for _ in range(NEWTON_STEPS):
            u = np.clip(u - (self.cdf(u) - probabilities) / self.density(u), 0.0, 0.5)
        return u


def l_skewness(y: np.ndarray, mass: np.ndarray, sample_weight: np.ndarray) -> float:
    """The ratio of the third to the second L-moment of distributions on rising places, each averaged over samples.

    Parameters
    ----------
    y, mass : array of shape (n_samples, n_places)
    sample_weight : array of shape (n_samples,)
    """
    ends = _ends(mass)
    moments = [
        sample_weight @ (y * np.diff(integral(ends), axis=1, prepend=0.0)).sum(1)
        for integral in (lambda u: u * (u - 1), lambda u: u * (u - 1) * (2 * u - 1))
    ]
    return float(np.clip(moments[1] / moments[0], -1.0, 1.0)) if moments[0] > 0 else 0.0


def _ends(mass: np.ndarray) -> np.ndarray:
    """Distribution functions at the ends of the intervals that places with this mass stand for, the last one 1."""
    ends = np.minimum(np.cumsum(mass, axis=1), 1.0)
    ends[:, -1] = 1.0
    return ends


@dataclass(frozen=True)
class SharpenedDistributions(Distributions):
    """Distributions of draws of a blend, of which some are order statistics of several.

    Parameters
    ----------
    pool : BlendedDistributions
    sharpening : Sharpening
    """

    pool: BlendedDistributions
    sharpening: Sharpening

    def __len__(self) -> int:
        return len(self.pool)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        return self.pool.log_prob(z) + np.log(self.sharpening.density(self.pool.cdf(z[:, None])[:, 0]))

    def cdf(self, z: np.ndarray) -> np.ndarray:
        return self.sharpening.cdf(self.pool.cdf(z))

    def fast_cdf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        cdf = self.pool.fast_cdf()
        return lambda z, samples: self.sharpening.cdf(np.clip(cdf(z, samples), 0.0, 1.0))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the blend, in rising order, weighted by what the intervals that they stand for have."""
        z, shares = rising(*self.pool.nodes())
        return z, np.diff(self.sharpening.cdf(_ends(shares)), axis=1, prepend=0.0)

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1)."""
        return self.pool.quantiles(self.sharpening.inverse(probabilities))

    def sample(self, noise: TargetNoise) -> np.ndarray:
        medians, extremes = self.sharpening.medians, self.sharpening.extremes
        shares = np.array([1 - self.sharpening.share, medians, abs(extremes)])
        which, choice = choose_and_rescale(shares, noise.choice)
        out, several = self.pool.sample(noise._replace(choice=choice)), np.flatnonzero(which > 0)
        if len(several):
            pool = self.pool.take(several)
            first, second, third = out[several], *(pool.sample(other.take(several)) for other in noise.others)
            extreme = np.maximum(first, second) if extremes > 0 else np.minimum(first, second)
            out[several] = np.where(which[several] == 1, np.median([first, second, third], axis=0), extreme)
        return out

    def take(self, samples: np.ndarray) -> SharpenedDistributions:
        return SharpenedDistributions(self.pool.take(samples), self.sharpening)


def rising(z: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of every sample in rising order, and their weights."""
    order = np.argsort(z, axis=1, kind="stable")
    return np.take_along_axis(z, order, axis=1), np.take_along_axis(shares, order, axis=1)
