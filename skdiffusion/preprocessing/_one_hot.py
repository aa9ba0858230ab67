"""One-hot groups: columns of zeros and ones that are the levels of one category, and so exclude each other.

Two kinds are found: groups in which every sample has exactly one column at one, and groups in which none has more, as
an encoder that drops a level leaves them. Columns that exclude each other by chance alone are no group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

MAX_CHANCE = 1e-3  # that any of independent columns with these counts of ones exclude each other
MAX_LEVELS = 256  # of a group: a table of more says little of each
MAX_STEPS = 10_000  # of the search for the columns of one group


@dataclass(frozen=True, order=True)
class OneHotGroup:
    """Columns of zeros and ones that are the levels of one category.

    Parameters
    ----------
    features : tuple of int
        Rising numbers of the columns.
    covers : bool
        Whether one of the columns is one in every sample; else all may be zero, which is a level as well.
    """

    features: tuple[int, ...]
    covers: bool

    @property
    def values(self) -> np.ndarray:
        """The columns at every level, (n_levels, n_columns): each column at one, and last, if it occurs, none."""
        k = len(self.features)
        return np.eye(k) if self.covers else np.vstack([np.eye(k), np.zeros(k)])

    def states(self, X: np.ndarray) -> np.ndarray:
        """Level of samples (n_samples, n_features), the number of levels where there is none, -1 where more than one
        agrees with what is known."""
        possible = self.possible(X)
        n_possible, level = possible.sum(1), possible.argmax(1)
        return np.where(n_possible == 1, level, np.where(n_possible > 1, -1, possible.shape[1]))

    def possible(self, X: np.ndarray) -> np.ndarray:
        """Which levels agree with what is known of samples (n_samples, n_features): bool, (n_samples, n_levels)."""
        x, values = X[:, self.features][:, None], self.values
        return (np.isnan(x) | (x == values)).all(2)


def one_hot_groups(X: np.ndarray, candidates: list[int]) -> tuple[OneHotGroup, ...]:
    """The one-hot groups among some columns.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        NaN means unknown: a sample speaks against a group where two of its columns are known to be one, or all to be
        zero.
    candidates : list of int
        Numbers of the columns that may be in one. Those with other values than zero and one, or one of them alone, are
        in none.
    """
    columns = [j for j in candidates if _is_binary(X[:, j])]
    if len(columns) < 2:
        return ()
    binary = _Binary.of(X[:, columns])
    left, groups = list(range(len(columns))), []
    by_count = sorted(left, key=lambda j: -binary.n_ones[j])
    for finds, covers, seeds in ((binary.covering, True, list(left)), (binary.exclusive, False, by_count)):
        for seed in seeds:
            found = finds(seed, [j for j in left if j != seed]) if seed in left else []
            if 1 < len(found) <= MAX_LEVELS:
                groups.append(OneHotGroup(tuple(sorted(columns[j] for j in found)), covers))
                left = [j for j in left if j not in found]
    return tuple(sorted(groups))


def _is_binary(x: np.ndarray) -> bool:
    known = x[~np.isnan(x)]
    return bool(np.isin(known, (0.0, 1.0)).all()) and 0 < known.sum() < len(known)


@dataclass(frozen=True)
class _Binary:
    """Samples of columns of zeros and ones.

    Parameters
    ----------
    one, unknown : bool arrays of shape (n_samples, n_columns)
    n_both : array of shape (n_columns, n_columns)
        How often two columns are both one.
    """

    one: np.ndarray
    unknown: np.ndarray
    n_both: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> _Binary:
        one = X == 1
        return cls(one, np.isnan(X), one.T.astype(np.float32) @ one.astype(np.float32))

    @property
    def n_samples(self) -> int:
        return len(self.one)

    @property
    def n_ones(self) -> np.ndarray:
        """How often every column is one."""
        return np.diag(self.n_both)

    @cached_property
    def n_unknown(self) -> np.ndarray:
        """How often every column is unknown."""
        return self.unknown.sum(0)

    @property
    def _max_log_chance(self) -> float:
        """Logarithm of the largest chance of a group, of as many as there are pairs of columns."""
        m = self.one.shape[1]
        return float(np.log(2 * MAX_CHANCE / (m * (m - 1))))

    def covering(self, seed: int, others: list[int]) -> list[int]:
        """The columns, nearest ones first, that with one of them have exactly one at one in every sample; else none.

        It is a search for an exact cover of the samples, by the sample that fewest columns could still cover.
        """
        columns = [seed, *sorted((j for j in others if not self.n_both[j, seed]), key=lambda j: abs(j - seed))]
        if self.n_ones[columns].sum() + self.n_unknown[columns].sum() < self.n_samples:
            return []
        could = self.one[:, columns] | self.unknown[:, columns]
        places = _exact_cover(could, self.n_both[np.ix_(columns, columns)] > 0, [0], [MAX_STEPS])
        found = [columns[i] for i in places]
        log_chance = gammaln(self.n_ones[found] + 1).sum() - gammaln(self.n_samples + 1)
        return found if log_chance <= self._max_log_chance else []

    def exclusive(self, seed: int, others: list[int]) -> list[int]:
        """The columns of which, with one of them, none or one is at one in every sample, beyond chance."""
        group = [seed]
        for j in sorted(others, key=lambda j: abs(j - seed)):
            taken, ones = self.n_ones[group].sum(), self.n_ones[j]
            if not self.n_both[j, group].any() and taken + ones <= self.n_samples:
                n = self.n_samples
                log_chance = _log_choices(n - taken, ones) - _log_choices(n, ones)
                if log_chance <= self._max_log_chance:
                    group.append(j)
        return group


def _exact_cover(could: np.ndarray, overlap: np.ndarray, chosen: list[int], steps: list[int]) -> list[int]:
    """Columns, the chosen ones first, that exclude each other and cover all samples; none where there are none.

    Parameters
    ----------
    could : bool array of shape (n_samples, n_columns)
        Which columns may be one in samples that are not covered yet, or are covered by the last chosen one.
    overlap : bool array of shape (n_columns, n_columns)
        Which columns do not exclude each other.
    chosen : list of int
    steps : list of one int
        Steps of the search that are left.
    """
    left = could[~could[:, chosen[-1]]]
    if not len(left):
        return chosen
    possible = ~overlap[chosen].any(0)
    n_possible = left[:, possible].sum(1)
    tightest = left[n_possible.argmin()] & possible
    for j in np.flatnonzero(tightest).tolist():
        steps[0] -= 1
        if steps[0] < 0:
            break
        if found := _exact_cover(left, overlap, [*chosen, j], steps):
            return found
    return []


def _log_choices(n: float, k: float) -> float:
    """Logarithm of the number of subsets of k among n."""
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
