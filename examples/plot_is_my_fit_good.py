"""
Is my fit good?
===============

Four questions to ask of a fitted density, each with a picture. Did training end where held-out samples say it should?
At which noise levels has the network learned anything? Are the densities calibrated: does the region that should hold
half of the mass hold half of the fresh samples? And do the samples look like the data, pair by pair?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.inspection import CalibrationDisplay, NoiseLossDisplay, PairDisplay, TrainingDisplay

columns = ["mean radius", "mean texture", "mean smoothness", "mean concavity", "mean symmetry", "area error"]
table = load_breast_cancer(as_frame=True).data[columns]
train, test = train_test_split(table, test_size=0.4, random_state=0)
est = DiffusionDensityEstimator(random_state=0).fit(train)
mixture = GaussianMixture(8, random_state=0).fit(train)
print(f"held-out nats: {est.score(test):.2f}, a mixture of eight Gaussians {mixture.score(test):.2f}")

# %%
# The loss of the fitted Gaussian is 1. Low noise levels stay near 1: there the score is that of single samples, and
# nothing can be known. A mixture with too many components is over-confident: its half-mass region holds far fewer
# fresh samples.

fig, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
TrainingDisplay.from_estimator(est, ax=axes[0])
NoiseLossDisplay.from_estimator(est, ax=axes[1])
ours = CalibrationDisplay.from_estimator(est, test, ax=axes[2], name="skdiffusion")
theirs = CalibrationDisplay.from_estimator(mixture, test, ax=axes[2], name="8 Gaussians")
fig.savefig("plot_is_my_fit_good.png", dpi=110)

# %%
pairs = PairDisplay.from_estimator(est, train, features=columns[:4])
pairs.figure_.savefig("plot_is_my_fit_good_pairs.png", dpi=110)

off = [np.abs(display.coverage - display.levels).mean() for display in (ours, theirs)]
print(f"mean distance from the diagonal: {off[0]:.3f} and {off[1]:.3f}")
assert off[0] < off[1]
assert est.score(test) > mixture.score(test)

# %%
# Where it fails: some two hundred samples judge calibration to a few per cent only (the gray band), and no picture of
# pairs shows what three features do together. The classifier test `skdiffusion.metrics.classifier_two_sample_test` sees
# all features at once.
