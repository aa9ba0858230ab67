"""The Wasserstein-2 bound of a sampler: its steps, its start and its score, from the constants of a distribution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skdiffusion.theory.wasserstein._regularity import Level, Regularity

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
INTEGRATORS = ("ddim", "ve", "vp", "subvp")


def step_coefficient(integrator: str, start: Level, stop: Level) -> Level:
    r"""c of the step :math:`y \leftarrow y + c\,S(y)` from level `start` down to `stop`.

    "ddim" freezes the denoiser; "ve", "vp" and "subvp" freeze the score in the coordinates of that process.

    Parameters
    ----------
    integrator : {"ddim", "ve", "vp", "subvp"}
    start, stop : float or array

    Returns
    -------
    float or array

    Raises
    ------
    ValueError
        If the integrator is unknown.
    """
    if integrator == "ddim":
        return start * (start - stop)
    if integrator == "ve":
        return (start**2 - stop**2) / 2
    if integrator == "vp":
        return np.sqrt(1 + start**2) * (np.sqrt(1 + start**2) - np.sqrt(1 + stop**2))
    if integrator == "subvp":
        signal = [(np.sqrt(t**2 + 4) - t) / 2 for t in (start, stop)]
        total = [1 / s + s**3 / 3 for s in signal]
        return (total[0] - total[1]) / signal[0]
    raise ValueError(f"The 'integrator' must be one of {INTEGRATORS}. Got {integrator!r} instead.")


def _scales(integrator: str, tau: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal, noise, and the derivative of the noise in tau."""
    if integrator == "ve":
        return np.ones_like(tau), tau, np.ones_like(tau)
    if integrator == "vp":
        root = np.sqrt(1 + tau**2)
        return 1 / root, tau / root, root**-3
    signal = (np.sqrt(tau**2 + 4) - tau) / 2
    return signal, 1 - signal**2, 2 * signal / (1 / signal**2 + 1)


@dataclass(frozen=True)
class WassersteinBound:
    """The three terms of the bound, at the last level and in the units of the samples.

    Parameters
    ----------
    start, discretization, score : float
        Contributions of the start, of the finite steps and of the error of the score.
    """

    start: float
    discretization: float
    score: float

    @property
    def total(self) -> float:
        """The sum of the terms, which bounds the distance."""
        return self.start + self.discretization + self.score


@dataclass(frozen=True)
class SamplerErrors:
    """Errors of a sampler other than its steps.

    Parameters
    ----------
    start : float, default=0
        W2 between the distribution from which the sampler starts and the data noised to the first level.
    score : float or array-like of shape (n_steps,), default=0
        L2 error of the score under the noised distribution, at the start of each step.
    score_lipschitz : float or array-like of shape (n_steps,), default=0
        Lipschitz constant of the error of the score.
    """

    start: float = 0.0
    score: ArrayLike = 0.0
    score_lipschitz: ArrayLike = 0.0


NO_ERRORS = SamplerErrors()


def sampling_bound(
    regularity: Regularity, levels: ArrayLike, integrator: str = "ddim", errors: SamplerErrors = NO_ERRORS
) -> WassersteinBound:
    r"""Certified bound of W2 between samples and the distribution noised at the last level.

    .. math:: W_2 \le \prod_k \Lambda_k\,W_2^{start}
              + \sum_k \Big(\prod_{j<k}\Lambda_j\Big)\,[\mathrm{LTE}_k + c_k\,e_k],\quad
              \Lambda_k = 1 - c_k k(\tau_k) + c_k\,\mathrm{lip}_k .

    Parameters
    ----------
    regularity : Regularity
    levels : array-like of shape (n_steps + 1,)
        Falling noise-to-signal ratios; the last may be 0 with "ddim".
    integrator : {"ddim", "ve", "vp", "subvp"}, default="ddim"
    errors : SamplerErrors, default=SamplerErrors()
        None by default: the sampler starts from the noised data, with the exact score.

    Returns
    -------
    WassersteinBound

    Raises
    ------
    ValueError
        If the levels do not fall, or reach 0 too early; or if the integrator is unknown.
    """
    tau = np.asarray(levels, dtype=float)
    lowest = 0.0 if integrator == "ddim" else 1e-300
    if tau.ndim != 1 or len(tau) < 2 or not (np.diff(tau) < 0).all() or tau[-1] < lowest:
        raise ValueError(
            "The 'levels' must fall from step to step and stay above 0 (the last may be 0 with 'ddim'). "
            f"Got {tau!r} instead."
        )
    score_error, lipschitz = (np.broadcast_to(v, len(tau) - 1) for v in (errors.score, errors.score_lipschitz))
    c = step_coefficient(integrator, tau[:-1], tau[1:])
    growth = 1 - c * regularity.concavity(tau[:-1]) + c * lipschitz
    truncation = _truncation_errors(regularity, tau, integrator)
    start, discretization, score = float(errors.start), 0.0, 0.0
    for factor, local, error in np.column_stack([growth, truncation, c * score_error]).tolist():
        start, discretization, score = factor * start, factor * discretization + local, factor * score + error
    return WassersteinBound(start, discretization, score)


def _truncation_errors(regularity: Regularity, levels: np.ndarray, integrator: str) -> np.ndarray:
    """Bounds of the local truncation error of every step, by Gauss-Legendre quadrature within the step."""
    start, stop = levels[:-1, None], levels[1:, None]
    # In the angle the integrands are smooth, however long the step.
    low, half = np.arctan(stop), (np.arctan(start) - np.arctan(stop)) / 2
    angles = low + half * (1 + _NODES)
    nodes, weights = np.tan(angles), half * _WEIGHTS / np.cos(angles) ** 2
    if integrator == "ddim":
        return ((nodes - stop) * regularity.curvature(nodes) * weights).sum(1)
    signal, noise, slope = _scales(integrator, nodes)
    reach = step_coefficient(integrator, nodes, stop) * signal
    bend = regularity.curvature(nodes) / noise
    bend += nodes * np.sqrt(regularity.n_features * regularity.smoothness(nodes)) * slope / noise**2
    return (reach * bend * weights).sum(1)
