r"""Scores relative to a standard Gaussian (Cole and Lu, 2024).

If :math:`p_0 = e^f N(0, I)` with f of bounded gradient, then under the variance-preserving process

.. math:: S(x, t) = -x + \alpha\,N(x, t),\qquad N = E[\nabla f(x_0) \mid x_t = x],

so that the part to be learned is bounded by the Lipschitz constant of f at every noise level and in every dimension,
and a network that is zero gives the Gaussian exactly. The networks of this package are parametrized in this way.

Where f depends on few directions, what depends on the dimension is the search for these. A direction that shows in no
moment before the fourth stands out of a spectrum from about :math:`d^2` samples on (`detection_size`);
`fourth_moment_directions` finds it with fewer, by many starts of a local search.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.utils import check_array, check_random_state

from skdiffusion._utils.validation import at_least, check_mixture, validated

BLOCK_FLOATS = 1_000_000  # of the products of all samples with a block of directions
FIRST_STEPS = 10  # after which most starts are given up
N_KEPT = 64  # starts of a search that go on
SUBSPACE = 1e-10  # smallest variance of samples in no subspace, in units of the largest


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


@validated(n_starts=at_least(1, Integral), n_steps=at_least(0, Integral), random_state=["random_state"])
def fourth_moment_directions(
    X: ArrayLike, n_starts: int = 1000, n_steps: int = 60, random_state: int | np.random.RandomState | None = None
) -> np.ndarray:
    r"""Candidates for the directions along which samples have another kurtosis than a Gaussian.

    The fourth moment of whitened samples along unit vectors u has the gradient :math:`4\,E[(x\cdot u)^3 x]`, which is
    12 u for a Gaussian. From random unit vectors the moment descends, and ascends, in steps
    :math:`u \mp (E[(x\cdot u)^3 x] - 3u)`, and those that are far after ten of them go on. A direction pulls a start in
    from an overlap that is the smaller the more samples there are. Candidates that are no such directions are noise of
    the samples, which shows on samples that were left out.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Samples of mean 0, more than features.
    n_starts : int, default=1000
        Random unit vectors from which either search starts.
    n_steps : int, default=60
        Of either search after the first ten.
    random_state : int, RandomState instance or None, default=None
        Of the starts.

    Returns
    -------
    ndarray of shape (n_candidates, n_features)
        Unit vectors, one in a row, from the least kurtosis of the samples along them to the largest: at most 64 of
        either search, several of which may be the same up to sign.

    Raises
    ------
    ValueError
        For samples that are not finite, or that lie in a subspace.

    See Also
    --------
    detection_size : The number of samples from which on no search is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.theory.gaussian import fourth_moment_directions
    >>> X = np.random.default_rng(0).standard_normal((2000, 5))
    >>> X[:, 2] = np.sign(X[:, 2])
    >>> found = fourth_moment_directions(X, n_starts=20, random_state=0)
    >>> bool(np.abs(found[0, 2]) > 0.99)
    True
    """
    samples = check_array(X, dtype=np.float64, input_name="X", ensure_min_samples=2)
    n, d = samples.shape
    values, axes = np.linalg.eigh(samples.T @ samples / n)
    if values[0] <= SUBSPACE * values[-1]:
        raise ValueError(f"X has {n} samples of {d} features that lie in a subspace: reduce them by components first.")
    white = (axes / np.sqrt(values)) @ axes.T
    whitened = (samples @ white).astype(np.float32)  # directions need no more
    starts = check_random_state(random_state).standard_normal((n_starts, d)).astype(np.float32)
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    found = []
    for sign in (-1, 1):
        after = _searched(whitened, starts, sign, FIRST_STEPS)
        farthest = np.argsort(-sign * _fourth_moments(whitened, after))[:N_KEPT]
        found.append(_searched(whitened, after[farthest], sign, n_steps))
    directions = np.concatenate(found)
    directions = directions[np.argsort(_fourth_moments(whitened, directions))] @ white
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _searched(samples: np.ndarray, directions: np.ndarray, sign: int, n_steps: int) -> np.ndarray:
    """Unit vectors after steps of descent (-1) or ascent (1) of the fourth moment of whitened samples along them."""
    size = max(1, BLOCK_FLOATS // len(samples))
    blocks = [directions[start : start + size] for start in range(0, len(directions), size)]
    for k, block in enumerate(blocks):
        for _ in range(n_steps):
            along = samples @ block.T
            pull = (along * along * along).T @ samples / len(samples)
            block = block + sign * (pull - 3 * block)
            block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), np.finfo(block.dtype).tiny)
        blocks[k] = block
    return np.concatenate(blocks)


def _fourth_moments(samples: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Mean fourth power of samples along each of several unit vectors."""
    size = max(1, BLOCK_FLOATS // len(samples))
    starts = range(0, len(directions), size)
    return np.concatenate([np.square(np.square(samples @ directions[k : k + size].T)).mean(0) for k in starts])
