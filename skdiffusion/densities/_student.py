r"""The multivariate Student-t: a heavy-tailed distribution that bounds what a far sample can cost.

It is fitted by EM: a sample at squared distance :math:`\delta` from the center counts :math:`(\nu + d)/(\nu + \delta)`.
The degrees of freedom are chosen on a grid by likelihood.

References
----------
Liu and Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and ECME.
"""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri, gammaln

from skdiffusion._utils.numerics import samples_times_matrices, samples_times_matrix
from skdiffusion._utils.protocols import AxesSplit, ClosedFormDensity, SampleNoise
from skdiffusion.densities._mixture import gaussian_regression, symmetric_root

DEGREES = (2.0, 3.0, 4.0, 6.0, 10.0, 20.0)


class StudentTDensity(ClosedFormDensity):
    """Multivariate Student-t distribution.

    Parameters
    ----------
    location : array of shape (n_features,)
    scale : array of shape (n_features, n_features)
        Positive definite scale matrix.
    degrees : float
        Degrees of freedom.
    """

    _saved = ("n_features", "location", "scale", "degrees", "_factor", "_inverse")

    degrees: float

    def __init__(self, location: np.ndarray, scale: np.ndarray, degrees: float):
        self.location, self.scale, self.degrees = location, scale, float(degrees)
        self.n_features = len(location)
        self._factor = np.linalg.cholesky(scale)
        self._inverse = np.linalg.inv(self._factor)

    def squared_distance(self, x: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance to the location, shape (n_samples,)."""
        scaled = (x - self.location) @ self._inverse.T
        return np.einsum("ij,ij->i", scaled, scaled)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,)."""
        scaled = (np.asarray(x, dtype=float) - self.location) @ self._inverse.T
        return _log_prob(scaled, self.degrees, np.log(np.diag(self._factor)).sum())

    def score(self, x: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        scaled = (x - self.location) @ self._inverse.T
        factor = (self.degrees + self.n_features) / (self.degrees + (scaled**2).sum(1))
        return -factor[:, None] * (scaled @ self._inverse)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: chi-square ones with `degrees` set their radii."""
        assert noise.chi2 is not None, "The samples of a Student-t take chi-square random numbers."
        radii = np.sqrt(self.degrees / noise.chi2)[:, None]
        return self.location + samples_times_matrix(noise.normal, self._factor.T) * radii

    def marginal(self, axes: np.ndarray) -> StudentTDensity:
        """The density along some axes."""
        return StudentTDensity(self.location @ axes, axes.T @ self.scale @ axes, self.degrees)

    def marginal_log_prob(self, axes: np.ndarray, given: np.ndarray, which: np.ndarray) -> np.ndarray:
        scaled, half_log_det = self._standardized(axes, given, which)
        return _log_prob(scaled, self.degrees, half_log_det)

    def _standardized(self, axes: np.ndarray, given: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Given coordinates in units of the scale matrix along their axes, and half log-determinants of this."""
        factors = np.linalg.cholesky(axes.transpose(0, 2, 1) @ self.scale @ axes)
        inverses = np.linalg.inv(factors).transpose(0, 2, 1)
        half_log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        scaled = samples_times_matrices(given - (self.location @ axes)[which], inverses, which)
        return scaled, half_log_det[which]

    def sample_given(self, axes: AxesSplit, given: np.ndarray, which: np.ndarray, noise: SampleNoise) -> np.ndarray:
        r"""Coordinates along the other axes: Student-t too, of as many more degrees of freedom as are given.

        The scale matrix is :math:`(\nu + \delta) / (\nu + n)` times that of a Gaussian, with n coordinates given at
        the squared distance :math:`\delta`.
        """
        assert noise.uniform is not None, "The samples of a Student-t take uniform random numbers."
        gains, covariances = gaussian_regression(self.scale, axes)
        centered = given - (self.location @ axes.given)[which]
        mean = (self.location @ axes.others)[which] + samples_times_matrices(centered, gains, which)
        degrees = self.degrees + axes.given.shape[2]
        scaled, _ = self._standardized(axes.given, given, which)
        spread = np.hypot(np.sqrt(self.degrees), np.exp(_log_distance(scaled))) / np.sqrt(
            chdtri(degrees, noise.uniform)
        )
        drawn = samples_times_matrices(noise.normal, symmetric_root(covariances), which)
        return mean + drawn * spread[:, None]


def _log_prob(scaled: np.ndarray, nu: float, half_log_det: float | np.ndarray) -> np.ndarray:
    """Log-densities from standardized samples (n_samples, n_features), degrees and half log-determinants of scales."""
    d = scaled.shape[1]
    constant = gammaln((nu + d) / 2) - gammaln(nu / 2) - d / 2 * np.log(nu * np.pi) - half_log_det
    return constant - (nu + d) / 2 * np.logaddexp(0.0, 2 * _log_distance(scaled) - np.log(nu))


def _log_distance(scaled: np.ndarray) -> np.ndarray:
    """log |x| of standardized samples, without squaring: this density bounds the cost of samples however far."""
    largest = np.maximum(np.abs(scaled).max(1), 1e-300)
    return np.log(largest) + 0.5 * np.log(np.maximum(((scaled / largest[:, None]) ** 2).sum(1), 1e-300))


def shrunk_scale(scale: np.ndarray, n_effective: float) -> np.ndarray:
    """A scale matrix, shrunk towards its diagonal by half of d / (n + d)."""
    d = len(scale)
    shrink = d / (n_effective + d) * 0.5 + 1e-6
    diagonal = np.diag(np.maximum(np.diag(scale), 1e-12))
    return (1 - shrink) * scale + shrink * diagonal + 1e-12 * np.eye(d)


def fit_student_t(X: np.ndarray, weights: np.ndarray, n_iter: int = 40) -> StudentTDensity:
    """Fit a `StudentTDensity` to weighted samples.

    The scale matrix is shrunk towards its diagonal, by half of d / (n + d), so that it is invertible for n < d and for
    collinear features.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    weights : array of shape (n_samples,)
    n_iter : int
        Largest number of steps of EM for each of the degrees of freedom.
    """
    w = weights / weights.sum()
    effective = 1.0 / (w**2).sum()
    fitted: list[tuple[float, StudentTDensity]] = []
    location = w @ X
    scale = (X - location).T @ ((X - location) * w[:, None])
    for nu in sorted(DEGREES, reverse=True):
        for _ in range(n_iter):
            density = StudentTDensity(location, shrunk_scale(scale, effective), nu)
            u = w * (nu + X.shape[1]) / (nu + density.squared_distance(X))
            moved = (u @ X) / u.sum()
            change = np.abs(moved - location).max() / np.sqrt(np.maximum(np.diag(scale), 1e-12).max())
            location = moved
            scale = (X - location).T @ ((X - location) * u[:, None])
            if change < 1e-4:
                break
        fitted.append((w @ density.log_prob(X), density))
    return max(fitted, key=lambda scored: scored[0])[1]
