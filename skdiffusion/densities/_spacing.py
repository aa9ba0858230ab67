"""How far apart samples lie: the widths of kernels that follow the density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

NEIGHBOR = 4  # whose distance is the spacing of a sample
MIN_SPACING = 0.05  # of the geometric mean: nearer samples say nothing about the density around them


@dataclass(frozen=True)
class Spacing:
    """How far apart samples lie around each of them: kernels as wide as that follow the density.

    Parameters
    ----------
    scale : array of shape (n_samples,)
        Distance to a near neighbor over the geometric mean of all these distances.
    reach : array of shape (n_samples,)
        The distance itself.
    without : array of shape (n_samples,)
        Factor of `scale` if any of the samples within `reach` were missing.
    """

    scale: np.ndarray
    reach: np.ndarray
    without: np.ndarray

    @classmethod
    def of_samples(cls, samples: np.ndarray, weights: np.ndarray) -> Spacing | None:
        """The spacing of weighted samples (n_samples, n_features) among distinct ones; None where these are too few."""
        distinct, inverse = np.unique(samples, axis=0, return_inverse=True)
        if len(distinct) < NEIGHBOR + 2:
            return None
        distances, _ = NearestNeighbors(n_neighbors=NEIGHBOR + 2).fit(distinct).kneighbors(distinct)
        near, following = distances[inverse.ravel(), NEIGHBOR:].T
        return cls.of_distances(near, following, weights)

    @classmethod
    def of_distances(cls, near: np.ndarray, following: np.ndarray, weights: np.ndarray) -> Spacing:
        """From the distances to a near neighbor and to the one after it, and the weights, all of shape (n_samples,)."""
        near, following = (np.maximum(distances, 1e-12 * np.max(near)) for distances in (near, following))  # round-off
        mean = np.exp(np.average(np.log(near), weights=weights))
        scale, next_scale = np.maximum(near / mean, MIN_SPACING), np.maximum(following / mean, MIN_SPACING)
        return cls(scale, near, next_scale / scale)
