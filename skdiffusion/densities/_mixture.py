"""Gaussian mixtures with full covariances, diffused."""

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrix
from skdiffusion.densities._diffused import DiffusedDensity, Moments

LOG_2PI = np.log(2 * np.pi)
MAX_COORDINATES = 100_000  # of a block of samples, along the axes of all components: they stay in cache


class GaussianMixtureDensity(DiffusedDensity):
    """Mixture of Gaussians; one component is the Gaussian itself.

    Parameters
    ----------
    weights : array of shape (K,)
        Positive; normalized to sum 1.
    means : array of shape (K, d)
    covariances : array of shape (K, d, d)
        Symmetric positive semi-definite. Singular ones are allowed when sigma > 0.
    """

    _saved = ("n_features", "weights", "means", "covariances", "_variances", "_axes")

    def __init__(self, weights, means, covariances):
        self.means = np.atleast_2d(np.asarray(means, dtype=float))
        self.covariances = np.asarray(covariances, dtype=float).reshape(
            len(self.means), self.means.shape[1], self.means.shape[1]
        )
        weights = np.asarray(weights, dtype=float)
        self.weights = weights / weights.sum()
        self.n_features = self.means.shape[1]
        eigenvalues, self._axes = np.linalg.eigh(self.covariances)
        self._variances = np.maximum(eigenvalues, 0.0)

    @property
    def narrowest(self) -> float:
        """Smallest standard deviation of a component that carries data."""
        used = self.covariances[self.weights > 1e-3]
        return float(np.sqrt(np.linalg.eigvalsh(used).min()))

    @classmethod
    def mean(cls, mixtures):
        """The distribution whose density is the mean of those of other mixtures."""
        weights = np.concatenate([mixture.weights for mixture in mixtures])
        return cls(
            weights,
            np.concatenate([mixture.means for mixture in mixtures]),
            np.concatenate([mixture.covariances for mixture in mixtures]),
        )

    def _sample_cost(self):
        return 3 * len(self.weights) * self.n_features + 1

    def _moments(self, x, alpha, sigma):
        d = self.n_features
        variances = alpha**2 * self._variances + sigma**2  # (K, d)
        # Coordinates along each component's axes, (K, n, d).
        q = np.matmul(x[None] - alpha * self.means[:, None], self._axes)
        u = q / variances[:, None]
        log_joint = (
            np.log(self.weights)[:, None]
            - 0.5 * (q * u).sum(2)
            - 0.5 * (np.log(variances).sum(1) + d * LOG_2PI)[:, None]
        )
        log_density = log_sum_exp(log_joint, axis=0)
        r = np.exp(log_joint - log_density)
        r_axes = (r[:, :, None] * u) @ self._axes.transpose(0, 2, 1)
        mean_u = r_axes.sum(0)
        pull = alpha * self._variances[:, None] * u
        denoised = r.T @ self.means + ((r[:, :, None] * pull) @ self._axes.transpose(0, 2, 1)).sum(0)
        laplacian = -(r * (1 / variances).sum(1)[:, None]).sum(0) + (r * (u * u).sum(2)).sum(0) - (mean_u**2).sum(1)
        return Moments(log_density, mean_u, denoised, laplacian)

    def log_prob(self, x, alpha=1.0, sigma=0.0):
        """Log-density of the noised distribution at x, in nats, shape (n,)."""
        x = np.asarray(x, dtype=float)
        n_components, d = self.means.shape
        variances = alpha**2 * self._variances + sigma**2
        # Coordinates in which every component is standard, side by side: (d, K d).
        roots = (self._axes / np.sqrt(variances)[:, None]).transpose(1, 0, 2)
        centers = alpha * np.einsum("ki,ikj->kj", self.means, roots).ravel()
        constants = np.log(self.weights) - 0.5 * (np.log(variances).sum(1) + d * LOG_2PI)
        roots = roots.reshape(d, -1)
        step = max(1, MAX_COORDINATES // (n_components * d))
        out = np.empty(len(x))
        for start in range(0, len(x), step):
            scaled = (x[start : start + step] @ roots - centers).reshape(-1, n_components, d)
            log_joint = constants - 0.5 * np.einsum("nkj,nkj->nk", scaled, scaled)
            out[start : start + step] = log_sum_exp(log_joint, axis=1)
        return out

    def sample(self, noise):
        """Samples from random numbers: the uniform ones choose the components."""
        component = np.minimum(
            np.searchsorted(np.cumsum(self.weights), noise.uniform, side="right"), len(self.weights) - 1
        )
        out = np.empty_like(noise.normal)
        for k in np.unique(component):
            samples = component == k
            root = np.sqrt(self._variances[k])[:, None] * self._axes[k].T
            out[samples] = self.means[k] + samples_times_matrix(noise.normal[samples], root)
        return out


def gaussian_flow_map(mean, covariance, z, theta_from, theta_to):
    r"""Exact flow of N(mean, covariance) between two angles, samples z of shape (n, d).

    :math:`z_t = \alpha_t m + (\alpha_t^2C+\sigma_t^2)^{1/2}(\alpha_s^2C+\sigma_s^2)^{-1/2}(z_s-\alpha_s m)`
    with alpha = cos, sigma = sin of the angles.
    """
    values, axes = np.linalg.eigh(np.asarray(covariance, dtype=float))
    old, new = (np.sqrt(np.cos(theta) ** 2 * values + np.sin(theta) ** 2) for theta in (theta_from, theta_to))
    q = (z - np.cos(theta_from) * mean) @ axes
    return np.cos(theta_to) * mean + (q * new / old) @ axes.T
