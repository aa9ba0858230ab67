"""How far scikit-learn's KernelDensity is from its own formula, over a tree and in a single leaf.

python -m benchmarks.kernel_sums
"""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

from benchmarks import targets

N_SAMPLES, N_QUERIES = 3000, 300


def main():
    print("| columns | bandwidth | over a tree: mean error, nats | largest | in one leaf: largest |")
    print("|---" * 5 + "|")
    for d in (2, 8, 16, 32, 64, 128):
        density, rng = targets.bent_features(d, 3), np.random.default_rng([N_SAMPLES, d])
        X, queries = density.sample(N_SAMPLES, rng), density.sample(N_QUERIES, rng)
        queries, X = (queries - X.mean(0)) / X.std(0), (X - X.mean(0)) / X.std(0)
        squares = cdist(queries, X, "sqeuclidean")
        for h in (0.3, 0.7):
            exact = logsumexp(-0.5 * squares / h**2, axis=1) - np.log(N_SAMPLES) - 0.5 * d * np.log(2 * np.pi * h**2)
            tree, leaf = (
                KernelDensity(bandwidth=h, leaf_size=size).fit(X).score_samples(queries) - exact
                for size in (40, N_SAMPLES)
            )
            print(f"| {d} | {h} | {tree.mean():.2g} | {np.abs(tree).max():.2g} | {np.abs(leaf).max():.1g} |")


if __name__ == "__main__":
    main()
