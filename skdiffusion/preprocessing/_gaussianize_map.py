r"""A smooth map of one feature of any continuous distribution to a standard normal one.

The map is :math:`z = \Phi^{-1}(F(x))`, with F the distribution function of a Gaussian kernel density that is blended
with a little of a broad Gaussian. It is computed on knots; between them a rational-quadratic spline is monotone and has
a closed inverse.

References
----------
Gregory and Delbourgo (1982), Piecewise rational quadratic interpolation to monotonic data.
Silverman (1986), Density estimation for statistics and data analysis, section 3.4 (the bandwidth).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from skdiffusion._utils.blocks import slices
from skdiffusion.preprocessing._feature_map import LOG_2PI, FeatureMap

TAIL_SLOPE = 0.25  # largest slope beyond the data, per standard deviation of the feature
BROAD_SHARE = 0.02  # share of the broad Gaussian: no gap has density zero
BROAD_SCALE = 1.5  # its standard deviation, in those of the feature
MAX_KNOTS = 300
MAX_KERNELS = 5000  # of more samples, as many quantiles are taken
KNOT_DISTANCE = 0.25  # least distance of two knots, in bandwidths: nearer ones add nothing but round-off
MIN_MASS = 1e-300
KNOTS_TOGETHER = 16  # that see the same kernels
GROUP_PAIRS = 1_000_000  # of knots and kernels of groups, in memory at a time
KERNEL_REACH = 8.3  # standard deviations, beyond which a Gaussian has less mass than round-off


class _Kernels(NamedTuple):
    """The kernel density at the knots, arrays of shape (n_knots,): mass below and above them, and density there."""

    below: np.ndarray
    above: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class _Pieces:
    """A piece of a rational-quadratic spline for each sample, all arrays of shape (n_samples,).

    It starts at (x, z) with slope `d0` and ends at (x + dx, z + dz) with slope `d1`. The place of a sample on it, `xi`,
    goes from 0 to 1.
    """

    x: np.ndarray
    dx: np.ndarray
    z: np.ndarray
    dz: np.ndarray
    d0: np.ndarray
    d1: np.ndarray

    @cached_property
    def secant(self) -> np.ndarray:
        return self.dz / self.dx

    @cached_property
    def bend(self) -> np.ndarray:
        return self.d1 + self.d0 - 2 * self.secant

    def place(self, x: np.ndarray) -> np.ndarray:
        return (x - self.x) / self.dx

    def place_of_value(self, z: np.ndarray) -> np.ndarray:
        """The root of a quadratic equation."""
        gap, bend, s = z - self.z, self.bend, self.secant
        a = self.dz * (s - self.d0) + gap * bend
        b = self.dz * self.d0 - gap * bend
        c = -s * gap
        return -2 * c / (b + np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0)))

    def denominator(self, xi: np.ndarray) -> np.ndarray:
        return self.secant + self.bend * xi * (1 - xi)

    def value(self, xi: np.ndarray) -> np.ndarray:
        return self.z + self.dz * (self.secant * xi**2 + self.d0 * xi * (1 - xi)) / self.denominator(xi)

    def slope_numerator(self, xi: np.ndarray) -> np.ndarray:
        """Of the slope, which is secant^2 times this over the square of the denominator."""
        return self.d1 * xi**2 + 2 * self.secant * xi * (1 - xi) + self.d0 * (1 - xi) ** 2


class GaussianizeMap(FeatureMap):
    """z = Phi^-1(F(x)) with F a smoothed distribution function.

    Beyond the data the map is linear with a slope capped at `TAIL_SLOPE`, since a steep tail makes one far sample cost
    hundreds of nats. At the knots x, z is `values`, dz/dx is `slopes`, and `kernels` is the kernel density.
    """

    _saved = ("knots", "values", "slopes", "bandwidth", "kernels")

    def __init__(self, knots: np.ndarray, values: np.ndarray, slopes: np.ndarray, bandwidth: float, kernels: tuple):
        self.knots, self.values, self.slopes = knots, values, slopes
        self.bandwidth, self.kernels = bandwidth, kernels

    @classmethod
    def fit(cls, x: np.ndarray, w: np.ndarray, factor: float) -> GaussianizeMap:
        """Fit to standardized values x with weights w.

        The bandwidth is `factor` times Silverman's: the map follows narrower detail as it falls.
        """
        order = np.argsort(x)
        x, w = x[order], w[order] / w.sum()
        effective = 1.0 / (w**2).sum()
        cumulative = np.cumsum(w) - w / 2
        low, high = np.interp([0.25, 0.75], cumulative, x)
        spread = min(1.0, (high - low) / 1.349) if high > low else 1.0
        bandwidth = factor * 0.9 * spread * effective**-0.2
        knots = choose_knots(x, cumulative, KNOT_DISTANCE * bandwidth)
        if len(x) > MAX_KERNELS:
            x = np.interp((np.arange(MAX_KERNELS) + 0.5) / MAX_KERNELS, cumulative, x)
            w = np.full(MAX_KERNELS, 1 / MAX_KERNELS)
        kernels = kernel_masses(knots, x, w, bandwidth)
        values, slopes = values_and_slopes(knots, kernels)
        # A far sample may lie where even the broad Gaussian is zero: the map is linear from the last knot before it.
        rising = np.concatenate([[True], np.diff(values) > 1e-12]) & (np.abs(values) < -ndtri(2 * MIN_MASS))
        slopes = slopes[rising]
        slopes[[0, -1]] = np.minimum(slopes[[0, -1]], TAIL_SLOPE)
        return cls(knots[rising], values[rising], slopes, bandwidth, tuple(part[rising] for part in kernels))

    def _pieces(self, places: np.ndarray, edges: np.ndarray) -> _Pieces:
        """The pieces whose edges, knots or values, are around the places."""
        k = np.clip(np.searchsorted(edges, places, side="right") - 1, 0, len(edges) - 2)
        knots, values, slopes = self.knots, self.values, self.slopes
        dx, dz = knots[k + 1] - knots[k], values[k + 1] - values[k]
        return _Pieces(knots[k], dx, values[k], dz, slopes[k], slopes[k + 1])

    def _located(self, x: np.ndarray) -> tuple[_Pieces, np.ndarray, np.ndarray]:
        """The piece of every sample, its place there, and how far it is beyond the data, where it is at an end."""
        inside = np.clip(x, self.knots[0], self.knots[-1])
        pieces = self._pieces(inside, self.knots)
        return pieces, pieces.place(inside), x - inside

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self._forward(*self._located(np.asarray(x, dtype=float)))

    def _forward(self, pieces: _Pieces, xi: np.ndarray, beyond: np.ndarray) -> np.ndarray:
        return pieces.value(xi) + np.where(beyond < 0, self.slopes[0], self.slopes[-1]) * beyond

    def inverse(self, z: np.ndarray) -> np.ndarray:
        z = np.asarray(z, dtype=float)
        inside = np.clip(z, self.values[0], self.values[-1])
        pieces = self._pieces(inside, self.values)
        x = pieces.x + pieces.place_of_value(inside) * pieces.dx
        return x + (z - inside) / np.where(z < self.values[0], self.slopes[0], self.slopes[-1])

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        return self.forward_and_log_slope(x)[1]

    def forward_and_log_slope(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pieces, xi, beyond = self._located(np.asarray(x, dtype=float))
        numerator, denominator = pieces.slope_numerator(xi), pieces.denominator(xi)
        log_slope = 2 * np.log(pieces.secant) + np.log(numerator) - 2 * np.log(denominator)
        return self._forward(pieces, xi, beyond), log_slope

    def curvature(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        pieces, xi, _ = self._located(x)
        d_numerator = 2 * pieces.d1 * xi + 2 * pieces.secant * (1 - 2 * xi) - 2 * pieces.d0 * (1 - xi)
        d_denominator = pieces.bend * (1 - 2 * xi)
        value = (d_numerator / pieces.slope_numerator(xi) - 2 * d_denominator / pieces.denominator(xi)) / pieces.dx
        return np.where((x < self.knots[0]) | (x > self.knots[-1]), 0.0, value)

    def left_out(
        self, x: np.ndarray, share: np.ndarray, members: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """z and log slope of the samples of the fit, each under the map that is fitted without it.

        The knots stay; the sample's own kernel, of weight `share`, is taken out of the distribution at the two knots
        around it, and with it those of the other samples of its group. The smallest and the largest sample are mapped
        from the next knot, as a sample beyond the data is.
        """
        k = np.clip(np.searchsorted(self.knots, x, side="right") - 1, 0, len(self.knots) - 2)
        (z0, d0), (z1, d1) = (self._knots_without(x, share, at, members) for at in (k, k + 1))
        dx, dz = self.knots[k + 1] - self.knots[k], np.maximum(z1 - z0, 1e-12)
        pieces = _Pieces(self.knots[k], dx, z0, dz, d0, d1)
        xi = np.clip(pieces.place(x), 0.0, 1.0)
        log_slope = 2 * np.log(pieces.secant) - 2 * np.log(pieces.denominator(xi)) + np.log(pieces.slope_numerator(xi))
        tail0, tail1 = np.minimum(d0, TAIL_SLOPE), np.minimum(d1, TAIL_SLOPE)
        first, last = x <= self.knots[0], x >= self.knots[-1]
        z = np.where(last, z0 + tail0 * (x - self.knots[k]), pieces.value(xi))
        z = np.where(first, z1 - tail1 * (self.knots[k + 1] - x), z)
        return z, np.where(first, np.log(tail1), np.where(last, np.log(tail0), log_slope))

    def _knots_without(
        self, x: np.ndarray, share: np.ndarray, k: np.ndarray, members: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and slopes at the knots of numbers k, each without the kernels of its sample and of its group."""
        u = (self.knots[k] - x) / self.bandwidth
        own = share * np.stack([ndtr(u), ndtr(-u), np.exp(-0.5 * u**2 - 0.5 * LOG_2PI) / self.bandwidth])
        missing = share.copy()
        if members:
            grouped, sizes = np.concatenate(members), np.array([len(group) for group in members])
            own[:, grouped] = group_masses(self.knots, (x[grouped], share[grouped]), k[grouped], sizes, self.bandwidth)
            missing[grouped] = np.repeat(np.add.reduceat(share[grouped], np.cumsum(sizes) - sizes), sizes)
        rest = [np.maximum(whole[k] - part, 0.0) / (1 - missing) for whole, part in zip(self.kernels, own)]
        values, slopes = values_and_slopes(self.knots[k], _Kernels(*rest))
        outer = (k == 0) | (k == len(self.knots) - 1)
        return values, np.where(outer, np.minimum(slopes, TAIL_SLOPE), slopes)


