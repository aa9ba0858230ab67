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


class StepWeights(NamedTuple):
    """Weights of the values at the last knots, newest first, in one step."""

    start: float  # angles of the step
    stop: float
    values: tuple[float, ...]
    traces: tuple[float, ...]


class Multistep:
    """A multistep method of any order that interpolates a quantity, a key of `QUANTITIES`.

    Samples and their log-densities go side by side in one array, so that a step is one sum.
    """

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
        state = start = side_by_side(z, log_p)
        values: list[Array] = []  # of the quantity at the last knots, newest first
        plan = step_plan(self.order, self.in_log_snr, self.quantity == "denoised", tuple(thetas))
        for s, (steps, missed) in zip(thetas, plan):
            values.insert(0, side_by_side(*quantity(z, s, *field(z, s, divergence))))
            if missed is not None and divergence and self.estimates_error:
                traces = [value[:, -1] for value in values]
                gap = abs(_weighted(missed[0], traces) - _weighted(missed[1], traces[1:]))
                error = gap if error is None else error + gap
            del values[self.order :]
            if len(steps) > 1:
                # The first steps had few values: done again through all that are known by now, they keep the order.
                state = start
            for step in steps:
                state = self._step(state, step, values, divergence)
            z = state[:, :-1] if divergence else state
        return z, state[:, -1] if divergence else None, error

    def _step(self, state: Array, step: StepWeights, values: list[Array], divergence: bool) -> Array:
        """Samples and log-densities after one step."""
        if self.quantity != "denoised":
            return state + _weighted(step.values, values)
        start, stop = _log_snr(step.start), _log_snr(step.stop)
        cos_s, cos_t = math.cos(step.start), math.cos(step.stop)
        z, log_p = (state[:, :-1], state[:, -1]) if divergence else (state, None)
        moved = _weighted(step.values, [value[:, :-1] if divergence else value for value in values])
        if log_p is not None:
            d, traced = z.shape[1], _weighted(step.traces, [value[:, -1] for value in values])
            log_p = log_p + d * (stop - start) - traced - d * math.log(cos_t / cos_s)
        return side_by_side((math.exp(start - stop) * z / cos_s + moved) * cos_t, log_p)


def side_by_side(z: Array, of_log_p: OptionalArray) -> Array:
    """Samples (n, d) and what belongs to their log-densities (n,), if anything, in one array (n, d + 1)."""
    if of_log_p is None:
        return z
    n, d = z.shape
    out = np.empty((n, d + 1)) if isinstance(z, np.ndarray) else z.new_empty((n, d + 1))
    out[:, :-1], out[:, -1] = z, of_log_p
    return out


def _weighted(weights: tuple[float, ...], values: list[Array]) -> Array:
    """The weighted sum of arrays, from the first to the last."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:]):
        total = total + weight * value
    return total


def _log_snr(theta: float) -> float:
    """Half the log signal-to-noise ratio at an angle."""
    return -math.log(math.tan(theta))


Missed = tuple[tuple[float, ...], tuple[float, ...]]  # weights whose sums differ by the error of a step


@lru_cache(maxsize=256)  # every block of samples goes through the same grid
def step_plan(
    order: int, in_log_snr: bool, exponential: bool, thetas: tuple[float, ...]
) -> list[tuple[list[StepWeights], Missed | None]]:
    """For every knot of a grid but the last, once the quantity is known there: steps to make, from the first angle
    where these are several, and what tells how much of the log-density the step before has missed."""
    variable = [_log_snr(theta) for theta in thetas] if in_log_snr else thetas

    def weights(newest: int, first: int, exponential: bool = False, count: int = order) -> tuple[float, ...]:
        nodes = tuple(variable[max(0, newest - count + 1) : newest + 1][::-1])
        return interpolation_weights(nodes, variable[first], variable[first + 1], exponential)

    plan: list[tuple[list[StepWeights], Missed | None]] = []
    for k in range(len(thetas) - 1):
        made = range(k + 1) if 0 < k < order else [k]
        steps = [StepWeights(thetas[i], thetas[i + 1], weights(k, i, exponential), weights(k, i)) for i in made]
        # By the value now known at its end, and by those that the step before had.
        missed = (weights(k, k - 1), weights(k - 1, k - 1)) if k else None
        plan.append((steps, missed))
    return plan


@lru_cache(maxsize=8192)  # the first steps of a grid ask for the same weights several times
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
