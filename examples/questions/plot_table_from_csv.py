"""
Can a raw table from a CSV file go in as it is?
===============================================

A file of the rentals of a bicycle station: dates, the weather as text, temperatures with gaps,
whether it is a holiday, minutes of rain that are mostly zero, and counts of rentals. The frame goes
in as it was read. One density of all columns gives held-out nats, days that look like the real
ones, the chance of a busy day, and the missing values.
"""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

from skdiffusion import DiffusionClassifier, DiffusionDensityEstimator, find_atoms


def csv(n=900, seed=0):
    """The text of the file."""
    rng = np.random.default_rng(seed)
    day = rng.integers(0, 730, n)
    warmth = -np.cos(2 * np.pi * day / 365.25)
    weather = rng.choice(["clear", "mist", "rain"], n, p=[0.6, 0.25, 0.15])
    rain = np.where(
        weather == "rain",
        rng.gamma(2.0, 40.0, n),
        np.where(rng.random(n) < 0.05, rng.gamma(1.0, 10.0, n), 0),
    )
    temperature = 12 + 11 * warmth + rng.normal(0, 3, n)
    holiday = rng.random(n) < 0.04
    rentals = rng.poisson(np.exp(3.2 + 0.05 * temperature - 0.006 * rain - 0.5 * holiday))
    frame = pd.DataFrame(
        {
            "date": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D"),
            "weather": weather,
            "temperature": np.where(rng.random(n) < 0.1, np.nan, temperature.round(1)),
            "holiday": holiday,
            "rain": rain.round(2),
            "rentals": rentals,
        }
    )
    return frame.to_csv(index=False)


table = pd.read_csv(io.StringIO(csv()), parse_dates=["date"])
print(table.dtypes, table.head(), sep="\n")
train, test = table[:600], table[600:]

# %%
# The columns are what their dtypes say. Zero rain is an atom; `find_atoms` finds it.

atoms = find_atoms(train)
print("atoms:", atoms)
est = DiffusionDensityEstimator(atoms=atoms, random_state=0).fit(train)
print(f"held-out nats: {est.score(test):.2f}")
drawn = est.sample(400)
print(drawn.head())
assert drawn.dtypes.equals(train.dtypes)
assert (drawn["rentals"] >= 0).mean() > 0.95

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
for ax, frame, title in zip(axes, (test, drawn), ("real days", "generated days")):
    for weather, some in frame.groupby("weather"):
        ax.scatter(some["date"], some["rentals"], s=8, alpha=0.6, label=weather)
    ax.set(title=title, xlabel="date", ylim=(0, 150))
    ax.tick_params(axis="x", rotation=30)
axes[0].set_ylabel("rentals a day")
axes[1].legend()

# %%
# The missing temperatures of the first days, and the spread of what they may have been, given all
# else.

gaps = test[test["temperature"].isna()][:3]
draws = est.impute(gaps, n_draws=100, random_state=0)[:, :, 2]
print(gaps.assign(temperature=draws.mean(0).round(1), spread=draws.std(0).round(1)))

# %%
# A class given the rest is a question to the same kind of density. Days without a temperature are
# classified too.

columns = ["date", "weather", "temperature", "holiday", "rain"]
busy = {name: frame["rentals"] > 50 for name, frame in (("train", train), ("test", test))}
model = DiffusionClassifier(DiffusionDensityEstimator(atoms=atoms, random_state=0)).fit(
    train[columns], busy["train"]
)
chance = model.predict_proba(test[columns])
share = busy["train"].mean()
alone = log_loss(busy["test"], np.tile([1 - share, share], (len(test), 1)))
print(f"log-loss: {log_loss(busy['test'], chance):.3f}; of the shares alone: {alone:.3f}")
assert log_loss(busy["test"], chance) < alone - 0.1

# %%
# Where it fails: a few generated counts may lie below zero, because nothing says that they cannot:
# state `bounds`. A date is a number like any other, so that the season does not go on after the
# last day of the file.
