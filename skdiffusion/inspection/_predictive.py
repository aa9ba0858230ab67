"""Display of the distribution that a regressor predicts: along a feature, at chosen values, and beside what came."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from skdiffusion._utils.frames import as_numbers, frame_library
from skdiffusion.compose import at_last_step, names_at_last_step
from skdiffusion.inspection._axes import DATA, MODEL, QUIET, feature_names, feature_positions, hide_box, pyplot, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
AT = (0.1, 0.5, 0.9)  # quantiles of the feature where densities are shown by default
EDGE = 0.002  # share of the distribution left out on each side of the densities
N_GRID = 100  # values of the feature at which quantiles are shown
N_VALUES = 300  # of y, at which each density is evaluated
MAX_BINS, SAMPLES_PER_BIN = 20, 20
DENSITY_COLORS = (DATA, MODEL, "#56b4e9", "#e8b040", "0.35")


class ConditionalDensityDisplay:
    """The distribution that a regressor predicts: quantiles along a feature, densities, and a histogram of PIT values.

    The probability integral transform (PIT) of a sample is the predicted distribution function at its target. Over
    left-out samples it is uniform if the predictions are calibrated: a histogram like a U says that they are too
    narrow, a hump that they are too wide, a slope that they are too low or too high. Build it with `from_estimator`.

    Parameters
    ----------
    fan : tuple of ndarray
        Values of the feature, of shape (n_grid,), quantiles there, of shape (n_grid, n_levels), and their levels.
    slices : tuple of ndarray
        Values of the feature, of shape (n_slices,), values of y, of shape (n_values,), and the density of y at each
        value of the feature, of shape (n_slices, n_values).
    pit : ndarray of shape (n_samples, 2)
        Predicted distribution function just below every target, and at it; the two differ at an atom of y.
    samples : tuple of ndarray of shape (n_samples,)
        Values of the feature and targets.
    names : pair of str
        Of the feature and of the target.

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes of shape (3,)
    figure_ : matplotlib figure

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionRegressor
    >>> from skdiffusion.inspection import ConditionalDensityDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(200, 1))
    >>> y = X[:, 0] + 0.1 * rng.normal(size=200)
    >>> reg = DiffusionRegressor(max_iter=5, random_state=0).fit(X, y)
    >>> display = ConditionalDensityDisplay.from_estimator(reg, X, y)
    >>> display.plot(axes=display.axes_).pit.shape
    (200, 2)
    """

    def __init__(self, fan: Any, slices: Any, pit: np.ndarray, samples: Any, names: Any = ("x0", "y")) -> None:
        self.fan, self.slices, self.pit, self.samples, self.names = fan, slices, pit, samples, names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, feature: int | str = 0, at: Any = None, **plot_options: Any
    ) -> ConditionalDensityDisplay:
        """Ask a fitted regressor for its distributions, and plot them.

        Parameters
        ----------
        estimator : fitted regressor
            With `predict_quantiles`, `log_prob` and `cdf`, as `DiffusionRegressor` has; also a Pipeline that ends in
            one, or a fitted search.
        X : array-like of shape (n_samples, n_features)
            Samples left out of the fit. They set the range of the feature, and where the other features are held: at
            their medians, but at their most frequent values the columns of a pandas frame that hold no numbers, and
            those that the `categorical_features` of the regressor name, through transformers that keep their names.
        y : array-like of shape (n_samples,)
        feature : int or str, default=0
            Feature along which the quantiles are shown, a numeric one.
        at : array-like of shape (n_slices,), optional
            Values of the feature where the density of y is shown; its 10 %, 50 % and 90 % quantiles by default.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        ConditionalDensityDisplay

        Raises
        ------
        ValueError
            For an unknown feature, for several outputs, and if X and y differ in length.
        """
        check_is_fitted(estimator)
        target = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        if target.ndim == 2 and target.shape[1] > 1:
            raise ValueError(f"The display shows one output, but 'y' has {target.shape[1]} columns.")
        target = target.ravel()
        check_consistent_length(X, target)
        names = feature_names(estimator)
        (position,) = feature_positions([feature], names, 1)
        values = _column(X, position)
        known = values[np.isfinite(values)]
        if not len(known):
            raise ValueError(f"The feature {feature!r} is unknown in every sample of X: choose another.")
        grid = np.linspace(known.min(), known.max(), N_GRID)
        levels = np.array(QUANTILES)
        held = _Held(X, position, _category_positions(estimator, names))
        fan = grid, _ask(estimator, "predict_quantiles", held.at(grid), levels), levels
        places = np.unique(np.quantile(known, AT)) if at is None else np.asarray(at, dtype=np.float64).ravel()
        below = _ask(estimator, "cdf", X, np.nextafter(target, -np.inf))
        pit = np.column_stack([below, _ask(estimator, "cdf", X, target)])
        slices = places, *_densities(estimator, held, places)
        label = names[position], str(getattr(y, "name", None) or "y")
        return cls(fan, slices, pit, (values, target), label).plot(**plot_options)

    def plot(self, axes: Any = None) -> ConditionalDensityDisplay:
        """Draw the three panels.

        Parameters
        ----------
        axes : sequence of three matplotlib axes, optional
            Those of a new figure by default.

        Returns
        -------
        ConditionalDensityDisplay

        Raises
        ------
        ValueError
            If `axes` does not hold three axes.
        """
        if axes is None:
            axes = pyplot().subplots(1, 3, figsize=(10, 3.4), layout="constrained")[1]
        self.axes_ = np.asarray(axes, dtype=object).ravel()
        if len(self.axes_) != 3:
            raise ValueError(f"The 'axes' argument must hold 3 axes. Got {len(self.axes_)} instead.")
        self.figure_ = self.axes_[0].figure
        for ax, draw in zip(self.axes_, (self._draw_fan, self._draw_densities, self._draw_pit)):
            draw(hide_box(ax))
        return self

    def _draw_fan(self, ax: Axes) -> None:
        grid, quantiles, levels = self.fan
        x, y = self.samples
        for k in range(len(levels) // 2):
            share = f"{levels[-1 - k] - levels[k]:.0%}"
            low, high = quantiles[:, k], quantiles[:, -1 - k]
            ax.fill_between(grid, low, high, color=MODEL, alpha=0.2 + 0.15 * k, linewidth=0, label=share)
        ax.plot(grid, quantiles[:, len(levels) // 2], color=MODEL, label="median")
        ax.plot(x, y, ".", color=DATA, markersize=3, alpha=0.4)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        ax.legend(frameon=False)

    def _draw_densities(self, ax: Axes) -> None:
        for k, (place, density) in enumerate(zip(self.slices[0], self.slices[2])):
            color = DENSITY_COLORS[k % len(DENSITY_COLORS)]
            ax.plot(self.slices[1], density, color=color, label=f"{place:.3g}")
        # Room for the legend above the highest peak.
        ax.set(xlabel=self.names[1], ylabel="density", ylim=(0, 1.3 * np.max(self.slices[2])))
        ax.legend(title=f"at {self.names[0]} =", ncols=len(self.slices[0]), loc="upper center", frameon=False)

    def _draw_pit(self, ax: Axes) -> None:
        n = len(self.pit)
        n_bins = int(np.clip(n // SAMPLES_PER_BIN, 2, MAX_BINS))
        edges = np.linspace(0.0, 1.0, n_bins + 1)
        heights = pit_histogram(self.pit, edges)
        error = 2 * np.sqrt((n_bins - 1) / n)
        ax.stairs(heights, edges, color=MODEL, fill=True, alpha=0.35)
        ax.axhspan(1 - error, 1 + error, color=QUIET, alpha=0.35, linewidth=0)
        ax.axhline(1.0, color=QUIET, linewidth=1)
        ax.set(xlabel=f"predicted distribution function at {self.names[1]}", ylabel="density of samples", xlim=(0, 1))


def pit_histogram(pit: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density of PIT values in bins, those of an atom spread evenly over its mass (Czado, Gneiting and Held 2009)."""
    low, high = pit[:, :1], pit[:, 1:]
    # Up to an edge: nothing below `low`, all from `high` on, and in proportion in between.
    share = np.where(edges >= high, 1.0, (edges - low) / np.where(high > low, high - low, 1.0))
    shares = np.where(edges < low, 0.0, share)
    shares[:, 0], shares[:, -1] = 0.0, 1.0
    return np.diff(shares.mean(0)) / np.diff(edges)


