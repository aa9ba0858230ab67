"""Whether samples lie thin around most of them: principal components of nearest neighbors."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NEIGHBORS = (4, 8, 16, 32)  # times the features
MAX_SHARE = 0.5  # of the samples in a neighborhood: more are no neighbors
MAX_NEIGHBORHOOD_SAMPLES = 20_000  # among which neighbors are sought
THIN = 0.15  # least variance of a thin neighborhood, in those of the mean direction
MAX_FALL = 5.0  # of that ratio from one size to twice as many neighbors: 4 along a curve, more where clusters join


def are_thin(X: np.ndarray, n_probes: int, rng: np.random.Generator) -> bool:
    """Whether the neighborhoods of most samples are much thinner in one direction than in others.

    They count as thin only if no linear map of all samples makes them round at once: a narrow cluster, or one that is
    narrow in some features, is round in the units of its own neighborhood, and a curve that bends is thin in any. And
    they must become so gradually as they grow: one that reaches from cluster to cluster is thin all of a sudden.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Samples without ties.
    n_probes : int
        Samples whose neighbors are looked at.
    rng : numpy Generator
        Chooses samples.

    Returns
    -------
    bool
        False too where there are too few samples to tell.
    """
    X = rng.permutation(np.unique(X, axis=0))[:MAX_NEIGHBORHOOD_SAMPLES]
    centered = X - X.mean(0)
    standard = centered / np.maximum(X.std(0), 1e-300)
    frames = [standard, standard @ _whitening(_covariance(standard))]
    sizes = [m * X.shape[1] for m in NEIGHBORS if m * X.shape[1] <= MAX_SHARE * len(X)]
    thickness = [max(_thickness(frame, size, n_probes) for frame in frames) for size in sizes]
    for small, large in map(sorted, zip(thickness, thickness[1:])):
        if large >= max(THIN, MAX_FALL * small):
            return False
        if small < THIN:
            return True
    return False


def _thickness(X: np.ndarray, n_neighbors: int, n_probes: int) -> float:
    """Median of the least variance of neighborhoods over their mean one, in the units of X and in their own."""
    _, neighbors = cKDTree(X).query(X[:n_probes], n_neighbors)
    local = np.array([_covariance(X[which]) for which in neighbors])
    local /= np.maximum(np.trace(local, axis1=1, axis2=2), 1e-300)[:, None, None]
    own = _whitening(local.mean(0))
    return max(_median_thickness(local), _median_thickness(own.T @ local @ own))


def _median_thickness(covariances: np.ndarray) -> float:
    values = np.linalg.eigvalsh(covariances)
    return float(np.median(values[:, 0] / np.maximum(values.mean(1), 1e-300)))


def _covariance(X: np.ndarray) -> np.ndarray:
    centered = X - X.mean(0)
    return centered.T @ centered / len(X)


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """The matrix that makes samples of this covariance have the identity for theirs."""
    values, axes = np.linalg.eigh(covariance)
    return axes / np.sqrt(np.maximum(values, 1e-12 * max(values[-1], 1e-300)))
