"""Display of the calibration of a density on left-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.validation import RandomState
from skdiffusion.inspection._axes import QUIET, AxesDisplay
from skdiffusion.metrics import highest_density_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    """

    def __init__(self, levels: np.ndarray, coverage: np.ndarray, n_points: int) -> None:
        self.levels, self.coverage, self.n_points = levels, coverage, n_points

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: np.ndarray,
        *,
        n_samples: int = 5000,
        random_state: RandomState = 0,
        **plot_options: Any,
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
