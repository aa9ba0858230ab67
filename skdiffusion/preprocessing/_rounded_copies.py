"""Copies among samples all of whose features have values that repeat by themselves: rounded values, counts, codes.

Such samples are equal by chance as well. Copies show in two ways: the numbers of all distinct samples have a common
factor, or samples are equal where independent ones are too sparse for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import KDTree
from scipy.stats import poisson

from skdiffusion.preprocessing._ties import SPIKE_SHARE

MIN_MULTIPLES = 20  # distinct samples whose numbers have a common factor: by chance half of them at most would
DESIGN_SHARE = 0.5  # of all combinations of values that occur, in a design
HEAVY = 10.0  # times the samples of most distinct ones, at one that is no individual but a spike of several features
MIN_ROUNDED = 30  # values of a feature on a grid that tell samples apart
STANDS_OUT = 3.0  # times the samples of the values beside it on the grid, which a spike holds
GRID_STEPS = np.array([2.5, 5.5, 10.5])  # within which other samples are counted
MAX_COUNTED = 2000  # samples among which they are
SPARSE_SHARE = 0.1  # of the samples, those with the fewest others around
MIN_COPIES = 1.5  # of a sample in the mean; a bootstrap has two, and values that only some people round have fewer
UNLIKELY = 10.0  # times the equal pairs that chance makes, which are none of chance
UNLIKELY_OF_REST = 3.0  # the same without the feature of most values


def rounded_originals(distinct: np.ndarray, inverse: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every sample the number of the first one that it is a copy of, its own where it is none, (n_samples,).

    Given are the distinct samples, the place of every sample among them and their numbers, as by `numpy.unique`.
    """
    # Each of independent numbers is a multiple of two or more with a probability below a half.
    factor = 1 if len(counts) < MIN_MULTIPLES or _is_design(distinct, counts) else np.gcd.reduce(counts)
    number = counts // factor
    return _first_of_blocks(inverse, counts, _n_originals(distinct, number, _individual_entries(distinct)))


def _is_design(distinct: np.ndarray, counts: np.ndarray) -> bool:
    """Whether samples may be the replicates of a balanced design: equally many at most combinations of the values.

    They are no copies, since what was measured there differs from one to the next. Of a single feature, all places of a
    grid are a design.
    """
    values = [v for v in map(np.unique, distinct.T) if len(v) > 1]
    if len(values) > 1:
        complete = len(distinct) > DESIGN_SHARE * float(np.prod([float(len(v)) for v in values]))
    else:
        complete = len(values) == 1 and bool(np.ptp(gaps := np.diff(values[0])) < 1e-6 * gaps.max())
    return complete and bool((counts == counts[0]).all())


def _individual_entries(distinct: np.ndarray) -> np.ndarray:
    """Which values of the distinct samples are among many of a grid, shape (n_distinct, n_features) of bool."""
    out = np.zeros(distinct.shape, dtype=bool)
    for j, x in enumerate(distinct.T):
        values, counts = np.unique(x, return_counts=True)
        around = np.pad(counts, 1)
        # Of few values many hold much: a spike stands out from those beside it.
        spiked = counts > np.maximum(SPIKE_SHARE * len(x), STANDS_OUT * np.maximum(around[:-2], around[2:]))
        if (~spiked).sum() >= MIN_ROUNDED:
            out[:, j] = ~spiked[np.searchsorted(values, x)]
    return out


def _n_originals(distinct: np.ndarray, counts: np.ndarray, individual: np.ndarray) -> np.ndarray:
    """Of how many originals every distinct sample has copies: of as many as it has where these may be of chance.

    How often an original occurs in the mean is seen among the samples of the most frequent pattern of individual
    values, and holds for all that have any.
    """
    individual = individual & (counts <= HEAVY * np.median(counts))[:, None]
    own = individual.any(axis=1)
    if counts[own] @ counts[own] < MIN_COPIES * counts[own].sum():
        return counts
    patterns, place, size = np.unique(individual, axis=0, return_inverse=True, return_counts=True)
    size = np.where(patterns.sum(axis=1) < 2, 0, size)
    seen, features = place.ravel() == size.argmax(), patterns[size.argmax()]
    if size.max() < MIN_MULTIPLES or _may_follow(X := distinct[np.ix_(seen, features)], number := counts[seen]):
        return counts
    copies, others = _copies_and_others(X, number, UNLIKELY)
    n_originals = np.where(own, counts / copies, counts)
    n_originals[seen] = np.minimum(n_originals[seen], 1 + others)
    return np.maximum(1, np.round(n_originals)).astype(int)


