"""How finely the values of the features are known, and the maps between values and the cells that they stand for.

A likelihood grows without bound as a bandwidth shrinks around a repeated value. Ties are therefore replaced before the
fit by uniform values over a cell, and are never rewarded: over one grid step where all values of a feature lie on a
grid, and over a narrow cell of its own for a spike, a value that many samples share among others that do not repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skdiffusion.preprocessing._ties import GRID_TOLERANCE, ROUND_OFF, Ties, nearest

SPIKE_RESOLUTION = 0.05  # largest width of the cell of a spike, in standard deviations of the rest of its feature
SPIKE_OVERLAP = 0.02  # share of the rest that may lie in the cell of a spike
CODE_DISTANCE = 5.0  # grid steps to the nearest value, from which a spike is no value of the grid
MIN_REPEATS = 10  # samples for each value of an irregular grid, in the mean, that make it the grid of further ones
MAX_COARSE = 20  # cells of a coarse grid at most
CONSTANT_RESOLUTION = 1e-3  # nominal resolution of a constant feature, relative to its value


@dataclass(frozen=True)
class Resolution:
    """The cells that the values of the features stand for.

    Parameters
    ----------
    step : ndarray of shape (n_features,)
        Width of the cells of values on a grid; 0 where values do not repeat.
    spikes, widths : tuple of ndarray of shape (n_spikes,)
        For each feature, the rising values of the spikes and the widths of their cells. A constant feature has one
        spike, of infinite width.
    reach : tuple of ndarray of shape (n_spikes,)
        Distance from a spike within which generated values are those of the spike: half the width of its cell, or half
        the way to the nearest other value, if that is farther.
    grids : tuple of ndarray of shape (n_values,)
        For each feature whose values repeat, all of these, rising; of others an empty array.
    """

    step: np.ndarray
    spikes: tuple[np.ndarray, ...]
    widths: tuple[np.ndarray, ...]
    reach: tuple[np.ndarray, ...]
    grids: tuple[np.ndarray, ...] = ()

    @classmethod
    def of(cls, X: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None = None) -> Resolution:
        """The resolution of samples (n_samples, n_features) without copies; no cell is wider than half the bounds.

        NaN is no value: a feature without any has no cells.
        """
        cells = [_feature_cells(x[~np.isnan(x)], X.shape[1] == 1) for x in X.T]
        step, spikes, widths, reach, grids = (list(part) for part in zip(*cells))
        if bounds is not None:
            half = (bounds[1] - bounds[0]) / 2
            step = np.minimum(step, half)
            widths = [np.where(np.isinf(w), w, np.minimum(w, half[j])) for j, w in enumerate(widths)]
        return cls(np.array(step), tuple(spikes), tuple(widths), tuple(reach), tuple(grids))

    def with_values(self, X: np.ndarray) -> Resolution:
        """The same with the values of further samples on the grids of their features, without grids that end."""
        grids = [_continued(values, x[~np.isnan(x)]) for values, x in zip(self.grids, X.T)]
        return replace(self, grids=tuple(grids))

    @property
    def constant(self) -> np.ndarray:
        """Numbers of the constant features."""
        return np.flatnonzero([np.isinf(w).any() for w in self.widths])

    def without_round_off(self, X: np.ndarray, precision: float) -> np.ndarray:
        """X with values that differ from a spike by round-off at the spike, and constant features at their value.

        `precision` is the relative spacing of the numbers in which the samples were given.
        """
        out = X
        for j, (spikes, widths) in enumerate(zip(self.spikes, self.widths)):
            if len(spikes):
                out = X.copy() if out is X else out
                at = nearest(spikes, X[:, j])
                same = np.isinf(widths).any() | (np.abs(X[:, j] - at) <= ROUND_OFF * precision * np.abs(at))
                out[:, j] = np.where(same, at, X[:, j])
        return out

    def cell_widths(self, X: np.ndarray) -> np.ndarray:
        """Width of the cell that every value stands for, shape (n_samples, n_features)."""
        out = np.tile(self.step, (len(X), 1))
        for j, (spikes, widths) in enumerate(zip(self.spikes, self.widths)):
            for spike, width in zip(spikes[np.isfinite(widths)], widths[np.isfinite(widths)]):
                out[X[:, j] == spike, j] = width
        return out

    def cell_edges(self, j: int, bounds: tuple[float, float]) -> np.ndarray:
        """Rising ends of the cells of feature j, within bounds, if its values are on a regular grid of few cells and
        every cell is as wide as a step; else none."""
        values = self.grids[j]
        step = _step(values) if len(values) > 1 and not len(self.spikes[j]) else None
        if step is None or (n_cells := round((values[-1] - values[0]) / step) + 1) > MAX_COARSE:
            return np.empty(0)
        edges = values[0] + (np.arange(n_cells + 1) - 0.5) * step
        return np.unique(np.clip(edges, *bounds))

    def dequantized(
        self, X: np.ndarray, rng: np.random.Generator, bounds: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """X, every value that repeats moved to a uniform place in its cell; reflected at the bounds."""
        widths = self.cell_widths(X)
        if not widths.any():
            return X
        spread = X + widths * (rng.random(X.shape) - 0.5)
        if bounds is not None:
            low, high = bounds
            spread = np.where(spread < low, 2 * low - spread, spread)
            spread = np.where(spread > high, 2 * high - spread, spread)
            spread = np.clip(spread, low, high)
        return spread

    def requantized(self, X: np.ndarray) -> np.ndarray:
        """Generated samples, with the values of every feature whose values repeat at a value of its grid, and those
        within the reach of a spike back at the spike.

        Values a whole number of steps apart have all multiples of the step for a grid, others the known values alone.
        """
        out = self.at_spikes(X)
        for j, values in enumerate(self.grids):
            if len(values):
                out = X.copy() if out is X else out
                out[:, j] = on_grid(out[:, j], values)
        return out

    def at_spikes(self, X: np.ndarray) -> np.ndarray:
        """Generated samples, with the values within the reach of a spike moved back to the spike."""
        out = X
        for j, (spikes, reach) in enumerate(zip(self.spikes, self.reach)):
            if len(spikes):
                out = X.copy() if out is X else out
                middles = (spikes[1:] + spikes[:-1]) / 2
                place = np.searchsorted(middles, X[:, j])
                inside = np.abs(X[:, j] - spikes[place]) <= reach[place]
                out[inside, j] = spikes[place][inside]
        return out


def _feature_cells(x: np.ndarray, alone: bool) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The grid step of a feature, its spikes, the widths of their cells and their reach, and its grid."""
    if not len(x):
        return 0.0, x, x, x, x
    values, spiked, rest, on_grid = Ties.of_single(x) if alone else Ties.of(x)
    if len(values) == 1:
        infinite = np.array([np.inf])
        return CONSTANT_RESOLUTION * max(1.0, abs(values[0])), values, infinite, infinite, values[:0]
    step = float(np.quantile(np.diff(values), 0.01, method="lower")) if on_grid else 0.0
    spikes = values[spiked]
    widths = np.array([_spike_width(spike, rest, x) for spike in spikes])
    if len(spikes) > 1:
        gaps = np.diff(spikes)
        widths = np.minimum(widths, np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps)))
    widths = np.maximum(widths, step)
    between = np.diff(values, prepend=-np.inf, append=np.inf)
    apart = np.minimum(between[1:], between[:-1])[spiked]
    own = (widths > step) | (apart > CODE_DISTANCE * step) if on_grid else np.ones(len(spikes), dtype=bool)
    grid = values if on_grid and _stands_for_others(values, rest) else values[:0]
    return step, spikes[own], widths[own], np.maximum(widths, apart)[own] / 2, grid


