"""The base of all maps of one feature, the affine map, and maps applied one after the other."""

from __future__ import annotations

import numpy as np


class FeatureMap:
    """An increasing, invertible and smooth map z(x) of one feature.

    A map of its own gives `forward`, `inverse`, `log_slope` and `curvature`, each elementwise on arrays of shape
    (n_samples,). A map that is fitted so closely that it overfits its samples also gives `left_out`.
    """

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Values z of x."""
        raise NotImplementedError

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Values x of z."""
        raise NotImplementedError

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """log dz/dx, the term of the feature in log-determinants."""
        raise NotImplementedError

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Derivative of `log_slope`, for gradients of log-densities."""
        raise NotImplementedError

    def left_out(self, x: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`forward` and `log_slope` of the samples of the fit, each as if the map had been fitted without it.

        Parameters
        ----------
        x : array of shape (n_samples,)
            All samples of the fit.
        share : array of shape (n_samples,)
            Their weights, of sum 1.
        """
        return self.forward(x), self.log_slope(x)


class AffineMap(FeatureMap):
    """z = (x - shift) / scale."""

    _saved = ("shift", "scale")

    def __init__(self, shift: float, scale: float):
        self.shift, self.scale = float(shift), float(scale)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return (x - self.shift) / self.scale

    def inverse(self, z: np.ndarray) -> np.ndarray:
        return z * self.scale + self.shift

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return np.full(np.shape(x), -np.log(self.scale))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(np.shape(x))

    @classmethod
    def standardize(cls, x: np.ndarray, w: np.ndarray) -> AffineMap:
        """The map to weighted mean 0 and standard deviation 1; the scale of constant values is 1."""
        mean = np.average(x, weights=w)
        scale = np.sqrt(np.average((x - mean) ** 2, weights=w))
        return cls(mean, scale if scale > 0 else 1.0)


class ComposedMap(FeatureMap):
    """Maps applied one after the other."""

    _saved = ("maps",)

    def __init__(self, *maps: FeatureMap):
        self.maps = maps

    def forward(self, x: np.ndarray) -> np.ndarray:
        for m in self.maps:
            x = m.forward(x)
        return x

    def inverse(self, z: np.ndarray) -> np.ndarray:
        for m in reversed(self.maps):
            z = m.inverse(z)
        return z

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        total = np.zeros(np.shape(x))
        for m in self.maps:
            total = total + m.log_slope(x)
            x = m.forward(x)
        return total

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Chain rule: d/dx log (g o f)' = (log g')'(f) f' + (log f')'."""
        total, slope = np.zeros(np.shape(x)), np.ones(np.shape(x))
        for m in self.maps:
            total = total + m.curvature(x) * slope
            slope = slope * np.exp(m.log_slope(x))
            x = m.forward(x)
        return total

    def left_out(self, x: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.zeros(np.shape(x))
        for m in self.maps:
            x, log_slope = m.left_out(x, share)
            total = total + log_slope
        return x, total
