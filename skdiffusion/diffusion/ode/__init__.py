"""The probability-flow equation: grids, steppers and one driver, on numpy arrays and torch tensors.

It follows a ``VelocityField`` on samples in normalized coordinates
:math:`z = x_0\\cos\\theta + \\varepsilon\\sin\\theta`, and knows of no noise schedules or estimators.

Examples
--------
The flow of a Gaussian of standard deviation 2 narrows it to that of the noised distribution:

>>> import numpy as np
>>> from skdiffusion.densities import GaussianMixtureDensity
>>> from skdiffusion.diffusion.ode import solve
>>> gaussian = GaussianMixtureDensity([1.0], [[0.0]], [[[4.0]]])
>>> end = solve(gaussian, np.array([[2.0]]), np.linspace(0.01, 1.5, 30))
>>> deviations = [np.hypot(2 * np.cos(angle), np.sin(angle)) for angle in (0.01, 1.5)]
>>> bool(np.allclose(end.z, 2.0 * deviations[1] / deviations[0], atol=1e-6))
True
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
