"""A forest of randomized trees as a density: a normal distribution at what every tree says, all of one scale.

Trees of few samples a leaf disagree where the target is uncertain, so that the mixture is as wide and has as many modes
as the targets of similar samples.

References
----------
Geurts, Ernst and Wehenkel (2006), Extremely randomized trees.
Meinshausen (2006), Quantile regression forests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from skdiffusion.densities.predictive._bins import Bins
from skdiffusion.densities.predictive._data import RegressionData
from skdiffusion.densities.predictive._distributions import NormalMixtures
from skdiffusion.densities.predictive._trees import Categories, Trees

N_TREES = 64  # of a forest
LEAF_SIZES = (1, 5)
SCALES = np.geomspace(0.01, 1.0, 15)  # that are tried, in standard deviations of the target


@dataclass(frozen=True)
class Forest:
    """Mixtures of normal distributions at what trees say.

    Parameters
    ----------
    trees : Trees
    scale : float
    """

    trees: Trees
    scale: float

    def given(self, X: np.ndarray) -> NormalMixtures:
        """The distributions of the mapped target given inputs X (n, n_inputs)."""
        return _distributions(self.trees.leaf_values(X), self.scale)


def _distributions(values: np.ndarray, scale: float) -> NormalMixtures:
    return NormalMixtures(np.full(values.shape, 1 / values.shape[1]), values, np.full(values.shape, scale))


def fit_forest(data: RegressionData, rng: np.random.Generator) -> tuple[Forest, np.ndarray]:
    """Trees without each of the folds, with the size of leaves and the scale of best out-of-fold log-density, and this.

    The forest takes some trees without each of the folds.
    """
    bins, categories = Bins.of(data.X, data.weight, data.numeric), Categories.of(data.X, data.categories)
    binned = categories.encoded(bins.binned(data.X))
    floor, seed = max(data.min_scale, SCALES[0]), int(rng.integers(2**31))
    share = -(-N_TREES // len(data.folds))
    best: tuple[float, Forest, np.ndarray] | None = None
    for size in LEAF_SIZES:
        values, kept = np.empty((len(data.z), N_TREES)), []
        for k, fold in enumerate(data.folds):
            train = data.target.without(fold)
            model = ExtraTreesRegressor(N_TREES, min_samples_leaf=size, random_state=seed + k)
            model.fit(binned[train], data.z[train], sample_weight=data.weight[train])
            values[fold] = np.stack([tree.predict(binned[fold]) for tree in model.estimators_], axis=1)
            kept += [tree.tree_ for tree in model.estimators_[:share]]
        for scale in np.unique(np.maximum(SCALES, floor)):
            log_prob = data.log_prob_of(_distributions(values, scale), np.arange(len(data.z)))
            score = float(np.average(log_prob, weights=data.weight))
            if best is None or score > best[0]:
                best = score, Forest(Trees.of_forest(kept, categories, bins), float(scale)), log_prob
    assert best is not None
    return best[1], best[2]
