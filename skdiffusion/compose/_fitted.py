"""What is read from any fitted density estimator of the scikit-learn world, ours or not."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity


def chosen_estimator(estimator: BaseEstimator) -> BaseEstimator:
    """The best estimator of a fitted search, or of a search of searches; any other estimator itself."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def log_density_of(estimator: BaseEstimator, samples: np.ndarray) -> np.ndarray:
    """Log-densities of samples in an array, under an estimator that may have been fitted on a frame."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return estimator.score_samples(samples)


def training_scale(estimator: BaseEstimator, X: np.ndarray) -> np.ndarray:
    """Standard deviations of the features on which an estimator was fitted, 1 for constant ones.

    An estimator gives them as `feature_scale_`; KernelDensity and GaussianMixture are known. For any other they are
    those of `X`.
    """
    estimator = chosen_estimator(estimator)
    if hasattr(estimator, "feature_scale_"):
        scale = estimator.feature_scale_
    elif isinstance(estimator, GaussianMixture):
        scale = _mixture_scale(estimator)
    elif isinstance(estimator, KernelDensity):
        scale = np.asarray(estimator.tree_.data).std(0)
    else:
        scale = X.std(0)
    scale = np.asarray(scale, dtype=np.float64)
    return np.where(scale > 0, scale, 1.0)


def _mixture_scale(mixture: GaussianMixture) -> np.ndarray:
    """Standard deviations of the features under a fitted mixture, which are those of its training samples."""
    center = mixture.weights_ @ mixture.means_
    variances = {
        "full": lambda c: np.diagonal(c, axis1=1, axis2=2),
        "tied": lambda c: np.tile(np.diagonal(c), (len(mixture.weights_), 1)),
        "diag": lambda c: c,
        "spherical": lambda c: np.tile(c[:, None], (1, mixture.means_.shape[1])),
    }[mixture.covariance_type](mixture.covariances_)
    return np.sqrt(mixture.weights_ @ (variances + (mixture.means_ - center) ** 2))
