"""Samples that are known in some columns of a one-hot group alone: what follows for the others.

A one excludes the other columns, and a single unknown column beside zeros of a group that covers all samples is one.
Else a sample stands for several, one for each level that agrees with it; where none does, unknown columns are zero.
"""

from __future__ import annotations

import numpy as np

from skdiffusion.preprocessing._columns import Columns


def settled(columns: Columns, X: np.ndarray) -> np.ndarray:
    """Samples with the columns of one-hot groups that follow from those that are known."""
    out = X
    for group in columns.one_hot:
        place = np.array(group.features)
        states = group.states(X)
        rows = np.flatnonzero(np.isnan(X[:, place]).any(1) & (states >= 0))
        if len(rows):
            out = X.copy() if out is X else out
            level = np.vstack([group.values, np.zeros(len(place))])[states[rows]]
            known = X[np.ix_(rows, place)]
            out[np.ix_(rows, place)] = np.where(np.isnan(known), level, known)
    return out


def whole_groups(columns: Columns, X: np.ndarray) -> np.ndarray:
    """Settled samples, with all columns unknown of groups several levels of which are possible."""
    out = settled(columns, X)
    for group in columns.one_hot:
        place = np.array(group.features)
        rows = np.flatnonzero(np.isnan(out[:, place]).any(1))
        if len(rows):
            out = X.copy() if out is X else out
            out[np.ix_(rows, place)] = np.nan
    return out


def alternatives(columns: Columns, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples whose one-hot groups are wholly known or wholly unknown, that together are those given.

    Returns
    -------
    owner : int array of shape (n_alternatives,)
        The given sample that each is one case of, rising.
    X : array of shape (n_alternatives, n_features)
    """
    owner, out = np.arange(len(X)), settled(columns, X)
    for group in columns.one_hot:
        place = np.array(group.features)
        unknown = np.isnan(out[:, place])
        partly = unknown.any(1) & ~unknown.all(1)
        if not partly.any():
            continue
        # The levels that agree with a sample; one place for every other sample.
        cases = np.where(partly[:, None], group.possible(out), np.arange(len(group.values)) == 0)
        rows, levels = np.nonzero(cases)
        filled = np.where(partly[rows, None], group.values[levels], out[np.ix_(rows, place)])
        owner, out = owner[rows], out[rows]
        out[:, place] = filled
    return owner, out


def contradicts(columns: Columns, X: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Which samples have no level of a group, some column of which is given; shape (n_samples,) of bool."""
    out = np.zeros(len(X), dtype=bool)
    for group in columns.one_hot:
        some = ~np.isnan(given[:, group.features]).all(1)
        out |= some & (group.states(X) == len(group.values))
    return out
