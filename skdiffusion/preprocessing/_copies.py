"""Copies of samples, as chains, bootstraps and oversampling make them, as weights of distinct samples.

Equal samples on both sides of a split would let everything that is chosen on samples left out see what it leaves out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.stats import poisson

from skdiffusion.preprocessing._completed import CompletedSamples
from skdiffusion.preprocessing._rounded_copies import rounded_originals
from skdiffusion.preprocessing._ties import Ties, is_regular

NEAR = 1e-5  # distance of near copies in every feature, in its local scale
MAX_CHANCE = 0.1  # near pairs that chance may make, in samples
SCALE_SHARE = 0.1  # of the distinct values of a feature, whose shortest interval gives the local scale
FURTHER = 100.0  # times the distance of near copies, where samples that are no copies show how many chance makes
RANGE = 5.0  # local scales within which most pairs of samples lie
MAX_COUNTED = 4000  # samples among which pairs are counted
UNLIKELY = 10.0  # times the pairs that chance makes, which are none of chance


class WeightedSamples(NamedTuple):
    """Samples, their weights and, where these are given, the groups that must stay on one side of every split."""

    X: np.ndarray  # (n_samples, n_features)
    weight: np.ndarray  # (n_samples,)
    groups: np.ndarray | None = None  # (n_samples,)
    completed: CompletedSamples | None = None  # the samples that they stand for, where several stand for one

    @property
    def scale(self) -> np.ndarray:
        """Standard deviations of the features, shape (n_features,)."""
        X, w = self.X.astype(np.float64), self.weight
        return np.sqrt(np.average((X - np.average(X, axis=0, weights=w)) ** 2, axis=0, weights=w))

    def drawn(self, size: float, rng: np.random.Generator) -> WeightedSamples:
        """So many of the samples, drawn at random, or all where these are fewer, none of which is completed.

        A feature that none of them knows has its first known sample beside them.
        """
        n = len(self.X)
        if n <= size:
            return self
        kept = np.zeros(n, dtype=bool)
        kept[rng.choice(n, int(size), replace=False)] = True
        unknown = np.flatnonzero(np.isnan(self.X[kept]).all(0))
        kept[np.isfinite(self.X[:, unknown]).argmax(0)] = True
        weight = self.weight[kept]
        return WeightedSamples(self.X[kept], weight / weight.max(), None if self.groups is None else self.groups[kept])


def merged_copies(samples: WeightedSamples, sources: np.ndarray | None = None) -> WeightedSamples:
    """The distinct samples, with the weights of their copies added up; groups that share a copy become one group.

    What each sample is a copy of is `originals` of it, unless it is given.
    """
    X, weight, groups, completed = samples
    kept, place = np.unique(originals(X) if sources is None else sources, return_inverse=True)
    if len(kept) == len(X):
        return samples
    total = np.bincount(place, weight)
    merged = None if groups is None else joined_groups(groups, place)[kept]
    return WeightedSamples(X[kept], total / total.max(), merged, None if completed is None else completed.take(kept))


def originals(X: np.ndarray) -> np.ndarray:
    """For every sample the number of the first one that it is a copy of, its own where it is none, (n_samples,).

    A sample is a copy if all its values are those of another, one of which is of a feature whose values do not repeat
    by themselves: equal samples of counts or categories are no copies, unless all values repeat and the equal samples
    are too many for chance. Samples that differ by next to nothing in every feature are copies as well.
    """
    distinct, first, inverse, counts = np.unique(X, axis=0, return_index=True, return_inverse=True, return_counts=True)
    inverse, numbers = inverse.ravel(), np.arange(len(X))
    individual = _individual_entries(X, distinct)
    if not individual.any():
        return rounded_originals(distinct, inverse, counts)
    own = np.asarray(individual.any(axis=1))
    source = np.where(own[inverse], first[inverse], numbers)
    candidates = np.flatnonzero(own[inverse] & (source == numbers))
    near = candidates[_near_copies(X[candidates], individual[inverse[candidates]])]
    return np.where(own[inverse], np.append(near, 0)[np.searchsorted(candidates, source)], numbers)


def _individual_entries(X: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """Which values of the distinct samples do not repeat by themselves, shape (n_distinct, n_features) of bool."""
    out = np.zeros(distinct.shape, dtype=bool)
    for j, x in enumerate(distinct.T):
        ties = Ties.of_single(X[:, 0]) if X.shape[1] == 1 else Ties.of(x)
        if not (ties.on_grid or is_regular(ties.values[~ties.spiked])):
            out[:, j] = ~ties.spiked[np.searchsorted(ties.values, x)]
    return out


def _near_copies(X: np.ndarray, individual: np.ndarray) -> np.ndarray:
    """For each of distinct samples, the number of the first that it is a near copy of; its own where it is none."""
    n, numbers, n_individual = len(X), np.arange(len(X)), individual.sum(axis=0)
    if n < 2:
        return numbers
    distance = min(NEAR, (MAX_CHANCE / n) ** (1 / np.count_nonzero(n_individual)))
    scaled = X / np.array([_local_scale(x) for x in X.T])
    # Near copies are at the same spikes, so that they are individual in the same feature first.
    order = np.argsort(-n_individual)
    first = order[individual[:, order].argmax(axis=1)]
    members = [(j, np.flatnonzero(first == j)) for j in order]
    near = np.concatenate([rows[_pairs_within(scaled[rows], distance, j)] for j, rows in members])
    if not len(near) or len(near) < _most_by_chance(scaled, distance):
        return numbers
    linked = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(n, n))
    labels = connected_components(linked, directed=False)[1]
    return np.unique(labels, return_index=True)[1][labels]


def _pairs_within(X: np.ndarray, distance: float, feature: int) -> np.ndarray:
    """Pairs of samples that differ by no more than a distance in any feature, shape (n_pairs, 2).

    Few samples must be that near to each other in the one feature that is named.
    """
    order = np.argsort(X[:, feature])
    pairs, first = [np.empty((0, 2), dtype=int)], np.arange(len(X) - 1)
    for apart in range(1, len(X)):
        first = first[first < len(X) - apart]
        first = first[X[order[first + apart], feature] - X[order[first], feature] <= distance]
        if not len(first):
            break
        pair = np.stack([order[first], order[first + apart]], axis=1)
        pairs.append(pair[(np.abs(X[pair[:, 0]] - X[pair[:, 1]]) <= distance).all(1)])
    return np.concatenate(pairs)


def _most_by_chance(X: np.ndarray, distance: float) -> float:
    """The most pairs within a distance that independent samples may have.

    Their number falls as a power of the distance, which follows from the pairs that are further apart, though not much,
    and from all pairs. Of many samples some are counted.
    """
    tree = KDTree(X[:: -(-len(X) // MAX_COUNTED)])
    n_pairs = tree.n * (tree.n - 1) / 2
    near, further = ((tree.count_neighbors(tree, r, p=np.inf) - tree.n) / 2 for r in (distance, FURTHER * distance))
    n_further = 1 + further - near
    power = np.log(n_pairs / n_further) / np.log(RANGE / distance / FURTHER)
    by_chance = n_further * FURTHER**-power * (len(X) / tree.n) ** 2
    return max(UNLIKELY * by_chance, float(poisson.isf(1e-6, by_chance)))


def _local_scale(x: np.ndarray) -> float:
    """A standard deviation for the densest part of a feature: far values and spikes do not count."""
    values = np.unique(x)
    k = max(1, int(SCALE_SHARE * len(values)))
    if len(values) == 1:
        return 1.0
    # A tenth of a normal distribution lies within a quarter of its standard deviation.
    return float((values[k:] - values[:-k]).min()) * 4.0


def joined_groups(groups: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Groups, those that have samples in one place joined, shape (n_samples,); places are numbers from 0 on."""
    labels, n_places = np.unique(groups, return_inverse=True)[1], place.max() + 1
    size = n_places + labels.max() + 1
    linked = coo_array((np.ones(len(place)), (place, n_places + labels)), shape=(size, size))
    return connected_components(linked, directed=False)[1][place]


def together_with_copies(X: np.ndarray, groups: np.ndarray | None) -> np.ndarray | None:
    """Numbers of groups, from 0 on, that hold the copies of their samples; None where every sample is on its own."""
    kept, place = np.unique(originals(X), return_inverse=True)
    if groups is None:
        return None if len(kept) == len(X) else place
    return numbered(joined_groups(groups, place))


def numbered(groups: np.ndarray) -> np.ndarray:
    """Numbers of groups from 0 on; ValueError for a single one, which cannot be left out."""
    labels, numbers = np.unique(groups, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(
            "The samples of some weight are of one group of 'groups', or copies of samples join all groups into one: "
            "two are needed at least, of which one can be left out. Leave 'groups' out if the samples are independent."
        )
    return numbers
