"""Displays of samples: beside the data, pair by pair, and on their way from noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.validation import RandomState, generator_seed
from skdiffusion.compose import draw_samples
from skdiffusion.diffusion.ode import power_grid
from skdiffusion.estimators import DiffusionDensityEstimator
from skdiffusion.inspection._axes import (
    DATA,
    MODEL,
    AxesDisplay,
    feature_names,
    feature_positions,
    hide_box,
    named_samples,
    pyplot,
    span,
)

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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import PairDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = PairDisplay.from_estimator(est, X)
    >>> display.plot().axes_.shape
    (2, 2)
    """

    def __init__(self, X: np.ndarray, samples: np.ndarray, names: list[str]) -> None:
        self.X, self.samples, self.names = X, samples, names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, features: Any = None, random_state: RandomState = 0, **plot_options: Any
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
        for below, left, name in zip(axes[-1], axes[:, 0], self.names):
            below.set_xlabel(name)
            left.set_ylabel(name)


class TrajectoryDisplay(AxesDisplay):
    """Paths of samples from noise to data along the probability flow, in two features.

    Build it with `from_estimator`.

    Parameters
    ----------
    paths : ndarray of shape (n_times, n_samples, n_features)
        From noise to data.
    noise_levels : ndarray of shape (n_times,)
        Noise-to-signal ratios.
    names : list of str
        Of the features.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import TrajectoryDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = TrajectoryDisplay.from_estimator(est, n_samples=20, n_times=10)
    >>> display.plot(ax=display.ax_).paths.shape
    (10, 20, 2)
    """

    def __init__(self, paths: np.ndarray, noise_levels: np.ndarray, names: list[str]) -> None:
        self.paths, self.noise_levels, self.names = paths, noise_levels, names

    @classmethod
    def from_estimator(
        cls,
        estimator: DiffusionDensityEstimator,
        *,
        n_samples: int = 150,
        n_times: int = 24,
        random_state: int | np.random.Generator | None = 0,
        **plot_options: Any,
    ) -> TrajectoryDisplay:
        """Follow samples of noise down to the data, and plot their paths.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        n_samples, n_times : int, default=150 and 24
        random_state : int, Generator or None, default=0
        **plot_options
            Passed to `plot`.

        Returns
        -------
        TrajectoryDisplay
        """
        check_is_fitted(estimator)
        component: Any = estimator.blend_.densities["diffusion"]
        seed = generator_seed(None) if random_state is None else random_state
        noise = np.random.default_rng(seed).standard_normal((n_samples, estimator.n_features_in_))
        flow = component.density
        angles = power_grid(n_times - 1, flow.theta_min, flow.theta_max)[::-1]
        # The flow has unit variance all along: each moment can be shown in the units of the features.
        codes = [noise, *(replace(flow, theta_min=float(theta)).from_latent(noise) for theta in angles[1:])]
        paths = np.stack([component.preprocessor.inverse_transform(z) for z in codes])
        return cls(paths, np.tan(angles), feature_names(estimator)).plot(**plot_options)

    def plot(
        self, ax: Axes | None = None, *, features: tuple[int | str, int | str] = (0, 1), line_color: Any = "0.55"
    ) -> TrajectoryDisplay:
        """Draw the paths, the noise they start from and the samples they end in.

        Parameters
        ----------
        ax : matplotlib axes, optional
        features : pair of int or str, default=(0, 1)
            Positions or names of the features shown.
        line_color : color, default="0.55"

        Returns
        -------
        TrajectoryDisplay
        """
        shown = feature_positions(features, self.names, 2)
        paths = self.paths[..., shown]
        ax = self._open(ax, (5.4, 4.6))
        ax.plot(paths[..., 0], paths[..., 1], color=line_color, linewidth=0.5, alpha=0.6)
        for points, color, label in ((paths[0], "0.75", "noise"), (paths[-1], MODEL, "samples")):
            ax.scatter(points[:, 0], points[:, 1], s=12, color=color, linewidths=0, label=label, zorder=3)
        ax.set(xlabel=self.names[shown[0]], ylabel=self.names[shown[1]])
        ax.legend(frameon=False, loc="upper right")
        return self
