"""
What if features have bounds?
=============================

Shares lie in [0, 1] and waiting times above 0, and a kernel density leaks over both ends. With
`bounds` the density is zero outside, reaches the bounds, and no sample has to be thrown away.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import KernelDensity

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.inspection import DensityDisplay

rng = np.random.default_rng(0)


def draw(n):
    """A share, and a waiting time in hours that is longer where the share is high."""
    share = rng.beta(0.9, 2.0, n)
    return np.column_stack([share, rng.exponential(0.4 + 2 * share)])


X, fresh = draw(2000), draw(4000)
bounds = ([0.0, 0.0], [1.0, np.inf])
est = DiffusionDensityEstimator(bounds=bounds, random_state=0).fit(X)
free = DiffusionDensityEstimator(random_state=0).fit(X)
kernel = KernelDensity(bandwidth=0.08).fit(X)
leaked = kernel.sample(20_000, random_state=0)
outside = ((leaked < 0).any(1) | (leaked[:, 0] > 1)).mean()
nats = [model.score_samples(fresh).mean() for model in (est, free, kernel)]
print("held-out nats: with bounds {:.3f}, without {:.3f}, kernel {:.3f}".format(*nats))
print(f"share of the kernel's samples outside: {outside:.1%}")

# %%
fig, axes = plt.subplots(
    1, 3, figsize=(10, 3.4), layout="constrained", gridspec_kw={"width_ratios": [1.2, 1.2, 1]}
)
shown = np.minimum(X, [1.0, 6.0])
for ax, model, title in zip(axes, (est, free), ("with bounds", "without")):
    DensityDisplay.from_estimator(model, shown, ax=ax, depth=7, n_grid=120)
    ax.set(title=title, xlabel="share", ylabel="waiting time (hours)")
    ax.axvline(0, color="white", linewidth=0.7)
    ax.axvline(1, color="white", linewidth=0.7)
    ax.axhline(0, color="white", linewidth=0.7)
bins = np.linspace(-0.1, 1.1, 61)
axes[2].hist(fresh[:, 0], bins, density=True, color="0.8", label="fresh samples")
for model, color, label in ((est, "C1", "with bounds"), (kernel, "C0", "kernel")):
    drawn = model.sample(20_000, random_state=1)
    axes[2].hist(drawn[:, 0], bins, density=True, histtype="step", color=color, label=label)
axes[2].set(xlabel="share", ylabel="density")
axes[2].legend()
plt.show()

samples = est.sample(20_000)
assert samples.min() >= 0
assert samples[:, 0].max() <= 1
assert est.score(fresh) > free.score(fresh)
assert outside > 0.01

# %%
# Where it fails: a point mass on a bound (many exact zeros) has no density. Model the zeros as a
# class of their own, and the rest with bounds.
