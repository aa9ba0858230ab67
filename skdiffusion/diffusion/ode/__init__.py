"""The probability-flow equation: grids, steppers and one driver, on numpy arrays and torch tensors.

It follows a ``VelocityField`` on samples in normalized coordinates
:math:`z = x_0\\cos\\theta + \\varepsilon\\sin\\theta`, and knows of no noise schedules or estimators.
"""

from skdiffusion.diffusion.ode._adjoint import RecordedField, SolverTable, pull_back, solver_table
from skdiffusion.diffusion.ode._grids import (
    GRIDS,
    angle_grid,
    bell_grid,
    equidistributed_grid,
    grid_with_edges,
    log_snr_grid,
    power_grid,
)
from skdiffusion.diffusion.ode._solve import Solution, solve
from skdiffusion.diffusion.ode._steppers import STEPPERS, Stepper, multistep, one_step

__all__ = [
    "GRIDS", "STEPPERS", "RecordedField", "Solution", "SolverTable", "Stepper", "angle_grid", "bell_grid",
    "equidistributed_grid", "grid_with_edges", "log_snr_grid", "multistep", "one_step", "power_grid", "pull_back",
    "solve", "solver_table",
]  # fmt: skip
