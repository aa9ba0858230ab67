r"""Whitening by the symmetric root of a shrunk correlation matrix.

:math:`z = Q\Lambda^{-1/2} Q^T D^{-1}(u - m)` with D the standard deviations and
:math:`(1-\rho)R + \rho I = Q\Lambda Q^T`. The symmetric root depends continuously on the samples, where single
eigenvectors flip and turn with their last bits. The shrinkage rho is that of Chen, Wiesel, Eldar, Hero (2010),
"Shrinkage algorithms for MMSE covariance estimation" (OAS): about 0 for many samples, large for n < d, so
that collinear features never give a singular map.
"""

from __future__ import annotations

import copy

import numpy as np

from skdiffusion._utils.numerics import samples_times_matrix
from skdiffusion._utils.protocols import AxesSplit

MIN_SHRINKAGE = 1e-6
MIN_CORRELATION_GAIN = 0.05  # nats a feature that a Gaussian gains by correlations, from which they count


def shrinkage(correlation: np.ndarray, effective_samples: float) -> float:
    """OAS shrinkage of a correlation matrix towards the identity."""
    d = len(correlation)
    if d == 1:
        return 0.0
    trace2 = (correlation**2).sum()
    numerator = (1 - 2 / d) * trace2 + d**2
    denominator = (effective_samples + 1 - 2 / d) * (trace2 - d)
    return float(np.clip(numerator / max(denominator, 1e-300), MIN_SHRINKAGE, 1.0))


class Whitening:
    """Affine map of samples to mean 0 and covariance near the identity.

    Parameters
    ----------
    U, w : arrays of shape (n_samples, n_features) and (n_samples,)
        The samples and their weights.

    Attributes
    ----------
    shift, scale : arrays of shape (n_features,)
        Means and standard deviations of the features.
    matrix, inverse : arrays of shape (n_features, n_features)
        z = (u - shift) @ matrix, u = z @ inverse + shift.
    log_det : float
        ``log |det matrix|``.
    correlation : array of shape (n_features, n_features)
        The shrunk correlation matrix, which becomes the identity.
    shrinkage : float
        Share of the identity in it.
    """

    _saved = ("shift", "scale", "correlation", "matrix", "inverse", "log_det", "shrinkage")

    def __init__(self, U: np.ndarray, w: np.ndarray):
        w = w / w.sum()
        self.shift = w @ U
        centered = U - self.shift
        covariance = centered.T @ (centered * w[:, None])
        scale = np.sqrt(np.diag(covariance))
        self.scale = scale = np.where(scale > 0, scale, 1.0)
        correlation = covariance / np.outer(scale, scale)
        rho = shrinkage(correlation, 1.0 / (w**2).sum())
        values, axes = np.linalg.eigh((1 - rho) * correlation + rho * np.eye(len(scale)))
        values = np.maximum(values, MIN_SHRINKAGE / 2)
        self.correlation = (axes * values) @ axes.T
        self.matrix = (axes / np.sqrt(values)) @ axes.T / scale[:, None]
        self.inverse = (axes * np.sqrt(values)) @ axes.T * scale
        self.log_det = float(-0.5 * np.log(values).sum() - np.log(scale).sum())
        self.shrinkage = rho

    def is_correlated(self, min_gain: float = MIN_CORRELATION_GAIN) -> bool:
        """Whether a Gaussian gains more than so many nats a feature by the correlations."""
        return bool(-0.5 * np.linalg.slogdet(self.correlation)[1] / len(self.correlation) > min_gain)

    def of_features(self) -> Whitening:
        """The map to unit variance that leaves the correlations as they are."""
        other = copy.copy(self)
        other.matrix, other.inverse = np.diag(1 / self.scale), np.diag(self.scale)
        other.log_det, other.correlation = float(-np.log(self.scale).sum()), np.eye(len(self.scale))
        other.shrinkage = 1.0
        return other

    def axes(self, features: np.ndarray) -> AxesSplit:
        """Axes in the whitened space: coordinates along the first ones are those of some features alone.

        Parameters
        ----------
        features : array of int
        """
        return AxesSplit(*np.split(self._orthogonal(features)[0], [len(features)], axis=1))

    def marginal(self, features: np.ndarray) -> Whitening:
        """The map of some features to coordinates along their `axes`."""
        root = self._orthogonal(features)[1]
        other = copy.copy(self)
        other.shift, other.scale = self.shift[features], self.scale[features]
        other.correlation = self.correlation[np.ix_(features, features)]
        other.inverse, other.matrix = root, np.linalg.inv(root)
        other.log_det = float(-np.log(np.abs(np.diag(root))).sum())
        return other

    def axes_of_many(self, features: np.ndarray) -> tuple[AxesSplit, np.ndarray]:
        """The axes of features of several patterns, by their numbers (n_patterns, n), and roots as of `_orthogonal`,
        shape (n_patterns, n, n)."""
        n = features.shape[1]
        axes, roots = np.linalg.qr(self.inverse.T[features].transpose(0, 2, 1), mode="complete")
        return AxesSplit(axes[:, :, :n], axes[:, :, n:]), roots[:, :n]

    def _orthogonal(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Orthonormal axes (n_features, n_features), and the root (n, n) such that u = z @ axes[:, :n] @ root + shift
        for n features."""
        d, n = len(self.shift), len(features)
        if not n:
            return np.eye(d), np.empty((0, 0))
        axes, root = np.linalg.qr(self.inverse[:, features], mode="complete")
        return axes, root[:n]

    def forward(self, U: np.ndarray) -> np.ndarray:
        """Whitened samples."""
        return samples_times_matrix(U - self.shift, self.matrix)

    def backward(self, Z: np.ndarray) -> np.ndarray:
        """Samples of whitened ones."""
        return samples_times_matrix(Z, self.inverse) + self.shift
