"""Displays of how a fit went: training curves, loss by noise level, dimension spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion.estimators import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.inspection._axes import DATA, MODEL, QUIET, CurveDisplay
from skdiffusion.manifold import PLATEAU, TANGENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TrainingDisplay(CurveDisplay):
    """Training and validation loss by optimizer step; 1 is the loss of the fitted Gaussian.

    Parameters
    ----------
    loss_curve, validation_curve : ndarray of shape (n_checks, 2)
        Step and loss.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import TrainingDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = TrainingDisplay.from_estimator(est)
    >>> display.plot(ax=display.ax_).loss_curve.shape[1]
    2
    """

    def __init__(self, loss_curve: np.ndarray, validation_curve: np.ndarray) -> None:
        self.loss_curve, self.validation_curve = loss_curve, validation_curve

    @classmethod
    def from_estimator(cls, estimator: DiffusionDensityEstimator, *, ax: Axes | None = None) -> Self:
        """Plot the curves of a fitted DiffusionDensityEstimator.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        ax : matplotlib axes, optional

        Returns
        -------
        TrainingDisplay
        """
        check_is_fitted(estimator)
        validation_loss = estimator.validation_scores_ * [1, -1] + [0, 1]
        return cls(estimator.loss_curve_, validation_loss).plot(ax)

    def _draw(self, ax: Axes) -> None:
        ax.plot(*self.loss_curve.T, color=DATA, label="training samples")
        if len(self.validation_curve):
            ax.plot(*self.validation_curve[1:].T, color=MODEL, label="validation samples")
            best = self.validation_curve[self.validation_curve[:, 1].argmin()]
            ax.plot(*best, "o", color=MODEL, markersize=5)
        ax.set(xlabel="optimizer step", ylabel="loss (the Gaussian's is 1)")
        ax.legend(frameon=False)


class NoiseLossDisplay(CurveDisplay):
    """Validation loss at every noise level: at which the data depart from a Gaussian, and at which they cannot.

    Parameters
    ----------
    loss_by_noise : ndarray of shape (n_levels, 2)
        Noise level and loss; 1 is the loss of the fitted Gaussian.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion import DiffusionDensityEstimator
    >>> from skdiffusion.inspection import NoiseLossDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    >>> display = NoiseLossDisplay.from_estimator(est)
    >>> display.plot(ax=display.ax_).loss_by_noise.shape[1]
    2
    """

    def __init__(self, loss_by_noise: Any) -> None:
        self.loss_by_noise = loss_by_noise

    @classmethod
    def from_estimator(cls, estimator: DiffusionDensityEstimator, *, ax: Axes | None = None) -> Self:
        """Plot the losses of a fitted DiffusionDensityEstimator.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        ax : matplotlib axes, optional

        Returns
        -------
        NoiseLossDisplay
        """
        check_is_fitted(estimator)
        return cls(estimator.loss_by_noise_).plot(ax)

    def _draw(self, ax: Axes) -> None:
        ax.plot(*self.loss_by_noise.T, "o-", color=DATA, markersize=4)
        ax.axhline(1.0, color=QUIET, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="noise level (whitened standard deviations)", ylabel="validation loss")
        ax.set_ylim(0, max(1.1, 1.05 * self.loss_by_noise[:, 1].max()))


class DimensionSpectrumDisplay(CurveDisplay):
    """Eigenvalues of the denoiser's Jacobian by noise level: near 1 along the support, near 0 across.

    Parameters
    ----------
    spectrum : ndarray of shape (n_levels, n_directions)
    levels : ndarray of shape (n_levels,)
    dimension : int
        Number of directions drawn as lying along the support.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists

    Examples
    --------
    >>> from skdiffusion import ManifoldDiffusionEstimator
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.inspection import DimensionSpectrumDisplay
    >>> est = ManifoldDiffusionEstimator(max_iter=200, random_state=0).fit(Sphere(1, 3).sample(300, 0))
    >>> display = DimensionSpectrumDisplay.from_estimator(est)
    >>> display.plot(ax=display.ax_).spectrum.shape[1]
    2
    """

    def __init__(self, spectrum: np.ndarray, levels: np.ndarray, dimension: int) -> None:
        self.spectrum, self.levels, self.dimension = spectrum, levels, dimension

    @classmethod
    def from_estimator(cls, estimator: ManifoldDiffusionEstimator, *, ax: Axes | None = None) -> Self:
        """Plot the spectrum of a fitted ManifoldDiffusionEstimator.

        Parameters
        ----------
        estimator : fitted ManifoldDiffusionEstimator
        ax : matplotlib axes, optional

        Returns
        -------
        DimensionSpectrumDisplay

        Raises
        ------
        ValueError
            If the dimension was given, so that no spectrum was computed.
        """
        check_is_fitted(estimator)
        if not isinstance(estimator, ManifoldDiffusionEstimator) or estimator.dimension_spectrum_ is None:
            raise ValueError(
                "The estimator has no dimension spectrum: it is no ManifoldDiffusionEstimator, its dimension was "
                "given, or a single direction was left. Fit a ManifoldDiffusionEstimator with n_components='auto'."
            )
        return cls(estimator.dimension_spectrum_, PLATEAU, estimator.intrinsic_dimension_).plot(ax)

    def _draw(self, ax: Axes) -> None:
        for j, values in enumerate(self.spectrum.T):
            along = j < self.dimension
            first = j in (0, self.dimension)
            label = ("along the support" if along else "across") if first else None
            ax.plot(self.levels, values, "o-", markersize=3, color=DATA if along else MODEL, label=label)
        ax.axhline(TANGENT, color=QUIET, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="noise level (whitened standard deviations)", ylabel="eigenvalue", ylim=(-0.1, 1.1))
        ax.legend(frameon=False)
