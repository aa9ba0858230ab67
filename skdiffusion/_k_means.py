"""Where expectation maximisation starts: scikit-learn's k-means, which no layer below the estimators names but this."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

MAX_ROWS = 4000  # that find the basin; EM itself sees all


def k_means_labels(X, weights, n_clusters, rng):
    """Labels of rows (n, d) by k-means with row weights: EM keeps the basin it starts in."""
    seen = np.flatnonzero(weights > 0)
    if len(seen) > MAX_ROWS:
        seen = np.sort(rng.choice(seen, MAX_ROWS, replace=False))
    # Runs from other seeds differ the less the more clusters there are.
    n_init = min(10, max(1, 40 // n_clusters))
    means = KMeans(n_clusters, n_init=n_init, max_iter=10, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        return means.fit(X[seen], sample_weight=weights[seen]).predict(X)
