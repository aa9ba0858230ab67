"""Noise levels and numbers of steps that keep the Wasserstein bound below an error."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.validation import POSITIVE, at_least, validated
from skdiffusion.diffusion.ode import equidistributed_grid
from skdiffusion.theory.wasserstein._bound import WassersteinBound, sampling_bound
from skdiffusion.theory.wasserstein._regularity import Regularity


def optimal_levels(regularity: Regularity, n_steps: int, first: float, last: float) -> tuple[np.ndarray, float]:
    """Levels that minimize the discretization term for many DDIM steps, and the constant I of its decay.

    Parameters
    ----------
    regularity : Regularity
    n_steps : int
    first, last : float
        Levels, first > last > 0.

    Returns
    -------
    levels : ndarray of shape (n_steps + 1,)
    total : float
        N(eps) = total**2 / (2 eps) steps reach eps.
    """

    def difficulty(tau: np.ndarray) -> np.ndarray:
        return np.sqrt(regularity.expansion(tau, last) * regularity.curvature(tau))

    angles = equidistributed_grid(
        n_steps, np.arctan(last), np.arctan(first), lambda angle: difficulty(np.tan(angle)) / np.cos(angle) ** 2
    )
    tau = np.geomspace(last, first, 4000)
    value = difficulty(tau)
    total = ((value[1:] + value[:-1]) / 2 * np.diff(tau)).sum()
    return np.tan(angles)[::-1], float(total)


@dataclass(frozen=True)
class StepAdvice:
    """What `suggest_steps` found.

    Parameters
    ----------
    levels : ndarray of shape (n_steps + 1,)
        Falling noise levels.
    n_steps : int
    bound : WassersteinBound or None
        Certified bound at these steps; None where the distribution is not known.
    """

    levels: np.ndarray
    n_steps: int
    bound: WassersteinBound | None


@validated(error=POSITIVE, regularity=[Regularity, None], first=[*POSITIVE, None], last=POSITIVE, max_steps=at_least(1))
def suggest_steps(
    error: float,
    regularity: Regularity | None = None,
    *,
    first: float | None = None,
    last: float = 0.01,
    max_steps: int = 100_000,
) -> StepAdvice:
    r"""Noise levels and number of DDIM steps for a sampling error in W2.

    With the constants of a distribution the answer is certified: the smallest number of steps on the optimal grid
    whose bound is below the error. Without, it is the start value :math:`N = \pi^2/(8\,\varepsilon)` on the grid
    uniform in the angle, for standardized samples and to be confirmed by doubling; it is exact for a standard Gaussian
    in one dimension.

    Parameters
    ----------
    error : float
        W2, in standard deviations of a feature without `regularity`, else in the units of the distribution.
    regularity : Regularity, optional
    first : float, optional
        Noise level at which the flow starts; ten standard deviations by default. Starting there from a Gaussian of
        the same mean and covariance adds an error, about 1e-3 for mixtures, that falls with the square of the level
        and is not part of the answer.
    last : float, default=0.01
        Noise level at which the flow stops.
    max_steps : int, default=100000

    Returns
    -------
    StepAdvice

    Raises
    ------
    ValueError
        If no number of steps up to `max_steps` is certified: the constants are then too weak to be of use.
    """
    if regularity is None:
        estimate = np.pi**2 / (8 * error)
        if estimate > max_steps:
            raise ValueError(
                f"An error of {error} asks for more than 'max_steps'={max_steps} steps: raise one of them."
            )
        angles = np.linspace(np.arctan(first or 10.0), np.arctan(last), int(np.ceil(estimate)) + 1)
        return StepAdvice(np.tan(angles), len(angles) - 1, None)
    start = 10.0 * regularity.sixth_moment if first is None else first

    def bound(n_steps: int) -> WassersteinBound:
        return sampling_bound(regularity, optimal_levels(regularity, n_steps, start, last)[0])

    estimate = optimal_levels(regularity, 1, start, last)[1] ** 2 / (2 * error)
    n_steps = _fewest_steps(error, lambda n: bound(n).total, estimate, max_steps)
    return StepAdvice(optimal_levels(regularity, n_steps, start, last)[0], n_steps, bound(n_steps))


def _fewest_steps(error: float, bound: Callable[[int], float], guess: float, max_steps: int) -> int:
    """Smallest number of steps whose bound is below an error, from a guess; at most `max_steps`, else ValueError."""
    too_few, enough, n_guesses = 0, None, 0
    while True:
        if too_few == max_steps or not (n_guesses or guess <= 2 * max_steps):
            raise ValueError(
                f"No {max_steps} steps are certified to reach an error of {error}: about {guess:.0f} would be. The "
                "bound is loose; choose the steps by doubling them (n_steps='auto')."
            )
        n_steps = int(np.clip(guess, too_few + 1, max_steps if enough is None else enough - 1))
        reached = bound(n_steps)
        too_few, enough = (too_few, n_steps) if reached <= error else (n_steps, enough)
        if enough == too_few + 1:
            return enough
        # The bound is nearly inverse to the number of steps; in case it is not, every third guess halves the bracket.
        n_guesses += 1
        guess = np.ceil(n_steps * reached / error)
        if n_guesses % 3 == 0 or not np.isfinite(guess):
            guess = 2 * too_few + 1 if enough is None else (too_few + enough) // 2
