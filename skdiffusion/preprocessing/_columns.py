"""Ties: columns whose values repeat have no density; they get one at their own resolution.

A likelihood grows without bound as a bandwidth shrinks around a repeated value, so ties are spread
uniformly over one grid step before fitting, and never rewarded.
"""

import numpy as np

DISTINCT_FRACTION = 0.95  # a column with fewer distinct values than this share of the rows has ties
SPIKE_SHARE = 0.02  # a value that holds more rows than this is a spike
SPIKE_RESOLUTION = 0.05  # least resolution of a column with spikes, in standard deviations
CONSTANT_RESOLUTION = 1e-3  # nominal resolution of a constant column, relative to its value


def column_resolution(X, bounds=None):
    """Grid step of every column, shape (n_features,); 0 where values do not repeat.

    Copies of whole rows do not count as ties. A constant column gets a nominal resolution.
    """
    distinct_rows = np.unique(X, axis=0)
    resolution = np.zeros(X.shape[1])
    for j in range(X.shape[1]):
        values, counts = np.unique(distinct_rows[:, j], return_counts=True)
        if len(values) == 1:
            resolution[j] = CONSTANT_RESOLUTION * max(1.0, abs(values[0]))
        elif len(values) < DISTINCT_FRACTION * len(distinct_rows):
            resolution[j] = np.quantile(np.diff(values), 0.01)
            if counts.max() > max(1.0, SPIKE_SHARE * len(distinct_rows)):
                resolution[j] = max(resolution[j], SPIKE_RESOLUTION * X[:, j].std())
    if bounds is not None:
        resolution = np.minimum(resolution, (bounds[1] - bounds[0]) / 2)
    return resolution


def spread_ties(X, resolution, rng, bounds=None):
    """X plus uniform noise of one `resolution` wide, kept within the bounds by reflection."""
    if not resolution.any():
        return X
    spread = X + resolution * (rng.random(X.shape) - 0.5)
    if bounds is not None:
        spread = np.where(spread < bounds[0], 2 * bounds[0] - spread, spread)
        spread = np.where(spread > bounds[1], 2 * bounds[1] - spread, spread)
        spread = np.clip(spread, bounds[0], bounds[1])
    return spread
