r"""Distributions on manifolds and subspaces of R^D, with exact distance, projection and intrinsic log-density.

Densities: "uniform" by volume; "kinked", proportional to 0.2 + |c| in one coordinate c, not differentiable at c = 0;
"vmf", von Mises-Fisher, on spheres.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import vonmises_fisher

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.validation import StrOptions, validated
from skdiffusion.datasets._embedded import COUNT, EMBEDDING, Embedded
from skdiffusion.densities import GaussianMixtureDensity

KINK_FLOOR = 0.2


def log_kink(c: np.ndarray, mean: float) -> np.ndarray:
    """Log-density of the kinked distribution relative to the uniform one, under which |c| has a given mean."""
    return np.log((KINK_FLOOR + np.abs(c)) / (KINK_FLOOR + mean))


def keep_kinked(c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which uniform candidates rejection sampling keeps for the kinked distribution."""
    return rng.random(len(c)) * (KINK_FLOOR + 1) < KINK_FLOOR + np.abs(c)


def directions(Y: np.ndarray, otherwise: ArrayLike) -> np.ndarray:
    """Samples divided by their norms; a given unit vector for samples of norm zero, where all are equally near."""
    norm = np.linalg.norm(Y, axis=1, keepdims=True)
    return np.where(norm > 0, Y / np.where(norm > 0, norm, 1.0), otherwise)


