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
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from skdiffusion.densities.predictive._bins import Bins
from skdiffusion.densities.predictive._data import LeftOut, RegressionData
from skdiffusion.densities.predictive._distributions import NormalMixtures
from skdiffusion.densities.predictive._trees import Categories, Trees

FEW_SAMPLES, N_OF_FEW, N_OF_MANY = 2000, 64, 32  # samples, and trees of a forest of up to so many and of more
MAX_TREE_SAMPLES = 10_000  # that a tree is grown of: random ones of more
N_TRIAL_FOLDS = 2  # by which the size of leaves is chosen
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


def fit_forest(data: RegressionData, rng: np.random.Generator) -> tuple[Forest, LeftOut]:
    """Trees without each of the folds, with the size of leaves and the scale of best out-of-fold log-density, and what
    they say of these.

    The forest takes some trees without each of the folds.
    """
    bins, categories = Bins.of(data.X, data.weight, data.numeric), Categories.of(data.X, data.categories)
    make = partial(_WithoutFold.of, data, categories.encoded(bins.binned(data.X)), int(rng.integers(2**30)))
    scales, places = np.unique(np.maximum(SCALES, data.min_scale)), range(len(data.folds))
    trials = {size: [make(size, k) for k in places[:N_TRIAL_FOLDS]] for size in LEAF_SIZES}
    best = max(LEAF_SIZES, key=lambda size: _best(data, trials[size], scales)[0])
    runs = [*trials[best], *(make(best, k) for k in places[N_TRIAL_FOLDS:])]
    _, scale = _best(data, runs, scales)
    kept = [tree for run in runs for tree in run.trees[: -(-len(run.trees) // len(runs))]]
    left_out = data.left_out(lambda k: _distributions(runs[k].values, scale))
    return Forest(Trees.of_forest(kept, categories, bins), scale), left_out


class _WithoutFold(NamedTuple):
    """Trees without one fold, and what they say of it."""

    fold: np.ndarray
    trees: list[Any]
    values: np.ndarray  # (n_left_out, n_trees)

    @classmethod
    def of(cls, data: RegressionData, binned: np.ndarray, seed: int, size: int, k: int) -> _WithoutFold:
        """The trees without fold k with leaves of so many samples at least."""
        fold, train = data.folds[k], data.target.without(data.folds[k])
        n_trees = N_OF_FEW if len(binned) <= FEW_SAMPLES else N_OF_MANY
        few = {"bootstrap": True, "max_samples": MAX_TREE_SAMPLES} if len(train) > MAX_TREE_SAMPLES else {}
        forest = ExtraTreesRegressor(n_trees, min_samples_leaf=size, random_state=seed + k, **few)
        forest.fit(binned[train], data.z[train], sample_weight=data.weight[train])
        left_out = binned[fold].astype(np.float32)
        values = [tree.predict(left_out, check_input=False) for tree in forest.estimators_]
        return cls(fold, [tree.tree_ for tree in forest.estimators_], np.stack(values, axis=1))


def _best(data: RegressionData, runs: list[_WithoutFold], scales: np.ndarray) -> tuple[float, float]:
    """The greatest mean out-of-fold log-density of forests, and its scale."""
    found, weight = [], data.weight[np.concatenate([run.fold for run in runs])]
    for scale in scales.tolist():
        log_prob = [data.log_prob_of(_distributions(run.values, scale), run.fold) for run in runs]
        found.append((float(np.average(np.concatenate(log_prob), weights=weight)), scale))
    return max(found, key=lambda one: one[0])
