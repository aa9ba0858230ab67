"""Ensembles of regression trees as arrays: what scikit-learn's gradient boosting has fitted, for files without code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion.densities.predictive._bins import Bins

N_CODES = 256  # of categories, in the sets of scikit-learn's trees
PATHS = 1_000_000  # from samples down trees that are followed at a time


@dataclass(frozen=True)
class Categories:
    """The columns of categories, and the rising values of each that the trees know.

    Parameters
    ----------
    columns : array of int of shape (n_categorical,)
    values : tuple of arrays
    """

    columns: np.ndarray
    values: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, X: np.ndarray, columns: Sequence[int]) -> Categories:
        """The values of some columns."""
        return cls(np.array(columns, dtype=int), tuple(np.unique(X[~np.isnan(X[:, j]), j]) for j in columns))

    def encoded(self, X: np.ndarray) -> np.ndarray:
        """X with the categories in the first columns, as the places of their values; unknown ones are NaN."""
        if not len(self.columns):
            return X
        others = np.setdiff1d(np.arange(X.shape[1]), self.columns)
        places = []
        for j, values in zip(self.columns, self.values):
            place = np.searchsorted(values, X[:, j]) if len(values) else np.zeros(len(X), dtype=int)
            found = place < len(values)
            found[found] = values[place[found]] == X[found, j]
            places.append(np.where(found, place, np.nan))
        return np.column_stack([*places, X[:, others]])


@dataclass(frozen=True)
class Trees:
    """The sum of a constant and of the leaves that a sample reaches, one in every tree.

    The nodes of all trees stand one after the other; a leaf is its own child.
    """

    categories: Categories
    constant: float
    roots: np.ndarray  # (n_trees,), numbers of nodes
    feature: np.ndarray  # (n_nodes,), among the encoded columns
    threshold: np.ndarray
    children: np.ndarray  # (n_nodes, 2), left and right
    missing: np.ndarray  # (n_nodes,), 0 where missing values go left, 1 where they go right
    value: np.ndarray
    bits: np.ndarray  # (n_sets, 256), 0 where the category of a number goes left, 1 right, 2 where it is unknown
    set_of: np.ndarray  # (n_nodes,), -1 for a node of numbers

    @classmethod
    def of(cls, model: Any, categories: Categories, bins: Bins, n_trees: int) -> Trees:
        """The first trees of a fitted HistGradientBoostingRegressor or binary HistGradientBoostingClassifier.

        Its columns of categories are the first ones, encoded as `Categories.encoded` does; the others are of bins.
        """
        parts, sets, start, roots = [], [np.empty((0, N_CODES), dtype=np.uint8)], 0, []
        for (tree,) in model._predictors[:n_trees]:
            nodes = tree.nodes
            own = np.arange(len(nodes))
            leaf, categorical = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
            children = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.int64)
            children[leaf] = own[leaf, None]
            number = np.where(leaf | categorical, -1, nodes["feature_idx"].astype(np.int64) - len(categories.columns))
            first_set = sum(map(len, sets))
            parts.append(
                (
                    np.where(leaf, 0, nodes["feature_idx"]),
                    bins.thresholds(number, nodes["num_threshold"]),
                    children + start,
                    np.where(nodes["missing_go_to_left"], 0, 1),
                    nodes["value"],
                    np.where(categorical & ~leaf, nodes["bitset_idx"].astype(np.int64) + first_set, -1),
                )
            )
            sets.append(_directions(tree.raw_left_cat_bitsets, nodes, categories))
            roots.append(start)
            start += len(nodes)
        arrays = (np.concatenate(a) for a in zip(*parts)) if parts else _no_nodes()
        feature, threshold, children, missing, value, set_of = arrays
        bits = np.concatenate(sets)
        return cls(
            categories,
            baseline(model),
            np.array(roots, dtype=int),
            feature,
            threshold,
            children,
            missing,
            value,
            bits,
            set_of,
        )

    @classmethod
    def of_forest(cls, trees: Sequence[Any], categories: Categories, bins: Bins) -> Trees:
        """Fitted trees of scikit-learn's `Tree`, for which categories are numbers, of the same columns as those of
        `of`."""
        starts = np.cumsum([0, *(tree.node_count for tree in trees)])
        parts = []
        for tree, start in zip(trees, starts):
            leaf, own = tree.children_left < 0, np.arange(tree.node_count)
            children = np.stack([tree.children_left, tree.children_right], axis=1).astype(np.int64)
            children[leaf] = own[leaf, None]
            feature = np.where(leaf, 0, tree.feature)
            number = np.where(leaf, -1, feature - len(categories.columns))
            missing = np.where(tree.missing_go_to_left == 1, 0, 1)
            threshold = bins.thresholds(number, tree.threshold)
            parts.append((feature, threshold, children + start, missing, tree.value[:, 0, 0]))
        feature, threshold, children, missing, value = (np.concatenate(a) for a in zip(*parts))
        sets, set_of = np.empty((0, N_CODES), dtype=np.uint8), np.full(len(value), -1)
        return cls(categories, 0.0, starts[:-1], feature, threshold, children, missing, value, sets, set_of)

    @classmethod
    def constant_of(cls, value: float, categories: Categories) -> Trees:
        """A constant without trees."""
        feature, threshold, children, missing, leaves, set_of = _no_nodes()
        sets = np.empty((0, N_CODES), dtype=np.uint8)
        return cls(categories, value, feature, feature, threshold, children, missing, leaves, sets, set_of)

    def raw_predictions(self, X: np.ndarray) -> np.ndarray:
        """Sums over the trees for samples X (n, n_features), shape (n,)."""
        X, out = self.categories.encoded(X), np.full(len(X), self.constant)
        for block in self._blocks(len(X)):
            out[block] += self._leaf_values(X[block]).sum(1)
        return out

    def leaf_values(self, X: np.ndarray) -> np.ndarray:
        """What every tree says of samples X (n, n_features), shape (n, n_trees)."""
        X, out = self.categories.encoded(X), np.empty((len(X), len(self.roots)))
        for block in self._blocks(len(X)):
            out[block] = self._leaf_values(X[block])
        return out

    def _blocks(self, n_samples: int) -> Iterator[slice]:
        return slices(n_samples, max(1, PATHS // max(1, len(self.roots))))

    def _leaf_values(self, X: np.ndarray) -> np.ndarray:
        """Values of the leaves that samples reach, (n_samples, n_trees)."""
        n, d = X.shape
        flat = np.ascontiguousarray(X).ravel()
        node = np.tile(self.roots, n)
        paths, row = np.arange(len(node)), np.repeat(np.arange(n) * d, len(self.roots))
        while len(paths):
            here = node[paths]
            x = flat[row[paths] + self.feature[here]]
            right = (x > self.threshold[here]).astype(np.int64)
            self._turn_by_categories(right, here, x)
            unknown = np.isnan(x)
            right[unknown] = self.missing[here[unknown]]
            there = self.children[here, right]
            node[paths] = there
            paths = paths[there != here]
        return self.value[node].reshape(n, -1)

    def _turn_by_categories(self, right: np.ndarray, here: np.ndarray, x: np.ndarray) -> None:
        """Overwrite the directions of paths that are at nodes of categories."""
        if not len(self.bits):
            return
        mine = np.flatnonzero((self.set_of[here] >= 0) & ~np.isnan(x))
        turn = self.bits[self.set_of[here[mine]], x[mine].astype(np.int64)].astype(np.int64)
        right[mine] = np.where(turn == 2, self.missing[here[mine]], turn)


def baseline(model: Any) -> float:
    """The raw prediction of a boosted model before its first tree."""
    return float(np.ravel(model._baseline_prediction)[0])


def _no_nodes() -> tuple[np.ndarray, ...]:
    whole, real = np.empty(0, dtype=np.int64), np.empty(0)
    return whole, real, np.empty((0, 2), dtype=np.int64), whole, real, whole


def _directions(left_bitsets: np.ndarray, nodes: np.ndarray, categories: Categories) -> np.ndarray:
    """Directions of the categories at the nodes of categories of one tree, (n_sets, 256)."""
    bits = (left_bitsets[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    out = np.where(bits.reshape(len(left_bitsets), N_CODES) == 1, 0, 2).astype(np.uint8)
    at = nodes[nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)]
    for feature, number in zip(at["feature_idx"], at["bitset_idx"]):
        known = out[number, : len(categories.values[feature])]
        known[known == 2] = 1
    return out


@dataclass(frozen=True)
class MeanOfTrees:
    """The mean of several fits of trees."""

    fits: tuple[Trees, ...]

    def raw_predictions(self, X: np.ndarray) -> np.ndarray:
        """Mean of the raw predictions for samples X (n, n_features), shape (n,)."""
        return np.sum([fit.raw_predictions(X) for fit in self.fits], axis=0) / len(self.fits)
