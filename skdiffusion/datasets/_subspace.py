"""A Gaussian mixture on a linear subspace."""

import numpy as np

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.validation import validated
from skdiffusion.datasets._embedded import COUNT, EMBEDDING, Embedded
from skdiffusion.densities import GaussianMixtureDensity


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
