r"""Steppers: each a method to follow the flow from knot to knot, with its order.

In the angle the flow of whitened data has no linear part left,

.. math:: dz/d\theta = -F(z, \theta), \qquad d\log p_\theta/d\theta = \nabla\cdot F,

with :math:`F = E[x_0\sin\theta - \varepsilon\cos\theta\mid z]`, the negative of the v-prediction of Salimans and Ho in
the angle of TrigFlow (Lu and Song). Runge-Kutta and Adams methods on F are therefore exponential integrators for the
Gaussian part: a fitted Gaussian is solved exactly in one step. The *drift* is the same slope in lambda = -log tau,
tau = tan(theta): F sin(theta) cos(theta), flat at both ends of the noise levels. Other methods freeze the denoiser D in
lambda on y = z / cos(theta),

.. math:: y_t = e^{-h} y_s + \int_0^h e^{u-h} D\,du, \quad d\log p/d\lambda = d - \mathrm{tr}\,\partial D/\partial y,

or the score.

References
----------
Salimans and Ho (2022), arXiv 2202.00512; Lu and Song (2024), arXiv 2410.11081.
Song, Meng, Ermon (2021), DDIM; Lu et al. (2022), DPM-Solver++; Kremling et al. (2025),
arXiv 2510.17608, for the frozen score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.ode._multistep import Multistep
from skdiffusion.diffusion.ode._one_step import Step, exponential_heun, frozen_score, heun, rk4
from skdiffusion.diffusion.ode._predictor_corrector import PredictorCorrector


@dataclass(frozen=True)
class Stepper:
    """A method to follow the flow.

    Parameters
    ----------
    order : int
        Order of convergence in the step.
    solve : callable
        ``solve(field, z, log_p, thetas) -> (z, log_p, error)``: samples (n, d), log-densities (n,) or None, and the
        error of these or None (see `Solution`), from the first to the last of the angles.
    stages : int, default=1
        Evaluations of the field a step.
    grid : {"power", "angle", "log-snr", "bell"}, default="power"
        Key of the grid in `GRIDS` that suits the method: that of the variable in which it interpolates.
    estimates_error : bool, default=False
        Whether `solve` returns an error with the log-densities.
    closing : int, default=0
        Evaluations at the last angle, beside those of the steps.
    """

    order: int
    solve: Callable[[VelocityField, Array, OptionalArray, list[float]], Step]
    stages: int = 1
    grid: str = "power"
    estimates_error: bool = False
    closing: int = 0


def multistep(order: int, quantity: str) -> Stepper:
    """The stepper of a `Multistep` method."""
    method = Multistep(order, quantity)
    grid = "log-snr" if method.in_log_snr else "power"
    return Stepper(order, method.solve, grid=grid, estimates_error=method.estimates_error)


def predictor_corrector(order: int, method: PredictorCorrector, grid: str) -> Stepper:
    """The stepper of a `PredictorCorrector` method."""
    return Stepper(order, method.solve, grid=grid, estimates_error=True, closing=int(method.closes))


def one_step(
    order: int,
    step: Callable[[VelocityField, Array, OptionalArray, float, float], Step],
    stages: int,
    grid: str = "power",
    estimates_error: bool = False,
) -> Stepper:
    """The stepper of a function ``step(field, z, log_p, s, t) -> (z, log_p, gap)``, as `rk4` is one."""

    def solve(field: VelocityField, z: Array, log_p: OptionalArray, thetas: list[float]) -> Step:
        error = None
        for s, t in zip(thetas[:-1], thetas[1:]):
            z, log_p, gap = step(field, z, log_p, s, t)
            error = gap if error is None else error + gap
        return z, log_p, error

    return Stepper(order, solve, stages, grid, estimates_error)


STEPPERS = {
    "euler": multistep(1, "velocity"),
    "ab2": multistep(2, "velocity"),
    "ab3": multistep(3, "velocity"),
    "ab4": multistep(4, "drift"),
    "abm3": predictor_corrector(3, PredictorCorrector(2, 3, in_log_snr=False, closes=False), "power"),
    "abm4": predictor_corrector(4, PredictorCorrector(4, 4, in_log_snr=True, closes=True), "bell"),
    "heun": one_step(2, heun, stages=2),
    "rk4": one_step(4, rk4, stages=4, estimates_error=True),
    "ddim": multistep(1, "denoised"),
    "2m": multistep(2, "denoised"),
    "3m": multistep(3, "denoised"),
    "exponential-heun": one_step(2, exponential_heun, stages=2, grid="log-snr"),
    "frozen-score": one_step(1, frozen_score, stages=1),
}
