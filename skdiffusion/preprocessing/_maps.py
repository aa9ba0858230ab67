r"""Invertible maps of one feature.

Each map has ``forward(x)``, ``inverse(z)``, ``log_slope(x)`` (log dz/dx) and ``curvature(x)``
(the derivative of ``log_slope``, for gradients of log-densities).
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

LOG_2PI = np.log(2 * np.pi)
TAIL_SLOPE = 0.25  # largest slope beyond the data, per standard deviation of the feature
BROAD_SHARE = 0.02  # share of a broad Gaussian in the gaussianizing distribution: no gap has density zero
BROAD_SCALE = 1.5  # its standard deviation, in those of the feature
MAX_KNOTS = 300
MAX_KERNEL_SAMPLES = 5000
MIN_MASS = 1e-300
KERNEL_REACH = 8.3  # standard deviations, beyond which a Gaussian has less mass than round-off


class AffineMap:
    """z = (x - shift) / scale."""

    _saved = ("shift", "scale")

    def __init__(self, shift, scale):
        self.shift, self.scale = float(shift), float(scale)

    def forward(self, x):
        return (x - self.shift) / self.scale

    def inverse(self, z):
        return z * self.scale + self.shift

    def log_slope(self, x):
        return np.full(np.shape(x), -np.log(self.scale))

    def curvature(self, x):
        return np.zeros(np.shape(x))

    @classmethod
    def standardize(cls, x, w):
        """The map to weighted mean 0 and standard deviation 1; a zero spread is left as it is."""
        mean = np.average(x, weights=w)
        scale = np.sqrt(np.average((x - mean) ** 2, weights=w))
        return cls(mean, scale if scale > 0 else 1.0)


class BoxMap:
    """z = Phi^-1((x - low) / (high - low)): a uniform distribution on the box becomes a standard normal one."""

    _saved = ("low", "high")

    def __init__(self, low, high):
        self.low, self.high = float(low), float(high)

    def _normal(self, x):
        width = self.high - self.low
        lower, upper = (x - self.low) / width, (self.high - x) / width
        # The nearer end keeps its digits; on the edge itself stay at the last representable quantile.
        tiny = 1e-300
        return np.where(lower < upper, ndtri(np.maximum(lower, tiny)), -ndtri(np.maximum(upper, tiny)))

    def forward(self, x):
        return self._normal(np.asarray(x, dtype=float))

    def inverse(self, z):
        width = self.high - self.low
        return np.where(z < 0, self.low + width * ndtr(z), self.high - width * ndtr(-np.asarray(z)))

    def log_slope(self, x):
        z = self.forward(x)
        return 0.5 * z**2 + 0.5 * LOG_2PI - np.log(self.high - self.low)

    def curvature(self, x):
        z = self.forward(x)
        return z * np.exp(self.log_slope(x))


class HalfLineMap:
    """z = Phi^-1(1 - exp(-|x - end| / scale)): an exponential distribution on a half-line becomes normal.

    `sign` is +1 for [end, inf) and -1 for (-inf, end].
    """

    _saved = ("end", "sign", "scale")

    def __init__(self, end, sign, scale):
        self.end, self.sign, self.scale = float(end), float(sign), float(scale)

    def _distance(self, x):
        return np.maximum(self.sign * (np.asarray(x, dtype=float) - self.end) / self.scale, 1e-300)

    def forward(self, x):
        u = self._distance(x)
        # Phi(-z) = exp(-u), so z = -ndtri_exp(-u); near u = 0 its complement keeps the digits.
        small = u < 0.5
        z = np.where(
            small, ndtri_exp(np.log(-np.expm1(-np.where(small, u, 0.5)))), -ndtri_exp(-np.where(small, 0.5, u))
        )
        return self.sign * z

    def inverse(self, z):
        y = self.sign * np.asarray(z, dtype=float)
        u = np.where(y < 0, -np.log1p(-ndtr(np.minimum(y, 0.0))), -log_ndtr(-y))
        return self.end + self.sign * self.scale * u

    def log_slope(self, x):
        u, z = self._distance(x), self.forward(x)
        return -u + 0.5 * z**2 + 0.5 * LOG_2PI - np.log(self.scale)

    def curvature(self, x):
        z = self.forward(x)
        return -self.sign / self.scale + z * np.exp(self.log_slope(x))


class YeoJohnsonMap:
    """The power map of Yeo and Johnson (2000) with exponent in [0, 2], where it is onto the real line."""

    _saved = ("exponent",)

    def __init__(self, exponent):
        self.exponent = float(exponent)

    @staticmethod
    def _power(u, p):
        """((1 + u)^p - 1) / p for u >= 0, its limit log(1 + u) at p = 0."""
        return np.log1p(u) if p < 1e-8 else np.expm1(p * np.log1p(u)) / p

    @staticmethod
    def _root(v, p):
        return np.expm1(v) if p < 1e-8 else np.expm1(np.log1p(p * v) / p)

    def forward(self, x):
        p, up, down = self.exponent, np.maximum(x, 0.0), np.maximum(-np.asarray(x), 0.0)
        return self._power(up, p) - self._power(down, 2 - p)

    def inverse(self, z):
        p, up, down = self.exponent, np.maximum(z, 0.0), np.maximum(-np.asarray(z), 0.0)
        return self._root(up, p) - self._root(down, 2 - p)

    def log_slope(self, x):
        return (self.exponent - 1) * np.sign(x) * np.log1p(np.abs(x))

    def curvature(self, x):
        return (self.exponent - 1) / (1 + np.abs(x))

    @classmethod
    def fit(cls, x, w):
        """Exponent of greatest Gaussian likelihood; x should be standardized."""

        def loss(exponent):
            m = cls(exponent)
            z = m.forward(x)
            mean = np.average(z, weights=w)
            variance = max(np.average((z - mean) ** 2, weights=w), 1e-300)
            return 0.5 * np.log(variance) - np.average(m.log_slope(x), weights=w)

        return cls(minimize_scalar(loss, bounds=(0.0, 2.0), method="bounded", options={"xatol": 1e-3}).x)


class GaussianizeMap:
    """z = Phi^-1(F(x)) with F a smoothed distribution function, as a rational-quadratic spline.

    F is a Gaussian kernel distribution with bandwidth `factor` times Silverman's, plus a little of a broad
    Gaussian. Between knots the spline of Gregory and Delbourgo (1982) is monotone and has a closed
    inverse; beyond the data the map is linear with a slope capped at `TAIL_SLOPE`, since a steep tail
    makes one far sample cost hundreds of nats.
    """

    _saved = ("knots", "values", "slopes", "_kernel", "_bandwidth")

    def __init__(self, knots, values, slopes):
        self.knots, self.values, self.slopes = knots, values, slopes

    @classmethod
    def fit(cls, x, w, factor):
        """Fit to standardized values x with weights w; narrower detail as `factor` falls."""
        order = np.argsort(x)
        x, w = x[order], w[order] / w.sum()
        effective = 1.0 / (w**2).sum()
        cumulative = np.cumsum(w) - w / 2
        low, high = np.interp([0.25, 0.75], cumulative, x)
        spread = min(1.0, (high - low) / 1.349) if high > low else 1.0
        bandwidth = factor * 0.9 * spread * effective**-0.2
        quantiles = np.interp(np.linspace(0, 1, min(MAX_KNOTS, 2 * len(x))), cumulative, x)
        knots = np.unique(np.concatenate([[x[0]], quantiles, [x[-1]]]))
        # Knots closer than a fraction of the bandwidth add nothing but round-off.
        keep = [0]
        for k in range(1, len(knots)):
            if knots[k] - knots[keep[-1]] > 0.25 * bandwidth:
                keep.append(k)
        knots = knots[keep]
        if len(knots) < 2:
            knots = np.array([knots[0] - 1.0, knots[0] + 1.0])
        if len(x) > MAX_KERNEL_SAMPLES:
            centers = np.interp((np.arange(MAX_KERNEL_SAMPLES) + 0.5) / MAX_KERNEL_SAMPLES, cumulative, x)
            masses = np.full(MAX_KERNEL_SAMPLES, 1 / MAX_KERNEL_SAMPLES)
        else:
            centers, masses = x, w
        kernel = cls._kernel_density(knots, centers, masses, bandwidth)
        values, slopes = cls._values_and_slopes(knots, *kernel)
        # A far sample may lie where even the broad Gaussian is zero: the map is linear from the last knot before it.
        rising = np.concatenate([[True], np.diff(values) > 1e-12]) & (np.abs(values) < -ndtri(2 * MIN_MASS))
        result = cls(knots[rising], values[rising], slopes[rising])
        result.slopes[[0, -1]] = np.minimum(result.slopes[[0, -1]], TAIL_SLOPE)
        result._bandwidth, result._kernel = bandwidth, tuple(k[rising] for k in kernel)
        return result

    @staticmethod
    def _kernel_density(knots, centers, masses, bandwidth):
        """Mass below and above each knot, and density there, of the kernel distribution of sorted centers."""
        below, above, density = np.empty((3, len(knots)))
        behind = np.concatenate([[0.0], np.cumsum(masses)])
        ahead = np.concatenate([np.cumsum(masses[::-1])[::-1], [0.0]])
        first = np.searchsorted(centers, knots - KERNEL_REACH * bandwidth)
        last = np.searchsorted(centers, knots + KERNEL_REACH * bandwidth)
        for i, (knot, a, b) in enumerate(zip(knots, first, last)):
            u = (knot - centers[a:b]) / bandwidth
            # Each side from its own end: a tail that is one less the rest would be round-off.
            small, right = ndtr(-np.abs(u)), u > 0
            below[i] = behind[a] + np.where(right, 1 - small, small) @ masses[a:b]
            above[i] = ahead[b] + np.where(right, small, 1 - small) @ masses[a:b]
            density[i] = np.exp(-0.5 * u**2) @ masses[a:b]
        return below, above, density / (bandwidth * np.sqrt(2 * np.pi))

    @staticmethod
    def _values_and_slopes(x, below, above, density):
        """z and dz/dx where the kernel distribution has this mass below and above x, and this density."""
        broad = x / BROAD_SCALE
        below = (1 - BROAD_SHARE) * below + BROAD_SHARE * ndtr(broad)
        above = (1 - BROAD_SHARE) * above + BROAD_SHARE * ndtr(-broad)
        below, above = np.maximum(below, MIN_MASS), np.maximum(above, MIN_MASS)
        values = np.where(below < above, ndtri(below), -ndtri(above))
        density = (1 - BROAD_SHARE) * density + BROAD_SHARE * np.exp(-0.5 * broad**2 - 0.5 * LOG_2PI) / BROAD_SCALE
        return values, density * np.exp(0.5 * values**2 + 0.5 * LOG_2PI)

    def _bin(self, x, edges):
        k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        return (
            k,
            self.knots[k],
            self.knots[k + 1] - self.knots[k],
            self.values[k],
            self.values[k + 1] - self.values[k],
            self.slopes[k],
            self.slopes[k + 1],
        )

    def forward(self, x):
        x = np.asarray(x, dtype=float)
        inside = np.clip(x, self.knots[0], self.knots[-1])
        _, x0, dx, z0, dz, d0, d1 = self._bin(inside, self.knots)
        s, xi = dz / dx, (inside - x0) / dx
        z = z0 + dz * (s * xi**2 + d0 * xi * (1 - xi)) / (s + (d1 + d0 - 2 * s) * xi * (1 - xi))
        return z + np.where(x < self.knots[0], self.slopes[0], self.slopes[-1]) * (x - inside)

    def inverse(self, z):
        z = np.asarray(z, dtype=float)
        inside = np.clip(z, self.values[0], self.values[-1])
        _, x0, dx, z0, dz, d0, d1 = self._bin(inside, self.values)
        s, gap = dz / dx, inside - z0
        a = dz * (s - d0) + gap * (d1 + d0 - 2 * s)
        b = dz * d0 - gap * (d1 + d0 - 2 * s)
        c = -s * gap
        xi = -2 * c / (b + np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0)))
        return x0 + xi * dx + (z - inside) / np.where(z < self.values[0], self.slopes[0], self.slopes[-1])

    def _slope_terms(self, x):
        inside = np.clip(x, self.knots[0], self.knots[-1])
        _, x0, dx, _, dz, d0, d1 = self._bin(inside, self.knots)
        s, xi = dz / dx, (inside - x0) / dx
        numerator = d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2
        denominator = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
        return s, d0, d1, xi, dx, numerator, denominator

    def log_slope(self, x):
        s, _, _, _, _, numerator, denominator = self._slope_terms(np.asarray(x, dtype=float))
        return 2 * np.log(s) + np.log(numerator) - 2 * np.log(denominator)

    def curvature(self, x):
        x = np.asarray(x, dtype=float)
        s, d0, d1, xi, dx, numerator, denominator = self._slope_terms(x)
        d_numerator = 2 * d1 * xi + 2 * s * (1 - 2 * xi) - 2 * d0 * (1 - xi)
        d_denominator = (d1 + d0 - 2 * s) * (1 - 2 * xi)
        value = (d_numerator / numerator - 2 * d_denominator / denominator) / dx
        return np.where((x < self.knots[0]) | (x > self.knots[-1]), 0.0, value)

    def left_out(self, x, share):
        """z and log slope of samples of the fit, each under the map that is fitted without it.

        The knots stay; the sample's own kernel, of weight `share`, is taken out of the distribution at the two knots
        around it. The largest and smallest samples are seen from the next knot, as a sample beyond the data is.
        """
        k = np.clip(np.searchsorted(self.knots, x, side="right") - 1, 0, len(self.knots) - 2)
        ends = []
        for j in (k, k + 1):
            u = (self.knots[j] - x) / self._bandwidth
            own = (ndtr(u), ndtr(-u), np.exp(-0.5 * u**2 - 0.5 * LOG_2PI) / self._bandwidth)
            rest = [np.maximum(whole[j] - share * part, 0.0) / (1 - share) for whole, part in zip(self._kernel, own)]
            values, slopes = self._values_and_slopes(self.knots[j], *rest)
            outer = (j == 0) | (j == len(self.knots) - 1)
            ends.append((values, np.where(outer, np.minimum(slopes, TAIL_SLOPE), slopes)))
        (z0, d0), (z1, d1) = ends
        dx, dz = self.knots[k + 1] - self.knots[k], np.maximum(z1 - z0, 1e-12)
        s, xi = dz / dx, np.clip((x - self.knots[k]) / dx, 0.0, 1.0)
        denominator = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
        z = z0 + dz * (s * xi**2 + d0 * xi * (1 - xi)) / denominator
        log_slope = 2 * np.log(s) - 2 * np.log(denominator)
        log_slope += np.log(d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2)
        tail0, tail1 = np.minimum(d0, TAIL_SLOPE), np.minimum(d1, TAIL_SLOPE)
        first, last = x <= self.knots[0], x >= self.knots[-1]
        z = np.where(first, z1 - tail1 * (self.knots[k + 1] - x), np.where(last, z0 + tail0 * (x - self.knots[k]), z))
        return z, np.where(first, np.log(tail1), np.where(last, np.log(tail0), log_slope))


class ComposedMap:
    """Maps applied one after the other."""

    _saved = ("maps",)

    def __init__(self, *maps):
        self.maps = maps

    def forward(self, x):
        for m in self.maps:
            x = m.forward(x)
        return x

    def inverse(self, z):
        for m in reversed(self.maps):
            z = m.inverse(z)
        return z

    def log_slope(self, x):
        total = 0.0
        for m in self.maps:
            total = total + m.log_slope(x)
            x = m.forward(x)
        return total

    def curvature(self, x):
        """Chain rule: d/dx log (g o f)' = (log g')'(f) f' + (log f')'."""
        total, slope = 0.0, 1.0
        for m in self.maps:
            total = total + m.curvature(x) * slope
            slope = slope * np.exp(m.log_slope(x))
            x = m.forward(x)
        return total
