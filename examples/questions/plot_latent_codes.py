"""
How do features become standard normal?
=======================================

`DiffusionTransformer` maps samples to independent standard normal codes. A quantile transformer
does that to every feature alone and leaves the dependence; here the dependence goes too. The map is
invertible: codes can be changed and mapped back, or given to a method that assumes Gaussian
features.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import kstest
from sklearn.datasets import make_moons
from sklearn.preprocessing import QuantileTransformer

from skdiffusion import DiffusionTransformer

X, fresh = (make_moons(n, noise=0.1, random_state=s)[0] for n, s in ((2000, 0), (1000, 1)))
mapper = DiffusionTransformer(random_state=0).fit(X)
quantiles = QuantileTransformer(output_distribution="normal", n_quantiles=500).fit(X)
codes = {
    "data": fresh,
    "QuantileTransformer": quantiles.transform(fresh),
    "DiffusionTransformer": mapper.transform(fresh),
}
distances = {
    name: kstest((z**2).sum(1), "chi2", args=(2,)).statistic
    for name, z in codes.items()
    if name != "data"
}
print(
    "Kolmogorov-Smirnov distance of the squared norms from chi2:",
    {k: round(float(v), 3) for k, v in distances.items()},
)

# %%
# Colors follow the samples.

fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for ax, (name, z) in zip(axes, codes.items()):
    ax.scatter(
        *z.T,
        s=6,
        c=np.arctan2(fresh[:, 1] - 0.25, fresh[:, 0] - 0.5),
        cmap="twilight",
        linewidths=0,
    )
    what = "feature" if name == "data" else "code"
    ax.set(xlabel=f"{what} 0", ylabel=f"{what} 1")
    ax.set_title(name if name == "data" else f"{name}: distance {distances[name]:.3f}", fontsize=9)
plt.show()

assert distances["DiffusionTransformer"] < distances["QuantileTransformer"]
assert np.abs(mapper.inverse_transform(mapper.transform(fresh)) - fresh).max() < 0.05

# %%
# Where it fails: separate clusters are torn apart by a continuous map. Between their codes lies a
# seam, and a straight way from the code of one moon to that of the other crosses the gap between
# the moons.
