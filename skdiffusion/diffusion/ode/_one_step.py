r"""Methods that follow the flow from one knot to the next with nothing kept of the knots before.

A step is a function ``step(field, z, log_p, s, t)`` of samples z and their log-densities, or None, at the angle s. It
returns both at the angle t, and the gap of the log-density to that of another rule, or None, which estimates its error.
"""

from __future__ import annotations

import math

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField

Step = tuple[Array, OptionalArray, OptionalArray]


def heun(field: VelocityField, z: Array, log_p: OptionalArray, s: float, t: float) -> Step:
    """The trapezoid of the velocity, of order 2 in two evaluations."""
    divergence, h = log_p is not None, t - s
    k1, q1 = field(z, s, divergence)
    k2, q2 = field(z - h * k1, t, divergence)
    return z - h / 2 * (k1 + k2), log_p + h / 2 * (q1 + q2) if divergence else None, None


def rk4(field: VelocityField, z: Array, log_p: OptionalArray, s: float, t: float) -> Step:
    """The classical Runge-Kutta method, of order 4 in four evaluations; the gap is to the trapezoid of the ends."""
    divergence, h, m = log_p is not None, t - s, (s + t) / 2
    k1, q1 = field(z, s, divergence)
    k2, q2 = field(z - h / 2 * k1, m, divergence)
    k3, q3 = field(z - h / 2 * k2, m, divergence)
    k4, q4 = field(z - h * k3, t, divergence)
    moved = z - h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    if not divergence:
        return moved, None, None
    return moved, log_p + h / 6 * (q1 + 2 * q2 + 2 * q3 + q4), abs(h / 3 * (q2 + q3 - q1 - q4))


def exponential_heun(field: VelocityField, z: Array, log_p: OptionalArray, s: float, t: float) -> Step:
    """The denoiser linear in the log signal-to-noise ratio, of order 2 in two evaluations."""
    divergence, cos_s, cos_t = log_p is not None, math.cos(s), math.cos(t)
    ratio = math.tan(t) / math.tan(s)
    h = -math.log(ratio)
    psi0, y = -math.expm1(-h), z / cos_s
    psi1 = h - psi0
    d1, q1 = denoised(z, s, *field(z, s, divergence))
    end = ratio * y + psi0 * d1
    d2, q2 = denoised(end * cos_t, t, *field(end * cos_t, t, divergence))
    y = end + psi1 / h * (d2 - d1)
    if divergence:
        d = z.shape[1]
        log_p = log_p + h * (d - (q1 + q2) / 2) - d * math.log(cos_t / cos_s)
    return y * cos_t, log_p, None


def frozen_score(field: VelocityField, z: Array, log_p: OptionalArray, s: float, t: float) -> Step:
    """The score as it is at the start of the step, of order 1 in one evaluation."""
    cos_s, cos_t, sin_s, d = math.cos(s), math.cos(t), math.sin(s), z.shape[1]
    velocity, trace = field(z, s, log_p is not None)
    score = -cos_s * (sin_s * z - cos_s * velocity) / sin_s  # in y = z / cos(theta)
    y = z / cos_s + (1 / cos_s) * (1 / cos_s - 1 / cos_t) * score
    if log_p is not None:
        laplacian = -(cos_s**2) * (sin_s * d - cos_s * trace) / sin_s
        log_p = log_p + (math.tan(t) ** 2 - math.tan(s) ** 2) / 2 * laplacian - d * math.log(cos_t / cos_s)
    return y * cos_t, log_p, None


def denoised(z: Array, theta: float, velocity: Array, trace: OptionalArray) -> tuple[Array, OptionalArray]:
    """The denoiser D = E[x_0 | z] and tr dD/dy in y = z / cos(theta), from the velocity and its divergence."""
    cos, sin = math.cos(theta), math.sin(theta)
    jacobian = None if trace is None else cos * (cos * z.shape[1] + sin * trace)
    return cos * z + sin * velocity, jacobian
