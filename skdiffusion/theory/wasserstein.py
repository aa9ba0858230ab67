r"""Wasserstein-2 error of the probability-flow sampler under weak log-concavity.

All levels are noise-to-signal ratios :math:`\tau = \sigma/\alpha`, on samples :math:`y = x/\alpha = x_0 + \tau z`:
every process is a choice of grid and of integrator there. A distribution is *weakly log-concave* with constants
(a, M) if its score S has

.. math:: -\langle S(x)-S(y), x-y\rangle \ge r^2\,[a - f_M(r)/r],\quad f_M(r) = 2\sqrt M\tanh(\sqrt M r/2),
    \quad r=|x-y|.

The setting is that of Kremling, Iafrate, Taheri and Lederer (2025), arXiv 2510.17608. The bound is not theirs: it was
derived for this package, so that it is complete and computable, with three terms (start, discretization, score error).

It is sharp for Gaussians, and loose by a factor :math:`e^{M/2a}` for separated mixtures, where it soon exceeds the
distances of interest: step doubling, as `ProbabilityFlow` does it, is then the guide.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skdiffusion._utils.validation import NON_NEGATIVE, POSITIVE, at_least, check_mixture, validated
from skdiffusion.diffusion.ode import equidistributed_grid

__all__ = [
    "INTEGRATORS", "Regularity", "SamplerErrors", "StepAdvice", "WassersteinBound", "bounded_regularity",
    "gaussian_regularity", "mixture_regularity", "optimal_levels", "sampling_bound", "step_coefficient",
    "suggest_steps",
]  # fmt: skip

Level = float | np.ndarray
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
INTEGRATORS = ("ddim", "ve", "vp", "subvp")
COMMON_COVARIANCE = (
    "Components of different covariances have no such constants: where their directions differ, the score is not even "
    "Lipschitz. Give one covariance for all components, or judge the steps by doubling them."
)


@dataclass(frozen=True)
class Regularity:
    """Constants of a distribution from which the bound is computed.

    Levels `tau`, `start` and `stop` are noise-to-signal ratios, numbers or arrays.

    Parameters
    ----------
    a, M : float
        Weak log-concavity; a > 0 and M >= 0.
    L0 : float
        Upper bound of -Hess log p, in the sense of symmetric matrices.
    n_features : int
    sixth_moment : float
        :math:`(E|x-Ex|^6)^{1/6}`, or a bound of it.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity
    >>> regularity = gaussian_regularity(np.eye(2))
    >>> regularity.concavity(1.0), regularity.smoothness(1.0)
    (np.float64(0.5), np.float64(0.5))
    >>> bool(regularity.curvature(np.array([1.0]))[0] > 0), bool(regularity.expansion(1.0, 0.5) <= 1)
    (True, True)
    """

    a: float
    M: float
    L0: float
    n_features: int
    sixth_moment: float

    def __post_init__(self) -> None:
        constants = (self.a, self.M, self.L0, self.n_features, self.sixth_moment)
        if not (np.isfinite(constants).all() and min(constants) >= 0 and np.delete(constants, 1).all()):
            raise ValueError(
                "A Regularity needs finite a > 0, M >= 0, L0 > 0, n_features >= 1 and sixth_moment > 0: rescale the "
                f"distribution if its numbers overflow. Got {constants!r} instead."
            )

    def concavity(self, tau: Level) -> Level:
        """k with Hess log p_tau <= -k; negative where the noised distribution is not log-concave.

        Parameters
        ----------
        tau : float or ndarray
            Noise-to-signal ratio.

        Returns
        -------
        float or ndarray
        """
        q = 1 + self.a * tau**2
        return self.a / q - self.M / q**2

    def smoothness(self, tau: Level) -> Level:
        """Bound of -Hess log p_tau.

        Parameters
        ----------
        tau : float or ndarray
            Noise-to-signal ratio.

        Returns
        -------
        float or ndarray
        """
        return self.L0 / (1 + self.L0 * tau**2)

    def expansion(self, start: Level, stop: Level) -> Level:
        """Lipschitz constant of the exact flow from level `start` down to `stop`.

        Parameters
        ----------
        start, stop : float or ndarray

        Returns
        -------
        float or ndarray
        """
        p, q = 1 + self.a * stop**2, 1 + self.a * start**2
        return np.sqrt(p / q) * np.exp(self.M / (2 * self.a) * (1 / p - 1 / q))

    def curvature(self, tau: np.ndarray) -> np.ndarray:
        """Bound of the second derivative of trajectories in tau, in L2 of the noised distribution.

        Parameters
        ----------
        tau : ndarray
            Noise-to-signal ratio.

        Returns
        -------
        ndarray
        """
        d, low, a = self.n_features, self.a - self.M, self.a + 1 / tau**2
        poincare = np.exp(np.minimum(self.M / a, 50.0)) / a
        convex = 1 / tau**2 + low
        poincare = np.where(convex > 0, np.minimum(poincare, 1 / np.where(convex > 0, convex, 1.0)), poincare)
        variance = np.minimum(poincare, 1 / a + self.M / a**2)
        shifts = (0.0, max((self.L0 + low) / 2, 0.0), self.L0)
        spread = np.min([np.maximum(self.L0 - b, b - low) / (1 + tau**2 * b) for b in shifts], axis=0)
        third = (
            8 * self.sixth_moment**3 + 0 * tau,
            8 * tau**3 * np.sqrt(d * (d + 2.0) * (d + 4.0)),
            2 * np.sqrt(d) * variance * np.sqrt(poincare),
            2 * np.sqrt(d) * tau**2 * spread * poincare * np.sqrt(variance),
        )
        return (1 - tau**2 * self.concavity(tau)) * np.sqrt(d * self.smoothness(tau)) + np.min(third, axis=0) / tau**4


def _gaussian_sixth_moment(covariance: np.ndarray) -> float:
    one, two, three = (np.trace(np.linalg.matrix_power(covariance, p)) for p in (1, 2, 3))
    return (one**3 + 6 * one * two + 8 * three) ** (1 / 6)


def _check_covariance(covariance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """A covariance matrix and its eigenvalues, which ascend."""
    matrix = check_array(np.atleast_2d(covariance), dtype=np.float64, input_name="covariance")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"'covariance' must be a square matrix. Got shape {matrix.shape}. {COMMON_COVARIANCE}")
    values = np.linalg.eigvalsh(matrix) if np.allclose(matrix, matrix.T) else np.zeros(1)
    if not values[0] > len(values) * np.finfo(float).eps * values[-1]:
        raise ValueError("'covariance' must be symmetric and positive definite, beyond round-off.")
    return matrix, values


@np.errstate(over="ignore", invalid="ignore")  # numbers out of range are refused by Regularity
def gaussian_regularity(covariance: ArrayLike) -> Regularity:
    """Constants of a Gaussian.

    Parameters
    ----------
    covariance : array-like of shape (n_features, n_features)

    Returns
    -------
    Regularity

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity
    >>> gaussian_regularity(4.0 * np.eye(2)).a
    np.float64(0.25)
    """
    matrix, values = _check_covariance(covariance)
    return Regularity(1 / values[-1], 0.0, 1 / values[0], len(values), _gaussian_sixth_moment(matrix))


@np.errstate(over="ignore", invalid="ignore")  # numbers out of range are refused by Regularity
def mixture_regularity(weights: ArrayLike, means: ArrayLike, covariance: ArrayLike) -> Regularity:
    r"""Constants of a Gaussian mixture whose components share one covariance.

    :math:`M = \Delta^2/4` with :math:`\Delta = \max_{ij}|C^{-1}(m_i-m_j)|`, exact for two equal components.

    Parameters
    ----------
    weights : array-like of shape (n_components,)
    means : array-like of shape (n_components, n_features)
    covariance : array-like of shape (n_features, n_features)

    Returns
    -------
    Regularity

    Raises
    ------
    ValueError
        If every component has a covariance of its own: there are no constants then.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import mixture_regularity
    >>> mixture_regularity([0.5, 0.5], [[-1.0], [1.0]], [[1.0]]).M
    1.0
    """
    if np.ndim(covariance) > 2:
        raise ValueError(COMMON_COVARIANCE)
    matrix, values = _check_covariance(covariance)
    shares, centers = check_mixture(weights, means)
    if centers.shape[1] != len(matrix):
        raise ValueError(f"'means' has {centers.shape[1]} features, 'covariance' {len(matrix)}.")
    moved = np.linalg.solve(matrix, centers.T).T
    distance = np.linalg.norm(moved[:, None] - moved[None], axis=2).max()
    around = np.linalg.norm(centers - shares @ centers, axis=1)
    far = around.max() or 1.0
    sixth = far * (shares @ (around / far) ** 6) ** (1 / 6) + _gaussian_sixth_moment(matrix)
    return Regularity(1 / values[-1], float(distance**2 / 4), 1 / values[0], len(values), float(sixth))


@validated(diameter=NON_NEGATIVE)
@np.errstate(over="ignore", invalid="ignore")
def bounded_regularity(diameter: float, covariance: ArrayLike) -> Regularity:
    """Constants of any distribution supported in a set of this diameter, plus Gaussian noise of this covariance.

    Parameters
    ----------
    diameter : float
    covariance : array-like of shape (n_features, n_features)

    Returns
    -------
    Regularity

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import bounded_regularity
    >>> bool(bounded_regularity(1.0, 0.1 * np.eye(2)).a > 0)
    True
    """
    matrix, values = _check_covariance(covariance)
    sixth = diameter + _gaussian_sixth_moment(matrix)
    return Regularity(1 / values[-1], (diameter / values[0]) ** 2 / 4, 1 / values[0], len(values), float(sixth))


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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import step_coefficient
    >>> float(step_coefficient("ddim", 1.0, 0.5))
    0.5
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity, sampling_bound
    >>> bound = sampling_bound(gaussian_regularity(np.eye(2)), np.geomspace(10.0, 0.01, 100))
    >>> bound.start, bound.score, bool(bound.discretization < 0.2)
    (0.0, 0.0, True)
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import SamplerErrors, gaussian_regularity, sampling_bound
    >>> levels = np.geomspace(10.0, 0.01, 100)
    >>> bound = sampling_bound(gaussian_regularity(np.eye(2)), levels, errors=SamplerErrors(start=0.1))
    >>> bool(bound.start > 0)
    True
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity, sampling_bound
    >>> regularity = gaussian_regularity(np.eye(2))
    >>> few, many = (sampling_bound(regularity, np.geomspace(10.0, 0.01, n)).discretization for n in (20, 200))
    >>> bool(many < few)
    True
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity, optimal_levels
    >>> levels, total = optimal_levels(gaussian_regularity(np.eye(2)), 10, 10.0, 0.01)
    >>> levels.shape, bool((np.diff(levels) < 0).all())
    ((11,), True)
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import suggest_steps
    >>> advice = suggest_steps(0.01)
    >>> advice.n_steps, len(advice.levels)
    (124, 125)
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.wasserstein import gaussian_regularity, suggest_steps
    >>> suggest_steps(0.01, gaussian_regularity(np.eye(2))).n_steps > 10
    True
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
