"""Values that repeat within a feature: round-off between them, spikes, and values on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROUND_OFF = 8.0  # units in the last place within which values count as one
DISTINCT_FRACTION = 0.95  # a feature with fewer distinct values than this share of the samples has ties
SPIKE_SHARE = 0.02  # a value that holds more samples than this is a spike
MAX_COPIES = 10  # of one sample that resampling or integer weights make, or times as many as of most samples
REGULAR_GAPS = 0.1  # smallest gap between values on a grid, in median gaps; other values have far smaller ones
GRID_TOLERANCE = 1e-3  # grid steps
MIN_REST = 20  # samples beside the spikes that tell whether these are values on a grid


def without_round_off(X: np.ndarray, precision: float) -> np.ndarray:
    """Samples in which values that differ by a few units in the last place are one value.

    Numbers of one decimal value are often computed in several ways (3/10 and 3 * 0.1): they are ties to their user.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    precision : float
        Relative spacing of the numbers in which the samples were given.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        `X` itself where no values are that close.
    """
    merged = None
    for j, x in enumerate(X.T):
        order = np.argsort(x, kind="stable")
        ranked, size = x[order], np.abs(x[order])
        typical = np.median(size[size > 0]) if size.any() else 0.0
        gaps = np.diff(ranked)
        close = gaps <= ROUND_OFF * precision * np.maximum(size[1:], typical)
        if (close & (gaps > 0)).any():
            merged = X.copy() if merged is None else merged
            first = np.flatnonzero(np.concatenate([[True], ~close]))
            merged[order, j] = np.repeat(ranked[first], np.diff(np.append(first, len(x))))
    return X if merged is None else merged


class Ties(NamedTuple):
    """How the values of one feature repeat."""

    values: np.ndarray  # (n_values,), distinct and rising
    spiked: np.ndarray  # (n_values,) of bool, values that hold many samples
    rest: np.ndarray  # the samples that are at no spike
    on_grid: bool  # whether the rest repeats as well

    @classmethod
    def of(cls, x: np.ndarray) -> Ties:
        """The ties of a feature in distinct samples; without ties there are no spikes."""
        values, counts = np.unique(x, return_counts=True)
        if len(values) >= DISTINCT_FRACTION * len(x):
            return cls(values, np.zeros(len(values), dtype=bool), x, False)
        spiked = counts > max(1.0, SPIKE_SHARE * len(x))
        rest = x[~spiked[np.searchsorted(values, x)]]
        few = len(rest) < MIN_REST
        return cls(values, spiked, rest, few or (~spiked).sum() < DISTINCT_FRACTION * len(rest))

    @classmethod
    def of_single(cls, x: np.ndarray) -> Ties:
        """The ties of a single feature, whose copies may be those of samples: of irregular values, spikes alone tie."""
        values, counts = np.unique(x, return_counts=True)
        spiked = counts > max(MAX_COPIES * np.median(counts), SPIKE_SHARE * len(x))
        rest = x[~spiked[np.searchsorted(values, x)]]
        return cls(values, spiked, rest, len(values) < len(x) and is_regular(values[~spiked]))


def is_regular(values: np.ndarray) -> bool:
    """Whether distinct rising values lie on a grid, or no two of them much nearer than most."""
    gaps = np.diff(values)
    if len(gaps) < 2:
        return True
    multiples = gaps / gaps.min()
    on_grid = np.abs(multiples - np.round(multiples)) < GRID_TOLERANCE
    few = 3.0 / len(gaps)  # the smallest of few gaps is not far below the others by chance
    return bool(on_grid.all() or np.quantile(gaps, 0.01) > max(REGULAR_GAPS, few) * np.median(gaps))
