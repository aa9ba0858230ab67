"""The main job on a real table: fit, score held-out samples, sample, and compare. Run by `make demo`.

The table is scikit-learn's breast cancer data: features that repeat another one are dropped, repeated
values are spread over one grid step (a likelihood on ties rewards spikes, whoever makes them), and every
feature is standardized.
"""

import time

import numpy as np

from benchmarks import targets
from benchmarks.peers import PEERS
from skdiffusion import DiffusionDensityEstimator
from skdiffusion.metrics import wasserstein_1

PICTURE = "demo.png"


def picture(X, sample, path):
    """Data and samples side by side in the two features that depart most from a straight line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from sklearn.datasets import load_breast_cancer

    names = load_breast_cancer().feature_names
    # Features 0 and 5 of the reduced table: mean radius and mean concavity.
    a, b = 0, 4
    fig, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharex=True, sharey=True, layout="constrained")
    for ax, samples, title, color in zip(
        axes, (X, sample), ("data (569 tumours)", "samples from the fit"), ("#1f4e79", "#b5441f")
    ):
        ax.scatter(samples[:, a], samples[:, b], s=9, alpha=0.55, color=color, linewidths=0)
        ax.set_title(title)
        ax.set_xlabel(f"{names[0]} (standardized)")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean concavity (standardized)")
    axes[0].set_xlim(*np.quantile(X[:, a], [0, 1]) + [-0.6, 0.6])
    axes[0].set_ylim(*np.quantile(X[:, b], [0, 1]) + [-0.6, 0.6])
    fig.savefig(path, dpi=140)


def main():
    X, test, _ = targets.load("breast_cancer", 10_000, 0)
    print(f"breast cancer (scikit-learn): {len(X)} rows to fit, {len(test)} held out, {X.shape[1]} columns")
    models, seconds = {}, {}
    start = time.perf_counter()
    models["DiffusionDensityEstimator"] = DiffusionDensityEstimator(random_state=0).fit(X)
    seconds["DiffusionDensityEstimator"] = time.perf_counter() - start
    labels = {"kernel density": "KernelDensity (cross-validated)", "Gaussian mixture": "GaussianMixture (BIC)"}
    for key, label in labels.items():
        start = time.perf_counter()
        models[label] = PEERS[key]().fit(X, 0, seconds=np.inf)
        seconds[label] = time.perf_counter() - start
    m = len(test) // 2
    halves = [np.random.default_rng(s).permutation(test) for s in range(20)]
    floor = np.mean([wasserstein_1(h[:m], h[m : 2 * m]) for h in halves])
    print(f"\n{'':34}held-out nats    W1 of samples   seconds")
    for label, model in models.items():
        sample = model.sample(20 * m, 1)
        w1 = np.mean([wasserstein_1(sample[i * m : (i + 1) * m], h[:m]) for i, h in enumerate(halves)])
        print(f"{label:34}{np.mean(model.score_samples(test)):13.2f}{w1:17.3f}{seconds[label]:10.1f}")
    print(f"{'real samples against real samples':34}{'':13}{floor:17.3f}")
    est = models["DiffusionDensityEstimator"]
    print("\nstacking weights: " + ", ".join(f"{k} {v:.3f}" for k, v in est.component_weights_.items()))
    picture(np.concatenate([X, test]), est.sample(len(X) + len(test)), PICTURE)
    print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
