"""
What if a target has two likely values?
=======================================

Where two explanations fit the same features, the mean lies between them, where hardly any target
is: a regressor of means, and a Gaussian around it, say little. `DiffusionRegressor` predicts the
whole distribution of the target. Here a target takes one of two branches, with a probability that
depends on a second feature, and the truth is known.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import cross_val_predict

from skdiffusion import DiffusionRegressor
from skdiffusion.inspection import ConditionalDensityDisplay
from skdiffusion.metrics import conditional_log_likelihood, neg_crps


def branches(X):
    return 1.0 + 0.5 * X[:, 0] ** 2, 1 / (1 + np.exp(-2 * X[:, 1])), 0.3


def draw(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    gap, share, noise = branches(X)
    return X, np.where(rng.random(n) < share, gap, -gap) + noise * rng.standard_normal(n)


def true_log_prob(X, y):
    gap, share, noise = branches(X)
    return np.log(
        share * stats.norm.pdf(y, gap, noise) + (1 - share) * stats.norm.pdf(y, -gap, noise)
    )


X, y = draw(1000, 0)
X_test, y_test = draw(1000, 1)
reg = DiffusionRegressor(random_state=0).fit(X, y)

trees = HistGradientBoostingRegressor(random_state=0)
spread = (y - cross_val_predict(trees, X, y)).std()
gaussian = stats.norm.logpdf(y_test, trees.fit(X, y).predict(X_test), spread).mean()
found, truth = conditional_log_likelihood(reg, X_test, y_test), true_log_prob(X_test, y_test).mean()
print(f"left-out nats: {found:.3f}; a Gaussian around trees {gaussian:.3f}, the truth {truth:.3f}")
print(f"continuous ranked probability score: {-neg_crps(reg, X_test, y_test):.3f}")
assert found > gaussian + 0.5
assert found > truth - 0.15

# %%
# Quantiles along the first feature, the density at three of its values, and the distribution
# function at targets that were left out, which is uniform if the predictions are calibrated.

display = ConditionalDensityDisplay.from_estimator(reg, X_test, y_test, at=[-1.8, 0.0, 1.8])
plt.show()

# %%
# The density at one sample beside the truth. The mean lies where next to nothing is.

point = np.array([[1.5, -0.4]])
values = np.linspace(-4, 4, 400)
rows = np.repeat(point, len(values), axis=0)
density, known = np.exp(reg.log_prob(rows, values)), np.exp(true_log_prob(rows, values))
mean = reg.predict(point)[0]

fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
ax.fill_between(values, known, color="0.85", label="truth")
ax.plot(values, density, color="C1", label="DiffusionRegressor")
ax.axvline(mean, color="C0", linestyle="--", label="mean")
ax.set(xlabel="y", ylabel="density")
ax.legend()

at_mean = np.exp(reg.log_prob(point, [mean]))[0]
print(f"density at the mean {mean:.2f}: {at_mean:.3f}, at most {density.max():.2f}")
assert at_mean < 0.2 * density.max()
# The share of the upper branch, with the mass that the truth has there.
upper = 1 - reg.cdf(point, [0.0])[0]
print(f"probability of a positive target: {upper:.2f}, in truth {branches(point)[1][0]:.2f}")
assert abs(upper - branches(point)[1][0]) < 0.15

# %%
# Where it fails: an interval is the wrong summary of two branches, even the shortest one of 90 %,
# since it must span the gap between them. Draws (`sample_y`) or the density itself say more.

wide = reg.predict_interval(point, coverage=0.9, kind="highest_density")[0]
print("shortest interval of 90 %:", wide.round(2))
assert wide[0] < mean < wide[1]
