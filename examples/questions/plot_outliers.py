"""
Which samples are unusual?
==========================

Tables with known outliers are made from scikit-learn's data: one class is the rule, and a few
samples of another class are slipped in. The detectors are fitted on the mixed samples without
labels and judged by average precision.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import scale

from skdiffusion import DiffusionOutlierDetector


def table(load, rule, odd, n_odd, n_features, seed):
    """Samples of the class `rule` and a few of `odd`, in at most `n_features` components."""
    data = load()
    rng = np.random.default_rng(seed)
    common, strange = np.flatnonzero(data.target == rule), np.flatnonzero(data.target == odd)
    samples = np.concatenate([common, rng.choice(strange, n_odd, replace=False)])
    X = scale(data.data[samples] + 1e-9 * rng.standard_normal(data.data[samples].shape))
    if n_features < X.shape[1]:
        X = scale(PCA(n_features, random_state=0).fit_transform(X))
    return X, np.arange(len(samples)) >= len(common)


tables = {
    "breast cancer": (load_breast_cancer, 1, 0, 20, 10),
    "wine": (load_wine, 1, 0, 5, 6),
    "iris": (load_iris, 1, 2, 4, 4),
    "digits, 4 among 9": (load_digits, 9, 4, 10, 12),
}
detectors = {
    "skdiffusion": lambda seed: DiffusionOutlierDetector(random_state=seed),
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "LocalOutlierFactor": lambda seed: LocalOutlierFactor(novelty=True),
}
precision = {}
for name, spec in tables.items():
    for label, make in detectors.items():
        runs = []
        for seed in range(3):
            X, odd = table(*spec, seed)
            runs.append(average_precision_score(odd, -make(seed).fit(X).decision_function(X)))
        precision[name, label] = runs
    shown = "  ".join(f"{label} {np.mean(precision[name, label]):.2f}" for label in detectors)
    print(f"{name:20} {shown}")

# %%
# Bars are means over three draws of the outliers, and dots the draws.

fig, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for i, (label, color) in enumerate(zip(detectors, ("C1", "0.55", "C0"))):
    x = np.arange(len(tables)) + 0.27 * (i - 1)
    runs = np.array([precision[name, label] for name in tables])
    ax.bar(x, runs.mean(1), 0.24, color=color, label=label, alpha=0.85)
    ax.plot(np.repeat(x, runs.shape[1]), runs.ravel(), ".", color="black", markersize=4)
ax.set_xticks(range(len(tables)), tables)
ax.set(ylabel="average precision", ylim=(0, 1.02))
fig.legend(ncols=3, loc="outside upper center")
plt.show()

means = {label: np.mean([precision[name, label] for name in tables]) for label in detectors}
print("mean over the tables:", {label: round(float(v), 3) for label, v in means.items()})
assert means["skdiffusion"] > means["IsolationForest"]

# %%
# Where it fails: outliers that form a tight cluster of their own are a mode like any other to a
# density, and their samples are then not rare. A detector that never sees them in `fit` has no such
# trouble.
