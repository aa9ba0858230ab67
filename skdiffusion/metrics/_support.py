r"""How generated samples lie on a low-dimensional support: close to it, new, and covering it.

Definitions after Shen, Hsieh and He (2026); samples are points of R^D, distances in the units of the features.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from sklearn.utils.validation import check_array

from skdiffusion._utils.validation import RandomState
from skdiffusion.metrics._checks import check_same_features


def fidelity(draws: ArrayLike, distance: Callable[[np.ndarray], np.ndarray]) -> float:
    """Median distance of generated samples to the support, in the units of the features: 0 on it.

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
    distance : callable, (n, n_features) -> (n,)
        Distance to the true support, as the method of the distributions in `skdiffusion.datasets`.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import fidelity
    >>> circle = Sphere(1)
    >>> train, fresh, draws = (circle.sample(200, random_state=seed) for seed in range(3))
    >>> bool(fidelity(draws, circle.distance) < 1e-6)
    True
    """
    (generated,) = check_same_features(draws=draws)
    return float(np.median(distance(generated)))


def novelty(draws: ArrayLike, train: ArrayLike, fresh: ArrayLike) -> float:
    """Median distance of generated samples to their nearest training sample, over that of fresh samples.

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
        Generated samples.
    train : array-like of shape (m, n_features)
        Training samples of the model.
    fresh : array-like of shape (k, n_features)
        Samples of the true distribution that the model has not seen.

    Returns
    -------
    float
        0 for copies of training samples, 1 for samples as new as fresh ones, more for samples off the support.

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import novelty
    >>> circle = Sphere(1)
    >>> train, fresh, draws = (circle.sample(200, random_state=seed) for seed in range(3))
    >>> float(novelty(train, train, fresh)), bool(novelty(draws, train, fresh) > 0.7)
    (0.0, True)
    """
    generated, known, unknown = check_same_features(draws=draws, train=train, fresh=fresh)
    tree = cKDTree(known)
    typical = np.median(tree.query(unknown)[0])
    near = np.median(tree.query(generated)[0])
    if typical == 0:
        return 1.0 if near == 0 else float("inf")
    return float(near / typical)


def memorized_fraction(draws: ArrayLike, train: ArrayLike) -> float:
    """Fraction of generated samples that lie three times closer to one training sample than to any other.

    Fresh samples of a k-dimensional distribution have a fraction of about 3**-k, not 0: see `memorized_excess`.

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
        Generated samples.
    train : array-like of shape (m, n_features)
        Training samples of the model, at least 2.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If there are fewer than two training samples.

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import memorized_fraction
    >>> circle = Sphere(1)
    >>> train, fresh, draws = (circle.sample(200, random_state=seed) for seed in range(3))
    >>> float(memorized_fraction(train, train)), bool(memorized_fraction(draws, train) < 0.5)
    (1.0, True)
    """
    generated, known = check_same_features(draws=draws, train=train)
    if len(known) < 2:
        raise ValueError("At least 2 training samples are needed to see which one is copied.")
    distance = cKDTree(known).query(generated, k=2)[0]
    return float((distance[:, 0] <= distance[:, 1] / 3).mean())


def memorized_excess(draws: ArrayLike, train: ArrayLike, fresh: ArrayLike) -> float:
    """Memorized fraction beyond that of fresh samples, (f - f_fresh) / (1 - f_fresh).

    Parameters
    ----------
    draws, train, fresh : array-likes of shape (n, n_features), (m, n_features) and (k, n_features)
        As for `novelty`.

    Returns
    -------
    float
        About 0 for the true distribution, 1 for copies; negative where samples avoid the training samples.

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import memorized_excess
    >>> circle = Sphere(1)
    >>> train, fresh, draws = (circle.sample(200, random_state=seed) for seed in range(3))
    >>> float(memorized_excess(train, train, fresh)), bool(abs(memorized_excess(draws, train, fresh)) < 0.2)
    (1.0, True)
    """
    base = memorized_fraction(fresh, train)
    return (memorized_fraction(draws, train) - base) / max(1.0 - base, 1e-12)


def _mass_within(radii: np.ndarray, center: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Fractions of samples in the balls of given radii around a center."""
    distances = np.sort(np.linalg.norm(samples - center, axis=1))
    return np.searchsorted(distances, radii, side="right") / len(samples)