def _stands_for_others(values: np.ndarray, rest: np.ndarray) -> bool:
    """Whether the values that further samples have are known: multiples of a step, or few and each of many samples.

    Of many values that occur two or three times, as those of pairs, further samples have others: to give them these
    would be to repeat the samples of the fit.
    """
    if len(values) < 3 or _step(values) is not None:
        return True
    return len(np.unique(rest)) * MIN_REPEATS <= len(rest)


def on_grid(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest values of the grid that rising values are on."""
    closest, step = nearest(values, x), _step(values)
    if step is None:
        return closest
    rounded = values[0] + step * np.round((x - values[0]) / step)
    # Known values come back to the bit, and nothing is beyond them.
    return np.where(np.abs(rounded - closest) < step / 2, closest, np.clip(rounded, values[0], values[-1]))


def _continued(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The values of a grid and further ones; none where one of these is off the grid, which then is there no more."""
    further = np.setdiff1d(x, values)
    if not len(values) or not len(further):
        return values
    step = _step(values)
    if step is None:
        return values[:0]
    places = (further - values[0]) / step
    if (np.abs(places - np.round(places)) > GRID_TOLERANCE).any():
        return values[:0]
    # Those that differ from a value by round-off are that value.
    further = further[np.unique(np.round(places), return_index=True)[1]]
    return np.union1d(values, further[np.abs(further - nearest(values, further)) > step / 2])


def _step(values: np.ndarray) -> float | None:
    """The step that rising values are whole numbers of apart; None where there is none."""
    gaps = np.diff(values)
    multiples = np.round(gaps / gaps.min())
    regular = np.abs(gaps / gaps.min() - multiples).max() <= GRID_TOLERANCE
    return float((values[-1] - values[0]) / multiples.sum()) if regular else None


def _spike_width(spike: float, rest: np.ndarray, x: np.ndarray) -> float:
    """Width of the cell of a spike: far below the spread of the rest of its feature, and with little of it inside."""
    if len(rest) < 2 or not np.ptp(rest) > 0:
        return SPIKE_RESOLUTION * float(x.std())
    near = 2 * np.quantile(np.abs(rest - spike), SPIKE_OVERLAP)
    return float(min(SPIKE_RESOLUTION * rest.std(), near if near > 0 else np.inf))
