"""Displays of the distribution itself: contours and slices, data beside samples, paths from noise to data."""

from dataclasses import replace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion.compose import draw_samples, log_density_of
from skdiffusion.diffusion.ode import power_grid
from skdiffusion.inspection._axes import (
    DATA,
    MODEL,
    check_features,
    feature_names,
    named_samples,
    new_axes,
    pyplot,
    span,
    tidy,
)


class DensityDisplay:
    """Contours of a density over two features; the others, if any, are held fixed (a slice).

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

    def __init__(self, xx, yy, log_density, names=("x0", "x1")):
        self.xx, self.yy, self.log_density, self.names = xx, yy, log_density, names

    @classmethod
    def from_estimator(cls, estimator, X, *, features=(0, 1), fixed=None, n_grid=80, ax=None, **plot_options):
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
            Points a side.
        ax : matplotlib axes, optional
        **plot_options
            Of `plot`.

        Returns
        -------
        DensityDisplay
        """
        check_is_fitted(estimator)
        table, names = named_samples(estimator, X)
        a, b = check_features(features, names, 2)
        base = np.median(table, axis=0) if fixed is None else np.asarray(fixed, dtype=float)
        xx, yy = np.meshgrid(*(np.linspace(*span(table[:, j]), n_grid) for j in (a, b)))
        points = np.tile(base, (xx.size, 1))
        points[:, a], points[:, b] = xx.ravel(), yy.ravel()
        values = log_density_of(estimator, points).reshape(xx.shape)
        return cls(xx, yy, values, (names[a], names[b])).plot(ax=ax, **plot_options)

    def plot(self, ax=None, *, X=None, n_levels=12, depth=10.0, cmap="viridis", log=True):
        """Draw filled contours of the log-density, down to `depth` nats below the peak.

        Parameters
        ----------
        ax : matplotlib axes, optional
        X : array-like of shape (n_samples, 2), optional
            Points drawn on top.
        n_levels : int, default=12
        depth : float, default=10.0
        cmap : str, default="viridis"
        log : bool, default=True
            False draws the density instead of its logarithm.

        Returns
        -------
        DensityDisplay
        """
        ax = new_axes(ax, figsize=(5.4, 4.4))
        top = float(np.max(self.log_density))
        if log:
            values, levels = np.maximum(self.log_density, top - depth), np.linspace(top - depth, top, n_levels + 1)
        else:
            values, levels = np.exp(self.log_density), np.linspace(0.0, np.exp(top), n_levels + 1)
        self.contours_ = ax.contourf(self.xx, self.yy, values, levels=levels, cmap=cmap)
        ax.figure.colorbar(self.contours_, ax=ax, label="log-density (nats)" if log else "density")
        if X is not None:
            ax.plot(*np.asarray(X, dtype=float).T, ".", color="white", markersize=2, alpha=0.5)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        self.ax_, self.figure_ = ax, ax.figure
        return self


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

    def __init__(self, X, samples, names):
        self.X, self.samples, self.names = X, samples, names

    @classmethod
    def from_estimator(cls, estimator, X, *, features=None, random_state=0, **plot_options):
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
            Of `plot`.

        Returns
        -------
        PairDisplay
        """
        check_is_fitted(estimator)
        table, names = named_samples(estimator, X)
        shown = check_features(range(min(4, table.shape[1])) if features is None else features, names)
        samples = draw_samples(estimator, len(table), random_state)
        return cls(table[:, shown], samples[:, shown], [names[j] for j in shown]).plot(**plot_options)

    def plot(self, *, max_points=2000):
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
                ax = tidy(axes[i, j])
                if i == j:
                    bins = np.linspace(*ranges[j], 40)
                    ax.hist(self.X[:, j], bins, density=True, color=DATA, alpha=0.45, label="data")
                    ax.hist(self.samples[:, j], bins, density=True, histtype="step", color=MODEL, label="samples")
                    ax.set_yticks([])
                else:
                    table, color = (self.X, DATA) if i > j else (self.samples, MODEL)
                    ax.scatter(table[:max_points, j], table[:max_points, i], s=4, alpha=0.4, color=color, linewidths=0)
                    ax.set_ylim(ranges[i])
                ax.set_xlim(ranges[j])
                if i < k - 1:
                    ax.set_xticklabels([])
                if j > 0:
                    ax.set_yticklabels([])
                if i == k - 1:
                    ax.set_xlabel(self.names[j])
                if j == 0:
                    ax.set_ylabel(self.names[i])
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
        self.axes_, self.figure_ = axes, figure
        return self


class TrajectoryDisplay:
    """Samples on their way from noise to data along the probability flow, in two features.

    Build it with `from_estimator`.

    Parameters
    ----------
    paths : ndarray of shape (n_times, n_samples, 2)
        From noise to data.
    noise_levels : ndarray of shape (n_times,)
        Noise-to-signal ratios.
    names : pair of str

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    """

    def __init__(self, paths, noise_levels, names=("x0", "x1")):
        self.paths, self.noise_levels, self.names = paths, noise_levels, names

    @classmethod
    def from_estimator(
        cls, estimator, *, n_samples=150, n_times=24, features=(0, 1), random_state=0, ax=None, **options
    ):
        """Follow samples of noise down to the data.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        n_samples, n_times : int, default=150 and 24
        features : pair of int or str, default=(0, 1)
        random_state : int, RandomState or None, default=0
        ax : matplotlib axes, optional
        **options
            Of `plot`.

        Returns
        -------
        TrajectoryDisplay
        """
        check_is_fitted(estimator)
        member = estimator.blend_.densities["diffusion"]
        names = feature_names(estimator)
        a, b = check_features(features, names, 2)
        noise = np.random.default_rng(random_state).standard_normal((n_samples, estimator.n_features_in_))
        flow = member.density
        angles = power_grid(n_times - 1, flow.theta_min, flow.theta_max)[::-1]
        paths = [noise]
        for theta in angles[1:]:
            # Unit variance all the way: each moment can be seen in the units of the features.
            paths.append(replace(flow, theta_min=float(theta)).from_latent(noise))
        table = np.stack([member.preprocessor.inverse_transform(z)[:, [a, b]] for z in paths])
        return cls(table, np.tan(angles), (names[a], names[b])).plot(ax=ax, **options)

    def plot(self, ax=None, *, line_color="0.55"):
        """Draw the paths, the noise they start from and the samples they end in.

        Parameters
        ----------
        ax : matplotlib axes, optional
        line_color : color, default="0.55"

        Returns
        -------
        TrajectoryDisplay
        """
        ax = new_axes(ax, figsize=(5.4, 4.6))
        ax.plot(self.paths[..., 0], self.paths[..., 1], color=line_color, linewidth=0.5, alpha=0.6)
        for table, color, label in ((self.paths[0], "0.75", "noise"), (self.paths[-1], MODEL, "samples")):
            ax.scatter(*table.T, s=12, color=color, linewidths=0, label=label, zorder=3)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        ax.legend(frameon=False, loc="upper right")
        self.ax_, self.figure_ = ax, ax.figure
        return self
