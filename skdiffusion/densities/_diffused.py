r"""What every diffused mixture shares.

Noised by :math:`x_t = \alpha x_0 + \sigma\varepsilon`, a mixture of N(m_k, C_k) is the mixture of
:math:`N(\alpha m_k, \alpha^2 C_k + \sigma^2 I)`. With P_k the inverse covariances,
:math:`u_k = P_k(x - \alpha m_k)` and responsibilities r_k,

.. math::
    \nabla\log p = -\bar u,\quad \bar u = \sum_k r_k u_k,\quad
    \Delta\log p = -\sum_k r_k\,\mathrm{tr}P_k + \sum_k r_k|u_k|^2 - |\bar u|^2 .
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion._utils.blocks import VECTOR, slices
from skdiffusion._utils.protocols import ClosedFormDensity, VelocityField

BLOCK_NUMBERS = 200_000  # of the temporaries of a block: they stay in cache, and products of few rows round alike


class Moments(NamedTuple):
    """Posterior quantities of a diffused distribution at samples x, at one noise level."""

    log_prob: np.ndarray  # (n,)
    mean_u: np.ndarray  # (n, d), minus the score
    denoised: np.ndarray  # (n, d), E[x_0 | x]
    laplacian: np.ndarray  # (n,), divergence of the score


class DiffusedDensity(ClosedFormDensity, VelocityField):
    """Density, score, denoiser and divergence at every noise level, from one method `_moments`."""

    n_features: int

    def _moments(self, x: np.ndarray, alpha: float, sigma: float) -> Moments:
        raise NotImplementedError

    def _sample_cost(self) -> int:
        """Numbers held for each sample, which set the size of a block."""
        raise NotImplementedError

    def moments(
        self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0, block_numbers: int = BLOCK_NUMBERS
    ) -> Moments:
        """All posterior quantities, in blocks of samples that hold so many numbers."""
        x = np.asarray(x, dtype=float)
        # In blocks of other than whole vectors samples have other last bits.
        step = max(VECTOR, block_numbers // self._sample_cost() // VECTOR * VECTOR)
        if len(x) <= step:
            return self._moments(x, float(alpha), float(sigma))
        parts = [self._moments(x[block], float(alpha), float(sigma)) for block in slices(len(x), step)]
        return Moments(*map(np.concatenate, zip(*parts)))

    def score(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> np.ndarray:
        """Gradient of the log-density at x, shape (n_samples, n_features)."""
        return -self.moments(x, alpha, sigma).mean_u

    def denoised(self, x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        """Posterior mean E[x_0 | x_t = x], shape (n_samples, n_features)."""
        return self.moments(x, alpha, sigma).denoised

    def divergence(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> np.ndarray:
        """Divergence of the score (Laplacian of the log-density) at x, shape (n_samples,)."""
        return self.moments(x, alpha, sigma).laplacian

    def __call__(self, z: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Velocity F(z, theta) of the probability flow in the angle, with its divergence."""
        cos, sin = np.cos(theta), np.sin(theta)
        m = self.moments(z, cos, sin)
        # Noise from the score and signal from the posterior mean: each stays accurate at its end.
        velocity = sin * m.denoised - cos * sin * m.mean_u
        if not divergence:
            return velocity, None
        return velocity, (sin * self.n_features + sin * m.laplacian) / cos if cos > 1e-8 else 0.0 * m.laplacian