def choose_knots(x: np.ndarray, cumulative: np.ndarray, distance: float) -> np.ndarray:
    """Quantiles of sorted samples, no two of which are nearer than a distance."""
    quantiles = np.interp(np.linspace(0, 1, min(MAX_KNOTS, 2 * len(x))), cumulative, x)
    knots = np.unique(np.concatenate([[x[0]], quantiles, [x[-1]]]))
    kept = [knots[0]]
    for knot in knots[1:]:
        if knot - kept[-1] > distance:
            kept.append(knot)
    return np.array(kept) if len(kept) > 1 else np.array([kept[0] - 1.0, kept[0] + 1.0])


def kernel_masses(knots: np.ndarray, centers: np.ndarray, masses: np.ndarray, bandwidth: float) -> _Kernels:
    """The kernel density of sorted centers at sorted knots."""
    below, above, density = np.empty((3, len(knots)))
    behind = np.concatenate([[0.0], np.cumsum(masses)])
    ahead = np.concatenate([np.cumsum(masses[::-1])[::-1], [0.0]])
    first = np.searchsorted(centers, knots - KERNEL_REACH * bandwidth)
    last = np.searchsorted(centers, knots + KERNEL_REACH * bandwidth)
    for block in slices(len(knots), KNOTS_TOGETHER):
        a, b = first[block.start], last[block.stop - 1]
        u = (knots[block, None] - centers[a:b]) / bandwidth
        # Each side is counted from its own end: one minus the other would be round-off in a tail.
        small, right = ndtr(-np.abs(u)), u > 0
        below[block] = behind[a] + np.where(right, 1 - small, small) @ masses[a:b]
        above[block] = ahead[b] + np.where(right, small, 1 - small) @ masses[a:b]
        density[block] = np.exp(-0.5 * u**2) @ masses[a:b]
    return _Kernels(below, above, density / (bandwidth * np.sqrt(2 * np.pi)))


