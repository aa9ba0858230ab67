"""Maps of bounded features to the whole real line."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

from skdiffusion.preprocessing._feature_map import FeatureMap

LOG_2PI = np.log(2 * np.pi)
TINY = 1e-300  # share or distance that stands for the bound itself: its map is the last that numbers can hold


class BoxMap(FeatureMap):
    """z = Phi^-1((x - low) / (high - low)): a uniform distribution on the box becomes a standard normal one."""

    _saved = ("low", "high")

    def __init__(self, low: float, high: float):
        self.low, self.high = float(low), float(high)

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        width = self.high - self.low
        lower, upper = (x - self.low) / width, (self.high - x) / width
        # Counted from the nearer bound, no digits are lost.
        return np.where(lower < upper, ndtri(np.maximum(lower, TINY)), -ndtri(np.maximum(upper, TINY)))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        width = self.high - self.low
        return np.where(z < 0, self.low + width * ndtr(z), self.high - width * ndtr(-np.asarray(z)))

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        z = self.forward(x)
        return 0.5 * z**2 + 0.5 * LOG_2PI - np.log(self.high - self.low)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        z = self.forward(x)
        return z * np.exp(self.log_slope(x))


class HalfLineMap(FeatureMap):
    """z = Phi^-1(1 - exp(-|x - end| / scale)): an exponential distribution on a half-line becomes standard normal.

    Parameters
    ----------
    end : float
        The bound.
    sign : float
        1 for the half-line [end, inf), -1 for (-inf, end].
    scale : float
        Mean distance of the exponential distribution to the bound.
    """

    _saved = ("end", "sign", "scale")

    def __init__(self, end: float, sign: float, scale: float):
        self.end, self.sign, self.scale = float(end), float(sign), float(scale)

    def _distance(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(self.sign * (np.asarray(x, dtype=float) - self.end) / self.scale, TINY)

    def forward(self, x: np.ndarray) -> np.ndarray:
        u = self._distance(x)
        # Phi(-z) = exp(-u), so z = -ndtri_exp(-u); near u = 0 its complement keeps the digits.
        small = u < 0.5
        z = np.where(
            small, ndtri_exp(np.log(-np.expm1(-np.where(small, u, 0.5)))), -ndtri_exp(-np.where(small, 0.5, u))
        )
        return self.sign * z

    def inverse(self, z: np.ndarray) -> np.ndarray:
        y = self.sign * np.asarray(z, dtype=float)
        u = np.where(y < 0, -np.log1p(-ndtr(np.minimum(y, 0.0))), -log_ndtr(-y))
        return self.end + self.sign * self.scale * u

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        u, z = self._distance(x), self.forward(x)
        return -u + 0.5 * z**2 + 0.5 * LOG_2PI - np.log(self.scale)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        z = self.forward(x)
        return -self.sign / self.scale + z * np.exp(self.log_slope(x))


def bound_maps(x: np.ndarray, w: np.ndarray, low: float, high: float) -> list[FeatureMap]:
    """The map of weighted values within their bounds to the real line; none where both bounds are infinite."""
    if np.isfinite(low) and np.isfinite(high):
        return [BoxMap(low, high)]
    if np.isfinite(low):
        return [HalfLineMap(low, 1.0, max(np.average(x - low, weights=w), 1e-12 * max(1.0, abs(low))))]
    if np.isfinite(high):
        return [HalfLineMap(high, -1.0, max(np.average(high - x, weights=w), 1e-12 * max(1.0, abs(high))))]
    return []
