r"""Scores relative to a standard Gaussian (Cole and Lu, 2024).

If :math:`p_0 = e^f N(0, I)` with f of bounded gradient, then under the variance-preserving process

.. math:: S(x, t) = -x + \alpha\,N(x, t),\qquad N = E[\nabla f(x_0) \mid x_t = x],

so that the part to be learned is bounded by the Lipschitz constant of f at every noise level and in every dimension,
and a network that is zero gives the Gaussian exactly. The networks of this package are parametrized in this way.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.utils import check_array

from skdiffusion._utils.validation import check_mixture


def _checked(X: ArrayLike, weights: ArrayLike, means: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples, and weights and means of a mixture of as many features."""
    shares, centers = check_mixture(weights, means)
    samples = check_array(X, dtype=np.float64, input_name="X")
    if samples.shape[1] != centers.shape[1]:
        raise ValueError(f"X has {samples.shape[1]} features, 'means' has {centers.shape[1]}.")
    return samples, shares, centers


def unit_mixture_tilt(X: ArrayLike, weights: ArrayLike, means: ArrayLike) -> np.ndarray:
    r"""f of a mixture of unit Gaussians, :math:`\log\sum_i w_i\exp(m_i\cdot x - |m_i|^2/2)`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    weights : array-like of shape (n_components,)
    means : array-like of shape (n_components, n_features)

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    x, w, m = _checked(X, weights, means)
    return logsumexp(x @ m.T - 0.5 * (m**2).sum(1), b=w, axis=1)


def unit_mixture_relative_score(X: ArrayLike, theta: float, weights: ArrayLike, means: ArrayLike) -> np.ndarray:
    """N(x, t) of a mixture of unit Gaussians at the angle theta: a softmax layer of one unit for each component.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Noised samples.
    theta : float
        Of the process x cos(theta) + noise sin(theta).
    weights, means : as for `unit_mixture_tilt`

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        Never longer than the longest mean.
    """
    x, w, m = _checked(X, weights, means)
    alpha = np.cos(theta)
    logits = np.log(w) + alpha * x @ m.T - 0.5 * alpha**2 * (m**2).sum(1)
    return softmax(logits, axis=1) @ m


def relative_score(
    tilt_gradient: Callable, tilt: Callable, X: ArrayLike, theta: float, noise: np.ndarray
) -> np.ndarray:
    """N(x, t) of any tilt by self-normalized importance sampling from the Gaussian posterior.

    Parameters
    ----------
    tilt_gradient, tilt : callable
        grad f and f, of arrays of shape (n, n_features).
    X : array-like of shape (n_samples, n_features)
        Noised samples.
    theta : float
        Of the process x cos(theta) + noise sin(theta).
    noise : ndarray of shape (n_draws, n_features)
        Standard normal numbers, shared by all samples; 10000 draws are enough in a few features.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    x = np.asarray(X, dtype=float)
    out = np.empty_like(x)
    for i, sample in enumerate(x):
        # Under the Gaussian reference, x_0 given x_t is N(alpha x_t, sigma**2 I).
        draws = np.cos(theta) * sample + np.sin(theta) * noise
        out[i] = softmax(tilt(draws)) @ tilt_gradient(draws)
    return out