def group_masses(
    knots: np.ndarray, kernels: tuple[np.ndarray, np.ndarray], k: np.ndarray, sizes: np.ndarray, bandwidth: float
) -> np.ndarray:
    """The kernel densities of groups, each at the knots of its own samples alone.

    Parameters
    ----------
    knots : array of shape (n_knots,)
    kernels : (centers, masses), arrays of shape (n_samples,)
        Group by group.
    k : int array of shape (n_samples,)
        The knot of every sample, by its number.
    sizes : int array of shape (n_groups,)
    bandwidth : float

    Returns
    -------
    ndarray of shape (3, n_samples)
        Mass of the group below and above the knot of the sample, and density there.
    """
    (centers, masses), owner = kernels, np.repeat(np.arange(len(sizes)), sizes)
    # Samples of a group may share a knot: rows are the distinct pairs of a group and a knot.
    rows, place = np.unique(owner * len(knots) + k, return_inverse=True)
    group, knot = np.divmod(rows, len(knots))
    out, ends = np.empty((3, len(rows))), np.cumsum(sizes[group])
    cuts = np.searchsorted(ends, np.arange(GROUP_PAIRS, ends[-1], GROUP_PAIRS), side="right")
    for block in np.split(np.arange(len(rows)), np.unique(cuts[cuts > 0])):
        count = sizes[group[block]]
        start = np.cumsum(count) - count  # of the pairs of each row with the kernels of its group
        first = (np.cumsum(sizes) - sizes)[group[block]] - start
        own = np.repeat(first, count) + np.arange(count.sum())
        u = (np.repeat(knots[knot[block]], count) - centers[own]) / bandwidth
        small, right = ndtr(-np.abs(u)), u > 0
        parts = np.where(right, 1 - small, small), np.where(right, small, 1 - small), np.exp(-0.5 * u**2)
        out[:, block] = np.add.reduceat(np.stack(parts) * masses[own], start, axis=1)
    out[2] /= bandwidth * np.sqrt(2 * np.pi)
    return out[:, place.ravel()]


def values_and_slopes(x: np.ndarray, kernels: _Kernels) -> tuple[np.ndarray, np.ndarray]:
    """z and dz/dx at x, from the kernel density there."""
    below, above, density = kernels
    broad = x / BROAD_SCALE
    below = (1 - BROAD_SHARE) * below + BROAD_SHARE * ndtr(broad)
    above = (1 - BROAD_SHARE) * above + BROAD_SHARE * ndtr(-broad)
    below, above = np.maximum(below, MIN_MASS), np.maximum(above, MIN_MASS)
    values = np.where(below < above, ndtri(below), -ndtri(above))
    density = (1 - BROAD_SHARE) * density + BROAD_SHARE * np.exp(-0.5 * broad**2 - 0.5 * LOG_2PI) / BROAD_SCALE
    return values, density * np.exp(0.5 * values**2 + 0.5 * LOG_2PI)
