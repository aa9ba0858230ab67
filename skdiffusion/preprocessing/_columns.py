"""What the columns of a table are: categories, numbers, and numbers with atoms; and the split of samples by it.

The state of a sample is what is discrete in it: the number of its category in every column of categories, the level of
every one-hot group, and for every numeric column with atoms whether the value is at one of them, and at which. The
present values are the numbers that are left. The density of a sample is that of its state and of its present values
given the state, with respect to the product of counting measure and Lebesgue measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdiffusion.preprocessing._one_hot import OneHotGroup

UNKNOWN = -1  # state of an unknown value


class Category(NamedTuple):
    """A category of a table: one column, or the columns of a one-hot group.

    The last of its states stands for all values that `fit` never saw.
    """

    features: np.ndarray  # rising numbers of its columns
    values: np.ndarray  # (n_known, n_columns), in the order of its states
    other: np.ndarray  # (n_columns,), values that stand for all others

    @property
    def with_other(self) -> np.ndarray:
        """The values, and last those that stand for all others, (n_states, n_columns)."""
        return np.vstack([self.values, self.other])


@dataclass(frozen=True)
class Columns:
    """The kinds of the columns of a table.

    Parameters
    ----------
    n_features : int
    categories : dict of int to ndarray
        Rising values of every column of categories, by its number.
    atoms : dict of int to ndarray
        Rising atoms of every numeric column that has some, by its number.
    groups : tuple of tuples (features, covers)
        Of every one-hot group of other columns, as of `OneHotGroup`.
    """

    n_features: int
    categories: dict[int, np.ndarray]
    atoms: dict[int, np.ndarray]
    groups: tuple[tuple[tuple[int, ...], bool], ...] = ()

    @property
    def one_hot(self) -> list[OneHotGroup]:
        """The one-hot groups."""
        return [OneHotGroup(*group) for group in self.groups]

    @property
    def discrete(self) -> dict[int, np.ndarray]:
        """Rising values of every column of categories, and of every one in a one-hot group, by its number."""
        return self.categories | {j: np.array([0.0, 1.0]) for group in self.one_hot for j in group.features}

    @property
    def numeric(self) -> np.ndarray:
        """Numbers of the numeric columns."""
        return np.array([j for j in range(self.n_features) if j not in self.discrete], dtype=int)

    @property
    def all_categories(self) -> list[Category]:
        """Columns of categories, then one-hot groups: in the order of their states."""
        single = [Category(np.array([j]), v[:, None], v[-1:] + 1) for j, v in self.categories.items()]
        groups = [Category(np.array(g.features), g.values, np.ones(len(g.features))) for g in self.one_hot]
        return single + groups

    def category_of(self, j: int) -> int:
        """Place of the category that a column is, or is in, among all."""
        return next(k for k, category in enumerate(self.all_categories) if j in category.features)

    @property
    def stated(self) -> np.ndarray:
        """Numbers of the columns that have a state: those of categories, the first one of every one-hot group, then
        numeric ones with atoms."""
        return np.array([*self.categories, *(g.features[0] for g in self.one_hot), *self.atoms], dtype=int)

    @property
    def n_states(self) -> np.ndarray:
        """States of each of these columns: a category has one more, for values that `fit` never saw; a column of atoms
        has the state 0, of values at none of them."""
        known = [len(c.values) for c in self.all_categories] + [len(v) for v in self.atoms.values()]
        return np.array(known, dtype=int) + 1

    @property
    def with_other(self) -> np.ndarray:
        """Whether the last state of each of these columns stands for a category that `fit` never saw."""
        return np.arange(len(self.stated)) < len(self.all_categories)

    def split(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and present values of samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            NaN where a value is unknown.

        Returns
        -------
        states : int array of shape (n_samples, n_stated)
            `UNKNOWN` where the value is.
        x : array of shape (n_samples, n_numeric)
            NaN where a value is unknown or at an atom.
        """
        states, numbers = np.empty((len(X), len(self.stated)), dtype=int), X.astype(np.float64)
        for k, (j, values) in enumerate(self.categories.items()):
            states[:, k] = _place(numbers[:, j], values, len(values))
        for k, group in enumerate(self.one_hot, len(self.categories)):
            states[:, k] = group.states(numbers)
        for k, (j, values) in enumerate(self.atoms.items(), len(self.all_categories)):
            states[:, k] = 1 + _place(numbers[:, j], values, -1)
            states[np.isnan(numbers[:, j]), k] = UNKNOWN
            numbers[states[:, k] > 0, j] = np.nan
        return states, numbers[:, self.numeric]

    def joined(self, states: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Samples of states and present values: the inverse of `split` for the states that `fit` saw."""
        X = np.full((len(x), self.n_features), np.nan)
        X[:, self.numeric] = x
        for k, category in enumerate(self.all_categories):
            known = np.flatnonzero(states[:, k] >= 0)
            # A category that `fit` never saw is only ever given, and has no value of its own.
            values = np.vstack([category.values, np.full(len(category.features), np.nan)])
            X[np.ix_(known, category.features)] = values[states[known, k]]
        for k, (j, values) in enumerate(self.atoms.items(), len(self.all_categories)):
            at = states[:, k] > 0
            X[at, j] = values[states[at, k] - 1]
        return X

    def present(self, states: np.ndarray) -> np.ndarray:
        """Which numeric columns have a value at no atom, (n_samples, n_numeric) of bool, in known states."""
        out, place = np.ones((len(states), len(self.numeric)), dtype=bool), {j: i for i, j in enumerate(self.numeric)}
        for k, j in enumerate(self.atoms, len(self.all_categories)):
            out[:, place[j]] = states[:, k] == 0
        return out


def _place(x: np.ndarray, values: np.ndarray, otherwise: int) -> np.ndarray:
    """Place of every number among rising values, `UNKNOWN` for NaN. Values in single precision are found as well."""
    place = np.searchsorted((values[1:] + values[:-1]) / 2, np.where(np.isnan(x), 0.0, x))
    same = (values[place] == x) | (values[place].astype(np.float32) == x)
    return np.where(np.isnan(x), UNKNOWN, np.where(same, place, otherwise))
