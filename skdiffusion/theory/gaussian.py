r"""Scores relative to a standard Gaussian (Cole and Lu, 2024).

If :math:`p_0 = e^f N(0, I)` with f of bounded gradient, then under the variance-preserving process

.. math:: S(x, t) = -x + \alpha\,N(x, t),\qquad N = E[\nabla f(x_0) \mid x_t = x],

so that the part to be learned is bounded by the Lipschitz constant of f at every noise level and in every dimension,
and a network that is zero gives the Gaussian exactly. The networks of this package are parametrized in this way.

Where f depends on few directions, what depends on the dimension is the search for these. A direction that shows in no
moment before the fourth takes about :math:`d^2` samples (`detection_size`); `fourth_moment_directions` finds it with
so many.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh
from scipy.special import logsumexp, softmax
from sklearn.utils import check_array

from skdiffusion._utils.validation import at_least, check_mixture, validated

MAX_FEATURES = 100  # whose products of two are 5050: their covariance takes 200 MB
BLOCK_FLOATS = 8_000_000  # of the products of a block of samples


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

    Examples
    --------
    >>> from skdiffusion.theory.gaussian import unit_mixture_tilt
    >>> unit_mixture_tilt([[0.0, 0.0]], weights=[0.5, 0.5], means=[[1.0, 0.0], [-1.0, 0.0]])
    array([-0.5])
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

    Examples
    --------
    >>> from skdiffusion.theory.gaussian import unit_mixture_relative_score
    >>> score = unit_mixture_relative_score([[2.0, 0.0]], 0.5, weights=[0.5, 0.5], means=[[1.0, 0.0], [-1.0, 0.0]])
    >>> score.shape, bool(0 < score[0, 0] < 1)
    ((1, 2), True)
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

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.gaussian import relative_score
    >>> noise = np.random.default_rng(0).normal(size=(10_000, 1))
    >>> relative_score(np.ones_like, lambda x: x[:, 0], [[0.3]], 0.5, noise).round(6)  # f(x) = x
    array([[1.]])
    """
    x = np.asarray(X, dtype=float)
    out = np.empty_like(x)
    for i, sample in enumerate(x):
        # Under the Gaussian reference, x_0 given x_t is N(alpha x_t, sigma**2 I).
        draws = np.cos(theta) * sample + np.sin(theta) * noise
        out[i] = softmax(tilt(draws)) @ tilt_gradient(draws)
    return out


@validated(n_features=at_least(1), excess_kurtosis=at_least(-2))
def detection_size(n_features: int, excess_kurtosis: float) -> float:
    r"""Number of samples from which on a direction shows in the covariance of the products of two features.

    Under N(0, I) the Hermite polynomials of degree 2, m = d (d + 1) / 2 of them, are uncorrelated and of variance 1.
    A direction of variance 1 and excess kurtosis :math:`\kappa` gives one of them the variance
    :math:`1 + \kappa/2`, which leaves the spectrum of the sample covariance (Baik, Ben Arous and Peche, 2005) when
    :math:`|\kappa|/2 > \sqrt{m/n}`, that is for :math:`n > 2 d (d + 1)/\kappa^2`.

    Parameters
    ----------
    n_features : int
        d.
    excess_kurtosis : float
        Of the samples along the direction, at least -2 and not 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the excess kurtosis is 0: the fourth moment then shows nothing, whatever the number of samples.

    Examples
    --------
    >>> from skdiffusion.theory.gaussian import detection_size
    >>> round(detection_size(64, excess_kurtosis=-1.3))
    4923
    """
    if excess_kurtosis == 0:
        raise ValueError(
            "The 'excess_kurtosis' argument is 0: the fourth moment then shows nothing. Pass another number."
        )
    return 2 * n_features * (n_features + 1) / excess_kurtosis**2


@validated(n_matrices=at_least(1, Integral), n_steps=at_least(0, Integral))
def fourth_moment_directions(X: ArrayLike, n_matrices: int = 8, n_steps: int = 20) -> np.ndarray:
    r"""Candidates for the directions along which samples of unit covariance have another kurtosis than a Gaussian.

    The covariance of the products :math:`x_i x_j` is the identity on symmetric matrices (in a suitable scale) for a
    Gaussian. Its eigenvectors of the smallest and largest eigenvalues are matrices whose own extreme eigenvectors start
    a fixed-point iteration for the kurtosis. Candidates that are no such directions are noise of the samples: only
    samples that were left out tell which are which.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples of mean 0 and unit covariance, of at most 100 features.
    n_matrices : int, default=8
        Eigenvectors taken from either end of the spectrum.
    n_steps : int, default=20
        Of the iteration.

    Returns
    -------
    ndarray of shape (n_candidates, n_features)
        Unit vectors, one in a row; several may be the same up to sign.

    Raises
    ------
    ValueError
        For more than 100 features, or samples that are not finite.

    See Also
    --------
    detection_size : The number of samples that it takes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.gaussian import fourth_moment_directions
    >>> X = np.random.default_rng(0).standard_normal((2000, 5))
    >>> X[:, 2] = np.sign(X[:, 2])
    >>> found = fourth_moment_directions(X)
    >>> bool(np.abs(found[:, 2]).max() > 0.99)
    True
    """
    samples = check_array(X, dtype=np.float64, input_name="X", ensure_min_samples=2)
    n, d = samples.shape
    if d > MAX_FEATURES:
        raise ValueError(f"X has {d} features, more than {MAX_FEATURES}: reduce them first, by principal components.")
    rows, columns = np.triu_indices(d)
    scale = np.where(rows == columns, np.sqrt(0.5), 1.0)
    m = len(rows)
    covariance = np.zeros((m, m))
    for block in np.array_split(samples, max(1, n * m // BLOCK_FLOATS)):
        products = (block[:, rows] * block[:, columns] - (rows == columns)) * scale
        covariance += products.T @ products / n
    ends = {(0, min(n_matrices, m) - 1), (max(0, m - n_matrices), m - 1)}
    starts: list[np.ndarray] = []
    for end in sorted(ends):
        for vector in eigh(covariance, subset_by_index=end)[1].T:
            matrix = np.zeros((d, d))
            matrix[rows, columns] = vector * scale
            starts.extend(np.linalg.eigh(matrix + matrix.T)[1].T[[0, -1]])
    directions = np.array(starts)
    for _ in range(n_steps):
        along = samples @ directions.T
        directions = (along**3).T @ samples / n - 3 * (along**2).mean(0)[:, None] * directions
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-300)
    return directions
