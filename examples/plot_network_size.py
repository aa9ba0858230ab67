"""
Choosing the size of the network by Wasserstein distance and by likelihood
==========================================================================

A grid over `hidden_layer_sizes`, scored on the same folds in two ways: by the Wasserstein-1 distance of
samples to held-out samples, and by the mean log-density of held-out samples. Both scores come from one
scorer, so that every candidate draws its samples once. The floor is what fresh samples themselves would get.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import GridSearchCV, KFold

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.metrics import make_sample_scorer, two_sample_floor, wasserstein_1

X = make_moons(900, noise=0.08, random_state=0)[0]

# %%
# The pure diffusion (`components=None`) shows the effect of the network: the components of the default
# would make up for one that is too small.

sizes = [2, 4, 8, 16, 32, 64, 128]
search = GridSearchCV(
    DiffusionDensityEstimator(components=None, feature_transform=None, n_estimators=1, random_state=0),
    {"hidden_layer_sizes": [(h, h) for h in sizes]},
    scoring=make_sample_scorer(["wasserstein_1", "mean_log_likelihood"], n_samples=300, X_ref=X),
    refit="mean_log_likelihood",
    cv=KFold(3, shuffle=True, random_state=0),
    n_jobs=2,
).fit(X)
results = search.cv_results_
print("chosen by likelihood:", search.best_params_)
print("chosen by Wasserstein-1:", results["params"][int(np.argmax(results["mean_test_neg_wasserstein_1"]))])

# %%
# Two curves, each with the spread over the folds.

floor, _ = two_sample_floor(wasserstein_1, X / X.std(0), n_samples=300)
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
for ax, key, sign, label in (
    (axes[0], "neg_wasserstein_1", -1, "Wasserstein-1 (standard deviations)"),
    (axes[1], "mean_log_likelihood", 1, "held-out log-density (nats)"),
):
    mean, spread = sign * results[f"mean_test_{key}"], results[f"std_test_{key}"]
    ax.plot(sizes, mean, "o-", color="#1f4e79")
    ax.fill_between(sizes, mean - spread, mean + spread, color="#1f4e79", alpha=0.15, linewidth=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(s) for s in sizes])
    ax.set_xlabel("width of the two hidden layers")
    ax.set_ylabel(label)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].axhline(floor, color="#b5441f", linestyle="--", linewidth=1)
axes[0].annotate("fresh rows", (sizes[0], floor), xytext=(0, 4), textcoords="offset points", color="#b5441f")
fig.savefig("plot_network_size.png", dpi=130)

# %%
# Where it fails: the noise of the Wasserstein curve is that of the held-out samples themselves. It tells
# a network that is too small, and cannot tell 16 units from 128; the likelihood, with a spread several
# times smaller beside its range, also shows the slow loss of wider networks on 600 samples. A model that
# copied the training samples would sit at the floor as well (give `make_sample_scorer` a `novelty_weight`).
