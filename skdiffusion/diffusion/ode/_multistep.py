r"""Multistep methods: one evaluation a step, whatever the order.

A method interpolates one quantity of the field through its values at the last knots, in the variable in which that
quantity is smooth, and integrates the polynomial over the step. The weights are integrals of Lagrange polynomials,
computed in float64 once per grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.ode._one_step import denoised

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def _velocity(z: Array, theta: float, velocity: Array, trace: OptionalArray) -> tuple[Array, OptionalArray]:
    """The slopes of z and of the log-density in theta."""
    return -velocity, trace


def _drift(z: Array, theta: float, velocity: Array, trace: OptionalArray) -> tuple[Array, OptionalArray]:
    """The slopes of z and of the log-density in lambda = -log tan(theta)."""
    rate = math.sin(theta) * math.cos(theta)
    return rate * velocity, None if trace is None else -rate * trace


# What a method interpolates, as a function of samples, angle, velocity and divergence.
QUANTITIES: dict[str, Callable[[Array, float, Array, OptionalArray], tuple[Array, OptionalArray]]] = {
    "velocity": _velocity,
    "drift": _drift,
    "denoised": denoised,
}


class Knot(NamedTuple):
    """What is known at a knot of the grid."""

    theta: float
    value: Array  # the quantity that is interpolated, (n, d)
    trace: OptionalArray  # the same for the log-density, (n,)


class Multistep:
    """A multistep method of any order that interpolates a quantity, a key of `QUANTITIES`."""

    def __init__(self, order: int, quantity: str) -> None:
        self.order, self.quantity = order, quantity
        # The variable is lambda = -log tan(theta), half the log signal-to-noise ratio, or the angle.
        self.in_log_snr = quantity != "velocity"
        self.estimates_error = order > 2  # by the next lower order, which has to be good enough

    def solve(
        self, field: VelocityField, z: Array, log_p: OptionalArray, thetas: list[float]
    ) -> tuple[Array, OptionalArray, OptionalArray]:
        """Samples, log-densities and their errors at the last angle, as `Stepper.solve`."""
        quantity, divergence, error = QUANTITIES[self.quantity], log_p is not None, None
        start = z, log_p
        knots: list[Knot] = []  # newest first
        for k, (s, t) in enumerate(zip(thetas[:-1], thetas[1:])):
            knots = [Knot(s, *quantity(z, s, *field(z, s, divergence))), *knots]
            if k and divergence and self.estimates_error:
                missed = self._missed(thetas[k - 1], s, knots)
                error = missed if error is None else error + missed
            knots = knots[: self.order]
            if 0 < k < self.order:
                # The first steps had few values: done again through all that are known by now, they keep the order.
                z, log_p = start
                for before, after in zip(thetas[:k], thetas[1:]):
                    z, log_p = self._step(z, log_p, before, after, knots)
            z, log_p = self._step(z, log_p, s, t, knots)
        return z, log_p, error

    def _step(
        self, z: Array, log_p: OptionalArray, s: float, t: float, knots: list[Knot]
    ) -> tuple[Array, OptionalArray]:
        """One step from s to t through the values at the knots."""
        nodes, (start, stop) = self._variable(*(knot.theta for knot in knots)), self._variable(s, t)
        exponential = self.quantity == "denoised"
        weights = interpolation_weights(nodes, start, stop, exponential)
        moved = sum(w * knot.value for w, knot in zip(weights, knots))
        if not exponential:
            return z + moved, None if log_p is None else log_p + _integrated_trace(nodes, start, stop, knots)
        cos_s, cos_t, d = math.cos(s), math.cos(t), z.shape[1]
        if log_p is not None:
            traced = _integrated_trace(nodes, start, stop, knots)
            log_p = log_p + d * (stop - start) - traced - d * math.log(cos_t / cos_s)
        return (math.exp(start - stop) * z / cos_s + moved) * cos_t, log_p

    def _missed(self, s: float, t: float, knots: list[Knot]) -> Array:
        """What the step from s to t missed of the log-density, by the value now known at its end, the newest."""
        nodes, (start, stop) = self._variable(*(knot.theta for knot in knots)), self._variable(s, t)
        within = _integrated_trace(nodes[: self.order], start, stop, knots)
        return abs(within - _integrated_trace(nodes[1:], start, stop, knots[1:]))

    def _variable(self, *thetas: float) -> tuple[float, ...]:
        """Angles in the variable of the method."""
        return tuple(-math.log(math.tan(theta)) for theta in thetas) if self.in_log_snr else thetas


def _integrated_trace(nodes: tuple[float, ...], start: float, stop: float, knots: list[Knot]) -> Array:
    """The integral over a step of what the log-density changes by."""
    weights = interpolation_weights(nodes, start, stop, exponential=False)
    return sum(w * knot.trace for w, knot in zip(weights, knots))


@lru_cache(maxsize=8192)  # every block of samples goes through the same grid
def interpolation_weights(past: tuple[float, ...], start: float, stop: float, exponential: bool) -> tuple[float, ...]:
    r"""Weights of :math:`\int_{s}^{t} K(u) L_j(u) du` for the Lagrange polynomials L_j through `past`.

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
