"""Bounds of the features, and how near to them values are distinguished."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion.preprocessing._boundary import BoundaryRegion, fit_regions
from skdiffusion.preprocessing._resolution import Resolution

NEAR_QUANTILE = 0.01  # of the distances to a bound: how near to it the samples come


class Bounds(NamedTuple):
    """Bounds of the features, arrays of shape (n_features,), infinite where open.

    `margins`, shape (2, n_features), are the distances to the lower and to the upper bound within which
    values are not distinguished: the maps of bounded features are singular on the bound itself. A value on the
    bound of a tied feature stands for the half of its cell, of width `cells` (2, n_features), within the bounds. In
    the `regions` the density has a fitted shape.
    """

    low: np.ndarray
    high: np.ndarray
    margins: np.ndarray | float = 0.0
    cells: np.ndarray | float = 0.0
    regions: tuple[BoundaryRegion, ...] = ()


def bounds_with_margins(
    X: np.ndarray, sample_weight: np.ndarray, resolution: Resolution, bounds: tuple[np.ndarray, np.ndarray]
) -> Bounds:
    """`Bounds` whose margins and regions follow from how near the samples come to them.

    A margin is a thousandth, or one part in `n_samples`, of the distance that 99 of 100 samples keep: next to no mass
    lies nearer. Samples on the bound itself do not count, unless there are no others.
    """
    low, high = bounds
    margins, cells = np.zeros((2, X.shape[1])), resolution.cell_widths(np.stack(bounds))
    for margin, distances, widths in zip(margins, (X - low, high - X), cells):
        for j in np.flatnonzero(np.isfinite(distances).all(0)):
            positive = distances[distances[:, j] > 0, j]
            near = np.quantile(positive, NEAR_QUANTILE) if len(positive) else widths[j]
            margin[j] = near / max(len(X), 1000)
    regions = fit_regions(X, sample_weight, np.stack(bounds), margins, cells > 0)
    return Bounds(low, high, margins, cells, regions)
