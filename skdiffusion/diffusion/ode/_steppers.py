r"""Steppers: what each freezes between knots, and its order.

In the angle the flow of whitened data has no linear part left,

.. math:: dz/d\theta = -F(z, \theta), \qquad d\log p_\theta/d\theta = \nabla\cdot F,

so Runge-Kutta and Adams methods on F are exponential integrators for the Gaussian part: a fitted Gaussian is solved
exactly in one step. The *drift* is the same slope in lambda = -log tau, tau = tan(theta): F sin(theta) cos(theta), flat
at both ends of the noise levels. The others freeze the denoiser D in lambda on y = z / cos(theta),

.. math:: y_t = e^{-h} y_s + \int_0^h e^{u-h} D\,du, \quad d\log p/d\lambda = d - \mathrm{tr}\,\partial D/\partial y,

or the score (order 1). The weights of a multistep method are integrals of Lagrange polynomials, computed
in float64 once per grid.

References
----------
Song, Meng, Ermon (2021), DDIM; Lu et al. (2022), DPM-Solver++; Kremling et al. (2025),
arXiv 2510.17608, for the frozen score.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


@dataclass(frozen=True)
class Stepper:
    """A named method.

    Parameters
    ----------
    order : int
        Order of convergence in the step.
    frozen : {"velocity", "drift", "denoised", "score"}
        The quantity that is interpolated between knots.
    multistep : bool
        Whether it reuses the evaluations of past knots (one evaluation a step).
    stages : int
        Evaluations a step.
    """

    order: int
    frozen: str
    multistep: bool
    stages: int

    @property
    def grid(self):
        """Key of the grid in `GRIDS` that suits the method: that of the variable in which it interpolates."""
        return "log-snr" if self.in_log_snr else "power"

    @property
    def in_log_snr(self):
        """Whether it interpolates in lambda = -log tan(theta), half the log signal-to-noise ratio."""
        return self.frozen in ("drift", "denoised")

    @property
    def estimates_error(self):
        """Whether it has a gap to another rule to tell the error of a log-density by."""
        return self.order > 2 and (self.multistep or self.frozen == "velocity")


STEPPERS = {
    "euler": Stepper(1, "velocity", True, 1),
    "ab2": Stepper(2, "velocity", True, 1),
    "ab3": Stepper(3, "velocity", True, 1),
    "ab4": Stepper(4, "drift", True, 1),
    "heun": Stepper(2, "velocity", False, 2),
    "rk4": Stepper(4, "velocity", False, 4),
    "ddim": Stepper(1, "denoised", True, 1),
    "2m": Stepper(2, "denoised", True, 1),
    "3m": Stepper(3, "denoised", True, 1),
    "exponential-heun": Stepper(2, "denoised", False, 2),
    "frozen-score": Stepper(1, "score", True, 1),
}


@lru_cache(maxsize=8192)  # every block of samples goes through the same grid
def interpolation_weights(past, start, stop, exponential):
    r"""Weights of :math:`\int_{s}^{t} K(u) L_j(u) du` for the Lagrange polynomials L_j through `past`, a tuple.

    K = 1, or :math:`e^{u - t}` if `exponential`. Newest node first.
    """
    u = (start + stop) / 2 + (stop - start) / 2 * _NODES
    kernel = _WEIGHTS * (stop - start) / 2 * (np.exp(u - stop) if exponential else 1.0)
    weights = []
    for j, node in enumerate(past):
        basis = np.ones_like(u)
        for i, other in enumerate(past):
            if i != j:
                basis = basis * (u - other) / (node - other)
        weights.append(float(kernel @ basis))
    return tuple(weights)
