"""Dequantization: features whose values repeat get a density at their own resolution.

A likelihood grows without bound as a bandwidth shrinks around a repeated value. Ties are therefore replaced before the
fit by uniform values over one grid step, and are never rewarded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion.preprocessing._boundary import BoundaryRegion, fit_regions

DISTINCT_FRACTION = 0.95  # a feature with fewer distinct values than this share of the samples has ties
SPIKE_SHARE = 0.02  # a value that holds more samples than this is a spike
SPIKE_RESOLUTION = 0.05  # least resolution of a feature with spikes, in standard deviations
MAX_COPIES = 10  # of one sample that resampling or integer weights make
REGULAR_GAPS = 0.1  # smallest gap between values on a grid, in median gaps; other values have far smaller ones
CONSTANT_RESOLUTION = 1e-3  # nominal resolution of a constant feature, relative to its value
NEAR_QUANTILE = 0.01  # of the distances to a bound: how near to it the samples come


class Bounds(NamedTuple):
    """Bounds of the features, arrays of shape (n_features,), infinite where open.

    `margins`, shape (2, n_features), are the distances to the lower and to the upper bound within which
    values are not distinguished: the maps of bounded features are singular on the bound itself. A value on the
    bound of a tied feature stands for half a step of its `resolution`. In the `regions` the density has a fitted shape.
    """

    low: np.ndarray
    high: np.ndarray
    margins: np.ndarray | float = 0.0
    resolution: np.ndarray | float = 0.0
    regions: tuple[BoundaryRegion, ...] = ()


def feature_resolution(X: np.ndarray, bounds: Bounds | tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Grid step of every feature, shape (n_features,); 0 where values do not repeat.

    Copies of whole samples, as resampling makes them, are not ties. A single feature has only values: there they are
    ties where the values lie on a grid or one of them is frequent. A constant feature gets a nominal resolution.
    """
    distinct_samples, copies = np.unique(X, axis=0, return_counts=True)
    if X.shape[1] == 1 and len(distinct_samples) > 1:
        gaps = np.diff(distinct_samples[:, 0])
        spiked = copies.max() > max(MAX_COPIES, SPIKE_SHARE * len(X))
        if spiked or np.quantile(gaps, 0.01) > REGULAR_GAPS * np.median(gaps):
            distinct_samples = X
    resolution = np.zeros(X.shape[1])
    for j in range(X.shape[1]):
        values, counts = np.unique(distinct_samples[:, j], return_counts=True)
        if len(values) == 1:
            resolution[j] = CONSTANT_RESOLUTION * max(1.0, abs(values[0]))
        elif len(values) < DISTINCT_FRACTION * len(distinct_samples):
            resolution[j] = np.quantile(np.diff(values), 0.01)
            if counts.max() > max(1.0, SPIKE_SHARE * len(distinct_samples)):
                resolution[j] = max(resolution[j], SPIKE_RESOLUTION * X[:, j].std())
    if bounds is not None:
        resolution = np.minimum(resolution, (bounds[1] - bounds[0]) / 2)
    return resolution


def bounds_with_margins(
    X: np.ndarray, sample_weight: np.ndarray, resolution: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> Bounds:
    """`Bounds` whose margins and regions follow from how near the samples come to them.

    A margin is a thousandth, or one part in `n_samples`, of the distance that 99 of 100 samples keep: next to no mass
    lies nearer. Samples on the bound itself do not count, unless there are no others.
    """
    low, high = bounds
    margins = np.zeros((2, X.shape[1]))
    for margin, distances in zip(margins, (X - low, high - X)):
        for j in np.flatnonzero(np.isfinite(distances).all(0)):
            positive = distances[distances[:, j] > 0, j]
            near = np.quantile(positive, NEAR_QUANTILE) if len(positive) else resolution[j]
            margin[j] = near / max(len(X), 1000)
    regions = fit_regions(X, sample_weight, np.stack(bounds), margins, resolution > 0)
    return Bounds(low, high, margins, resolution, regions)


def dequantize(
    X: np.ndarray,
    resolution: np.ndarray,
    rng: np.random.Generator,
    bounds: Bounds | tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """X plus uniform noise one `resolution` wide, kept within the bounds by reflection."""
    if not resolution.any():
        return X
    spread = X + resolution * (rng.random(X.shape) - 0.5)
    if bounds is not None:
        spread = np.where(spread < bounds[0], 2 * bounds[0] - spread, spread)
        spread = np.where(spread > bounds[1], 2 * bounds[1] - spread, spread)
        spread = np.clip(spread, bounds[0], bounds[1])
    return spread
