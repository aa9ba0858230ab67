"""Displays of a density: over two features, and its calibration on left-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.validation import RandomState
from skdiffusion.compose import log_density_of
from skdiffusion.inspection._axes import QUIET, AxesDisplay, feature_positions, named_samples, span
from skdiffusion.metrics import highest_density_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_LEVELS = 12


class DensityDisplay(AxesDisplay):
    """Contours of a density over two features; other features are held fixed, so that it is a slice.

    Build it with `from_estimator`.

    Parameters
    ----------
    xx, yy : ndarray of shape (n_grid, n_grid)
    log_density : ndarray of shape (n_grid, n_grid)
        In nats.
    names : pair of str

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    contours_ : matplotlib contour set

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import DensityDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = DensityDisplay.from_estimator(est, X, n_grid=20)
    >>> display.plot(ax=display.ax_).log_density.shape
    (20, 20)
    """

    def __init__(self, xx: np.ndarray, yy: np.ndarray, log_density: np.ndarray, names: Any = ("x0", "x1")) -> None:
        self.xx, self.yy, self.log_density, self.names = xx, yy, log_density, names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, features: Any = (0, 1), fixed: Any = None, n_grid: int = 80, **plot_options: Any
    ) -> DensityDisplay:
        """Evaluate a fitted density on a grid over the range of X, and plot it.

        Parameters
        ----------
        estimator : fitted density estimator
            With `score_samples`.
        X : array-like of shape (n_samples, n_features)
            Samples that set the range, and the medians at which the other features are held.
        features : pair of int or str, default=(0, 1)
        fixed : array-like of shape (n_features,), optional
            Values of the other features, instead of their medians.
        n_grid : int, default=80
            Points along each feature.
        **plot_options
            Passed to `plot`.

        Returns
        -------
        DensityDisplay
        """
        check_is_fitted(estimator)
        samples, names = named_samples(estimator, X)
        a, b = feature_positions(features, names, 2)
        base = np.median(samples, axis=0) if fixed is None else np.asarray(fixed, dtype=float)
        xx, yy = np.meshgrid(*(np.linspace(*span(samples[:, j]), n_grid) for j in (a, b)))
        points = np.tile(base, (xx.size, 1))
        points[:, a], points[:, b] = xx.ravel(), yy.ravel()
        values = log_density_of(estimator, points).reshape(xx.shape)
        return cls(xx, yy, values, (names[a], names[b])).plot(**plot_options)

    def plot(
        self, ax: Axes | None = None, *, X: Any = None, depth: float = 10.0, log: bool = True, **contour_options: Any
    ) -> DensityDisplay:
        """Draw filled contours of the log-density, down to `depth` nats below the peak.

        Parameters
        ----------
        ax : matplotlib axes, optional
        X : array-like of shape (n_samples, 2), optional
            Points drawn on top.
        depth : float, default=10.0
        log : bool, default=True
            False draws the density instead of its logarithm.
        **contour_options
            Passed to matplotlib's `contourf`, such as `cmap`.

        Returns
        -------
        DensityDisplay
        """
        ax = self._open(ax, (5.4, 4.4))
        top = float(np.max(self.log_density))
        if log:
            values, levels = np.maximum(self.log_density, top - depth), np.linspace(top - depth, top, N_LEVELS + 1)
        else:
            values, levels = np.exp(self.log_density), np.linspace(0.0, np.exp(top), N_LEVELS + 1)
        options: dict[str, Any] = {"levels": levels, "cmap": "viridis"} | contour_options
        self.contours_ = ax.contourf(self.xx, self.yy, values, **options)
        ax.figure.colorbar(self.contours_, ax=ax, label="log-density (nats)" if log else "density")
        if X is not None:
            ax.plot(*np.asarray(X, dtype=float).T, ".", color="white", markersize=2, alpha=0.5)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        return self


class CalibrationDisplay(AxesDisplay):
    """Fraction of left-out samples in the model's highest-density regions of given mass.

    On the diagonal the density is calibrated; below it the density is over-confident, above it too wide.

    Parameters
    ----------
    levels, coverage : ndarray of shape (n_levels,)
        Masses of the regions, and fractions of samples in them.
    n_points : int
        Number of left-out samples, for the band of two standard errors.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import CalibrationDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = CalibrationDisplay.from_estimator(est, X)
    >>> display.plot(ax=display.ax_).coverage.shape
    (19,)
    """

    def __init__(self, levels: np.ndarray, coverage: np.ndarray, n_points: int) -> None:
        self.levels, self.coverage, self.n_points = levels, coverage, n_points

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, n_samples: int = 5000, random_state: RandomState = 0, **plot_options: Any
    ) -> CalibrationDisplay:
        """Measure the coverage of a fitted density on left-out samples, and plot it.

        Parameters
        ----------
        estimator : fitted density estimator
            With `score_samples` and `sample`.
        X : array-like of shape (n_points, n_features)
        n_samples : int, default=5000
            Samples drawn from the model.
        random_state : int, RandomState or None, default=0
        **plot_options
            Passed to `plot`; `name` is the name of the estimator's class by default.

        Returns
        -------
        CalibrationDisplay
        """
        check_is_fitted(estimator)
        levels, coverage = highest_density_coverage(estimator, X, n_samples=n_samples, random_state=random_state)
        options = {"name": type(estimator).__name__} | plot_options
        return cls(levels, coverage, len(X)).plot(**options)

    def plot(self, ax: Axes | None = None, *, name: str | None = None) -> CalibrationDisplay:
        """Draw the curve; on axes without lines, over the diagonal and its band.

        Parameters
        ----------
        ax : matplotlib axes, optional
        name : str, optional
            Label of the curve in the legend.

        Returns
        -------
        CalibrationDisplay
        """
        fresh = ax is None or not ax.lines
        ax = self._open(ax, (4.6, 4.4))
        if fresh:
            c = np.linspace(0, 1, 101)
            band = 2 * np.sqrt(c * (1 - c) / self.n_points)
            ax.fill_between(c, c - band, c + band, color=QUIET, alpha=0.25, linewidth=0)
            ax.plot(c, c, color=QUIET, linewidth=0.8)
        ax.plot(self.levels, self.coverage, "o-", markersize=4, label=name)
        ax.set(xlabel="mass of the region", ylabel="fraction of left-out samples in it", xlim=(0, 1), ylim=(0, 1))
        if name:
            ax.legend(frameon=False, loc="lower right")
        return self
