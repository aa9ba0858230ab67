r"""The gradient of what a solver returns, for every stepper: the solver's own steps, followed back from the end.

Every stepper places samples by sums of the velocities so far, with weights that depend on the grid alone,

.. math:: z_k = a_{k0} z_0 + \sum_{j<k} a_{kj} F_j,\quad z_N = b_0 z_0 + \sum_k b_k F_k,\quad
    \Delta\log p = \mathrm{const} + \sum_k c_k \nabla\cdot F_k .

The weights are found by solving once for a field whose k-th value is the k-th unit vector. Gradients then go back
through these sums and, value by value, through the field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.ode._solve import solve
from skdiffusion.diffusion.ode._steppers import STEPPERS


class RecordedField(VelocityField):
    """A field that remembers where it was asked."""

    def __init__(self, field: VelocityField, places: list[Array] | None = None):
        self.field, self.edges = field, field.edges
        self.places: list[Array] = [] if places is None else places

    def at(self, theta: float) -> RecordedField:
        return RecordedField(self.field.at(theta), self.places)

    def __call__(self, z: Array, theta: float, divergence: bool = False) -> tuple[Array, OptionalArray]:
        self.places.append(z)
        return self.field(z, theta, divergence)


class SolverTable(NamedTuple):
    """The weights of a solver on a grid, whose field is asked `n` times."""

    thetas: tuple[float, ...]  # at which the field is asked, n of them
    within: tuple[float | None, ...]  # an angle of the interval of the field, where it has edges
    start: np.ndarray  # (n + 1,), weights of the first sample where the field is asked, and at the end
    velocities: np.ndarray  # (n + 1, n), weights of the velocities there
    traces: np.ndarray  # (n,), weights of the divergences in the change of the log-density


class _UnitField(VelocityField):
    """A field whose k-th value is the k-th unit vector; rows of samples are weights."""

    def __init__(self, edges: tuple[float, ...], calls: list[Any], within: float | None = None):
        self.edges, self.calls, self.within = edges, calls, within

    def at(self, theta: float) -> _UnitField:
        return _UnitField((), self.calls, theta)

    def __call__(self, z: np.ndarray, theta: float, divergence: bool = False) -> tuple[np.ndarray, np.ndarray]:
        self.calls.append((z, theta, self.within))
        unit = np.zeros(len(z))
        unit[len(self.calls)] = 1.0
        return unit[:, None], unit


@lru_cache(maxsize=64)
def solver_table(stepper: str, thetas: tuple[float, ...], edges: tuple[float, ...]) -> SolverTable:
    """The weights of a stepper on a grid of angles, for a field with these edges."""
    calls: list[Any] = []
    method, n_intervals = STEPPERS[stepper], 1 + sum(thetas[0] < edge < thetas[-1] for edge in edges)
    start = np.zeros((1 + method.stages * (len(thetas) - 1) + method.closing * n_intervals, 1))
    start[0] = 1.0
    end = solve(_UnitField(edges, calls), start, thetas, stepper, divergence=True)
    places, asked, within = zip(*calls)
    weights = np.concatenate([*places, end.z], axis=1).T
    traces = end.log_density_change[1:] - end.log_density_change[0]  # the first sample has no part in it
    return SolverTable(asked, within, weights[:, 0].copy(), weights[:, 1:].copy(), traces)


def pull_back(
    table: SolverTable, field: VelocityField, places: np.ndarray, by_end: np.ndarray, by_change: float
) -> np.ndarray:
    """Gradient in the first samples, shape (n_samples, d), of a function of what a solver returns.

    Parameters
    ----------
    table : SolverTable
    field : VelocityField
        On arrays, with `pull_back`.
    places : array of shape (n_evaluations, n_samples, d)
        Where the field was asked.
    by_end : array of shape (n_samples, d)
        Gradient of the function by the samples at the end.
    by_change : float
        Derivative of the function by the change of the log-density.
    """
    n = len(places)
    gradients = np.empty((n + 1, *by_end.shape))  # by the samples where the field was asked, and at the end
    gradients[n] = by_end
    for k in reversed(range(n)):
        # Sums along the first axis go one by one: the bits of a sample do not depend on the others.
        by_velocity = (table.velocities[k + 1 :, k, None, None] * gradients[k + 1 :]).sum(0)
        within = table.within[k]
        part = field if within is None else field.at(within)
        by_trace = np.full(len(by_end), by_change * table.traces[k])
        gradients[k] = part.pull_back(places[k], table.thetas[k], by_velocity, by_trace)
    return (table.start[:, None, None] * gradients).sum(0)
