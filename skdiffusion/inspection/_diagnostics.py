"""Displays of how a fit went: training curves, loss by noise level, calibration, dimension spectrum."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdiffusion.inspection._axes import DATA, MODEL, QUIET, new_axes
from skdiffusion.manifold import PLATEAU, TANGENT
from skdiffusion.metrics import highest_density_coverage


class TrainingDisplay:
    """Training and held-out loss by optimizer step; 1 is the loss of the fitted Gaussian.

    Parameters
    ----------
    loss_curve, validation_curve : ndarray of shape (n_checks, 2)
        Step and loss.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    """

    def __init__(self, loss_curve, validation_curve):
        self.loss_curve, self.validation_curve = loss_curve, validation_curve

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Read the curves of a fitted DiffusionDensityEstimator.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        ax : matplotlib axes, optional

        Returns
        -------
        TrainingDisplay
        """
        check_is_fitted(estimator)
        held_out = estimator.validation_scores_ * [1, -1] + [0, 1]
        return cls(estimator.loss_curve_, held_out).plot(ax=ax)

    def plot(self, ax=None):
        """Draw both curves.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        TrainingDisplay
        """
        ax = new_axes(ax, figsize=(5.6, 3.8))
        ax.plot(*self.loss_curve.T, color=DATA, label="training samples")
        if len(self.validation_curve):
            ax.plot(*self.validation_curve[1:].T, color=MODEL, label="held-out samples")
            best = self.validation_curve[self.validation_curve[:, 1].argmin()]
            ax.plot(*best, "o", color=MODEL, markersize=5)
        ax.set(xlabel="optimizer step", ylabel="loss (the Gaussian's is 1)")
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


class NoiseLossDisplay:
    """Held-out loss at every noise level: what of the distribution is learnt, and where nothing can be.

    Parameters
    ----------
    loss_by_noise : ndarray of shape (n_levels, 2)

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    """

    def __init__(self, loss_by_noise):
        self.loss_by_noise = loss_by_noise

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Read the losses of a fitted DiffusionDensityEstimator.

        Parameters
        ----------
        estimator : fitted DiffusionDensityEstimator
        ax : matplotlib axes, optional

        Returns
        -------
        NoiseLossDisplay
        """
        check_is_fitted(estimator)
        return cls(estimator.loss_by_noise_).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the loss against the noise level.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        NoiseLossDisplay
        """
        ax = new_axes(ax, figsize=(5.6, 3.8))
        ax.plot(*self.loss_by_noise.T, "o-", color=DATA, markersize=4)
        ax.axhline(1.0, color=QUIET, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="noise level (whitened standard deviations)", ylabel="held-out loss")
        ax.set_ylim(0, max(1.1, 1.05 * self.loss_by_noise[:, 1].max()))
        self.ax_, self.figure_ = ax, ax.figure
        return self


class CalibrationDisplay:
    """Share of held-out samples in the model's highest-density regions of given mass.

    On the diagonal the density is calibrated; below it is over-confident, above too wide.

    Parameters
    ----------
    levels, coverage : ndarray of shape (n_levels,)
    n_points : int
        Held-out samples, for the band of two standard errors.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    """

    def __init__(self, levels, coverage, n_points):
        self.levels, self.coverage, self.n_points = levels, coverage, n_points

    @classmethod
    def from_estimator(cls, estimator, X, *, n_samples=5000, random_state=0, ax=None, name=None):
        """Measure the coverage of a fitted density on held-out samples.

        Parameters
        ----------
        estimator : fitted density estimator
            With `score_samples` and `sample`.
        X : array-like of shape (n_points, n_features)
        n_samples : int, default=5000
            Samples drawn from the model.
        random_state : int, RandomState or None, default=0
        ax : matplotlib axes, optional
        name : str, optional
            Of the curve.

        Returns
        -------
        CalibrationDisplay
        """
        check_is_fitted(estimator)
        levels, coverage = highest_density_coverage(estimator, X, n_samples=n_samples, random_state=random_state)
        return cls(levels, coverage, len(X)).plot(ax=ax, name=name or type(estimator).__name__)

    def plot(self, ax=None, *, name=None):
        """Draw the curve over the diagonal and its band.

        Parameters
        ----------
        ax : matplotlib axes, optional
        name : str, optional

        Returns
        -------
        CalibrationDisplay
        """
        fresh = ax is None or not ax.lines
        ax = new_axes(ax, figsize=(4.6, 4.4))
        if fresh:
            c = np.linspace(0, 1, 101)
            band = 2 * np.sqrt(c * (1 - c) / self.n_points)
            ax.fill_between(c, c - band, c + band, color=QUIET, alpha=0.25, linewidth=0)
            ax.plot(c, c, color=QUIET, linewidth=0.8)
        ax.plot(self.levels, self.coverage, "o-", markersize=4, label=name)
        ax.set(xlabel="mass of the region", ylabel="share of held-out samples in it", xlim=(0, 1), ylim=(0, 1))
        if name:
            ax.legend(frameon=False, loc="lower right")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class DimensionSpectrumDisplay:
    """Eigenvalues of the denoiser's Jacobian by noise level: near 1 along the support, near 0 across.

    Parameters
    ----------
    spectrum : ndarray of shape (n_levels, n_directions)
    levels : ndarray of shape (n_levels,)
    dimension : int
        Directions drawn as lying along the support.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
    """

    def __init__(self, spectrum, levels, dimension):
        self.spectrum, self.levels, self.dimension = spectrum, levels, dimension

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Read the spectrum of a fitted ManifoldDiffusionEstimator.

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
        if getattr(estimator, "dimension_spectrum_", None) is None:
            raise ValueError(
                "The estimator has no dimension spectrum: it is no ManifoldDiffusionEstimator, its dimension was "
                "given, or a single direction was left. Fit a ManifoldDiffusionEstimator with n_components='auto'."
            )
        return cls(estimator.dimension_spectrum_, PLATEAU, estimator.intrinsic_dimension_).plot(ax=ax)

    def plot(self, ax=None):
        """Draw every eigenvalue against the noise level.

        Parameters
        ----------
        ax : matplotlib axes, optional

        Returns
        -------
        DimensionSpectrumDisplay
        """
        ax = new_axes(ax, figsize=(5.6, 3.8))
        for j, values in enumerate(self.spectrum.T):
            along = j < self.dimension
            first = j in (0, self.dimension)
            label = ("along the support" if along else "across") if first else None
            ax.plot(self.levels, values, "o-", markersize=3, color=DATA if along else MODEL, label=label)
        ax.axhline(TANGENT, color=QUIET, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="noise level (whitened standard deviations)", ylabel="eigenvalue", ylim=(-0.1, 1.1))
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
