"""Gaussian mixtures with full covariances, diffused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from skdiffusion._utils.blocks import VECTOR, slices
from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrices, samples_times_matrix
from skdiffusion._utils.protocols import AxesSplit, SampleNoise
from skdiffusion.densities._diffused import DiffusedDensity, Moments
from skdiffusion.densities._stacking import choose_component

LOG_2PI = np.log(2 * np.pi)
MAX_COORDINATES = 100_000  # of a block of samples, along the axes of all components: they stay in cache
MAX_MARGINAL_NUMBERS = 500_000  # of the covariances of all components, for patterns that are worked on at a time
MIN_DATA_WEIGHT = 1e-3  # of a Gaussian that carries data


class GaussianMixtureDensity(DiffusedDensity):
    """Mixture of Gaussians; one component is the Gaussian itself.

    Parameters
    ----------
    weights : array of shape (n_components,)
        Positive; normalized to sum 1.
    means : array of shape (n_components, n_features)
    covariances : array of shape (n_components, n_features, n_features)
        Symmetric positive semi-definite. Singular ones are allowed when sigma > 0.
    """

    _saved = ("n_features", "weights", "means", "covariances", "_variances", "_axes")

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        self.means = np.atleast_2d(np.asarray(means, dtype=float))
        n_components, self.n_features = self.means.shape
        self.covariances = np.asarray(covariances, dtype=float).reshape(n_components, self.n_features, self.n_features)
        weights = np.asarray(weights, dtype=float)
        self.weights = weights / weights.sum()
        eigenvalues, self._axes = np.linalg.eigh(self.covariances)
        self._variances = np.maximum(eigenvalues, 0.0)

    @classmethod
    def mean(cls, mixtures: Sequence[GaussianMixtureDensity]) -> GaussianMixtureDensity:
        """The distribution whose density is the mean of those of other mixtures."""
        parts = zip(*((mixture.weights, mixture.means, mixture.covariances) for mixture in mixtures))
        return cls(*map(np.concatenate, parts))

    @property
    def narrowest(self) -> float:  # type: ignore[override]
        """Smallest standard deviation, at most 1, of a Gaussian that carries data."""
        carrying = self.covariances[self.weights > MIN_DATA_WEIGHT]
        return float(np.sqrt(np.clip(np.linalg.eigvalsh(carrying), 0.0, 1.0).min(initial=1.0)))

    def _sample_cost(self) -> int:
        return 3 * len(self.weights) * self.n_features + 1

    def _moments(self, x: np.ndarray, alpha: float, sigma: float) -> Moments:
        variances = alpha**2 * self._variances + sigma**2  # (K, d)
        # Coordinates along each component's axes, (K, n, d).
        q = np.matmul(x[None] - alpha * self.means[:, None], self._axes)
        u = q / variances[:, None]
        log_joint = np.log(self.weights)[:, None] - 0.5 * (q * u).sum(2)
        log_joint -= 0.5 * (np.log(variances).sum(1) + self.n_features * LOG_2PI)[:, None]
        log_density = log_sum_exp(log_joint, axis=0)
        r = np.exp(log_joint - log_density)
        r_axes = (r[:, :, None] * u) @ self._axes.transpose(0, 2, 1)
        mean_u = r_axes.sum(0)
        pull = alpha * self._variances[:, None] * u
        denoised = r.T @ self.means + ((r[:, :, None] * pull) @ self._axes.transpose(0, 2, 1)).sum(0)
        laplacian = -(r * (1 / variances).sum(1)[:, None]).sum(0) + (r * (u * u).sum(2)).sum(0) - (mean_u**2).sum(1)
        return Moments(log_density, mean_u, denoised, laplacian)

    def log_prob(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> np.ndarray:
        """Log-density of the noised distribution at x, in nats, shape (n_samples,)."""
        x = np.asarray(x, dtype=float)
        out = np.empty(len(x))
        for block, log_joint in self._log_joint(x, alpha, sigma):
            out[block] = log_sum_exp(log_joint, axis=1)
        return out

    def log_prob_and_score(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and its gradient at once."""
        moments = self.moments(x)
        return moments.log_prob, -moments.mean_u

    def _log_joint(self, x: np.ndarray, alpha: float = 1.0, sigma: float = 0.0) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of samples, with the log-densities of the components with their weights, (n_samples, n_components)."""
        n_components, d = self.means.shape
        variances = alpha**2 * self._variances + sigma**2
        # Coordinates in which every component is standard, side by side: (d, K d).
        roots = (self._axes / np.sqrt(variances)[:, None]).transpose(1, 0, 2)
        centers = alpha * np.einsum("ki,ikj->kj", self.means, roots).ravel()
        constants = np.log(self.weights) - 0.5 * (np.log(variances).sum(1) + d * LOG_2PI)
        roots = roots.reshape(d, -1)
        size = MAX_COORDINATES // max(1, n_components * d)
        for block in slices(len(x), max(VECTOR, size // VECTOR * VECTOR)):  # in others samples have other last bits
            scaled = (x[block] @ roots - centers).reshape(-1, n_components, d)
            yield block, constants - 0.5 * np.einsum("nkj,nkj->nk", scaled, scaled)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the uniform ones choose the components."""
        component = choose_component(self.weights, noise.uniform)
        out = np.empty_like(noise.normal)
        for k in np.unique(component):
            samples = component == k
            root = np.sqrt(self._variances[k])[:, None] * self._axes[k].T
            out[samples] = self.means[k] + samples_times_matrix(noise.normal[samples], root)
        return out

    def marginal(self, axes: np.ndarray) -> GaussianMixtureDensity:
        """The density along some axes."""
        return GaussianMixtureDensity(self.weights, self.means @ axes, axes.T @ self.covariances @ axes)

    def marginal_log_prob(self, axes: np.ndarray, given: np.ndarray, which: np.ndarray) -> np.ndarray:
        return log_sum_exp(self._marginal_log_joint(axes, given, which), axis=1)

    def _marginal_log_joint(self, axes: np.ndarray, given: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The same under each of the components, with their weights, (n_samples, n_components)."""
        out, n = np.empty((len(given), len(self.weights))), axes.shape[2]
        size = max(VECTOR, MAX_MARGINAL_NUMBERS // (self.covariances.size + 1) // VECTOR * VECTOR)
        for part in slices(len(axes), size):
            own = axes[part, None]
            covariances = own.transpose(0, 1, 3, 2) @ self.covariances @ own
            variances, roots = np.linalg.eigh((covariances + covariances.swapaxes(2, 3)) / 2)
            variances = np.maximum(variances, 0.0)
            roots /= np.sqrt(variances)[:, :, None]
            constants = np.log(self.weights) - 0.5 * (np.log(variances).sum(2) + n * LOG_2PI)
            mine = np.flatnonzero((part.start <= which) & (which < part.stop))
            pattern = which[mine] - part.start
            centered = given[mine, None] - (self.means @ axes[part])[pattern]
            scaled = np.zeros(centered.shape)
            for i in range(n):
                scaled += centered[:, :, i, None] * roots[pattern, :, i]
            out[mine] = constants[pattern] - 0.5 * (scaled**2).sum(2)
        return out

    def sample_given(self, axes: AxesSplit, given: np.ndarray, which: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Coordinates along the other axes, of components chosen by how likely the given ones are under each."""
        log_joint = self._marginal_log_joint(axes.given, given, which)
        share = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None])
        pairs = which * len(self.weights) + choose_component(share, noise.uniform)
        chosen, pair = np.unique(pairs, return_inverse=True)
        pattern, k = np.divmod(chosen, len(self.weights))
        own, means = AxesSplit(axes.given[pattern], axes.others[pattern]), self.means[k, None]
        gains, covariances = gaussian_regression(self.covariances[k], own)
        centered = given - (means @ own.given)[pair, 0]
        mean = (means @ own.others)[pair, 0] + samples_times_matrices(centered, gains, pair)
        return mean + samples_times_matrices(noise.normal, symmetric_root(covariances), pair)


