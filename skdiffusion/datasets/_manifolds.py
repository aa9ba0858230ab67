r"""Distributions on manifolds and subspaces of R^D, with exact distance, projection and intrinsic log-density.

Each lives in the coordinates of its own dimension and is carried into R^D by a random rotation. Densities:
"uniform" by volume; "kinked", proportional to 0.2 + |c| in one coordinate c, not differentiable at c = 0;
"vmf", von Mises-Fisher, on spheres.
"""

from numbers import Integral

import numpy as np
from scipy.special import gammaln
from scipy.stats import vonmises_fisher
from sklearn.utils import check_random_state

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.validation import NON_NEGATIVE, POSITIVE, StrOptions, at_least, validated
from skdiffusion.densities import GaussianMixtureDensity

KINK_FLOOR = 0.2
COUNT = at_least(1, Integral)
EMBEDDING = {"n_features": COUNT, "noise": NON_NEGATIVE, "rotation_seed": at_least(0, Integral)}
SURFACE = EMBEDDING | {"density": [StrOptions({"uniform", "kinked"})]}


def _directions(Y, otherwise):
    """Samples divided by their norms; a given unit vector for samples of norm zero, where all are equally near."""
    norm = np.linalg.norm(Y, axis=1, keepdims=True)
    return np.where(norm > 0, Y / np.where(norm > 0, norm, 1.0), otherwise)


class _Embedded:
    """A distribution of R^m carried into R^D by an isometry, with isotropic noise."""

    def __init__(self, own_dimension, n_features, density, noise, rotation_seed):
        if n_features < own_dimension:
            raise ValueError(f"The 'n_features' argument must be at least {own_dimension}. Got {n_features!r} instead.")
        self.n_features, self.density, self.noise, self.rotation_seed = n_features, density, noise, rotation_seed
        self.frame = np.eye(n_features)[:, :own_dimension]
        if n_features > own_dimension:
            normal = np.random.default_rng(rotation_seed).standard_normal((n_features, own_dimension))
            self.frame = np.linalg.qr(normal)[0]

    def sample(self, n_samples=1, random_state=None):
        """Samples of the distribution, noise included, shape (n_samples, n_features)."""
        rng = np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        X = self._draw(n_samples, rng) @ self.frame.T
        return X + self.noise * rng.standard_normal(X.shape) if self.noise else X

    def project(self, X):
        """Nearest points of the set, shape (n_samples, n_features)."""
        return self._nearest(np.asarray(X, dtype=float) @ self.frame) @ self.frame.T

    def distance(self, X):
        """Distance of samples to the set, shape (n_samples,)."""
        X = np.asarray(X, dtype=float)
        return np.linalg.norm(X - self.project(X), axis=1)

    def log_prob(self, X):
        """Log-density with respect to the volume of the set, in nats, of samples on it, shape (n_samples,)."""
        return self._log_density(np.asarray(X, dtype=float) @ self.frame)

    def _kink(self, c, mean, rng=None):
        """Log-density of the kinked distribution relative to the uniform one; or which candidates it keeps."""
        if rng is None:
            return np.log((KINK_FLOOR + np.abs(c)) / (KINK_FLOOR + mean))
        return rng.random(len(c)) * (KINK_FLOOR + 1) < KINK_FLOOR + np.abs(c)

    def _accepted(self, n, candidates, keep):
        parts, found = [], 0
        while found < n:
            samples = candidates(2 * n + 16)
            samples = samples[keep(samples)]
            parts.append(samples)
            found += len(samples)
        return np.concatenate(parts)[:n] if parts else candidates(0)


