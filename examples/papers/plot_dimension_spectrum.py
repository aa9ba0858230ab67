"""
How many dimensions does a set have?
====================================

The Jacobian of the denoiser projects onto the tangent space: its eigenvalues are near 1 along the
set and near 0 across, over a plateau of noise levels. Below the spacing of the samples the network
cannot see the set, and far above the set is a point.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdiffusion import ManifoldDiffusionEstimator
from skdiffusion.datasets import Sphere, Subspace, SwissRoll, Torus
from skdiffusion.manifold import dimension_spectrum

densities = {"torus": Torus(), "swiss roll": SwissRoll(), "4-sphere in R^16": Sphere(4, 16)}
levels = np.geomspace(1.0, 0.015, 15)
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, (name, density) in zip(axes, densities.items()):
    X = density.sample(2000, 0)
    est = ManifoldDiffusionEstimator(random_state=0).fit(X)
    member = est.estimator_.blend_.densities["diffusion"]
    z = member.preprocessor.transform((X[:200] - est.mean_) @ est.components_.T)[0]
    values = dimension_spectrum(member.density.field, z, np.random.default_rng(0), levels).mean(1)
    for j in range(values.shape[1]):
        color = "C0" if j < density.dimension else "C1"
        ax.plot(levels, values[:, j], "o-", markersize=3, color=color)
    ax.axvspan(0.05, 0.3, color="C2", alpha=0.08, linewidth=0)
    ax.axhline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_title(f"{name}: found {est.intrinsic_dimension_}, FLIPD {est.flipd_dimension_:.2f}")
    ax.set_xlabel("noise level (standard deviations)")
    assert est.intrinsic_dimension_ == density.dimension
axes[0].set_ylabel("eigenvalues of the denoiser's Jacobian")
axes[0].annotate("along", (0.016, 1.03), color="C0")
axes[0].annotate("across", (0.1, 0.2), color="C1")
plt.show()

# %%
# Subspaces of one to five dimensions in up to 32 features, a thousand samples each.

right = []
for seed, (k, d) in enumerate([(1, 4), (2, 8), (3, 16), (4, 24), (5, 32)] * 2):
    density = Subspace(k, d, noise=0.05 if seed < 5 else 0.0, rotation_seed=seed)
    est = ManifoldDiffusionEstimator(n_estimators=1, max_iter=150, random_state=seed).fit(
        density.sample(1000, seed)
    )
    right.append(est.intrinsic_dimension_ == k)
print(f"subspaces: {sum(right)} of {len(right)} dimensions found")
assert np.mean(right) >= 0.9

# %%
# Where it fails: noise of 5 % or more of a feature's spread fills the space at every level that the
# network can see, unless it is isotropic noise across a subspace, which the principal directions
# take off first.
