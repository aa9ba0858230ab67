r"""Predictor and corrector of Adams' family at one evaluation a step.

An explicit step extrapolates. As soon as the field is known at its end, the same step can be made again by
interpolation, whose error is a tenth of that, and the next step starts from there (the mode PEC). The gap of the two is
the error that the explicit step would have made.

References
----------
Hairer, Nørsett and Wanner (1993): Solving ordinary differential equations I, section III.1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.protocols import Array, OptionalArray, VelocityField
from skdiffusion.diffusion.ode._multistep import interpolation_weights, side_by_side

GAPS_PER_ERROR = 3.0  # how much more the gaps of corrections exceed their errors than those of other methods do


class KnotWeights(NamedTuple):
    """Weights of the velocities at the last knots, newest first, once the field is known at a knot."""

    correction: np.ndarray | None  # from the knot before to this one, or from the first one where few are known
    from_first: bool
    prediction: np.ndarray | None  # from this knot to the next one; none at the last


class PredictorCorrector:
    """Adams-Bashforth steps, each corrected by an Adams-Moulton step once the field is known at its end.

    Parameters
    ----------
    predictor, corrector : int
        Number of knots through which each interpolates.
    in_log_snr : bool
        Whether the slope in lambda = -log tan(theta) is interpolated, or that in the angle.
    closes : bool
        Whether the last step is corrected too, for one more evaluation.
    """

    estimates_error = True

    def __init__(self, predictor: int, corrector: int, in_log_snr: bool, closes: bool) -> None:
        self.predictor, self.corrector, self.in_log_snr, self.closes = predictor, corrector, in_log_snr, closes

    def solve(
        self, field: VelocityField, z: Array, log_p: OptionalArray, thetas: list[float]
    ) -> tuple[Array, OptionalArray, OptionalArray]:
        """Samples, log-densities and their errors at the last angle, as `Stepper.solve`."""
        divergence, width, n_kept = log_p is not None, z.shape[1], max(self.predictor, self.corrector)
        plan = self._plan(tuple(thetas))
        error = None if log_p is None else 0.0 * log_p
        state = corrected = first = side_by_side(z, log_p)
        # Velocities and minus divergences at all knots, the newest in front of the others.
        values = (
            np.empty((len(plan), *state.shape)) if isinstance(z, np.ndarray) else z.new_empty((len(plan), *state.shape))
        )
        for k, (theta, weights) in enumerate(zip(thetas, plan)):
            newest = len(plan) - 1 - k
            velocity, trace = field(state[:, :width], theta, divergence)
            known = values[newest : newest + n_kept]
            known[0, :, :width] = velocity
            if trace is not None:
                known[0, :, width] = -trace
            if weights.correction is not None:
                corrected = _moved(first if weights.from_first else corrected, weights.correction, known)
                if divergence:
                    error = error + abs(corrected[:, -1] - state[:, -1])
            state = corrected if weights.prediction is None else _moved(corrected, weights.prediction, known)
        error = None if error is None else error / GAPS_PER_ERROR
        return state[:, :width], state[:, -1] if divergence else None, error

    def _plan(self, thetas: tuple[float, ...]) -> list[KnotWeights]:
        return knot_weights(self.predictor, self.corrector, self.in_log_snr, self.closes, thetas)


@lru_cache(maxsize=256)  # every block of samples goes through the same grid
def knot_weights(
    predictor: int, corrector: int, in_log_snr: bool, closes: bool, thetas: tuple[float, ...]
) -> list[KnotWeights]:
    """The weights at every knot of a grid where the field is asked."""
    variable = [-math.log(math.tan(theta)) for theta in thetas] if in_log_snr else thetas
    # The slopes are these times the velocity, and minus these times the divergence.
    rates = [math.sin(theta) * math.cos(theta) if in_log_snr else -1.0 for theta in thetas]

    def weights(newest: int, first: int, count: int) -> np.ndarray:
        known = list(range(newest, max(-1, newest - count), -1))
        nodes = tuple(variable[k] for k in known)
        slopes = interpolation_weights(nodes, variable[first], variable[first + 1], False)
        return np.array(slopes) * [rates[k] for k in known]

    plan, last = [], len(thetas) - 1
    for k in range(last + closes):
        # Through all that is known, where that is little, the steps so far are made again: they keep the order.
        from_first = k < max(predictor, corrector)
        steps = range(k) if from_first else [k - 1]
        made = [weights(k, i, k + 1 if from_first else corrector) for i in steps]
        correction = np.sum(made, axis=0)[:, None, None] if made else None
        prediction = weights(k, k, predictor)[:, None, None] if k < last else None
        plan.append(KnotWeights(correction, from_first, prediction))
    return plan


def _moved(state: Array, weights: np.ndarray, values: Array) -> Array:
    """A state plus the weighted sum of the first of some values."""
    if not isinstance(values, np.ndarray):
        return (values[: len(weights)] * values.new_tensor(weights)).sum(0).add_(state)
    # Along the first axis NumPy adds one by one: the bits of a sample do not depend on the others.
    out = np.add.reduce(values[: len(weights)] * weights)
    out += state
    return out
