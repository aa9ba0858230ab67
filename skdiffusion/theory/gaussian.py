r"""Scores relative to a standard Gaussian (Cole and Lu, 2024).

If :math:`p_0 = e^f N(0, I)` with f of bounded gradient, then under the variance-preserving process

.. math:: S(x, t) = -x + \alpha\,N(x, t),\qquad N = E[\nabla f(x_0) \mid x_t = x],

so that the part to be learnt is bounded by the Lipschitz constant of f at every noise level and in every dimension,
and a network that is zero is the Gaussian exactly. That is how the fields of this package are parametrized.
"""

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.utils import check_array

from skdiffusion._utils.validation import check_mixture


def _checked(X, weights, means):
    weights, means = check_mixture(weights, means)
    X = check_array(X, dtype=np.float64, input_name="X")
    if X.shape[1] != means.shape[1]:
        raise ValueError(f"X has {X.shape[1]} features, 'means' has {means.shape[1]}.")
    return X, weights, means


def unit_mixture_tilt(X, weights, means):
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
    X, weights, means = _checked(X, weights, means)
    return logsumexp(X @ means.T - 0.5 * (means**2).sum(1), b=weights, axis=1)


def unit_mixture_relative_score(X, theta, weights, means):
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
    X, weights, means = _checked(X, weights, means)
    alpha = np.cos(theta)
    logits = np.log(weights) + alpha * X @ means.T - 0.5 * alpha**2 * (means**2).sum(1)
    return softmax(logits, axis=1) @ means


def relative_score(tilt_gradient, tilt, X, theta, rng, n_draws=10_000):
    """N(x, t) of any tilt by self-normalized importance sampling from the Gaussian posterior.

    Parameters
    ----------
    tilt_gradient, tilt : callable
        grad f and f, of arrays of shape (n, n_features).
    X : array-like of shape (n_samples, n_features)
    theta : float
    rng : numpy Generator
    n_draws : int, default=10000

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    X = np.asarray(X, dtype=float)
    noise = rng.standard_normal((n_draws, X.shape[1]))
    out = np.empty_like(X)
    for i, x in enumerate(X):
        # Under the reference, x_0 given x_t is N(alpha x, sigma**2 I).
        samples = np.cos(theta) * x + np.sin(theta) * noise
        out[i] = softmax(tilt(samples)) @ tilt_gradient(samples)
    return out
