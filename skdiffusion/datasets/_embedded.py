"""Distributions of a low dimension, carried into R^D by a random rotation."""

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skdiffusion._utils.validation import NON_NEGATIVE, RandomState, at_least

COUNT = at_least(1, Integral)
EMBEDDING = {"n_features": COUNT, "noise": NON_NEGATIVE, "rotation_seed": at_least(0, Integral)}


class Embedded:
    """A distribution of R^m carried into R^D by an isometry, with isotropic noise.

    A class of its own gives `_draw`, `_nearest` and `_log_density`, all in coordinates of R^m.
    """

    def __init__(self, own_dimension: int, n_features: int, density: str, noise: float, rotation_seed: int) -> None:
        if n_features < own_dimension:
            raise ValueError(f"The 'n_features' argument must be at least {own_dimension}. Got {n_features!r} instead.")
        self.n_features, self.density, self.noise, self.rotation_seed = n_features, density, noise, rotation_seed
        self.frame = np.eye(n_features)[:, :own_dimension]
        if n_features > own_dimension:
            normal = np.random.default_rng(rotation_seed).standard_normal((n_features, own_dimension))
            self.frame = np.linalg.qr(normal)[0]

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Samples without noise."""
        raise NotImplementedError

    def _nearest(self, Y: np.ndarray) -> np.ndarray:
        """Nearest points of the set."""
        raise NotImplementedError

    def _log_density(self, Y: np.ndarray) -> np.ndarray:
        """Log-density of points of the set."""
        raise NotImplementedError

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> np.ndarray:
        """Draw samples, noise included.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rng = np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        X = self._draw(n_samples, rng) @ self.frame.T
        return X + self.noise * rng.standard_normal(X.shape) if self.noise else X

    def project(self, X: ArrayLike) -> np.ndarray:
        """Nearest points of the set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self._nearest(np.asarray(X, dtype=float) @ self.frame) @ self.frame.T

    def distance(self, X: ArrayLike) -> np.ndarray:
        """Distance of samples to the set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        x = np.asarray(X, dtype=float)
        return np.linalg.norm(x - self.project(x), axis=1)

    def log_prob(self, X: ArrayLike) -> np.ndarray:
        """Log-density of samples on the set, with respect to its volume, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._log_density(np.asarray(X, dtype=float) @ self.frame)
