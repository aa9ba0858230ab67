"""Projection onto a smooth set by local polynomials of the samples near it."""

from itertools import combinations_with_replacement, product

import numpy as np
from scipy.spatial import cKDTree

from skdiffusion._utils.validation import at_least, validated

CHUNK_FLOATS = 2_000_000


@validated(n=at_least(2))
def coarse_samples(n):
    """Samples that lie within the coarse level of a sample: 2.4 log n, the same in every dimension.

    A ball of volume of order log n / n holds so many whatever the density on the set, as long as it is bounded below:
    `ManifoldDiffusionEstimator` measures its coarse level as the distance to this neighbor.

    Parameters
    ----------
    n : int

    Returns
    -------
    int
    """
    return int(np.ceil(2.4 * np.log(n)))


class LocalPolynomials:
    r"""A set seen through samples on it: locally the graph of a polynomial over the tangent space.

    At y, samples are weighted by :math:`\exp(-|y-X_i|^2/2\tau^2)`; the top k directions of their covariance span the
    tangent space, and the rest is a polynomial of the tangent coordinates, by weighted least squares. The error
    for a set of smoothness beta is of order tau**beta, where the weighted mean stays at tau**2.

    Parameters
    ----------
    samples : array of shape (n, d)
    dimension : int
        k.
    scale : float
        tau; wider where the last neighbor is further away than 2.5 tau.
    degree : int
        Of the polynomial; 1 is the tangent plane.
    samples_per_term : float, default=3
        Neighbors for every coefficient: few follow a set without noise more closely, many average noise out.
    """

    def __init__(self, samples, dimension, scale, degree, samples_per_term=3.0):
        self.samples, self.dimension, self.scale, self.degree = samples, dimension, scale, degree
        self.powers = [c for p in range(2, degree + 1) for c in combinations_with_replacement(range(dimension), p)]
        self.n_terms = 1 + dimension + len(self.powers)
        self.n_neighbors = min(len(samples), max(int(samples_per_term * self.n_terms), 2 * dimension + 4))
        self._tree = cKDTree(samples)
        self._center, self._reach = samples.mean(0), 1e6 * np.abs(samples - samples.mean(0)).max()

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_tree"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._tree = cKDTree(self.samples)

    def _within(self, y):
        """Samples, those absurdly far away drawn in: squares of their distances would overflow."""
        away = np.asarray(y, dtype=float) - self._center
        size = np.abs(away).max(1, keepdims=True)
        return self._center + np.where(size > self._reach, away / np.maximum(size, 1.0) * self._reach, away)

    def _terms(self, u):
        """Monomials (..., n_terms) of tangent coordinates u (..., k), in units of the scale."""
        ones = np.ones((*u.shape[:-1], 1))
        return np.concatenate([ones, u, *(u[..., list(c)].prod(-1, keepdims=True) for c in self.powers)], axis=-1)

    def _frames(self, y):
        """Local center (n, d), tangent basis (n, d, k), neighbors (n, m, d) and their weights (n, m)."""
        distance, index = self._tree.query(y, k=self.n_neighbors)
        near = self.samples[index]
        # Where samples are sparse the kernel widens, so that a polynomial always has samples to stand on.
        scale = np.maximum(self.scale, distance[:, -1] / 2.5)[:, None]
        weight = np.exp(-0.5 * (distance / scale) ** 2) + 1e-12
        weight /= weight.sum(1, keepdims=True)
        center = np.einsum("nm,nmd->nd", weight, near)
        away = (near - center[:, None]) * np.sqrt(weight)[:, :, None]
        # The singular vectors of the samples: d may be large, the samples are few.
        tangent = np.linalg.svd(away, full_matrices=False)[2][:, : self.dimension].transpose(0, 2, 1)
        return center, tangent, near, weight, scale

    def _surface(self, y, seen=None):
        """Points of the local surfaces around y, above the tangent coordinates of `seen` (y by default)."""
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
        at = np.einsum("nd,ndk->nk", (y if seen is None else seen) - center, tangent)
        # Beyond the neighbors a polynomial is a guess.
        reach = np.abs(u).max(1)
        at = np.clip(at, -reach, reach)
        bend = np.einsum("nt,ntd->nd", self._terms(at / scale), coefficients)
        return center + np.einsum("nk,ndk->nd", at, tangent) + bend

    def _chunked(self, function, *arrays):
        step = max(1, CHUNK_FLOATS // (self.n_neighbors * (arrays[0].shape[1] + 4)))
        parts = [function(*(a[i : i + step] for a in arrays)) for i in range(0, len(arrays[0]), step)]
        return np.concatenate(parts) if parts else np.empty_like(arrays[0])

    def project(self, y, n_iterations=2):
        """Nearest points of the set, to the order of the polynomial: (n, d)."""
        y = self._within(y)
        for _ in range(n_iterations):
            y = self._chunked(self._surface, y)
        return y

    def residual(self, x, y):
        """Distance of samples x, on the set, to the local surfaces built around nearby samples y: (n,)."""
        return np.linalg.norm(self._chunked(self._surface, y, x) - x, axis=1)

    def tangent(self, y):
        """Orthonormal basis of the tangent space at samples: (n, d, k)."""
        return self._chunked(lambda block: self._frames(block)[1], self._within(y))


def sample_spacing(samples, dimension):
    """Median distance to the neighbor of `coarse_samples`: of order (log n / n)**(1/k)."""
    m = min(len(samples) - 1, coarse_samples(len(samples)))
    return float(np.median(cKDTree(samples).query(samples[:2000], k=[m + 1])[0]))


def fit_local_polynomials(samples, dimension, rng, scale=None, n_held_out=300):
    """Local polynomials of least held-out residual: 0.4 to 1 times the spacing, degree 1, 2 or 4, few or many samples.

    Parameters
    ----------
    samples : array of shape (n, d)
    dimension : int
    rng : numpy Generator
    scale : float, optional
        A given scale; only the rest is then chosen.
    n_held_out : int, default=300

    Returns
    -------
    LocalPolynomials
        Of all samples.
    """
    n = len(samples)
    held = rng.permutation(n)[: min(n_held_out, n // 5)]
    seen = np.delete(samples, held, axis=0)
    noise = rng.standard_normal((len(held), samples.shape[1]))
    spacing = sample_spacing(samples, dimension)
    scales = [scale] if scale is not None else [f * spacing for f in (1.0, 0.8, 0.6, 0.4)]
    best = None
    for s in scales:
        for degree, samples_per_term in product((1, 2, 4), (1.5, 3.0, 6.0)):
            model = LocalPolynomials(seen, dimension, s, degree, samples_per_term)
            if model.n_neighbors < samples_per_term * model.n_terms:
                continue
            # Built around a noised sample, the surface must still pass through the sample itself.
            residual = np.median(model.residual(samples[held], samples[held] + s * noise))
            if best is None or residual < best[0]:
                best = (residual, s, degree, samples_per_term)
    return LocalPolynomials(samples, dimension, *(best[1:] if best else (scales[0], 1)))