def _may_follow(X: np.ndarray, number: np.ndarray) -> bool:
    """Whether samples may be equal because one feature follows from the others, or all others from one.

    Then they are equal as often as chance has it without the feature of most values, or that one is a code, such as the
    number of a place: most values of the grid are there, and each is that of one distinct sample.
    """
    finest = int(np.argmax([len(np.unique(x)) for x in X.T]))
    values, times = np.unique(X[:, finest], return_counts=True)
    gaps = np.diff(values)
    if np.median(gaps) < 1.5 * gaps.min() and (times == 1).sum() > len(X) / 2:
        return True
    if X.shape[1] == 2:
        return False
    rest, place = np.unique(np.delete(X, finest, axis=1), axis=0, return_inverse=True)
    return _copies_and_others(rest, np.bincount(place.ravel(), number), UNLIKELY_OF_REST)[0] == 1


def _copies_and_others(X: np.ndarray, number: np.ndarray, unlikely: float) -> tuple[float, np.ndarray]:
    """How often an original occurs in the mean, 1 where chance may do it, and how many others then equal each sample.

    Where independent samples are sparse, few of them are equal, as many as those within some grid steps tell.
    """
    steps = np.array([np.diff(np.unique(x)).min(initial=np.inf) for x in X.T])
    places, every = X / steps, -(-len(X) // MAX_COUNTED)
    counted, c = places[::every], number[::every]
    within, odds = _others_within(counted)
    # Samples are sparse by those around, further away than those that tell how many are equal.
    further = within[2] - within[1]
    sparse = further <= np.quantile(further, SPARSE_SHARE)
    c, (few, more) = c[sparse], within[:2, sparse]
    by_chance = odds(c @ few, c @ more) * every * number.mean()
    expected, n_equal = by_chance * (1 + c @ more) / 2, (c * (c - 1) / 2).sum()
    copies = float((c @ c) / c.sum())
    if copies < MIN_COPIES or n_equal <= max(unlikely * expected, float(poisson.isf(1e-6, expected))):
        return 1.0, np.full(len(X), np.inf)
    return copies, by_chance / copies * within[1, KDTree(counted).query(places)[1]]


def _others_within(places: np.ndarray) -> tuple[np.ndarray, Callable[[float, float], float]]:
    """How many other samples lie within some grid steps, (n_distances, n_samples), and the odds to be equal there.

    The odds are those of independent features, by the pairs of their values, in as many dimensions as the samples have
    nearby: the number of samples rises with the distance as a power of it.
    """
    largest, log_share, log_rise = np.zeros((len(places), len(places))), 0.0, 0.0
    for x in places.T:
        apart = np.abs(x[:, None] - x)
        np.maximum(largest, apart, out=largest)
        equal, few, more = (max(1, (apart < steps).sum() - len(x)) for steps in (0.5, *GRID_STEPS[:2]))
        log_share += np.log(equal / more)
        log_rise += np.log(more / few)

    def odds(few: float, more: float) -> float:
        # As if one pair more were within the few steps, and as many more as of independent features further away.
        power = np.log((np.exp(log_rise) + more) / (1 + few)) / max(log_rise, 1e-9)
        share = np.exp(log_share * min(1.0, power))
        return float(share / max(1e-9, 1 - share))

    return np.array([(largest < steps).sum(axis=1) - 1 for steps in GRID_STEPS]), odds


def _first_of_blocks(inverse: np.ndarray, counts: np.ndarray, n_blocks: np.ndarray) -> np.ndarray:
    """For every sample the first of its block: equal samples, in their order, are cut into blocks of much one size."""
    order = np.argsort(inverse, kind="stable")
    start, of = (np.cumsum(counts) - counts)[inverse[order]], inverse[order]
    block = (np.arange(len(inverse)) - start) * n_blocks[of] // counts[of]
    source = np.empty(len(inverse), dtype=int)
    source[order] = order[start - (-block * counts[of] // n_blocks[of])]
    return source
