r"""Score models: a velocity field seen through a process, in every prediction that the literature uses.

A field gives :math:`F(z,\theta) = E[x_0\sin\theta - \varepsilon\cos\theta \mid z]` in normalized
coordinates: the negative of the v-prediction of Salimans and Ho (2022, arXiv 2202.00512), in the angle of TrigFlow
(Lu and Song, 2024, arXiv 2410.11081). From it follow the denoiser, the noise and the score,

.. math::
    D = z\cos\theta + F\sin\theta,\quad \hat\varepsilon = z\sin\theta - F\cos\theta,\quad
    S_z = -\hat\varepsilon/\sin\theta .

A process maps its (x_t, t) to them by :math:`z = x_t/\sqrt{\alpha^2+\sigma^2}`,
:math:`\theta = \arctan(\sigma/\alpha)`. On whitened data the zero field is the standard Gaussian, so a
network predicts only the departure from the fitted Gaussian (Cole and Lu, 2024: complexity relative to
a Gaussian).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.schedules import Process


@dataclass(frozen=True)
class ScoreModel:
    """Score, noise, denoised and velocity predictions of a field under a process.

    Parameters
    ----------
    field : VelocityField
        A trained network or a closed-form density.
    process : skdiffusion.diffusion.schedules.Process
        Meaning of t.

    Notes
    -----
    All methods take `x` of shape (n, d) and one time `t` in (0, 1), and return float64 arrays in the
    coordinates of the field: whitened samples, or features of unit variance if the field has a reference
    (`NetworkField.place`).
    """

    field: VelocityField
    process: Process

    def _evaluate(
        self, x: np.ndarray, t: float, divergence: bool = False
    ) -> tuple[np.ndarray, float, float, np.ndarray, np.ndarray | None]:
        """Samples in normalized coordinates, their angle and scale, velocity and divergence."""
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        rho, theta = float(np.hypot(alpha, sigma)), float(np.arctan2(sigma, alpha))
        z = np.asarray(x, dtype=float) / rho
        velocity, trace = self.field(z, theta, divergence)
        return z, theta, rho, np.asarray(velocity, dtype=float), trace

    def denoised(self, x: np.ndarray, t: float) -> np.ndarray:
        """Posterior mean of the data, E[x_0 | x_t = x], shape (n, d)."""
        z, theta, _, velocity, _ = self._evaluate(x, t)
        return np.cos(theta) * z + np.sin(theta) * velocity

    def noise(self, x: np.ndarray, t: float) -> np.ndarray:
        """Posterior mean of the noise, E[epsilon | x_t = x], shape (n, d)."""
        z, theta, _, velocity, _ = self._evaluate(x, t)
        return np.sin(theta) * z - np.cos(theta) * velocity

    def score(self, x: np.ndarray, t: float) -> np.ndarray:
        """Gradient of log p_t at x, shape (n, d)."""
        return -self.noise(x, t) / float(self.process.sigma(t))

    def velocity(self, x: np.ndarray, t: float) -> np.ndarray:
        """Flow velocity dx/dt = alpha' E[x_0 | x] + sigma' E[epsilon | x], shape (n, d)."""
        z, theta, _, velocity, _ = self._evaluate(x, t)
        cos, sin = np.cos(theta), np.sin(theta)
        d_alpha, d_sigma = float(self.process.d_alpha(t)), float(self.process.d_sigma(t))
        return d_alpha * (cos * z + sin * velocity) + d_sigma * (sin * z - cos * velocity)

    def divergence(self, x: np.ndarray, t: float) -> np.ndarray:
        """Divergence of the score (Laplacian of log p_t) at x, shape (n,)."""
        z, theta, rho, _, trace = self._evaluate(x, t, divergence=True)
        cos, sin = np.cos(theta), np.sin(theta)
        noise_trace = (sin * z.shape[1] - cos * np.asarray(trace, dtype=float)) / rho
        return -noise_trace / float(self.process.sigma(t))
