r"""The regions next to the bounds of the features, in which the density has a shape of few parameters.

The maps of bounded features put a bound at infinity. The density on the bound is then the ratio of two tails that no
sample has seen, and errs by nats. Within a region that holds a few per cent of the samples, a fitted shape is safer:

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

REGION_SHARE, SHAPE_SHARE = 0.06, 0.3  # of 1000 samples: those in a region, and those that its shape is fitted to
REFERENCE_SAMPLES, SHARE_POWER = 1000, -0.2  # how the shares fall with the number of samples: bias against variance
SHRINK = (1.0, 0.5, 0.25)  # of both shares, until a shape describes the samples
CRITICAL_GAP = 1.0  # of the distribution function, in 1 / sqrt(n), from which a shape does not
MAX_SHARE_OF_REGIONS = 0.3  # of the samples in all regions together, if features are independent: the cost of scoring
MIN_SHAPE_SAMPLES = 20  # that a shape is fitted to
EXPONENTS = (0.15, 8.0)
EXPONENT_ODDS = 10.0  # prior odds of a positive limit on the bound
MAX_TILT = 60.0
MIN_TILT = 1e-6  # below which the shape is a power
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
    margin : float
        Distance to the bound within which values are not distinguished.
    exponent, tilt : float
        k and b of the shape.
    """

    feature: int
    end: float
    sign: float
    width: float
    margin: float
    exponent: float
    tilt: float

    def _power(self, x: np.ndarray) -> np.ndarray:
        """s^k, 1 beyond the region."""
        distance = np.clip(self.sign * (x - self.end), self.margin, self.width)
        return (distance / self.width) ** self.exponent

    def depth(self, x: np.ndarray) -> np.ndarray:
        """v of values x of the feature, 1 beyond the region."""
        return _tilted_share(self._power(x), self.tilt)

    def value(self, depth: np.ndarray) -> np.ndarray:
        """Values x of depths in [0, 1]: the inverse of `depth`."""
        power = depth if abs(self.tilt) < MIN_TILT else np.log1p(depth * np.expm1(self.tilt)) / self.tilt
        return self.end + self.sign * self.width * power ** (1 / self.exponent)

    def log_slope(self, x: np.ndarray) -> np.ndarray:
        """log |dv/dx| within the region."""
        power = self._power(x)
        log_scale = np.log(self.exponent / self.width) - _log_tilted_mass(self.tilt)
        return log_scale + (1 - 1 / self.exponent) * np.log(power) + self.tilt * power

    def curvature(self, x: np.ndarray) -> np.ndarray:
        """Derivative of `log_slope` in x within the region."""
        power, k = self._power(x), self.exponent
        slope = ((k - 1) + self.tilt * k * power) / (power ** (1 / k) * self.width)
        return self.sign * np.where(self.distinguished(x), slope, 0.0)

    def distinguished(self, x: np.ndarray) -> np.ndarray:
        """Whether values are farther from the bound than the margin, bool."""
        return self.sign * (x - self.end) > self.margin


def _tilted_share(u: np.ndarray, tilt: float) -> np.ndarray:
    """Share below u of the density proportional to exp(tilt u) on [0, 1]."""
    return u if abs(tilt) < MIN_TILT else np.expm1(tilt * u) / np.expm1(tilt)


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
            keeps_away = _tilted_share(np.array(0.5**exponent), tilt) < MIN_NEAR_SHARE
            return None if keeps_away else BoundaryRegion(feature, end, sign, float(width), margin, exponent, tilt)
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
    tied : array of shape (n_features,), bool
        Features whose values repeat: their density has steps, and no shape.
    """
    places = [(side, j) for side, j in np.argwhere(np.isfinite(ends)) if not tied[j]]
    max_share = MAX_SHARE_OF_REGIONS / max(1, len(places))
    regions = (
        fit_region(int(j), X[:, j], w, (float(ends[side, j]), 1.0 - 2.0 * side, float(margins[side, j])), max_share)
        for side, j in places
    )
    return tuple(region for region in regions if region is not None)
