"""
Can new points lie on an unknown surface?
=========================================

2000 samples lie on a torus, with a density that has a kink. A diffusion model samples near it; the
manifold estimator finds that the set is two-dimensional, stops its flow at a coarse noise level,
and takes the last step by local polynomials: its samples are as new, and thousands of times closer.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.datasets import Torus
from skdiffusion.metrics import fidelity, memorized_excess, novelty

target = Torus(density="kinked")
X, fresh = target.sample(2000, 0), target.sample(2000, 1)
models = {
    "plain diffusion": DiffusionDensityEstimator(components=None, random_state=0).fit(X),
    "manifold estimator": ManifoldDiffusionEstimator(random_state=0).fit(X),
}
found = models["manifold estimator"]
print(f"a {found.support_} set of dimension {found.intrinsic_dimension_}")
print(f"standard deviation of the noise that the flow leaves: {found.noise_floor_:.3f}")

# %%
# Every sample is colored by its distance to the true torus.

fig = plt.figure(figsize=(9, 3.6), layout="constrained")
distances = {}
for i, (name, model) in enumerate(models.items()):
    draws = model.sample(4000, random_state=2)
    distances[name] = fidelity(draws, target.distance)
    print(
        f"{name:20} distance {distances[name]:.1e}  novelty {novelty(draws, X, fresh):.2f}  "
        f"memorized beyond fresh samples {memorized_excess(draws, X, fresh):+.3f}"
    )
    ax = fig.add_subplot(1, 2, i + 1, projection="3d")
    color = np.log10(np.maximum(target.distance(draws), 1e-7))
    points = ax.scatter(*draws.T, c=color, s=4, cmap="viridis", vmin=-6, vmax=-1.5, linewidths=0)
    ax.set_title(f"{name}: median distance {distances[name]:.0e}")
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), zlim=(-0.6, 0.6))
    ax.set_box_aspect((1, 1, 0.4), zoom=1.25)
    ax.view_init(35, -60)
    ax.set_axis_off()
fig.colorbar(points, ax=fig.axes, shrink=0.7, label="distance to the torus (log10)")
plt.show()

assert found.intrinsic_dimension_ == 2
assert distances["manifold estimator"] < distances["plain diffusion"] / 10

# %%
# Where it fails: the surface must be smooth and its samples dense enough for polynomials to follow
# it. On a four-dimensional sphere 2000 samples bring samples to 1e-3, not 1e-6; at an edge, a
# crossing or a corner the projection is no better than the samples around it.