class Sphere(_Embedded):
    """Unit k-sphere; a circle for k = 1.

    Parameters
    ----------
    dimension : int, default=2
        k.
    n_features : int, optional
        Features; k + 1 by default.
    density : {"uniform", "kinked", "vmf"}, default="uniform"
    concentration : float, default=2
        Of the von Mises-Fisher distribution.
    noise : float, default=0
        Standard deviation of isotropic noise.
    rotation_seed : int, default=0
    """

    @validated(
        **EMBEDDING | {"dimension": COUNT, "n_features": [*COUNT, None], "concentration": POSITIVE},
        density=[StrOptions({"uniform", "kinked", "vmf"})],
    )
    def __init__(
        self, dimension=2, n_features=None, density="uniform", *, concentration=2.0, noise=0.0, rotation_seed=0
    ):
        self.dimension, self.concentration = dimension, concentration
        super().__init__(dimension + 1, n_features or dimension + 1, density, noise, rotation_seed)
        m = dimension + 1
        self._log_area = np.log(2) + 0.5 * m * np.log(np.pi) - gammaln(m / 2)
        self._mean_abs = float(np.exp(gammaln(m / 2) - gammaln((m + 1) / 2)) / np.sqrt(np.pi))
        self._vmf = vonmises_fisher(np.eye(m)[0], concentration) if density == "vmf" else None

    def _uniform(self, n, rng):
        g = rng.standard_normal((n, self.dimension + 1))
        return g / np.linalg.norm(g, axis=1, keepdims=True)

    def _draw(self, n, rng):
        if self.density == "vmf":
            return self._vmf.rvs(n, random_state=rng).reshape(n, -1)
        if self.density == "kinked":
            return self._accepted(n, lambda m: self._uniform(m, rng), lambda u: self._kink(u[:, 0], None, rng))
        return self._uniform(n, rng)

    def _nearest(self, Y):
        return _directions(Y, np.eye(Y.shape[1])[0])

    def _log_density(self, Y):
        Y = self._nearest(Y)
        if self.density == "vmf":
            return self._vmf.logpdf(Y)
        relative = self._kink(Y[:, 0], self._mean_abs) if self.density == "kinked" else np.zeros(len(Y))
        return relative - self._log_area


class Torus(_Embedded):
    """Torus of radii 1 (of the center line) and 0.4 (of the tube).

    Parameters
    ----------
    n_features : int, default=3
    density : {"uniform", "kinked"}, default="uniform"
    noise : float, default=0
    rotation_seed : int, default=0
    """

    dimension = 2
    tube = 0.4

    @validated(**SURFACE)
    def __init__(self, n_features=3, density="uniform", *, noise=0.0, rotation_seed=0):
        super().__init__(3, n_features, density, noise, rotation_seed)

    def _draw(self, n, rng):
        def angles(m):
            return rng.uniform(-np.pi, np.pi, (m, 2))

        def keep(a):
            area = rng.random(len(a)) * (1 + self.tube) < 1 + self.tube * np.cos(a[:, 1])
            return area & self._kink(np.cos(a[:, 0]), None, rng) if self.density == "kinked" else area

        phi, psi = self._accepted(n, angles, keep).T
        ring = 1 + self.tube * np.cos(psi)
        return np.column_stack([ring * np.cos(phi), ring * np.sin(phi), self.tube * np.sin(psi)])

    def _nearest(self, Y):
        center = np.column_stack([_directions(Y[:, :2], [1.0, 0.0]), np.zeros(len(Y))])
        return center + self.tube * _directions(Y - center, [0.0, 0.0, 1.0])

    def _log_density(self, Y):
        uniform = -np.log(4 * np.pi**2 * self.tube)
        c = Y[:, 0] / np.linalg.norm(Y[:, :2], axis=1)
        return uniform + (self._kink(c, 2 / np.pi) if self.density == "kinked" else np.zeros(len(Y)))