def accepted(n: int, candidates: Callable[[int], np.ndarray], keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The first n of many candidates that are kept: rejection sampling."""
    parts, found = [], 0
    while found < n:
        samples = candidates(2 * n + 16)
        samples = samples[keep(samples)]
        parts.append(samples)
        found += len(samples)
    return np.concatenate(parts)[:n] if parts else candidates(0)


class Sphere(Embedded):
    """Unit k-sphere; a circle for k = 1.

    Parameters
    ----------
    dimension : int, default=2
        k.
    n_features : int, optional
        Features; k + 1 by default.
    density : {"uniform", "kinked", "vmf"}, default="uniform"
    noise : float, default=0
        Standard deviation of isotropic noise.
    rotation_seed : int, default=0

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.datasets import Sphere
    >>> target = Sphere(2)
    >>> X = target.sample(5, random_state=0)
    >>> bool(target.distance(X).max() < 1e-6), target.project(X + 0.01).shape, target.log_prob(X).shape
    (True, (5, 3), (5,))
    """

    concentration = 2.0  # of the von Mises-Fisher distribution

    @validated(
        **EMBEDDING | {"dimension": COUNT, "n_features": [*COUNT, None]},
        density=[StrOptions({"uniform", "kinked", "vmf"})],
    )
    def __init__(
        self,
        dimension: int = 2,
        n_features: int | None = None,
        density: str = "uniform",
        *,
        noise: float = 0.0,
        rotation_seed: int = 0,
    ) -> None:
        self.dimension = dimension
        super().__init__(dimension + 1, n_features or dimension + 1, density, noise, rotation_seed)
        m = dimension + 1
        self._log_area = np.log(2) + 0.5 * m * np.log(np.pi) - gammaln(m / 2)
        self._mean_abs = float(np.exp(gammaln(m / 2) - gammaln((m + 1) / 2)) / np.sqrt(np.pi))
        self._vmf: Any = vonmises_fisher(np.eye(m)[0], self.concentration) if density == "vmf" else None

    def _uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        g = rng.standard_normal((n, self.dimension + 1))
        return g / np.linalg.norm(g, axis=1, keepdims=True)

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        if self.density == "vmf":
            return self._vmf.rvs(n, random_state=rng).reshape(n, -1)
        if self.density == "kinked":
            return accepted(n, lambda m: self._uniform(m, rng), lambda u: keep_kinked(u[:, 0], rng))
        return self._uniform(n, rng)

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
        return directions(Y, np.eye(Y.shape[1])[0])

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        Y = self._nearest(Y)
        if self.density == "vmf":
            return self._vmf.logpdf(Y)
        relative = log_kink(Y[:, 0], self._mean_abs) if self.density == "kinked" else np.zeros(len(Y))
        return relative - self._log_area


class Surface(Embedded):
    """Base of the surfaces of R^3."""

    dimension = 2

    @validated(**EMBEDDING, density=[StrOptions({"uniform", "kinked"})])
    def __init__(
        self, n_features: int = 3, density: str = "uniform", *, noise: float = 0.0, rotation_seed: int = 0
    ) -> None:
        super().__init__(3, n_features, density, noise, rotation_seed)


class Torus(Surface):
    """Torus of radii 1 (of the center line) and 0.4 (of the tube).

    Parameters
    ----------
    n_features : int, default=3
    density : {"uniform", "kinked"}, default="uniform"
    noise, rotation_seed : as for `Sphere`

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.datasets import Torus
    >>> target = Torus()
    >>> X = target.sample(5, random_state=0)
    >>> bool(target.distance(X).max() < 1e-6), target.project(X + 0.01).shape, target.log_prob(X).shape
    (True, (5, 3), (5,))
    """

    tube = 0.4

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        def angles(m: int) -> np.ndarray:
            return rng.uniform(-np.pi, np.pi, (m, 2))

        def keep(a: np.ndarray) -> np.ndarray:
            by_area = rng.random(len(a)) * (1 + self.tube) < 1 + self.tube * np.cos(a[:, 1])
            return by_area & keep_kinked(np.cos(a[:, 0]), rng) if self.density == "kinked" else by_area

        phi, psi = accepted(n, angles, keep).T
        ring = 1 + self.tube * np.cos(psi)
        return np.column_stack([ring * np.cos(phi), ring * np.sin(phi), self.tube * np.sin(psi)])

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
        center = np.column_stack([directions(Y[:, :2], [1.0, 0.0]), np.zeros(len(Y))])
        return center + self.tube * directions(Y - center, [0.0, 0.0, 1.0])

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        uniform = -np.log(4 * np.pi**2 * self.tube)
        c = Y[:, 0] / np.linalg.norm(Y[:, :2], axis=1)
        return uniform + (log_kink(c, 2 / np.pi) if self.density == "kinked" else np.zeros(len(Y)))


class SwissRoll(Surface):
    """A rolled-up rectangle, (t cos t, h, t sin t) / 10 with t in [1.5 pi, 4.5 pi] and h in [0, 20].

    Parameters
    ----------
    n_features : int, default=3
    density : {"uniform", "kinked"}, default="uniform"
    noise, rotation_seed : as for `Sphere`

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.datasets import SwissRoll
    >>> target = SwissRoll()
    >>> X = target.sample(5, random_state=0)
    >>> bool(target.distance(X).max() < 1e-6), target.project(X + 0.01).shape, target.log_prob(X).shape
    (True, (5, 3), (5,))
    """

    scale, low, high, width = 0.1, 1.5 * np.pi, 4.5 * np.pi, 20.0

    @staticmethod
    def _length(t: np.ndarray) -> np.ndarray:
        """Arc length of the spiral up to the angle t, in units of `scale`."""
        return 0.5 * (t * np.sqrt(1 + t**2) + np.arcsinh(t))

    def _point(self, t: np.ndarray, h: np.ndarray) -> np.ndarray:
        return self.scale * np.column_stack([t * np.cos(t), h, t * np.sin(t)])

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        grid = np.linspace(self.low, self.high, 20_001)
        length = self._length(grid)
        t = np.interp(rng.uniform(length[0], length[-1], n), length, grid)
        h = rng.random((n, 1))
        if self.density == "kinked":
            h = accepted(n, lambda m: rng.random((m, 1)), lambda h: keep_kinked(2 * h[:, 0] - 1, rng))
        return self._point(t, self.width * h[:, 0])

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
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
            # Where the curvature is not positive, a Gauss-Newton step still goes downhill.
            t = np.clip(t - slope / np.where(curve > 0.1 * (1 + t**2), curve, 1 + t**2), self.low, self.high)
        return self._point(t, h)

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        area = self.scale**2 * self.width * (np.diff(self._length(np.array([self.low, self.high])))[0])
        c = 2 * Y[:, 1] / (self.scale * self.width) - 1
        return -np.log(area) + (log_kink(c, 0.5) if self.density == "kinked" else np.zeros(len(Y)))


class Subspace(Embedded):
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.datasets import Subspace
    >>> target = Subspace(2, 8)
    >>> X = target.sample(5, random_state=0)
    >>> bool(target.distance(X).max() < 1e-6), target.project(X + 0.01).shape, target.log_prob(X).shape
    (True, (5, 8), (5,))
    """

    @validated(dimension=COUNT, **EMBEDDING)
    def __init__(self, dimension: int = 2, n_features: int = 16, *, noise: float = 0.0, rotation_seed: int = 0) -> None:
        self.dimension = dimension
        super().__init__(dimension, n_features, "uniform", noise, rotation_seed)
        # The latent distribution does not depend on the number of features.
        rng = np.random.default_rng([rotation_seed, dimension])
        weights = rng.dirichlet(np.full(3, 4.0))
        means = rng.standard_normal((3, dimension))
        means -= weights @ means
        self.latent = GaussianMixtureDensity(weights, means, np.stack([v * np.eye(dimension) for v in (0.1, 0.2, 0.4)]))

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.latent.sample(SampleNoise(rng.standard_normal((n, self.dimension)), rng.random(n)))

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
        return Y

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        return self.latent.log_prob(Y)
