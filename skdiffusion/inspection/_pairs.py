"""Display of data beside samples, feature by feature and pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.validation import RandomState
from skdiffusion.compose import draw_samples
from skdiffusion.inspection._axes import DATA, MODEL, feature_positions, hide_box, named_samples, pyplot, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PairDisplay:
    """Data beside samples for every pair of a few features, with their histograms on the diagonal.

    Build it with `from_estimator`.

    Parameters
    ----------
    X, samples : ndarray of shape (n, n_shown)
    names : list of str

    Attributes
    ----------
    axes_ : ndarray of matplotlib axes
    figure_ : matplotlib figure
    """

    def __init__(self, X: np.ndarray, samples: np.ndarray, names: list[str]) -> None:
        self.X, self.samples, self.names = X, samples, names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        *,
        features: Sequence[int | str] | None = None,
        random_state: RandomState = 0,
        **plot_options: Any,
    ) -> PairDisplay:
        """Draw as many samples as X has, and plot both.

        Parameters
        ----------
        estimator : fitted density estimator
            With `sample`.
        X : array-like of shape (n_samples, n_features)
        features : sequence of int or str, optional
            Features shown; the first four by default.
        random_state : int, RandomState or None, default=0
        **plot_options
            Passed to `plot`.

        Returns
        -------
        PairDisplay
        """
        check_is_fitted(estimator)
        data, names = named_samples(estimator, X)
        shown = feature_positions(range(min(4, data.shape[1])) if features is None else features, names)
        samples = draw_samples(estimator, len(data), random_state)
        return cls(data[:, shown], samples[:, shown], [names[j] for j in shown]).plot(**plot_options)

    def plot(self, *, max_points: int = 2000) -> PairDisplay:
        """Draw the grid: data below the diagonal and samples above it.

        Parameters
        ----------
        max_points : int, default=2000
            Samples drawn in each panel.

        Returns
        -------
        PairDisplay
        """
        k = len(self.names)
        size = (2.0 * k + 1, 2.0 * k + 0.6)
        figure, axes = pyplot().subplots(k, k, figsize=size, layout="constrained", squeeze=False)
        ranges = [span(np.quantile(self.X[:, j], [0.002, 0.998])) for j in range(k)]
        for i in range(k):
            for j in range(k):
                ax = hide_box(axes[i, j])
                if i == j:
                    self._draw_histograms(ax, j, np.linspace(*ranges[j], 40).tolist())
                else:
                    values, color = (self.X, DATA) if i > j else (self.samples, MODEL)
                    shown = values[:max_points]
                    ax.scatter(shown[:, j], shown[:, i], s=4, alpha=0.4, color=color, linewidths=0)
                    ax.set_ylim(ranges[i])
                ax.set_xlim(ranges[j])
        self._label(axes)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
        self.axes_, self.figure_ = axes, figure
        return self

    def _draw_histograms(self, ax: Axes, feature: int, bins: list[float]) -> None:
        ax.hist(self.X[:, feature], bins, density=True, color=DATA, alpha=0.45, label="data")
        ax.hist(self.samples[:, feature], bins, density=True, histtype="step", color=MODEL, label="samples")
        ax.set_yticks([])

    def _label(self, axes: np.ndarray) -> None:
        """Names and ticks at the left and lower edges of the grid only."""
        for ax in axes[:-1].ravel():
            ax.set_xticklabels([])
        for ax in axes[:, 1:].ravel():
            ax.set_yticklabels([])
        for ax, name in zip(axes[-1], self.names):
            ax.set_xlabel(name)
        for ax, name in zip(axes[:, 0], self.names):
            ax.set_ylabel(name)