class SwissRoll(_Embedded):
    """A rolled-up rectangle, (t cos t, h, t sin t) / 10 with t in [1.5 pi, 4.5 pi] and h in [0, 20].

    Parameters
    ----------
    n_features : int, default=3
    density : {"uniform", "kinked"}, default="uniform"
    noise : float, default=0
    rotation_seed : int, default=0
    """

    dimension = 2
    scale, low, high, width = 0.1, 1.5 * np.pi, 4.5 * np.pi, 20.0

    @validated(**SURFACE)
    def __init__(self, n_features=3, density="uniform", *, noise=0.0, rotation_seed=0):
        super().__init__(3, n_features, density, noise, rotation_seed)

    @staticmethod
    def _length(t):
        return 0.5 * (t * np.sqrt(1 + t**2) + np.arcsinh(t))

    def _point(self, t, h):
        return self.scale * np.column_stack([t * np.cos(t), h, t * np.sin(t)])

    def _draw(self, n, rng):
        grid = np.linspace(self.low, self.high, 20_001)
        length = self._length(grid)
        t = np.interp(rng.uniform(length[0], length[-1], n), length, grid)
        h = rng.random((n, 1))
        if self.density == "kinked":
            h = self._accepted(n, lambda m: rng.random((m, 1)), lambda h: self._kink(2 * h[:, 0] - 1, None, rng))
        return self._point(t, self.width * h[:, 0])

    def _nearest(self, Y):
        h = np.clip(Y[:, 1] / self.scale, 0.0, self.width)
        x, z = Y[:, 0] / self.scale, Y[:, 2] / self.scale
        grid = np.linspace(self.low, self.high, 400)
        spiral = np.column_stack([grid * np.cos(grid), grid * np.sin(grid)])
        t = grid[((x[:, None] - spiral[:, 0]) ** 2 + (z[:, None] - spiral[:, 1]) ** 2).argmin(1)]
        for _ in range(20):
            cos, sin = np.cos(t), np.sin(t)
            dx, dz = t * cos - x, t * sin - z
            slope = dx * (cos - t * sin) + dz * (sin + t * cos)
            curve = 1 + t**2 + dx * (-2 * sin - t * cos) + dz * (2 * cos - t * sin)
            # Where the curvature is not positive, a step of Gauss and Newton still goes downhill.
            t = np.clip(t - slope / np.where(curve > 0.1 * (1 + t**2), curve, 1 + t**2), self.low, self.high)
        return self._point(t, h)

    def _log_density(self, Y):
        area = self.scale**2 * self.width * (self._length(self.high) - self._length(self.low))
        c = 2 * Y[:, 1] / (self.scale * self.width) - 1
        return -np.log(area) + (self._kink(c, 0.5) if self.density == "kinked" else np.zeros(len(Y)))


class Subspace(_Embedded):
    """A Gaussian mixture on a k-dimensional linear subspace.

    Parameters
    ----------
    dimension : int, default=2
        k.
    n_features : int, default=16
    noise : float, default=0
        Standard deviation of isotropic noise.
    rotation_seed : int, default=0
        Of the subspace and of the mixture on it.

    Attributes
    ----------
    latent : GaussianMixtureDensity
        The distribution of the coordinates, of mean 0 and covariance near the identity.
    frame : ndarray of shape (n_features, k)
        Orthonormal basis of the subspace.
    """

    @validated(dimension=COUNT, **EMBEDDING)
    def __init__(self, dimension=2, n_features=16, *, noise=0.0, rotation_seed=0):
        self.dimension = dimension
        super().__init__(dimension, n_features, "uniform", noise, rotation_seed)
        # The latent distribution does not depend on the number of features.
        rng = np.random.default_rng([rotation_seed, dimension])
        weights = rng.dirichlet(np.full(3, 4.0))
        means = rng.standard_normal((3, dimension))
        means -= weights @ means
        self.latent = GaussianMixtureDensity(weights, means, np.stack([v * np.eye(dimension) for v in (0.1, 0.2, 0.4)]))

    def _draw(self, n, rng):
        return self.latent.sample(SampleNoise(rng.standard_normal((n, self.dimension)), rng.random(n)))

    def _nearest(self, Y):
        return Y

    def _log_density(self, Y):
        return self.latent.log_prob(Y)
