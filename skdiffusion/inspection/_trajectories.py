"""Display of samples on their way from noise to data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion.diffusion.ode import power_grid
from skdiffusion.estimators import DiffusionDensityEstimator
from skdiffusion.inspection._axes import MODEL, AxesDisplay, feature_names, feature_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        component = estimator.blend_.densities["diffusion"]
        noise = np.random.default_rng(random_state).standard_normal((n_samples, estimator.n_features_in_))
        flow = component.density
        angles = power_grid(n_times - 1, flow.theta_min, flow.theta_max)[::-1]
        codes = [noise]
        for theta in angles[1:]:
            # The flow has unit variance all along: each moment can be shown in the units of the features.
            codes.append(replace(flow, theta_min=float(theta)).from_latent(noise))
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