def gaussian_regression(covariance: np.ndarray, axes: AxesSplit) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (..., n_given, n_others) of the regression of coordinates along the other axes on the given ones,
    and the covariance of its residuals."""
    given = np.swapaxes(axes.given, -1, -2) @ covariance
    among, across = given @ axes.given, given @ axes.others
    gain = np.linalg.solve(among, across)
    residuals = np.swapaxes(axes.others, -1, -2) @ covariance @ axes.others - np.swapaxes(across, -1, -2) @ gain
    return gain, (residuals + np.swapaxes(residuals, -1, -2)) / 2


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance, or of several (..., n, n)."""
    values, axes = np.linalg.eigh(covariance)
    return (axes * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(axes, -1, -2)


def gaussian_flow_map(
    mean: np.ndarray, covariance: np.ndarray, z: np.ndarray, theta_from: float, theta_to: float
) -> np.ndarray:
    r"""Exact flow of N(mean, covariance) between two angles, samples z of shape (n_samples, n_features).

    :math:`z_t = \alpha_t m + (\alpha_t^2C+\sigma_t^2)^{1/2}(\alpha_s^2C+\sigma_s^2)^{-1/2}(z_s-\alpha_s m)`
    with alpha = cos, sigma = sin of the angles.
    """
    values, axes = np.linalg.eigh(np.asarray(covariance, dtype=float))
    old, new = (np.sqrt(np.cos(theta) ** 2 * values + np.sin(theta) ** 2) for theta in (theta_from, theta_to))
    q = (z - np.cos(theta_from) * mean) @ axes
    return np.cos(theta_to) * mean + (q * new / old) @ axes.T
