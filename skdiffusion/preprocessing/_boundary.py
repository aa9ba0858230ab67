r"""The regions next to the bounds of the features, in which the density has a shape of few parameters.

The maps of bounded features put a bound at infinity. The density on the bound is then the ratio of two tails that no
sample has seen, and errs by nats. Within a region that holds up to 15 % of 1000 samples, a fitted shape is safer:

.. math:: g(s) \propto s^{k-1} e^{b s^k}, \qquad 0 < s < 1,

with s the distance to the bound over the width of the region. The exponent k is 1 where the density has a positive
limit on the bound, more where it vanishes there and less where it diverges. The depth :math:`v = \int_0^s g` is
uniform on [0, 1] if the shape is right.

References
----------
Hjort and Jones (1996), Locally parametric nonparametric density estimation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit

REGION_SHARE, SHAPE_SHARE = 0.15, 0.3  # of 1000 samples: those in a region, and those that its shape is fitted to
REFERENCE_SAMPLES, SHARE_POWER = 1000, -0.2  # how the shares fall with the number of samples: bias against variance
SHRINK = (1.0, 0.5, 0.25)  # of both shares, until a shape describes the samples
CRITICAL_GAP = 1.0  # of the distribution function, in 1 / sqrt(n), from which a shape does not
MAX_SHARE_OF_REGIONS = 0.2  # of the samples in all regions of several features together: the cost of scoring
MAX_SHARE_OF_ONE = 0.1  # of the samples in one region of several features
MIN_SHAPE_SAMPLES = 20  # that a shape is fitted to
EXPONENTS = (0.15, 8.0)
EXPONENT_ODDS = 10.0  # prior odds of a positive limit on the bound
MAX_TILT = 60.0
MIN_TILT = 1e-6  # below which the shape is a power
TINY = 1e-12  # least distance to a bound, in widths
MIN_NEAR_SHARE = 0.1  # of a region's samples in its nearer half: with fewer, they keep away from the bound


@dataclass(frozen=True)
class BoundaryRegion:
    """The region of one feature next to one of its bounds, and the shape of the density in it.

    Parameters
    ----------
    feature : int
    end : float
        The bound.
    sign : float
        1 for a lower bound, -1 for an upper one.
    width : float
    nearest : float
        Distance, in widths, below which there are no samples: the density is constant there.
    exponent, tilt : float
        k and b of the shape.
    """

    feature: int
    end: float
    sign: float
    width: float
    nearest: float
    exponent: float
    tilt: float

    def _distance(self, x: np.ndarray) -> np.ndarray:
        """s, 1 beyond the region."""
        return np.clip(self.sign * (x - self.end) / self.width, TINY, 1.0)

    def _log_shape(self, s: np.ndarray | float) -> np.ndarray:
        """log g but for what normalizes it with a constant part."""
        log_scale = np.log(self.exponent) - _log_tilted_mass(self.tilt)
        return log_scale + (self.exponent - 1) * np.log(s) + self.tilt * s**self.exponent

    @property
    def _constant_part(self) -> tuple[float, float, float]:
        """Of the distances below `nearest`: the density, the share of the shape without it, and the whole with it."""
        density = float(np.exp(self._log_shape(self.nearest)))
        below = float(_tilted_share(np.array(self.nearest**self.exponent), self.tilt))
        return density, below, 1 - below + density * self.nearest

    def depth(self, x: np.ndarray) -> np.ndarray:
        """v of values x of the feature, 1 beyond the region."""
        s, (density, below, whole) = self._distance(x), self._constant_part
        beyond = _tilted_share(s**self.exponent, self.tilt) - below
        return np.where(s < self.nearest, density * s, beyond + density * self.nearest) / whole

    def value(self, depth: np.ndarray) -> np.ndarray:
        """Values x of depths in [0, 1]: the inverse of `depth`."""
        density, below, whole = self._constant_part
        beyond = np.maximum(depth * whole - density * self.nearest, 0.0)
        s = _untilted(beyond + below, self.tilt) ** (1 / self.exponent)
        return self.end + self.sign * self.width * np.where(beyond > 0, s, depth * whole / density)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the size of dv / dx within the region."""
        s = np.maximum(self._distance(x), self.nearest)
        return self._log_shape(s) - np.log(self.width * self._constant_part[2])

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Derivative of `log_slope` in x within the region."""
        s, k = self._distance(x), self.exponent
        slope = ((k - 1) + self.tilt * k * s**k) / (s * self.width)
        return self.sign * np.where(s > self.nearest, slope, 0.0)


def _tilted_share(u: np.ndarray, tilt: float) -> np.ndarray:
    """Share below u of the density proportional to exp(tilt u) on [0, 1]."""
    return u if abs(tilt) < MIN_TILT else np.expm1(tilt * u) / np.expm1(tilt)


def _untilted(share: np.ndarray, tilt: float) -> np.ndarray:
    """The inverse of `_tilted_share`."""
    return share if abs(tilt) < MIN_TILT else np.log1p(share * np.expm1(tilt)) / tilt


def _log_tilted_mass(tilt: float) -> float:
    """log of the integral of exp(tilt u) over [0, 1]."""
    if abs(tilt) < MIN_TILT:
        return tilt / 2
    return float(max(tilt, 0.0) + np.log(-np.expm1(-abs(tilt)) / abs(tilt)))


def _fit_tilt(u: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    """The tilt of greatest likelihood for values on [0, 1] with weights of sum 1, and its mean log-density."""
    mean = share @ u

    def excess(tilt: float) -> float:
        if abs(tilt) < 1e-3:
            return 0.5 + tilt / 12 - mean
        return float(-1 / np.expm1(-tilt) - 1 / tilt - mean)

    inside = excess(-MAX_TILT) < 0 < excess(MAX_TILT)
    tilt = float(brentq(excess, -MAX_TILT, MAX_TILT) if inside else np.copysign(MAX_TILT, mean - 0.5))
    return tilt, float(tilt * mean - _log_tilted_mass(tilt))


def fit_shape(s: np.ndarray, share: np.ndarray) -> tuple[float, float]:
    """Exponent and tilt of values s in (0, 1) with weights of sum 1.

    Whether the density on the bound is positive, zero or infinite depends on the exponent, which a few samples do not
    tell. That of greatest likelihood is drawn towards 1 by the posterior odds of the two, with the likelihoods of the
    Bayesian information criterion.
    """
    n_effective = 1 / (share @ share)
    plain, log_s = _fit_tilt(s, share)[1], share @ np.log(s)

    def loss(log_exponent: float) -> float:
        k = np.exp(log_exponent)
        return -(log_exponent + (k - 1) * log_s + _fit_tilt(s**k, share)[1])

    best = minimize_scalar(loss, bounds=np.log(EXPONENTS), method="bounded")
    log_odds = n_effective * (-best.fun - plain) - 0.5 * np.log(n_effective) - np.log(EXPONENT_ODDS)
    exponent = float(np.exp(best.x * expit(log_odds)))
    return exponent, _fit_tilt(s**exponent, share)[0]


def _describes(s: np.ndarray, share: np.ndarray, exponent: float, tilt: float) -> bool:
    """Whether a shape is compatible with sorted samples, by the statistic of Kolmogorov and Smirnov."""
    gap = np.abs(_tilted_share(s**exponent, tilt) - (np.cumsum(share) - share / 2)).max()
    return bool(gap < CRITICAL_GAP * np.sqrt(share @ share))


def fit_region(
    feature: int, x: np.ndarray, w: np.ndarray, bound: tuple[float, float, float], max_share: float
) -> BoundaryRegion | None:
    """The region of a feature next to a bound, which is given with its sign and margin.

    None where the samples do not come near the bound, are few, or have no shape there. The region holds at most the
    share `max_share` of the samples.
    """
    end, sign, margin = bound
    distance = np.maximum(sign * (x - end), margin)
    order = np.argsort(distance)
    distance, w = distance[order], w[order] / w.sum()
    cumulative, n_effective = np.cumsum(w) - w / 2, 1 / (w @ w)
    growth = (n_effective / REFERENCE_SAMPLES) ** SHARE_POWER
    shares = np.array([min(REGION_SHARE * growth, max_share), min(SHAPE_SHARE * growth, 0.5)])
    for shrink in SHRINK:
        width, reach = np.interp(shrink * shares, cumulative, distance)
        n_near = np.searchsorted(distance, reach)
        if width <= margin or n_near < MIN_SHAPE_SAMPLES:
            return None
        s, share = distance[:n_near] / reach, w[:n_near] / w[:n_near].sum()
        exponent, tilt = fit_shape(s, share)
        if _describes(s, share, exponent, tilt):
            tilt *= float(width / reach) ** exponent  # from the samples of the shape to those of the region
            if _tilted_share(np.array(0.5**exponent), tilt) < MIN_NEAR_SHARE:
                return None
            half_a_sample = np.array(0.5 / (shrink * shares[0] * n_effective))
            nearest = float(_untilted(half_a_sample, tilt) ** (1 / exponent))
            return BoundaryRegion(feature, end, sign, float(width), nearest, exponent, tilt)
    return None


def fit_regions(
    X: np.ndarray, w: np.ndarray, ends: np.ndarray, margins: np.ndarray, tied: np.ndarray
) -> tuple[BoundaryRegion, ...]:
    """The regions of all features next to their bounds.

    Parameters
    ----------
    X, w : arrays of shape (n_samples, n_features) and (n_samples,)
    ends, margins : arrays of shape (2, n_features)
        Lower and upper bounds, infinite where open, and the margins within which values are not distinguished.
    tied : array of shape (2, n_features), bool
        Bounds that values repeat on or near: the density has steps there, and no shape.
    """
    places = [(int(side), int(j)) for side, j in np.argwhere(np.isfinite(ends)) if not tied[side, j]]
    # The density of one feature is integrated over a region once for all samples.
    max_share = 0.5 if X.shape[1] == 1 else min(MAX_SHARE_OF_ONE, MAX_SHARE_OF_REGIONS / max(1, len(places)))
    signs = (1.0, -1.0)
    regions = (
        fit_region(j, X[:, j], w, (float(ends[side, j]), signs[side], float(margins[side, j])), max_share)
        for side, j in places
    )
    return tuple(region for region in regions if region is not None)
