"""
Does it matter how many features hold a plane?
==============================================

The same two-dimensional distribution is carried into 4, 16, 64 and 256 features. The manifold
estimator finds the plane and works in its coordinates: the density on the plane does not change
with the number of features. A plain estimator (here up to 64), which cannot know that the other
directions are empty, degrades (Chen, Huang, Zhao and Wang, 2023).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.datasets import Subspace
from skdiffusion.exceptions import DegenerateDataWarning
from skdiffusion.metrics import subspace_error, two_sample_floor, wasserstein_1


def mean_distance(density, draws):
    """W1 on the plane between generated and fresh samples, 1000 at a time."""
    n = len(draws) // 1000
    pairs = zip(
        np.split(draws @ density.frame, n), np.split(density.sample(1000 * n, 7) @ density.frame, n)
    )
    return np.mean([wasserstein_1(a, b) for a, b in pairs])


warnings.simplefilter("ignore", DegenerateDataWarning)
widths = [4, 16, 64, 256]
# Small networks and short training, for a page that is built in a minute.
small = {"hidden_layer_sizes": (64, 64), "n_estimators": 2, "max_iter": 100}
nats, distance, plain = [], [], []
for d in widths:
    density = Subspace(2, d)
    X, fresh = density.sample(2000, 0), density.sample(1000, 1)
    est = ManifoldDiffusionEstimator(**small, random_state=0).fit(X)
    assert est.intrinsic_dimension_ == 2
    nats.append(est.intrinsic_log_density(fresh).mean())
    distance.append(mean_distance(density, est.sample(32_000, random_state=0)))
    print(f"D = {d:3d}: latent log-density {nats[-1]:.3f} nats, W1 {distance[-1]:.3f}")
    if d <= 64:
        # The plain estimator sees all features; its samples are compared on the plane.
        rough = DiffusionDensityEstimator(
            components=None, feature_transform=None, max_iter=40, random_state=0
        ).fit(X)
        plain.append(mean_distance(density, rough.sample(8000, random_state=0)))
        print(f"         plain estimator: W1 {plain[-1]:.3f}")

# %%
# Across the plane the model is exact, whatever the network: the standard deviation of the draws is
# that of the noise left at the stopping level, and nothing is left after the last step.

across = np.eye(256) - est.components_.T @ est.components_
rough = (est.sample(500, random_state=0, denoise=False) - est.mean_) @ across
smooth = (est.sample(500, random_state=0) - est.mean_) @ across
off_plane = np.sqrt((rough**2).sum() / (500 * 254))
left = np.abs(smooth).max()
print(f"across the plane: {off_plane:.5f}, stated {est.noise_floor_:.5f}, at the end {left:.0e}")
assert abs(off_plane / est.noise_floor_ - 1) < 0.02
assert np.abs(smooth).max() < 1e-10

# %%
# With isotropic noise the plane itself is estimated. Its squared error follows
# :math:`2(D-k)n^{-1}\sum_i (\eta^2/\lambda_i + \eta^4/\lambda_i^2)`: the principal directions
# attain it, and a likelihood fit of the plane could gain a share of at most :math:`\eta^2/\lambda`
# more.

eta, errors, predicted = 0.1, [], []
for seed in range(8):
    noisy = Subspace(2, 64, noise=eta, rotation_seed=seed)
    samples = noisy.sample(2000, seed)
    found = ManifoldDiffusionEstimator(
        2, "linear", hidden_layer_sizes=(8,), n_estimators=1, max_iter=1
    ).fit(samples)
    errors.append(subspace_error(found.components_.T, noisy.frame))
    spread = np.linalg.eigvalsh(np.cov((samples @ noisy.frame).T)) - eta**2
    predicted.append(2 * 62 / 2000 * (eta**2 / spread + eta**4 / spread**2).sum())
print(f"squared error of the plane: {np.mean(errors):.5f}, predicted {np.mean(predicted):.5f}")
assert 1 / 1.5 < np.mean(errors) / np.mean(predicted) < 1.5

truth = density.log_prob(fresh).mean()
floor, _ = two_sample_floor(
    wasserstein_1, density.sample(4000, 5) @ density.frame, n_samples=1000, n_repeats=10
)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
axes[0].plot(widths, nats, "o-", color="C0", label="manifold estimator")
axes[0].axhline(truth, color="C2", linestyle="--", linewidth=1, label="truth")
axes[0].set_ylabel("held-out log-density on the plane (nats)")
axes[0].set_ylim(truth - 0.4, truth + 0.2)
axes[1].plot(widths, distance, "o-", color="C0", label="manifold estimator")
axes[1].plot(widths[:3], plain, "s-", color="C1", label="plain estimator")
axes[1].axhline(floor, color="C2", linestyle="--", linewidth=1, label="fresh samples")
axes[1].set_ylabel("Wasserstein-1 on the plane")
for ax in axes:
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(c) for c in widths])
    ax.set_xlabel("features")
    ax.legend()
plt.show()

assert np.ptp(nats) < 0.05
assert np.ptp(distance) / np.mean(distance) < 0.10
assert plain[-1] > plain[1] > plain[0]
assert plain[-1] > 1.5 * distance[-1]

# %%
# Where it fails: noise as strong as the distribution itself leaves no gap in the spectrum to find
# the plane by. Give `n_components` then.
