r"""Splits of the features into targets, given and absent ones, and the Gaussian of every split in closed form.

Of centered features y of covariance C, the targets u given the features g have the Gaussian conditional distribution

.. math:: m = C_{ug} C_{gg}^{-1} y_g ,\quad S = C_{uu} - C_{ug} C_{gg}^{-1} C_{gu} .

Noise goes on the targets alone, on their residuals :math:`r = y_u - m`, which become
:math:`z = r\cos\theta + e\sin\theta`. With :math:`A = S\cos^2\theta + I\sin^2\theta` the velocity of the Gaussian is

.. math:: F_S(z, \theta) = \sin\theta\cos\theta\,(S - I)\,A^{-1} z ,

and in :math:`w = A^{-1/2} z` its flow stands still.

References
----------
Cole and Lu (2024): complexity relative to a Gaussian.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import samples_times_matrices

MIN_VARIANCE = 1e-12  # of targets given others in any direction, below which it is round-off


class Split(NamedTuple):
    """Which features are targets and which are given, each by their numbers; the others are absent."""

    targets: tuple[int, ...]
    given: tuple[int, ...] = ()

    @classmethod
    def of(cls, targets: np.ndarray, given: np.ndarray) -> Split:
        """The split of arrays of numbers."""
        return cls(tuple(int(j) for j in targets), tuple(int(j) for j in given))

    def masks(self, n_features: int, n_targets: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of bool, of shapes (n_targets,) and (n_features,): the targets and the given features."""
        targets, given = np.zeros(n_targets, dtype=bool), np.zeros(n_features, dtype=bool)
        targets[list(self.targets)], given[list(self.given)] = True, True
        return targets, given


class SplitGaussians(NamedTuple):
    """The Gaussian conditional distributions of several splits, with zeros where a feature is not a target."""

    targets: np.ndarray  # (n_splits, n_targets), bool
    given: np.ndarray  # (n_splits, n_features), bool
    regression: np.ndarray  # (n_splits, n_features, n_targets): the means are samples @ regression
    values: np.ndarray  # (n_splits, n_targets), eigenvalues of the covariances; some are 1, of features not targets
    axes: np.ndarray  # (n_splits, n_targets, n_targets)

    @classmethod
    def of(cls, covariance: np.ndarray, targets: np.ndarray, given: np.ndarray) -> SplitGaussians:
        """The distributions that follow from a covariance matrix.

        Parameters
        ----------
        covariance : array of shape (n_features, n_features)
            Positive definite. Features after the first ``n_targets`` can be given, but are never targets.
        targets, given : arrays of bool of shapes (n_splits, n_targets) and (n_splits, n_features)
        """
        n_targets = targets.shape[1]
        both = given[:, :, None] & given[:, None]
        inverse = np.where(both, np.linalg.inv(np.where(both, covariance, np.eye(len(covariance)))), 0.0)
        regression = inverse @ covariance[:, :n_targets] * targets[:, None]
        left = covariance[:n_targets, :n_targets] - covariance[:n_targets] @ regression
        pairs = targets[:, :, None] & targets[:, None]
        values, axes = np.linalg.eigh(np.where(pairs, left, np.eye(n_targets)))
        return cls(targets, given, regression, np.maximum(values, MIN_VARIANCE), axes)

    @property
    def half_log_det(self) -> np.ndarray:
        """Half the logarithm of the determinant of the conditional covariance, shape (n_splits,)."""
        return 0.5 * np.log(self.values).sum(1)

    def means(self, samples: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Means of the targets given samples (n, n_features), each of the split of its number, (n, n_targets)."""
        return samples_times_matrices(np.where(self.given[which], samples, 0.0), self.regression, which)

    def on_axes(self, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Coordinates, along the axes of the split of each, of samples x (n, n_targets)."""
        return samples_times_matrices(x, self.axes, which)

    def from_axes(self, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The inverse of `on_axes`, zero for features that are no targets."""
        return samples_times_matrices(x, self.axes.transpose(0, 2, 1), which) * self.targets[which]
