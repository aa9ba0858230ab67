"""Values that repeat within a feature: round-off between them, spikes, and values on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROUND_OFF = 8.0  # units in the last place within which values count as one
TYPICAL_QUANTILE = 0.25  # of the sizes of a feature, whose last place counts for smaller values
SHORT_DIGITS = 12  # binary ones, with which a number is no rounded one
MAX_VARIANTS = 16  # of one value by round-off
ISOLATION = 20.0  # widths of such variants to the nearest other value
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
    for j, given in enumerate(X.T):
        x = _at_full_precision(given)
        if x is not given:
            merged = X.copy() if merged is None else merged
            merged[:, j] = x
        order = np.argsort(x, kind="stable")
        first, last = _runs_of_drift(x[order], precision)
        if not len(first):
            first, last = _runs_of_round_off(x[order], precision)
        if len(first):
            merged = X.copy() if merged is None else merged
            for start, stop in zip(first, last + 1):
                merged[order[start:stop], j] = x[order[start]]
    return X if merged is None else merged


def _at_full_precision(x: np.ndarray) -> np.ndarray:
    """Values, those that others give when rounded to single precision as these: a column may hold both.

    Whole numbers, halves and other values of few digits are no rounded ones. Of values at full precision that round to
    the same one, as times in a burst, none is another.
    """
    with np.errstate(over="ignore"):
        single = x.astype(np.float32).astype(x.dtype)
    exact = single == x
    rounded = exact & (x % 1 != 0) & (np.frexp(x)[0] * 2.0**SHORT_DIGITS % 1 != 0)
    if not rounded.any() or exact.all():
        return x
    out, order = x, np.argsort(x, kind="stable")
    for start, stop in zip(*_runs_of_round_off(x[order], float(np.finfo(np.float32).eps))):
        run = order[start : stop + 1]
        full = run[~exact[run]]
        if not len(full) or not rounded[run].any():
            continue
        is_one = np.ptp(x[full]) <= ROUND_OFF * np.finfo(np.float64).eps * np.abs(x[full[0]])
        if is_one and np.isin(x[run[exact[run]]], single[full]).all():
            out = x.copy() if out is x else out
            out[run] = x[full[0]]
    return out


def _runs_of_round_off(ranked: np.ndarray, precision: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last places of the runs of sorted values that are one value but for round-off.

    A run is no wider than round-off of the feature, has few distinct values, and is far from all others for its width:
    in a feature whose numbers are as dense as their precision, and in a narrow group beside far ones, nothing is
    merged.
    """
    size = np.abs(ranked)
    typical = np.quantile(size[size > 0], TYPICAL_QUANTILE) if size.any() else 0.0
    tolerance = ROUND_OFF * precision * np.maximum(size, typical)
    gaps = np.diff(ranked)
    ends = np.flatnonzero(np.append(gaps > tolerance[1:], True))
    starts = np.append(0, ends[:-1] + 1)
    width = ranked[ends] - ranked[starts]
    n_distinct = np.add.reduceat(np.append(True, gaps > 0), starts)
    n_distinct += ~np.append(True, gaps > 0)[starts]  # the first value of a run counts, whatever is before it
    between = np.concatenate([[np.inf], ranked[starts[1:]] - ranked[ends[:-1]], [np.inf]])
    alone = np.minimum(between[1:], between[:-1]) > ISOLATION * width
    found = (width > 0) & (width <= tolerance[ends]) & (n_distinct <= MAX_VARIANTS) & alone
    return starts[found], ends[found]


def _runs_of_drift(ranked: np.ndarray, precision: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last places of the runs of sorted values that are one value of a grid but for the drift of a sum.

    The round-off of a cumulative sum rises with its number of terms, so that the sums of steps of a tenth leave the
    tenths by more than that of one operation. All values must be on the grid, up to a tiny part of its step.
    """
    none, gaps = np.empty(0, dtype=int), np.diff(ranked)
    tolerance = len(ranked) * precision * np.abs(ranked).max(initial=0.0)
    ends = np.flatnonzero(np.append(gaps > tolerance, True))
    starts = np.append(0, ends[:-1] + 1)
    width, steps = ranked[ends] - ranked[starts], np.diff(ranked[starts])
    if not width.any() or len(steps) < MIN_REST:
        return none, none
    multiples = steps / steps.min()
    off_grid = np.abs(multiples - np.round(multiples)).max()
    if width.max() > min(tolerance, GRID_TOLERANCE * steps.min()) or off_grid > GRID_TOLERANCE:
        return none, none
    return starts[width > 0], ends[width > 0]


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


def nearest(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Those of some rising values that numbers (n,) are nearest to."""
    return values[np.searchsorted((values[1:] + values[:-1]) / 2, x)]


def is_regular(values: np.ndarray) -> bool:
    """Whether distinct rising values lie on a grid, or no two of them much nearer than most."""
    gaps = np.diff(values)
    if len(gaps) < 2:
        return True
    multiples = gaps / gaps.min()
    on_grid = np.abs(multiples - np.round(multiples)) < GRID_TOLERANCE
    few = 3.0 / len(gaps)  # the smallest of few gaps is not far below the others by chance
    return bool(on_grid.all() or np.quantile(gaps, 0.01) > max(REGULAR_GAPS, few) * np.median(gaps))
