"""Copies among samples of coarse values, such as halves or answers from 1 to 5, by an excess of equal pairs.

The number of pairs of samples that differ by k grid steps in one feature, and in no other, is smooth in k where the
density is, and so is known at k = 0 from k > 0. Copies add equal pairs and hardly others: in the variogram of
geostatistics they are a nugget. They add as many for each sample where samples are rare as where they are frequent,
while what is rough in the density itself, such as values that some people round, adds in proportion to the frequency.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import poisson

MIN_COPIES = 1.5  # of a sample in the mean; a bootstrap has two, and values that only some people round have fewer
MAX_COPIES = 30.0  # uneven ones; the most frequent orders of a shop or answers of a form are far more
MIN_DISTINCT = 20  # samples among which pairs are counted
HEAVY = 10.0  # times the samples of most distinct ones, at one that is no individual but a spike of several features
NEAR = 0.2  # of a standard deviation, within which pairs count as near, and twice as far away as far
CLEAR = 0.25  # of the equal pairs that chance makes, which copies must add
MIN_RISE = 2.0  # of the numbers of others beside samples that shows what is rough in the density
MAX_RATIO = 3.0  # of the copies among the samples with most and fewest others beside them
SPARSE = 10.0  # times the equal pairs that chance makes, which are none of chance whatever is rough
FEW_PLACES = 10.0  # of a feature: further away others of a few values are beside a sample as well
MAX_SHARE = 0.99  # of the pairs that are equal in a feature: with fewer others none shows copies
MAX_PLACES = 1e8  # of a feature, on a grid
VARYING = 0.5  # of the equal pairs, differing in a feature alone: it does not follow from the others


class Excess(NamedTuple):
    """Equal pairs beyond those that chance makes."""

    copies: float  # of a sample in the mean, 1 where chance may make all equal pairs
    others: np.ndarray  # (n_distinct,), how many other samples are equal to each one by chance; inf at a spike


class Pairs(NamedTuple):
    """Pairs of samples that differ in one feature at most, by this feature and their distance: none, near, further."""

    equal_else: np.ndarray  # (n_features, 3, ...), those that are equal in all other features
    all_pairs: np.ndarray  # (n_features, 3, ...), whatever the other features

    def summed(self, c: np.ndarray, chosen: np.ndarray) -> Pairs:
        """The sums over some of the distinct samples, so many of each."""
        return Pairs(self.equal_else[..., chosen] @ c[chosen], self.all_pairs[..., chosen] @ c[chosen])

    def shares(self, rising: bool) -> np.ndarray:
        """How many of all pairs are equal else, at no distance, (n_features,).

        They are as many as near ones, and more if they are rising from those further away. Counted is one pair more.
        """
        (near, far), (of_near, of_far) = (self.equal_else[:, 1:] + 1).T, (self.all_pairs[:, 1:] + 1).T
        if not rising:
            return near / of_near
        return near / of_near * max(1.0, near.sum() / (of_near * far / of_far).sum())

    @property
    def n_equal(self) -> float:
        return float(self.equal_else[0, 0])

    def excess(self, shares: np.ndarray) -> np.ndarray:
        """Equal pairs beyond these shares of all pairs, which hold them too, (n_features,)."""
        shares = np.minimum(shares, MAX_SHARE)
        return (self.n_equal - shares * self.all_pairs[:, 0]) / (1 - shares)


def _is_clear(pairs: Pairs, excess: float) -> bool:
    """Whether there are so many equal pairs beyond those of chance that they are none of chance.

    Every pair is counted from both ends.
    """
    by_chance = max(0.0, pairs.n_equal - excess) / 2
    return excess / 2 > CLEAR * by_chance and pairs.n_equal / 2 > poisson.isf(1e-6, by_chance)


def excess_of_equal(distinct: np.ndarray, counts: np.ndarray) -> Excess:
    """How often every original occurs in a table of distinct samples of these numbers, in the mean.

    Of a single feature nothing is known: values that some people round are as rough as copies.
    """
    none = Excess(1.0, np.full(len(counts), np.inf))
    c, usual = counts.astype(float), counts <= HEAVY * np.median(counts)
    if usual.sum() < MIN_DISTINCT or c[usual] @ c[usual] < MIN_COPIES * c[usual].sum():
        return none
    places = np.column_stack([_places(x) for x in distinct.T if np.ptp(x) > 0] or [distinct])
    if places.shape[1] < 2:
        return none
    found = _smooth_excess(places, c, usual)
    if found is None or not MIN_COPIES <= found.copies <= MAX_COPIES or _follows(places, c, usual, found):
        return none
    return found


def _places(x: np.ndarray) -> np.ndarray:
    """Places of the values of a feature on its grid, from 0 on; among all values where the grid is too fine."""
    values, rank = np.unique(x, return_inverse=True)
    places = np.round((values - values[0]) / np.diff(values).min())
    return (places if places[-1] <= MAX_PLACES else np.arange(len(values)))[rank].astype(np.int64)


def _numbers_of_rest(places: np.ndarray, j: int) -> np.ndarray:
    """A number for each combination of the other features' places, from 0 on, (n_distinct,).

    Combinations have random sums of 64 bits, which differ but for a chance of one in billions.
    """
    factors = np.random.default_rng(0).integers(2**63, size=places.shape[1])
    rest = np.where(np.arange(places.shape[1]) == j, 0, factors)
    return np.unique((places * rest).sum(axis=1), return_inverse=True)[1].ravel()


def _smooth_excess(places: np.ndarray, c: np.ndarray, usual: np.ndarray) -> Excess | None:
    """The excess of equal pairs over chance, by those that differ in one feature alone; None where it may be none.

    The features are of one mind about it, and so are the samples that have fewest and most others beside them. Counted
    are the pairs of the usual ones with all.
    """
    pairs, beside = _pairs_of(places, c)
    whole = pairs.summed(c, usual)
    if not all(_is_clear(whole, excess) for excess in whole.excess(whole.shares(rising=False))):
        return None
    few, _, many = _thirds(beside, c, usual)
    if not many.any():
        return None
    of_few = pairs.summed(c, few)
    excess, of_few_excess, of_many_excess = map(_mean_excess, (whole, of_few, pairs.summed(c, many)))
    if not (_is_clear(whole, excess) and _is_clear(of_few, of_few_excess)):
        return None
    # What is rough in the density, and no copies, is so in proportion to it.
    rise = np.divide(*(1 + np.average(beside[some], weights=c[some]) for some in (many, few)))
    if rise < MIN_RISE and excess < SPARSE * (whole.n_equal - excess):
        return None
    if of_many_excess / c[many].sum() > of_few_excess / c[few].sum() * np.clip(np.sqrt(rise), MIN_RISE, MAX_RATIO):
        return None
    others = np.mean(whole.shares(rising=True)[:, None] * pairs.all_pairs[:, 0], axis=0)
    return Excess(1 + excess / c[usual].sum(), np.where(usual, others, np.inf))


def _mean_excess(pairs: Pairs) -> float:
    return float(pairs.excess(pairs.shares(rising=True)).mean())


def _width(x: np.ndarray, c: np.ndarray) -> float:
    """Places of a feature that count as near."""
    return max(1.0, np.round(NEAR * np.sqrt(np.average((x - np.average(x, weights=c)) ** 2, weights=c))))


def _thirds(beside: np.ndarray, c: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Which of the usual samples are in each third by how many others are beside them, (3, n_distinct) of bool."""
    order = np.flatnonzero(usual)[np.argsort(beside[usual], kind="stable")]
    before, out = np.cumsum(c[order]) - c[order], np.zeros((3, len(c)), dtype=bool)
    out[np.minimum(2, 3 * before // c[order].sum()).astype(int), order] = True
    return out


def _within(group: np.ndarray, x: np.ndarray, c: np.ndarray, width: float) -> np.ndarray:
    """How many samples of the same group are within so many places of each one."""
    key = group * (np.ptp(x) + 4 * width + 4) + x
    order = np.argsort(key)
    total, ranked = np.append(0.0, np.cumsum(c[order])), key[order]
    return total[np.searchsorted(ranked, key + width + 0.5)] - total[np.searchsorted(ranked, key - width - 0.5)]


def _pairs_of(places: np.ndarray, c: np.ndarray) -> tuple[Pairs, np.ndarray]:
    """The pairs of every distinct sample, and how many others differ in one feature alone, (n_distinct,)."""
    equal_else, all_pairs, beside = [], [], np.zeros(len(c))
    for j, x in enumerate(places.T):
        width = _width(x, c)
        distances = (0.0, width, 2 * width)
        group = _numbers_of_rest(places, j)
        equal_else.append(np.stack([_within(group, x, c, w) for w in distances]) - 1)
        beside += _within(group, x, c, max(2 * width, FEW_PLACES)) - c
        all_pairs.append(np.stack([_within(np.zeros(len(c)), x, c, w) for w in distances]) - 1)
    by_distance = (np.diff(np.stack(table), axis=1, prepend=0) for table in (equal_else, all_pairs))
    return Pairs(*by_distance), beside


def _follows(places: np.ndarray, c: np.ndarray, usual: np.ndarray, found: Excess) -> bool:
    """Whether samples may be equal because one feature follows from the others.

    A feature that is free differs among samples that are equal in the others; where few are, these have copies too.
    """
    least = (found.copies - 1) / 2 * c[usual].sum()
    n_equal = c[usual] @ (c[usual] - 1)
    for j in range(places.shape[1]):
        number = _numbers_of_rest(places, j)
        of_rest = np.bincount(number, c)
        if c[usual] @ (of_rest[number] - c)[usual] >= VARYING * n_equal:
            continue
        rest = np.delete(places[np.unique(number, return_index=True)[1]], j, axis=1)
        if _least_excess(rest, of_rest, np.bincount(number, usual) > 0) < least:
            return True
    return False


def _least_excess(places: np.ndarray, c: np.ndarray, usual: np.ndarray) -> float:
    """The excess of equal pairs over near ones along the feature where it is least; a single feature is smooth."""
    pairs = _pairs_of(places, c)[0].summed(c, usual)
    if places.shape[1] > 1:
        return float(pairs.excess(pairs.shares(rising=False)).min())
    return float(pairs.n_equal - pairs.equal_else[0, 1] / (2 * _width(places[:, 0], c)))
