"""One driver for every stepper, in either direction, with or without the log-density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.ode._steppers import STEPPERS


@dataclass
class Solution:
    """End of a flow.

    Attributes
    ----------
    z : array or tensor of shape (n, d)
        Samples at the last angle.
    log_density_change : array or tensor of shape (n,), or None
        log p at the last angle and sample minus log p at the first, along each path, in nats.
    error : array or tensor of shape (n,), or None
        That of the log-density, where the stepper estimates it: the sum over steps of the absolute gap to another rule,
        which is large where the steps of a sample are too long.
    """

    z: Array
    log_density_change: OptionalArray
    error: OptionalArray


def solve(
    field: VelocityField, z: Array, thetas: Sequence[float] | np.ndarray, stepper: str = "rk4", divergence: bool = False
) -> Solution:
    """Follow the flow of a field from the first angle to the last.

    Parameters
    ----------
    field : VelocityField
        Its velocity is :math:`F = E[x_0\\sin\\theta - \\varepsilon\\cos\\theta\\mid z]`, and the flow
        :math:`dz/d\\theta = -F`.
    z : array or tensor of shape (n, d)
        Samples at ``thetas[0]``, in normalized coordinates.
    thetas : sequence of float
        Angles in (0, pi / 2), rising towards noise or falling towards data.
    stepper : str, default="rk4"
        A key of `STEPPERS`.
    divergence : bool, default=False
        Whether to carry the log-density.

    Returns
    -------
    Solution

    Raises
    ------
    ValueError
        If the stepper is unknown, or the field switches networks at an angle that is not among `thetas`.

    Notes
    -----
    Every interval between the `edges` of a field is solved by itself, so that multistep methods start anew there.
    """
    if stepper not in STEPPERS:
        raise ValueError(f"The 'stepper' must be one of {sorted(STEPPERS)}. Got {stepper!r} instead.")
    thetas = [float(t) for t in thetas]
    if field.edges:
        return _solve_by_interval(field, z, thetas, stepper, divergence)
    log_p = 0.0 * z[:, 0] if divergence else None
    return Solution(*STEPPERS[stepper].solve(field, z, log_p, thetas))


def _solve_by_interval(field: VelocityField, z: Array, thetas: list[float], stepper: str, divergence: bool) -> Solution:
    within = [t for t in field.edges if min(thetas) < t < max(thetas)]
    missing = [t for t in within if t not in thetas]
    if missing:
        raise ValueError(f"The angles {missing}, at which the field switches, must be among 'thetas'.")
    cuts = sorted({0, len(thetas) - 1, *map(thetas.index, within)})
    whole = Solution(z, None, None)
    for first, last in zip(cuts[:-1], cuts[1:]):
        piece = thetas[first : last + 1]
        part = solve(field.at((piece[0] + piece[-1]) / 2), whole.z, piece, stepper, divergence)
        change = _sum(whole.log_density_change, part.log_density_change)
        whole = Solution(part.z, change, _sum(whole.error, part.error))
    return whole


def _sum(total: OptionalArray, more: OptionalArray) -> OptionalArray:
    return more if total is None else total if more is None else total + more
