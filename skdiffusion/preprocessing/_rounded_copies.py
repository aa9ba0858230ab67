"""Copies among samples all of whose features have values that repeat by themselves: rounded values, counts, codes.

Such samples are equal by chance as well. Copies show in two ways: the numbers of all distinct samples have a common
factor, or more samples are equal than a smooth density has.
"""

from __future__ import annotations

import numpy as np

from skdiffusion.preprocessing._equal_pairs import excess_of_equal

MIN_MULTIPLES = 20  # distinct samples whose numbers have a common factor: by chance half of them at most would
DESIGN_SHARE = 0.5  # of all combinations of values that occur, in a design


def rounded_originals(distinct: np.ndarray, inverse: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every sample the number of the first one that it is a copy of, its own where it is none, (n_samples,).

    Given are the distinct samples, the place of every sample among them and their numbers, as by `numpy.unique`.
    """
    # Each of independent numbers is a multiple of two or more with a probability below a half.
    factor = 1 if len(counts) < MIN_MULTIPLES or _is_design(distinct, counts) else np.gcd.reduce(counts)
    number = counts // factor
    return _first_of_blocks(inverse, counts, _n_originals(distinct, number))


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


def _n_originals(distinct: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of how many originals every distinct sample has copies: of as many as it has where these may be of chance."""
    copies, others = excess_of_equal(distinct, counts)
    if copies == 1:
        return counts
    return np.maximum(1, np.round(np.minimum(counts, copies + others) / copies)).astype(int)


def _first_of_blocks(inverse: np.ndarray, counts: np.ndarray, n_blocks: np.ndarray) -> np.ndarray:
    """For every sample the first of its block: equal samples, in their order, are cut into blocks of much one size."""
    order = np.argsort(inverse, kind="stable")
    start, of = (np.cumsum(counts) - counts)[inverse[order]], inverse[order]
    block = (np.arange(len(inverse)) - start) * n_blocks[of] // counts[of]
    source = np.empty(len(inverse), dtype=int)
    source[order] = order[start - (-block * counts[of] // n_blocks[of])]
    return source
