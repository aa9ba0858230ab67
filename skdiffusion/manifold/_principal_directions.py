"""Principal directions of samples, and how many of them are more than isotropic noise."""

import numpy as np


def principal_directions(centered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of largest variance, with signs that do not depend on the linear algebra library.

    Parameters
    ----------
    centered : array of shape (n_samples, n_features)
        Samples of mean zero.

    Returns
    -------
    directions : ndarray of shape (n_directions, n_features)
        Orthonormal; the largest entry of each is positive.
    variances : ndarray of shape (n_directions,)
        In descending order; as many as there are samples or features, whichever is fewer.
    """
    _, values, directions = np.linalg.svd(centered, full_matrices=False)
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    return directions * np.sign(largest)[:, None], values**2 / len(centered)


def linear_dimension(variances: np.ndarray, n_samples: int) -> tuple[int, float]:
    """Number of principal directions above an isotropic floor, and the variance of the floor.

    Directions are dropped if their variances are zero to round-off, or equal to one another as far as n
    samples can tell (the bulk of Marchenko and Pastur) and at least 4 times (25 times if it is a single one)
    below the rest.

    Parameters
    ----------
    variances : array of shape (n_features,)
        Eigenvalues of the covariance, in descending order.
    n_samples : int

    Returns
    -------
    n_directions : int
    noise_variance : float
    """
    d = len(variances)
    rank = max(1, int((variances > 1e-12 * variances[0]).sum()))
    if rank < d:
        return rank, 0.0
    for k in range(1, d):
        rest = variances[k:]
        ratio = min(np.sqrt((d - k) / n_samples), 0.9)
        bulk = 1.2 * ((1 + ratio) / (1 - ratio)) ** 2
        if rest[0] / rest[-1] < bulk and variances[k - 1] > (25 if d - k == 1 else 4) * rest[0]:
            return k, float(rest.mean())
    return d, 0.0
