"""The power map of Yeo and Johnson, for skewed features.

References
----------
Yeo and Johnson (2000), A new family of power transformations to improve normality or symmetry.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from skdiffusion.preprocessing._feature_map import FeatureMap


def _power(u: np.ndarray, p: float) -> np.ndarray:
    """((1 + u)^p - 1) / p for u >= 0, its limit log(1 + u) at p = 0."""
    return np.log1p(u) if p < 1e-8 else np.expm1(p * np.log1p(u)) / p


def _root(v: np.ndarray, p: float) -> np.ndarray:
    """The inverse of `_power`."""
    return np.expm1(v) if p < 1e-8 else np.expm1(np.log1p(p * v) / p)


class YeoJohnsonMap(FeatureMap):
    """The map of Yeo and Johnson with an exponent in [0, 2], where it is onto the real line."""

    _saved = ("exponent",)

    def __init__(self, exponent: float):
        self.exponent = float(exponent)

    def forward(self, x: np.ndarray) -> np.ndarray:
        p, up, down = self.exponent, np.maximum(x, 0.0), np.maximum(-np.asarray(x), 0.0)
        return _power(up, p) - _power(down, 2 - p)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        p, up, down = self.exponent, np.maximum(z, 0.0), np.maximum(-np.asarray(z), 0.0)
        return _root(up, p) - _root(down, 2 - p)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return (self.exponent - 1) * np.sign(x) * np.log1p(np.abs(x))

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return (self.exponent - 1) / (1 + np.abs(x))

    @classmethod
    def fit(cls, x: np.ndarray, w: np.ndarray) -> YeoJohnsonMap:
        """The exponent of greatest Gaussian likelihood of standardized values x with weights w."""

        def loss(exponent: float) -> float:
            m = cls(exponent)
            z = m.forward(x)
            mean = np.average(z, weights=w)
            variance = max(np.average((z - mean) ** 2, weights=w), 1e-300)
            return 0.5 * np.log(variance) - np.average(m.log_slope(x), weights=w)

        return cls(minimize_scalar(loss, bounds=(0.0, 2.0), method="bounded", options={"xatol": 1e-3}).x)
