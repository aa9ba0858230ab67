"""Display of a density over two features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdiffusion.compose import log_density_of
from skdiffusion.inspection._axes import AxesDisplay, feature_positions, named_samples, span

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
    """

    def __init__(
        self, xx: np.ndarray, yy: np.ndarray, log_density: np.ndarray, names: tuple[str, str] = ("x0", "x1")
    ) -> None:
        self.xx, self.yy, self.log_density, self.names = xx, yy, log_density, names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        *,
        features: tuple[int | str, int | str] = (0, 1),
        fixed: ArrayLike | None = None,
        n_grid: int = 80,
        **plot_options: Any,
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
        self,
        ax: Axes | None = None,
        *,
        X: ArrayLike | None = None,
        depth: float = 10.0,
        log: bool = True,
        **contour_options: Any,
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
