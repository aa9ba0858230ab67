"""The probability-flow equation: grids, steppers and one driver.

A *field* is a callable ``field(z, theta, divergence=False) -> (velocity, divergence or None)`` on samples in
normalized coordinates :math:`z = x\\cos\\theta + \\varepsilon\\sin\\theta`: a trained network or a
closed-form distribution. Nothing here knows of processes or estimators; numpy arrays and torch tensors both work.
"""

from skdiffusion.diffusion.ode._grids import (
    GRIDS,
    angle_grid,
    equidistributed_grid,
    grid_with_edges,
    log_snr_grid,
    power_grid,
)
from skdiffusion.diffusion.ode._solve import Solution, solve
from skdiffusion.diffusion.ode._steppers import STEPPERS

__all__ = [
    "GRIDS",
    "STEPPERS",
    "Solution",
    "angle_grid",
    "equidistributed_grid",
    "grid_with_edges",
    "log_snr_grid",
    "power_grid",
    "solve",
]