def _ask(estimator: Any, method: str, X: Any, *arguments: Any) -> np.ndarray:
    """What a regressor, the end of a pipeline or the best of a search says of samples, whatever it was fitted on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        regressor, inputs = at_last_step(estimator, X)
        return getattr(regressor, method)(inputs, *arguments)


def _densities(estimator: Any, held: _Held, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of y that hold nearly all of its distribution at some values of a feature, and its densities there."""
    ends = _ask(estimator, "predict_quantiles", held.at(places), np.array([EDGE, 1 - EDGE]))
    values = np.linspace(*span(ends), N_VALUES)
    rows = held.at(np.repeat(places, N_VALUES))
    log_density = _ask(estimator, "log_prob", rows, np.tile(values, len(places)))
    return values, np.exp(log_density).reshape(len(places), N_VALUES)


def _column(X: Any, position: int) -> np.ndarray:
    """The numbers of one column, NaN where they are unknown; other columns of a frame of pandas need not be numbers."""
    if frame_library(X) == "pandas":
        X, position = X.iloc[:, [position]], 0
    return np.asarray(as_numbers(X), dtype=np.float64)[:, position]


def _category_positions(estimator: Any, names: list[str]) -> set[int]:
    """Numbers of the features that the parameters of the last step name as categories.

    Transformers of a pipeline pass a feature on under its own name, maybe behind the name of a transformer of its
    column; what they make of several features, or without names, is no category of the display's.
    """
    regressor, seen = names_at_last_step(estimator, names)
    given = getattr(regressor, "categorical_features", None)
    if given is None or isinstance(given, str) or seen is None:
        return set()
    features = np.asarray(given)
    numbers = np.flatnonzero(features) if features.dtype == bool else feature_positions(features.tolist(), seen)
    own = [seen[j] if seen[j] in names else seen[j].partition("__")[2] for j in numbers]
    return {names.index(name) for name in own if name in names}


