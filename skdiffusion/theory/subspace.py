r"""Rates and stopping times on linear subspaces and manifolds.

Chen, Huang, Zhao and Wang (2023): on an unknown k-dimensional subspace of R^D, with an encoder-decoder network and
noise stopped at :math:`t_0 = n^{-(1-\delta)/(k+5)}`, errors fall with exponents of k alone. The rates are given
without logarithms. Shen, Hsieh and He (2026): the score determines a smooth set at noise levels that are much coarser
than the spacing of the samples.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skdiffusion._utils.validation import NON_NEGATIVE, POSITIVE, at_least, validated
from skdiffusion.manifold import coarse_samples

__all__ = ["coarse_samples", "coarse_level", "projection_rate", "score_rate", "stopping_time", "subspace_error"]

SAMPLES, DIMENSION = at_least(2), at_least(1)


@validated(n=SAMPLES, dimension=DIMENSION, n_features=DIMENSION)
def score_rate(n: float, dimension: int, n_features: int) -> float:
    """Order of the mean squared error of the score times the stopping time: n**(-2/(k+5)) + D n**(-(k+3)/(k+5)).

    Parameters
    ----------
    n : int
    dimension : int
        k.
    n_features : int
        D.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.subspace import score_rate
    >>> round(float(score_rate(1000, dimension=2, n_features=64)), 4)
    0.5995
    """
    return float(n ** (-2 / (dimension + 5)) + n_features * n ** (-(dimension + 3) / (dimension + 5)))


@validated(n=SAMPLES, dimension=DIMENSION)
def stopping_time(n: float, dimension: int) -> float:
    """Diffusion time at which the flow stops, n**(-1 / (k + 5)).

    Parameters
    ----------
    n, dimension : as for `score_rate`

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.subspace import stopping_time
    >>> round(float(stopping_time(1000, dimension=2)), 4)
    0.3728
    """
    return float(n ** (-1 / (dimension + 5)))


@validated(n=SAMPLES, n_features=DIMENSION, noise=NON_NEGATIVE, latent_variances=["array-like"])
def subspace_error(n: float, n_features: int, noise: float, latent_variances: ArrayLike) -> float:
    r"""Expected :math:`|VV^T - AA^T|_F^2` of the principal subspace of n samples with isotropic noise.

    To first order :math:`2 (D-k)/n \sum_i (\eta^2/\lambda_i + \eta^4/\lambda_i^2)`; without noise the subspace is
    exact.

    Parameters
    ----------
    n : int
    n_features : int
        D.
    noise : float
        Standard deviation eta.
    latent_variances : array-like of shape (k,)

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.subspace import subspace_error
    >>> round(float(subspace_error(1000, n_features=64, noise=0.1, latent_variances=[1.0, 1.0])), 6)
    0.002505
    """
    variances = check_array(latent_variances, dtype=np.float64, ensure_2d=False, input_name="latent_variances").ravel()
    ratio = noise**2 / variances
    return float(2 * (n_features - len(variances)) / n * (ratio + ratio**2).sum())


@validated(n=SAMPLES, dimension=DIMENSION, volume=POSITIVE)
def coarse_level(n: float, dimension: int, volume: float = 1.0) -> float:
    """Noise level of order (log n / n)**(1/k), at which a score determines a k-dimensional set.

    It is the spacing of the samples up to a constant. At smaller noise the score of the samples points to the nearest
    sample, no longer to the set.

    Parameters
    ----------
    n, dimension : as for `score_rate`
    volume : float, default=1.0
        k-volume of the set.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.subspace import coarse_level
    >>> round(float(coarse_level(1000, dimension=2)), 4)
    0.0831
    """
    return float((volume * np.log(n) / n) ** (1 / dimension))


@validated(n=SAMPLES, dimension=DIMENSION, smoothness=POSITIVE)
def projection_rate(n: float, dimension: int, smoothness: float) -> float:
    """Order of the distance to a set of smoothness beta after projection, (log n / n)**(beta / k).

    It does not depend on the density on the set.

    Parameters
    ----------
    n, dimension : as for `score_rate`
    smoothness : float
        beta.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.theory.subspace import projection_rate
    >>> round(float(projection_rate(1000, dimension=2, smoothness=4)), 6)
    4.8e-05
    """
    return float((np.log(n) / n) ** (smoothness / dimension))
