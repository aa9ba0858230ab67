"""Numbers that a category decides, as years of schooling do beside a degree: such a feature is a category too.

Given the category it has no density, and a model of densities spreads it, so that generated samples pair categories
with numbers that no sample has. As a category of its own it keeps its numbers, and nearly always the pairs.
"""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.warnings import warn_user
from skdiffusion.estimators._table_kinds import Kinds, Table
from skdiffusion.exceptions import DegenerateDataWarning

MIN_REPEATED = 20  # samples whose number an earlier one of the same category has, from which this is no coincidence


def numbers_of_categories(X: np.ndarray, columns: dict[int, np.ndarray], numeric: np.ndarray) -> dict[int, int]:
    """Numeric features that have one number in each category of another feature, and this other one.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        NaN where a value is unknown.
    columns : dict of int to ndarray
        Categories of every feature of these, by its number.
    numeric : array of int
        Numbers of the features that may be decided.
    """
    found: dict[int, int] = {}
    for c in columns:
        known = X[~np.isnan(X[:, c])]
        ordered = known[np.argsort(known[:, c], kind="stable")]
        _, first = np.unique(ordered[:, c], return_index=True)
        if not len(ordered) or not len(numeric):
            continue
        x = ordered[:, numeric]
        least, greatest = np.fmin.reduceat(x, first), np.fmax.reduceat(x, first)
        n_repeated = np.maximum(np.add.reduceat(~np.isnan(x), first) - 1, 0).sum(0)
        # Unknown in a whole category is NaN at both ends. More than one number in all, for a constant is none's.
        varies = np.fmin.reduce(least) < np.fmax.reduce(greatest)
        one_each = ((least == greatest) | np.isnan(least)).all(0) & varies
        for j in numeric[one_each & (n_repeated >= MIN_REPEATED)].tolist():
            found.setdefault(j, c)
    return found


def warn_of_numbers_of_categories(X: np.ndarray, table: Table, kinds: Kinds) -> None:
    """Warn of numeric features of a table that one of its categories decides."""
    numeric = np.setdiff1d(table.columns.numeric, [*table.columns.atoms, *table.label_codes])
    found = numbers_of_categories(X, table.columns.categories, numeric)
    if found:
        asked = [kinds.name(j) for j in sorted({*kinds.categories, *found})]
        pairs = ", ".join(f"{kinds.name(j)!r} in each category of {kinds.name(c)!r}" for j, c in found.items())
        warn_user(
            f"Some features have one number only: {pairs}. They have no density given that category, and generated "
            f"samples will break some pairs. Pass categorical_features={asked}, by which they keep to it and come back "
            "as numbers, or leave them out.",
            DegenerateDataWarning,
        )
