"""
Is my fit good?
===============

Five questions to ask of a fitted density, answered by samples that the fit has not seen.
`FitReport` prints a verdict; the pictures show where it comes from. The table is scikit-learn's
digits in their first six principal components, on which networks learn much. Then the same is asked
of a table without any shape beyond its covariance, so that you know what it looks like when there
is nothing to learn.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.inspection import (
    CalibrationDisplay,
    FitReport,
    NoiseLossDisplay,
    PairDisplay,
    TrainingDisplay,
)

table = PCA(6, random_state=0).fit_transform(load_digits().data)
train, test = train_test_split(table, test_size=0.4, random_state=0)
est = DiffusionDensityEstimator(random_state=0).fit(train)
report = FitReport.from_estimator(est, test)
print(report)

# %%
# **Training.** Validation samples say where training should end: the fitted Gaussian has a loss of
# 1 on them. On training samples it has less, since their targets are means with less noise. **Noise
# levels.** The loss stays near 1 at the lowest, where the score is that of single samples and
# nothing can be known. **Calibration.** The region that should hold half of the mass holds half of
# the fresh samples; that of a mixture with too many components holds far fewer.

mixture = GaussianMixture(60, random_state=0).fit(train)
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
TrainingDisplay.from_estimator(est, ax=axes[0])
NoiseLossDisplay.from_estimator(est, ax=axes[1])
ours = CalibrationDisplay.from_estimator(est, test, ax=axes[2], name="skdiffusion")
theirs = CalibrationDisplay.from_estimator(mixture, test, ax=axes[2], name="60 Gaussians")
plt.show()

# %%
# **Samples.** Pair by pair, generated samples should look like the data.

pairs = PairDisplay.from_estimator(est, train, features=[0, 1, 2, 3])
plt.show()

# %%
# **A table with nothing to learn.** Samples of a normal distribution with the covariance of the
# digits: the validation loss never falls below that of the Gaussian, training ends early, and the
# report says that the density is no more than a Gaussian. Here that is the truth.

rng = np.random.default_rng(0)
shapeless = rng.multivariate_normal(table.mean(0), np.cov(table, rowvar=False), len(table))
train_0, test_0 = train_test_split(shapeless, test_size=0.4, random_state=0)
plain = DiffusionDensityEstimator(random_state=0).fit(train_0)
nothing = FitReport.from_estimator(plain, test_0)
print(nothing)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for axis, fitted, title in ((axes[0], est, "digits"), (axes[1], plain, "normal samples")):
    TrainingDisplay.from_estimator(fitted, ax=axis)
    axis.set_title(title)
plt.show()

assert report.gain.exceeds(1.0)
assert not nothing.gain.exceeds(0.0)
off = [np.abs(display.coverage - display.levels).mean() for display in (ours, theirs)]
print(f"mean distance from the diagonal: {off[0]:.3f} and {off[1]:.3f}")
assert off[0] < off[1]

# %%
# Where it fails: the verdict is as sharp as the samples are many. Some seven hundred judge
# calibration to a few per cent, and no picture of pairs shows what three features do together; the
# classifier in the report sees all features at once, but boosted trees are not the best judge of
# smooth densities.
