"""
How much will a policy cost, if most cost nothing?
==================================================

Most policies of an insurer cost nothing in a year, and a few cost much: the distribution of a claim
has an atom at zero and a long tail. `DiffusionRegressor(atoms=[0.0])` gives zero a probability and
the rest a density, both for every policy. The premium is the mean, the reserve a high quantile, and
the chance of a claim is read off the same fit.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import mean_pinball_loss

from skdiffusion import DiffusionRegressor
from skdiffusion.inspection import ConditionalDensityDisplay


def policies(n, seed):
    rng = np.random.default_rng(seed)
    age, power = rng.uniform(18, 80, n), rng.gamma(8.0, 12.0, n)
    region = rng.choice(["city", "town", "country"], n, p=[0.4, 0.35, 0.25])
    danger = 0.8 * (region == "city") - 0.6 * (region == "country")
    chance = 1 / (1 + np.exp(1.2 + 0.03 * (age - 30) - danger))
    size = np.exp(6.5 + 0.006 * power + 0.7 * rng.standard_normal(n))
    cost = np.where(rng.random(n) < chance, size, 0.0)
    X = pd.DataFrame({"age": age, "power": power, "region": pd.Categorical(region)})
    return X, pd.Series(cost, name="cost"), chance


X, y, _ = policies(2000, 0)
X_test, y_test, chance = policies(4000, 1)
print(f"{(y == 0).mean():.0%} of the policies cost nothing")
reg = DiffusionRegressor(atoms=[0.0], bounds=(0.0, np.inf), random_state=0).fit(X, y)

# %%
# The probability of a claim is what the distribution leaves above zero, beside the chance by which
# it was drawn. Draws are exact zeros in the share that each policy has, and claims else.

claim = 1 - reg.cdf(X_test, np.zeros(len(X_test)))
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for region, color in zip(["city", "town", "country"], ["C0", "C1", "C2"]):
    some = (X_test["region"] == region).to_numpy()
    order = np.argsort(X_test["age"].to_numpy()[some])
    ages = X_test["age"].to_numpy()[some][order]
    axes[0].plot(ages, claim[some][order], ".", markersize=2, color=color, label=region)
    axes[0].plot(ages, chance[some][order], color=color, linewidth=1.5)
axes[0].set(
    xlabel="age (years)", ylabel="probability of a claim", title="points: predicted, lines: truth"
)
axes[0].legend(markerscale=4)
print(f"probability of a claim: off by {np.abs(claim - chance).mean():.3f} in the mean")
assert np.abs(claim - chance).mean() < 0.06

drawn = reg.sample_y(X_test, random_state=0)[:, 0]
zeros = (y_test == 0).mean(), (drawn == 0).mean()
print(f"zeros: {zeros[0]:.3f} of the left-out policies, {zeros[1]:.3f} of the draws")
assert abs(zeros[0] - zeros[1]) < 0.04
bins = np.geomspace(50, 20_000, 40)
for values, label, style in (
    (y_test, "left out", {"color": "0.8"}),
    (drawn, "drawn", {"histtype": "step", "color": "C1"}),
):
    axes[1].hist(values[values > 0], bins, label=label, **style)
axes[1].set(xscale="log", xlabel="cost of a year (euros), where there is one", ylabel="policies")
axes[1].legend()

# %%
# The histogram of the distribution function at left-out costs spreads each zero over the mass of
# the atom.

display = ConditionalDensityDisplay.from_estimator(
    reg, X_test, y_test, feature="power", at=[60.0, 100.0, 180.0]
)
plt.show()

# %%
# The reserve that holds in 95 of 100 years, beside one quantile for all policies, by their pinball
# loss.

reserve = reg.predict_quantiles(X_test, [0.95])[:, 0]
same = np.full(len(y_test), np.quantile(y, 0.95))
losses = [mean_pinball_loss(y_test, q, alpha=0.95) for q in (reserve, same)]
exceeded = (y_test > reserve).mean()
print(f"exceeded: {exceeded:.3f}; loss {losses[0]:.0f}, of one quantile for all {losses[1]:.0f}")
assert 0.03 < exceeded < 0.07
assert losses[0] < losses[1]

# %%
# Where it fails: the probability of a claim comes from boosted trees, in steps where the truth is
# smooth, and small claims are drawn a little too often. The mean of a heavy tail rests on the few
# largest claims, in every model, and reserves far beyond the largest cost seen are a guess about
# the tail.
