"""Projection onto a smooth set by local polynomials of the samples near it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import numpy as np
from scipy.spatial import cKDTree

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.validation import at_least, validated

BLOCK_FLOATS = 2_000_000  # numbers of the largest temporary array of a block
SCALES = (1.0, 0.8, 0.6, 0.4)  # candidates, in units of the spacing of the samples
DEGREES, SAMPLES_PER_TERM = (1, 2, 4), (1.5, 3.0, 6.0)


@validated(n=at_least(2))
def coarse_samples(n: int) -> int:
    """Samples that lie within the coarse level of a sample: 2.4 log n, the same in every dimension.

    A ball of volume of order log n / n holds so many whatever the density on the set, as long as it is bounded below:
    `ManifoldDiffusionEstimator` measures its coarse level as the distance to this neighbor.

    Parameters
    ----------
    n : int
        Number of samples.

    Returns
    -------
    int

    Examples
    --------
    >>> from skdiffusion.manifold import coarse_samples
    >>> coarse_samples(2000)
    19
    """
    return int(np.ceil(2.4 * np.log(n)))


class LocalPolynomials:
    r"""A smooth set as samples on it show it: locally the graph of a polynomial over the tangent space.

    At y, samples are weighted by :math:`\exp(-|y-X_i|^2/2\tau^2)`; the top k directions of their covariance span the
    tangent space, and the rest is a polynomial of the tangent coordinates, by weighted least squares. The error
    for a set of smoothness beta is of order tau**beta, where the weighted mean stays at tau**2.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
    dimension : int
        k.
    scale : float
        tau; wider where the last neighbor is further away than 2.5 tau.
    degree : int
        Of the polynomial; 1 is the tangent plane.
    samples_per_term : float, default=3
        Neighbors for every coefficient: few follow a set without noise more closely, many average noise out.
    """

    _saved = ("samples", "dimension", "scale", "degree", "n_neighbors")

    def __init__(
        self, samples: np.ndarray, dimension: int, scale: float, degree: int, samples_per_term: float = 3.0
    ) -> None:
        self.samples, self.dimension, self.scale, self.degree = samples, dimension, scale, degree
        self._prepare()
        self.n_neighbors = min(len(samples), max(int(samples_per_term * self.n_terms), 2 * dimension + 4))

    def _prepare(self) -> None:
        """What follows from the samples, the dimension and the degree."""
        powers = [combinations_with_replacement(range(self.dimension), p) for p in range(2, self.degree + 1)]
        self._powers = [list(c) for combinations in powers for c in combinations]
        self._tree = cKDTree(self.samples)
        self._center = self.samples.mean(0)
        self._reach = 1e6 * np.abs(self.samples - self._center).max()

    def __getstate__(self) -> dict:
        return {name: vars(self)[name] for name in self._saved}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._prepare()

    @property
    def n_terms(self) -> int:
        """Coefficients of the polynomial."""
        return 1 + self.dimension + len(self._powers)

    def _within_reach(self, y: np.ndarray) -> np.ndarray:
        """The points y, those absurdly far away drawn in: squares of their distances would overflow."""
        away = np.asarray(y, dtype=float) - self._center
        size = np.abs(away).max(1, keepdims=True)
        return self._center + np.where(size > self._reach, away / np.maximum(size, 1.0) * self._reach, away)

    def _terms(self, u: np.ndarray) -> np.ndarray:
        """Monomials (..., n_terms) of tangent coordinates u (..., k), in units of the scale."""
        ones = np.ones((*u.shape[:-1], 1))
        return np.concatenate([ones, u, *(u[..., c].prod(-1, keepdims=True) for c in self._powers)], axis=-1)

    def _frames(self, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Center (n, d), tangent basis (n, d, k), neighbors (n, m, d), their weights (n, m) and the scale (n, 1)."""
        distance, index = self._tree.query(y, k=self.n_neighbors)
        near = self.samples[index]
        # Where samples are sparse the kernel widens, so that the polynomial always has samples to rest on.
        scale = np.maximum(self.scale, distance[:, -1] / 2.5)[:, None]
        weight = np.exp(-0.5 * (distance / scale) ** 2) + 1e-12
        weight /= weight.sum(1, keepdims=True)
        center = np.einsum("nm,nmd->nd", weight, near)
        away = (near - center[:, None]) * np.sqrt(weight)[:, :, None]
        # Singular vectors of the samples instead of a covariance: the features may be many, the neighbors are few.
        tangent = np.linalg.svd(away, full_matrices=False)[2][:, : self.dimension].transpose(0, 2, 1)
        return center, tangent, near, weight, scale

    def _surface(self, y: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
        """Points of the local surfaces around y, above the tangent coordinates of x (of y by default)."""
        center, tangent, near, weight, scale = self._frames(y)
        away = near - center[:, None]
        u = away @ tangent
        normal = away - u @ tangent.transpose(0, 2, 1)
        terms = self._terms(u / scale[:, :, None])
        weighted = terms * weight[:, :, None]
        gram = terms.transpose(0, 2, 1) @ weighted
        size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        gram = gram + 1e-9 * size * np.eye(gram.shape[1])
        coefficients = np.linalg.solve(gram, weighted.transpose(0, 2, 1) @ normal)
        at = np.einsum("nd,ndk->nk", (y if x is None else x) - center, tangent)
        # Beyond the neighbors a polynomial is a guess.
        reach = np.abs(u).max(1)
        at = np.clip(at, -reach, reach)
        bend = np.einsum("nt,ntd->nd", self._terms(at / scale), coefficients)
        return center + np.einsum("nk,ndk->nd", at, tangent) + bend

    def _by_blocks(self, function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        size = BLOCK_FLOATS // (self.n_neighbors * (arrays[0].shape[1] + 4))
        parts = [function(*(a[part] for a in arrays)) for part in slices(len(arrays[0]), size)]
        return np.concatenate(parts) if parts else np.empty_like(arrays[0])

    def project(self, y: np.ndarray, n_iterations: int = 2) -> np.ndarray:
        """Nearest points of the set, to the order of the polynomial: shape (n_points, n_features)."""
        y = self._within_reach(y)
        for _ in range(n_iterations):
            y = self._by_blocks(self._surface, y)
        return y

    def residual(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance of samples x of the set to the local surfaces around points y near them: shape (n_samples,)."""
        return np.linalg.norm(self._by_blocks(self._surface, y, x) - x, axis=1)

    def tangent(self, y: np.ndarray) -> np.ndarray:
        """Orthonormal bases of the tangent spaces at points y: shape (n_points, n_features, k)."""
        return self._by_blocks(lambda block: self._frames(block)[1], self._within_reach(y))


def sample_spacing(samples: np.ndarray) -> float:
    """Median distance to the neighbor of `coarse_samples`: of order (log n / n)**(1/k) on a set of dimension k."""
    m = min(len(samples) - 1, coarse_samples(len(samples)))
    return float(np.median(cKDTree(samples).query(samples[:2000], k=[m + 1])[0]))


def fit_local_polynomials(
    samples: np.ndarray, dimension: int, rng: np.random.Generator, scale: float | None = None, n_validation: int = 300
) -> LocalPolynomials:
    """Local polynomials with the scale, degree and neighbors that are nearest to samples left out.

    Candidates are 0.4 to 1 times the spacing of the samples, degrees 1, 2 and 4, and few or many neighbors.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
    dimension : int
    rng : numpy Generator
    scale : float, optional
        A given scale; only the rest is then chosen.
    n_validation : int, default=300
        Samples left out, at most a fifth of all.

    Returns
    -------
    LocalPolynomials
        Of all samples.
    """
    n = len(samples)
    left_out = rng.permutation(n)[: min(n_validation, n // 5)]
    training, validation = np.delete(samples, left_out, axis=0), samples[left_out]
    noise = rng.standard_normal(validation.shape)
    spacing = sample_spacing(samples)
    scales = [factor * spacing for factor in SCALES] if scale is None else [scale]
    smallest, best = np.inf, (scales[0], 1, 3.0)
    for candidate in product(scales, DEGREES, SAMPLES_PER_TERM):
        tau, _, samples_per_term = candidate
        model = LocalPolynomials(training, dimension, *candidate)
        if model.n_neighbors < samples_per_term * model.n_terms:
            continue
        # Built around a noised sample, the surface must still pass through the sample itself.
        residual = np.median(model.residual(validation, validation + tau * noise))
        if residual < smallest:
            smallest, best = residual, candidate
    return LocalPolynomials(samples, dimension, *best)
