r"""How samples sit on a low-dimensional support: close to it, new, and covering it.

Definitions after Shen, Hsieh and He (2026); samples are points of R^D, distances in the units of the features.
"""

import numpy as np
from scipy.spatial import cKDTree
from sklearn.utils.validation import check_array

from skdiffusion._utils.validation import check_magnitude


def _samples(**tables):
    out = [check_array(t, dtype=np.float64, input_name=name) for name, t in tables.items()]
    if len({t.shape[1] for t in out}) > 1:
        shapes = ", ".join(f"{name} has {t.shape[1]}" for name, t in zip(tables, out))
        raise ValueError(f"The tables must have the same features, but {shapes}.")
    check_magnitude(**dict(zip(tables, out)))
    return out


def fidelity(draws, distance):
    """Median distance of samples to the support, in the units of the features: 0 on it.

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
    distance : callable, (n, n_features) -> (n,)
        Distance to the true support, as the method of the distributions in `skdiffusion.datasets`.

    Returns
    -------
    float
    """
    (draws,) = _samples(draws=draws)
    return float(np.median(distance(draws)))


def novelty(draws, train, fresh):
    """Median distance of samples to their nearest training sample, over that of fresh samples.

    Parameters
    ----------
    draws, train, fresh : array-likes of shape (n, n_features), (m, n_features) and (k, n_features)

    Returns
    -------
    float
        0 for copies of training samples, 1 for samples as new as fresh ones, more for samples off the support.
    """
    draws, train, fresh = _samples(draws=draws, train=train, fresh=fresh)
    tree = cKDTree(train)
    typical = np.median(tree.query(fresh)[0])
    near = np.median(tree.query(draws)[0])
    if typical == 0:
        return 1.0 if near == 0 else float("inf")
    return float(near / typical)


def memorised_fraction(draws, train):
    """Share of samples that lie three times closer to one training sample than to any other.

    Honest samples of a k-dimensional distribution have a share of about 3**-k, not 0: see `memorised_excess`.

    Parameters
    ----------
    draws, train : array-likes of shape (n, n_features) and (m, n_features), m at least 2

    Returns
    -------
    float
        Between 0 and 1.
    """
    draws, train = _samples(draws=draws, train=train)
    if len(train) < 2:
        raise ValueError("At least 2 training samples are needed to see which one is copied.")
    distance = cKDTree(train).query(draws, k=2)[0]
    return float((distance[:, 0] <= distance[:, 1] / 3).mean())


def memorised_excess(draws, train, fresh):
    """Memorised share beyond that of fresh samples, (s - s_fresh) / (1 - s_fresh).

    Parameters
    ----------
    draws, train, fresh : array-likes of shape (n, n_features), (m, n_features) and (k, n_features)

    Returns
    -------
    float
        About 0 for an honest model, 1 for copies; negative where samples avoid the training samples.
    """
    base = memorised_fraction(fresh, train)
    return (memorised_fraction(draws, train) - base) / max(1.0 - base, 1e-12)


def delta_coverage(draws, reference, centers, *, factor=2.0, n_radii=40):
    r"""Finest scale at which samples cover the support as the true distribution does, in the units of the features.

    The smallest r such that balls of every radius from r upwards, around every center, hold between 1/factor
    and factor times the mass that the true distribution gives them. n samples cannot do better than about
    (log n / n)**(1/k).

    Parameters
    ----------
    draws : array-like of shape (n, n_features)
        Many samples, or the training samples themselves for comparison.
    reference : array-like of shape (m, n_features)
        Many samples of the true distribution: at least 100000 for fine scales.
    centers : array-like of shape (c, n_features)
        Points of the support.
    factor : float, default=2
    n_radii : int, default=40
        Radii tried, from the scale at which a ball holds 20 reference samples to the diameter.

    Returns
    -------
    float
        inf if not even the largest balls agree.
    """
    draws, reference, centers = _samples(draws=draws, reference=reference, centers=centers)
    least = np.quantile(cKDTree(reference).query(centers, k=[min(20, len(reference))])[0], 0.9)
    largest = np.linalg.norm(np.ptp(reference, axis=0))
    if least == 0 or largest == 0:
        raise ValueError("'reference' repeats its samples so often that it has no finest scale: pass distinct samples.")
    radii = np.geomspace(least, largest, n_radii)
    lowest, highest = np.full(n_radii, np.inf), np.zeros(n_radii)
    for center in centers:
        share = [
            np.searchsorted(np.sort(np.linalg.norm(samples - center, axis=1)), radii, side="right") / len(samples)
            for samples in (draws, reference)
        ]
        ratio = share[0] / np.maximum(share[1], 1.0 / len(reference))
        lowest, highest = np.minimum(lowest, ratio), np.maximum(highest, ratio)
    good = (lowest >= 1 / factor) & (highest <= factor)
    if not good[-1]:
        return float("inf")
    first = 0 if good.all() else n_radii - int(np.argmin(good[::-1]))
    return float(radii[first])


def density_comparability(draws, reference, *, n_cells=50, random_state=0):
    """Smallest and largest ratio of the mass of samples to that of the true distribution, over cells of the support.

    Parameters
    ----------
    draws, reference : array-likes of shape (n, n_features) and (m, n_features)
    n_cells : int, default=50
        Voronoi cells around k-means centers of the reference samples.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    lowest, highest : float
        1 and 1 for equal distributions, up to the noise of counts.
    """
    from sklearn.cluster import KMeans

    draws, reference = _samples(draws=draws, reference=reference)
    cells = KMeans(n_cells, n_init=1, random_state=random_state).fit(reference[:10_000])
    tree = cKDTree(cells.cluster_centers_)
    own, true = (
        np.bincount(tree.query(samples)[1], minlength=n_cells) / len(samples) for samples in (draws, reference)
    )
    ratio = own / np.maximum(true, 1.0 / len(reference))
    return float(ratio.min()), float(ratio.max())


def subspace_error(basis_a, basis_b):
    r"""Squared Frobenius distance of the projections onto two subspaces, :math:`\|VV^T - AA^T\|_F^2`.

    Parameters
    ----------
    basis_a, basis_b : array-likes of shape (n_features, k)
        Bases as features; they need not be orthonormal.

    Returns
    -------
    float
        Between 0 (the same) and 2 k (orthogonal).
    """
    a, b = (np.linalg.qr(check_array(m, dtype=np.float64))[0] for m in (basis_a, basis_b))
    if len(a) != len(b):
        raise ValueError(f"The bases have {len(a)} and {len(b)} samples: pass subspaces of the same space.")
    # From the part of one across the other: the difference of two numbers near k would lose digits.
    return float(((a - b @ (b.T @ a)) ** 2).sum() + ((b - a @ (a.T @ b)) ** 2).sum())
