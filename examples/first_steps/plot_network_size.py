"""
How large should the networks be?
=================================

A grid over `hidden_layer_sizes`, scored on the same folds in two ways: by the Wasserstein-1
distance of samples to held-out samples, and by the mean log-density of held-out samples. Both
scores come from one scorer, so that every candidate draws its samples once. The floor is what fresh
samples themselves would get.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, KFold

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.metrics import make_sample_scorer, two_sample_floor, wasserstein_1

X = np.delete(
    load_breast_cancer().data[:, :10], 2, axis=1
)  # mean radius, texture, area and so on of 569 tumors

# %%
# The pure diffusion (`components=None`) shows the effect of the network: the components of the
# default would make up for one that is too small.

sizes = [2, 4, 8, 16, 32, 64, 128]
search = GridSearchCV(
    DiffusionDensityEstimator(components=None, n_estimators=1, random_state=0),
    {"hidden_layer_sizes": [(h, h) for h in sizes]},
    scoring=make_sample_scorer(["wasserstein_1", "mean_log_likelihood"], n_samples=180, X_ref=X),
    refit="mean_log_likelihood",
    cv=KFold(3, shuffle=True, random_state=0),
    n_jobs=2,
).fit(X)
results = search.cv_results_
print("chosen by likelihood:", search.best_params_)
print(
    "chosen by Wasserstein-1:",
    results["params"][int(np.argmax(results["mean_test_neg_wasserstein_1"]))],
)

# %%
# Two curves. A band is the spread over the folds, without what all sizes of a fold have in common.

floor, _ = two_sample_floor(wasserstein_1, X / X.std(0), n_samples=180)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, key, sign, label in (
    (axes[0], "neg_wasserstein_1", -1, "Wasserstein-1 (standard deviations)"),
    (axes[1], "mean_log_likelihood", 1, "Held-out log-density (nats)"),
):
    by_fold = sign * np.array([results[f"split{k}_test_{key}"] for k in range(3)])
    mean = by_fold.mean(0)
    spread = (by_fold - by_fold.mean(1, keepdims=True)).std(0)
    ax.plot(sizes, mean, "o-", color="C0")
    ax.fill_between(sizes, mean - spread, mean + spread, color="C0", alpha=0.15, linewidth=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(s) for s in sizes])
    ax.set_xlabel("Width of the two hidden layers")
    ax.set_ylabel(label)
axes[0].axhline(floor, color="C1", linestyle="--", linewidth=1)
axes[0].annotate(
    "fresh samples", (sizes[0], floor), xytext=(0, 4), textcoords="offset points", color="C1"
)
plt.show()

# %%
# What a fit says itself: the gain of its networks over the Gaussian that they start from, on
# samples left out. Where it is 0, early stopping has kept untrained networks, and no size can
# differ from another.

print("network_gain_, nats a feature:", round(search.best_estimator_.network_gain_, 3))

# %%
# The two scores need not agree. Samples gain from wider networks, up to where they are as near to
# held-out samples as fresh samples are; log-densities pay sooner for what a wide network makes of
# 380 samples. Where it fails: the noise of the Wasserstein curve is that of the held-out samples
# themselves, and a model that copied the training samples would sit at the floor as well (give
# `make_sample_scorer` a `novelty_weight`).
