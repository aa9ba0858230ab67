"""
What does a fit look like?
==========================

Three thousand points of a two-armed spiral, and what a fit with the defaults makes of them: a
density that can be evaluated anywhere, and a flow that carries standard normal noise to new points.
Every thread on the right is the path of one sample of noise along the probability-flow equation;
the same paths, walked backwards, give the exact log-density.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.inspection import TrajectoryDisplay


def galaxy(n, rng):
    """A bulge, and two arms that widen outwards."""
    arm = rng.random(n) < 0.85
    turn = 3.4 * np.sqrt(rng.random(n))
    angle = turn + np.pi * rng.integers(2, size=n)
    radius = 0.35 + 0.8 * turn
    spread = rng.standard_normal((n, 2)) * np.where(arm, 0.07 + 0.05 * turn, 0.32)[:, None]
    center = np.where(arm, radius, 0.0)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return center + spread


X, fresh = galaxy(3000, np.random.default_rng(0)), galaxy(3000, np.random.default_rng(1))
est = DiffusionDensityEstimator(random_state=0).fit(X)
one = est.blend_.densities["student"].log_prob(fresh).mean()
print(f"held-out log-density: {est.score(fresh):.3f} nats; a single Student-t: {one:.3f}")

# %%
# The three views share their axes. Brightness is the log-density, over ten nats.

plt.style.use("dark_background")
fig, axes = plt.subplots(1, 3, figsize=(10, 3.5), sharex=True, sharey=True, layout="constrained")
axes[0].scatter(*X.T, s=2.5, color="#ffd8a8", alpha=0.8, linewidths=0)
grid = np.linspace(-4, 4, 220)
xx, yy = np.meshgrid(grid, grid)
log_density = est.score_samples(np.column_stack([xx.ravel(), yy.ravel()])).reshape(xx.shape)
axes[1].imshow(
    log_density,
    origin="lower",
    extent=(-4, 4, -4, 4),
    cmap="inferno",
    vmin=log_density.max() - 10,
    aspect="auto",
)
paths = TrajectoryDisplay.from_estimator(
    est, n_samples=700, n_times=40, ax=axes[2], line_color="#4dabf7"
).paths
axes[2].clear()
colors = plt.get_cmap("cool")(np.linspace(0, 1, len(paths) - 1))
for step in range(len(paths) - 1):
    both = paths[step : step + 2]
    axes[2].plot(both[:, :, 0], both[:, :, 1], color=colors[step], linewidth=0.45, alpha=0.5)
axes[2].scatter(*paths[-1].T, s=4, color="#ffd8a8", linewidths=0, zorder=3)
for ax, title in zip(axes, ("3000 points", "the fitted density", "noise on its way to new points")):
    ax.set(xlim=(-4, 4), ylim=(-4, 4), title=title, xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
fig.savefig("plot_a_first_picture.png", dpi=180)

assert est.score(fresh) > one + 0.3
mass = np.exp(log_density).sum() * (grid[1] - grid[0]) ** 2
assert abs(mass - 1) < 0.02, mass

# %%
# Where it fails: with a few hundred points the arms blur into the gap between them; no density
# estimator can tell an arm from chance there.
plt.style.use("default")
