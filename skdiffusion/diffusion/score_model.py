r"""Score models: a velocity field seen through a process, in every prediction that the literature uses.

From the velocity :math:`F(z,\theta) = E[x_0\sin\theta - \varepsilon\cos\theta \mid z]` in normalized coordinates, the
negative v-prediction, follow the denoiser, the noise and the score,

.. math::
    D = z\cos\theta + F\sin\theta,\quad \hat\varepsilon = z\sin\theta - F\cos\theta,\quad
    S_z = -\hat\varepsilon/\sin\theta .

A process maps its (x_t, t) to them by :math:`z = x_t/\sqrt{\alpha^2+\sigma^2}`,
:math:`\theta = \arctan(\sigma/\alpha)`.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.densities import GaussianMixtureDensity
>>> from skdiffusion.diffusion.schedules import VE
>>> from skdiffusion.diffusion.score_model import ScoreModel
>>> gaussian, process = GaussianMixtureDensity([1.0], [[0.0]], [[[1.0]]]), VE()
>>> score = ScoreModel(gaussian, process).score(np.array([[3.0]]), 0.5)
>>> bool(np.isclose(score[0, 0], -3.0 / (1 + process.sigma(0.5) ** 2)))
True
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

    def _at(self, t: float) -> tuple[float, float]:
        """Angle of a time, and the scale of its samples in units of the normalized ones."""
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        return float(np.arctan2(sigma, alpha)), float(np.hypot(alpha, sigma))

    def _predictions(self, x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means of the data and of the noise."""
        theta, rho = self._at(t)
        z, cos, sin = np.asarray(x, dtype=float) / rho, np.cos(theta), np.sin(theta)
        velocity = np.asarray(self.field(z, theta)[0], dtype=float)
        return cos * z + sin * velocity, sin * z - cos * velocity

    def denoised(self, x: np.ndarray, t: float) -> np.ndarray:
        """Posterior mean of the data, E[x_0 | x_t = x], shape (n, d)."""
        return self._predictions(x, t)[0]

    def noise(self, x: np.ndarray, t: float) -> np.ndarray:
        """Posterior mean of the noise, E[epsilon | x_t = x], shape (n, d)."""
        return self._predictions(x, t)[1]

    def score(self, x: np.ndarray, t: float) -> np.ndarray:
        """Gradient of log p_t at x, shape (n, d)."""
        return -self.noise(x, t) / float(self.process.sigma(t))

    def velocity(self, x: np.ndarray, t: float) -> np.ndarray:
        """Flow velocity dx/dt = alpha' E[x_0 | x] + sigma' E[epsilon | x], shape (n, d)."""
        denoised, noise = self._predictions(x, t)
        return float(self.process.d_alpha(t)) * denoised + float(self.process.d_sigma(t)) * noise

    def divergence(self, x: np.ndarray, t: float) -> np.ndarray:
        """Divergence of the score (Laplacian of log p_t) at x, shape (n,)."""
        theta, rho = self._at(t)
        z = np.asarray(x, dtype=float) / rho
        trace = np.asarray(self.field(z, theta, True)[1], dtype=float)
        return -((np.sin(theta) * z.shape[1] - np.cos(theta) * trace) / rho) / float(self.process.sigma(t))
