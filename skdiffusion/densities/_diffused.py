r"""What every diffused mixture shares.

Noised by :math:`x_t = \alpha x_0 + \sigma\varepsilon`, a mixture of N(m_k, C_k) is the mixture of
:math:`N(\alpha m_k, \alpha^2 C_k + \sigma^2 I)`. With P_k the inverse covariances,
:math:`u_k = P_k(x - \alpha m_k)` and responsibilities r_k,

.. math::
    \nabla\log p = -\bar u,\quad \bar u = \sum_k r_k u_k,\quad
    \Delta\log p = -\sum_k r_k\,\mathrm{tr}P_k + \sum_k r_k|u_k|^2 - |\bar u|^2 .
"""

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import Density, VelocityField

CHUNK_FLOATS = 4_000_000  # largest temporary, in numbers


@dataclass
class Moments:
    """Posterior quantities of a diffused distribution at samples x, at one noise level."""

    log_prob: np.ndarray  # (n,)
    mean_u: np.ndarray  # (n, d), minus the score
    denoised: np.ndarray  # (n, d), E[x_0 | x]
    laplacian: np.ndarray  # (n,), divergence of the score


class DiffusedDensity(Density, VelocityField):
    """Density, score, denoiser and divergence at every noise level, from one method `_moments`."""

    n_features: int

    def _moments(self, x, alpha, sigma):
        raise NotImplementedError

    def _sample_cost(self):
        """Numbers held per sample; sets the chunk."""
        raise NotImplementedError

    def moments(self, x, alpha=1.0, sigma=0.0):
        """All posterior quantities, in chunks of bounded memory."""
        x = np.asarray(x, dtype=float)
        step = max(1, CHUNK_FLOATS // self._sample_cost())
        if len(x) <= step:
            return self._moments(x, float(alpha), float(sigma))
        parts = [self._moments(x[i : i + step], float(alpha), float(sigma)) for i in range(0, len(x), step)]
        return Moments(*(np.concatenate([getattr(p, f) for p in parts]) for f in Moments.__dataclass_fields__))

    def log_prob(self, x, alpha=1.0, sigma=0.0):
        """Log-density of the noised distribution at x, in nats, shape (n,)."""
        return self.moments(x, alpha, sigma).log_prob

    def score(self, x, alpha=1.0, sigma=0.0):
        """Gradient of the log-density at x, shape (n, d)."""
        return -self.moments(x, alpha, sigma).mean_u

    def denoised(self, x, alpha, sigma):
        """Posterior mean E[x_0 | x_t = x], shape (n, d)."""
        return self.moments(x, alpha, sigma).denoised

    def divergence(self, x, alpha=1.0, sigma=0.0):
        """Divergence of the score (Laplacian of the log-density) at x, shape (n,)."""
        return self.moments(x, alpha, sigma).laplacian

    def __call__(self, z, theta, divergence=False):
        """Velocity F(z, theta) of the probability flow in the angle, with its divergence.

        The same interface as a trained network: see :mod:`skdiffusion.diffusion.ode`.
        """
        cos, sin = np.cos(theta), np.sin(theta)
        m = self.moments(z, cos, sin)
        # Noise from the score and signal from the posterior mean: each stays accurate at its end.
        velocity = sin * m.denoised - cos * sin * m.mean_u
        if not divergence:
            return velocity, None
        trace_noise = -sin * m.laplacian
        return velocity, (sin * self.n_features - trace_noise) / cos if cos > 1e-8 else 0.0 * m.laplacian
