"""Disjoint folds of samples, each left out in turn."""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.numerics import effective_number

MAX_VALIDATION = 2500  # samples of a fold, of equal weight


def random_folds(
    weight: np.ndarray,
    groups: np.ndarray | None,
    n_folds: int,
    rng: np.random.Generator,
    max_validation: float = MAX_VALIDATION,
) -> tuple[np.ndarray, ...]:
    """Random folds of samples of much the same weight, each group within one of them.

    A fold of many samples is cut, between groups: more than `max_validation` of equal weight decide nothing that these
    do not, and each costs every candidate its density.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,)
        Positive.
    groups : int ndarray of shape (n_samples,) or None
        Numbers from 0 on; None for samples that are groups of their own.
    n_folds : int
    rng : numpy Generator
    max_validation : float

    Returns
    -------
    tuple of int ndarray
        Rising numbers of samples; no more folds than there are groups.
    """
    n = len(weight)
    # Uneven weights take more samples to tell as much.
    max_size = round(min(max_validation, n) * n / effective_number(weight))
    if groups is None and (weight == weight[0]).all():
        parts = np.array_split(rng.permutation(n), min(n_folds, n))
        return tuple(np.sort(part[:max_size]) for part in parts)
    groups = np.arange(n) if groups is None else groups
    of_group = np.bincount(groups, weight)
    order: np.ndarray = rng.permutation(len(of_group))
    fold_of = _balanced(of_group[order], min(n_folds, len(of_group)))
    rank = np.argsort(order)[groups]
    by_group = np.argsort(rank, kind="stable")
    in_fold = fold_of[np.sort(rank)]
    return tuple(_cut(by_group[in_fold == k], groups, max_size) for k in range(int(fold_of.max()) + 1))


def _balanced(weight: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold of each group, shape (n_groups,), so that all folds have as many groups and much the same weight.

    The heaviest of the groups that are left, one for each fold, go to the folds in the order of what these lack.
    """
    fold, total = np.empty(len(weight), dtype=int), np.zeros(n_folds)
    heaviest = np.argsort(-weight, kind="stable")
    for start in range(0, len(weight), n_folds):
        chosen = heaviest[start : start + n_folds]
        fold[chosen] = np.argsort(total, kind="stable")[: len(chosen)]
        total[fold[chosen]] += weight[chosen]
    return fold


def _cut(fold: np.ndarray, groups: np.ndarray, max_size: int) -> np.ndarray:
    """The first groups of a fold, whose samples stand group by group, with at most so many samples; at least one."""
    if len(fold) > max_size:
        ends = np.flatnonzero(np.diff(groups[fold], append=-1)) + 1
        fold = fold[: ends[max(0, int(np.searchsorted(ends, max_size, side="right")) - 1)]]
    return np.sort(fold)


def members_of(groups: np.ndarray | None) -> list[np.ndarray]:
    """The numbers of the samples of every group of more than one sample."""
    if groups is None:
        return []
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [part for part in parts if len(part) > 1]
