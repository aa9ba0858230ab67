"""Maps of one feature: their base, those in closed form, and maps applied one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

LOG_2PI = np.log(2 * np.pi)
TINY = 1e-300  # share or distance that stands for the bound itself: its map is the last that numbers can hold


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

    def forward_and_log_slope(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once, where they share most of the work."""
        return self.forward(x), self.log_slope(x)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Derivative of `log_slope`, for gradients of log-densities."""
        raise NotImplementedError

    def left_out(
        self, x: np.ndarray, share: np.ndarray, members: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """`forward` and `log_slope` of all samples of a fit with weights of sum 1, each as if it had been left out.

        Those whose numbers stand together in one of `members` are left out together.
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


def _power(u: np.ndarray, p: float) -> np.ndarray:
    """((1 + u)^p - 1) / p for u >= 0, its limit log(1 + u) at p = 0."""
    return np.log1p(u) if p < 1e-8 else np.expm1(p * np.log1p(u)) / p


def _root(v: np.ndarray, p: float) -> np.ndarray:
    """The inverse of `_power`."""
    return np.expm1(v) if p < 1e-8 else np.expm1(np.log1p(p * v) / p)


class YeoJohnsonMap(FeatureMap):
    """The map of Yeo and Johnson for skewed features, with an exponent in [0, 2], where it is onto the real line.

    References
    ----------
    Yeo and Johnson (2000), A new family of power transformations to improve normality or symmetry.
    """

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


class BoxMap(FeatureMap):
    """z = Phi^-1((x - low) / (high - low)): a uniform distribution on the box becomes a standard normal one."""

    _saved = ("low", "high")

    def __init__(self, low: float, high: float):
        self.low, self.high = float(low), float(high)

    def forward(self, x: np.ndarray) -> np.ndarray:
        x, width = np.asarray(x, dtype=float), self.high - self.low
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
        return self.forward(x) * np.exp(self.log_slope(x))


class HalfLineMap(FeatureMap):
    """z = Phi^-1(1 - exp(-|x - end| / scale)): an exponential distribution on a half-line becomes standard normal.

    The sign is 1 for the half-line [end, inf), -1 for (-inf, end].
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
        near = ndtri_exp(np.log(-np.expm1(-np.where(small, u, 0.5))))
        return self.sign * np.where(small, near, -ndtri_exp(-np.where(small, 0.5, u)))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        y = self.sign * np.asarray(z, dtype=float)
        u = np.where(y < 0, -np.log1p(-ndtr(np.minimum(y, 0.0))), -log_ndtr(-y))
        return self.end + self.sign * self.scale * u

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        u, z = self._distance(x), self.forward(x)
        return -u + 0.5 * z**2 + 0.5 * LOG_2PI - np.log(self.scale)

    def curvature(self, x: np.ndarray) -> np.ndarray:
        return -self.sign / self.scale + self.forward(x) * np.exp(self.log_slope(x))


def bound_maps(x: np.ndarray, w: np.ndarray, low: float, high: float) -> list[FeatureMap]:
    """The map of weighted values within their bounds to the real line; none where both bounds are infinite."""
    if np.isfinite(low) and np.isfinite(high):
        return [BoxMap(low, high)]
    if np.isfinite(low):
        return [HalfLineMap(low, 1.0, max(np.average(x - low, weights=w), 1e-12 * max(1.0, abs(low))))]
    if np.isfinite(high):
        return [HalfLineMap(high, -1.0, max(np.average(high - x, weights=w), 1e-12 * max(1.0, abs(high))))]
    return []


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
        return self.forward_and_log_slope(x)[1]

    def forward_and_log_slope(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.zeros(np.shape(x))
        for m in self.maps:
            x, log_slope = m.forward_and_log_slope(x)
            total = total + log_slope
        return x, total

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Chain rule: d/dx log (g o f)' = (log g')'(f) f' + (log f')'."""
        total, slope = np.zeros(np.shape(x)), np.ones(np.shape(x))
        for m in self.maps:
            total = total + m.curvature(x) * slope
            slope = slope * np.exp(m.log_slope(x))
            x = m.forward(x)
        return total

    def left_out(
        self, x: np.ndarray, share: np.ndarray, members: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        total = np.zeros(np.shape(x))
        for m in self.maps:
            x, log_slope = m.left_out(x, share, members)
            total = total + log_slope
        return x, total
