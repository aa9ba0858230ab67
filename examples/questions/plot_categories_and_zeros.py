"""
What if columns are categories, or mostly zeros?
================================================

Visits to a shop: the channel is a category, most visits spend nothing, and whether a visitor
returns is a boolean. One density holds all of them. Zero spending has a probability, and what is
spent otherwise has a density; generated visits have the same channels, exact zeros and booleans.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdiffusion import DiffusionDensityEstimator, find_atoms

rng = np.random.default_rng(0)


def visits(n):
    channel = rng.choice(["search", "mail", "shop"], n, p=[0.5, 0.3, 0.2])
    minutes = rng.lognormal(np.select([channel == "mail", channel == "shop"], [1.0, 2.5], 1.5), 0.6)
    buys = rng.random(n) < 1 / (1 + np.exp(3 - 0.2 * minutes))
    spent = np.where(buys, rng.gamma(3.0, 2.0 + minutes), 0.0)
    back = rng.random(n) < np.where(buys, 0.7, 0.2)
    return pd.DataFrame(
        {"channel": pd.Categorical(channel), "minutes": minutes, "spent": spent, "back": back}
    )


train, test = visits(1500), visits(4000)
atoms = find_atoms(train)
print("atoms:", atoms)
assert atoms == {"spent": [0.0]}

est = DiffusionDensityEstimator(atoms=atoms, random_state=0).fit(train)
apart = 0.0
for name in train:
    own = {name: atoms[name]} if name in atoms else None
    column = DiffusionDensityEstimator(atoms=own, random_state=0).fit(train[[name]])
    apart += column.score(test[[name]])
print(f"held-out nats: {est.score(test):.3f}, columns apart: {apart:.3f}")
assert est.score(test) > apart + 0.3

# %%
# Generated visits beside real ones. Zeros are exact, in the share that each channel has.

drawn = est.sample(4000)
print(drawn.head())
assert drawn.dtypes.equals(train.dtypes)
zero = [
    (frame["spent"] == 0).groupby(frame["channel"], observed=True).mean() for frame in (test, drawn)
]
print(pd.DataFrame({"real": zero[0], "generated": zero[1]}).round(2))
assert np.abs(zero[0] - zero[1]).max() < 0.1

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
for ax, frame, title in zip(axes, (test, drawn), ("real", "generated")):
    for channel, some in frame.groupby("channel", observed=True):
        bought = some[some["spent"] > 0]
        ax.scatter(bought["minutes"], bought["spent"], s=6, alpha=0.5, label=channel)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="minutes",
        title=f"{title}: {(frame['spent'] == 0).mean():.0%} spend nothing",
    )
axes[0].set_ylabel("spent (dollars), where something is")
axes[1].legend(markerscale=2)

# %%
# The same density answers about any column given others: the channel of a visit, also where it is
# not known how long it took, and how much is spent, with a jump at zero.

long_visit = est.conditional({"minutes": 15.0, "spent": 0.0, "back": False})
print(dict(zip(long_visit.categories_, long_visit.predict_proba()[0].round(2).tolist())))
assert long_visit.categories_[long_visit.predict_proba()[0].argmax()] == "shop"
some_visit = est.conditional({"spent": 0.0, "back": False})
print(
    dict(
        zip(
            some_visit.categories_of("channel"),
            some_visit.predict_proba("channel")[0].round(2).tolist(),
        )
    )
)
spending = est.conditional({"channel": "shop", "minutes": 15.0, "back": True})
print(
    "chance of no spending:",
    spending.cdf([0.0]).round(2),
    "quantiles:",
    spending.quantile([0.25, 0.5, 0.9]).round(1),
)

# %%
# Where it fails: a column with more than 256 categories is refused, and with few samples of a
# category the model knows little more of it than its share.
