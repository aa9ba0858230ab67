"""The constants of a distribution on which the Wasserstein bound depends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skdiffusion._utils.validation import NON_NEGATIVE, check_mixture, validated

Level = float | np.ndarray
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
        """k with Hess log p_tau <= -k; negative where the noised distribution is not log-concave."""
        q = 1 + self.a * tau**2
        return self.a / q - self.M / q**2

    def smoothness(self, tau: Level) -> Level:
        """Bound of -Hess log p_tau."""
        return self.L0 / (1 + self.L0 * tau**2)

    def expansion(self, start: Level, stop: Level) -> Level:
        """Lipschitz constant of the exact flow from level `start` down to `stop`."""
        p, q = 1 + self.a * stop**2, 1 + self.a * start**2
        return np.sqrt(p / q) * np.exp(self.M / (2 * self.a) * (1 / p - 1 / q))

    def curvature(self, tau: np.ndarray) -> np.ndarray:
        """Bound of the second derivative of trajectories in tau, in L2 of the noised distribution."""
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
    """
    matrix, values = _check_covariance(covariance)
    sixth = diameter + _gaussian_sixth_moment(matrix)
    return Regularity(1 / values[-1], (diameter / values[0]) ** 2 / 4, 1 / values[0], len(values), float(sixth))