@dataclass(frozen=True)
class _Held:
    """Samples of which one feature varies, while the others are held where they mostly are.

    Parameters
    ----------
    X : array or frame
    position : int
        Number of the feature that varies.
    categories : set of int
        Numbers of features that are categories, though they may be numbers.
    """

    X: Any
    position: int
    categories: set[int]

    def at(self, values: np.ndarray) -> Any:
        """Samples with these values of the feature, and the medians or most frequent values of the others."""
        X, n = self.X, len(values)
        if frame_library(X) != "pandas":
            columns = np.asarray(as_numbers(X), dtype=np.float64).T
            rows = np.tile([self._middle(column, j) for j, column in enumerate(columns)], (n, 1))
            rows[:, self.position] = values
            return rows
        rows = X.iloc[np.zeros(n, dtype=int)].reset_index(drop=True)
        for j, name in enumerate(X.columns):
            column = X.iloc[:, j]
            if j == self.position:
                rows[name] = values
            elif column.dtype.kind in "iuf":
                rows[name] = self._middle(column.to_numpy(dtype=np.float64), j)
            elif len(frequent := column.mode()):
                first = int(np.flatnonzero(column == frequent.iloc[0])[0])
                rows[name] = column.iloc[np.full(n, first)].array
        return rows

    def _middle(self, column: np.ndarray, j: int) -> float:
        """The median of a feature of numbers, or the most frequent number of a category."""
        known = column[~np.isnan(column)]
        if j not in self.categories or not len(known):
            return float(np.nanmedian(column))
        numbers, counts = np.unique(known, return_counts=True)
        return float(numbers[np.argmax(counts)])