def delta_coverage(
    draws: ArrayLike, target: ArrayLike, centers: ArrayLike, *, factor: float = 2.0, n_radii: int = 40
) -> float:
    r"""Finest scale at which samples cover the support as the true distribution does, in the units of the features.

    The smallest r such that balls of every radius from r upwards, around every center, hold between 1/factor
    and factor times the mass that the true distribution gives them. n samples cannot do better than about
    (log n / n)**(1/k).

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
        Many generated samples, or the training samples for comparison.
    target : array-like of shape (m, n_features)
        Many samples of the true distribution: at least 100000 for fine scales.
    centers : array-like of shape (c, n_features)
        Points of the support.
    factor : float, default=2
    n_radii : int, default=40
        Radii tried, from the scale at which a ball holds 20 target samples to the diameter.

    Returns
    -------
    float
        inf if not even the largest balls agree.

    Raises
    ------
    ValueError
        If so many samples of `target` are equal that there is no smallest radius.

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import delta_coverage
    >>> circle = Sphere(1)
    >>> draws, target, centers = (circle.sample(n, random_state=n) for n in (2000, 20_000, 50))
    >>> bool(0 < delta_coverage(draws, target, centers) < 1)
    True
    """
    generated, truth, points = check_same_features(draws=draws, target=target, centers=centers)
    smallest = np.quantile(cKDTree(truth).query(points, k=[min(20, len(truth))])[0], 0.9)
    largest = np.linalg.norm(np.ptp(truth, axis=0))
    if smallest == 0 or largest == 0:
        raise ValueError("'target' repeats its samples so often that it has no finest scale: pass distinct samples.")
    radii = np.geomspace(smallest, largest, n_radii)
    lowest, highest = np.full(n_radii, np.inf), np.zeros(n_radii)
    for center in points:
        own, true = _mass_within(radii, center, generated), _mass_within(radii, center, truth)
        ratio = own / np.maximum(true, 1.0 / len(truth))
        lowest, highest = np.minimum(lowest, ratio), np.maximum(highest, ratio)
    good = (lowest >= 1 / factor) & (highest <= factor)
    if not good[-1]:
        return float("inf")
    first = 0 if good.all() else n_radii - int(np.argmin(good[::-1]))
    return float(radii[first])


def density_comparability(
    draws: ArrayLike, target: ArrayLike, *, n_cells: int = 50, random_state: RandomState = 0
) -> tuple[float, float]:
    """Smallest and largest ratio of generated to true mass over cells of the support.

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
        Generated samples.
    target : array-like of shape (m, n_features)
        Samples of the true distribution.
    n_cells : int, default=50
        Voronoi cells around k-means centers of the target samples.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    lowest, highest : float
        1 and 1 for equal distributions, up to the noise of counts.

    Examples
    --------
    >>> from skdiffusion.datasets import Sphere
    >>> from skdiffusion.metrics import density_comparability
    >>> circle = Sphere(1)
    >>> draws, target = (circle.sample(5000, random_state=seed) for seed in (0, 1))
    >>> low, high = density_comparability(draws, target)
    >>> bool(0.5 < low < 1 < high < 2)
    True
    """
    from sklearn.cluster import KMeans

    generated, truth = check_same_features(draws=draws, target=target)
    cells = KMeans(n_cells, n_init=1, random_state=random_state).fit(truth[:10_000])
    tree = cKDTree(cells.cluster_centers_)
    own, true = (np.bincount(tree.query(s)[1], minlength=n_cells) / len(s) for s in (generated, truth))
    ratio = own / np.maximum(true, 1.0 / len(truth))
    return float(ratio.min()), float(ratio.max())


def subspace_error(basis_a: ArrayLike, basis_b: ArrayLike) -> float:
    r"""Squared Frobenius distance of the projections onto two subspaces, :math:`\|VV^T - AA^T\|_F^2`.

    Parameters
    ----------
    basis_a, basis_b : array-likes of shape (n_features, k)
        The columns span the subspaces; they need not be orthonormal.

    Returns
    -------
    float
        Between 0 (the same) and 2 k (orthogonal).

    Raises
    ------
    ValueError
        If the bases have different numbers of features.

    Examples
    --------
    >>> import numpy as np
    >>> from skdiffusion.metrics import subspace_error
    >>> float(subspace_error(np.eye(4)[:, :2], np.eye(4)[:, 2:]))
    4.0
    """
    a, b = (np.linalg.qr(check_array(m, dtype=np.float64))[0] for m in (basis_a, basis_b))
    if len(a) != len(b):
        raise ValueError(f"The bases have {len(a)} and {len(b)} rows: pass subspaces of the same space.")
    # From the part of each basis that is orthogonal to the other: the difference of two numbers near k loses digits.
    return float(((a - b @ (b.T @ a)) ** 2).sum() + ((b - a @ (a.T @ b)) ** 2).sum())
