"""The samples of a table as its components are fitted to them, and the same behind the maps of the features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.patterns import Patterns
from skdiffusion.densities import ProductSamples
from skdiffusion.preprocessing import (
    MAX_VALIDATION,
    Columns,
    CompletedSamples,
    PresentMaps,
    TableResolution,
    WeightedSamples,
    merged_copies,
    numbered,
    originals,
    random_folds,
    without_round_off,
)

Ends = tuple[np.ndarray, np.ndarray]  # bounds of the numeric features, infinite where open


@dataclass(frozen=True)
class TableData:
    """Samples of a table, split into states and present values, these dequantized."""

    columns: Columns
    states: np.ndarray  # (n_samples, n_stated)
    x: np.ndarray  # (n_samples, n_numeric), NaN where a value is absent or unknown
    sample_weight: np.ndarray  # (n_samples,)
    resolution: TableResolution
    ends: Ends
    rng: np.random.Generator
    groups: np.ndarray | None = None
    completed: CompletedSamples | None = None  # the samples that they stand for, where several stand for one
    folds: tuple[np.ndarray, ...] = ()
    n_validated: int = 0

    @classmethod
    def of(
        cls,
        samples: WeightedSamples,
        columns: Columns,
        bounds: Ends | None,
        rng: np.random.Generator,
        merged: bool = True,
    ) -> TableData:
        """Validated samples, their ties dequantized, without folds; copies of samples merged if asked."""
        X, weight, groups, completed = samples
        if merged:
            X = without_round_off(X.astype(np.float64), np.finfo(X.dtype).eps)
            sources = originals_in_table(*columns.split(X))
            X, weight, groups, completed = merged_copies(samples._replace(X=X), sources)
        states, x = columns.split(X)
        present = np.full(X.shape, np.nan)
        present[:, columns.numeric] = x
        resolution = TableResolution.of(columns, present, bounds)
        x = resolution.resolution.dequantized(present, rng, bounds)[:, columns.numeric]
        groups = None if groups is None else numbered(groups)
        ends = open_ends(columns, bounds)
        return cls(columns, states, x, weight, resolution, ends, rng, groups, completed)

    def split(self, n_folds: int, n_validated: int, affordable: float = np.inf) -> TableData:
        """The same samples in random disjoint folds, the first of which have out-of-fold log-densities.

        No fold has more samples than are `affordable`.
        """
        largest = min(MAX_VALIDATION, affordable)
        folds = random_folds(self.sample_weight, self.groups, n_folds, self.rng, largest)
        return replace(self, folds=folds, n_validated=min(n_validated, len(folds)))

    @property
    def n_samples(self) -> int:
        return len(self.states)

    @property
    def n_effective(self) -> int:
        """The number of samples of equal weight that tell as much."""
        information = 1.0 if self.completed is None else self.completed.information(self.sample_weight)
        return max(2, round(information * effective_number(self.sample_weight)))

    def observed(self, log_prob: np.ndarray) -> np.ndarray:
        """Out-of-fold log-densities of what is known, one for each sample, from those of the validated ones."""
        return log_prob if self.completed is None else self.completed.observed(log_prob, self.validated)

    @property
    def validation_weight(self) -> np.ndarray:
        """Weights of these."""
        if self.completed is None:
            return self.sample_weight[self.validated]
        return self.completed.whole_weight(self.sample_weight)[self.completed.first(self.validated)]

    @property
    def validation_folds(self) -> tuple[np.ndarray, ...]:
        """The folds that have out-of-fold log-densities."""
        return self.folds[: self.n_validated]

    @cached_property
    def validated(self) -> np.ndarray:
        """The samples of the validation folds, in the order of all out-of-fold log-densities."""
        return np.concatenate(self.validation_folds)

    def without(self, fold: np.ndarray) -> np.ndarray:
        """All samples outside a fold."""
        return np.setdiff1d(np.arange(self.n_samples), fold)


def originals_in_table(states: np.ndarray, x: np.ndarray) -> np.ndarray:
    """For every sample the number of the first one that it is a copy of, its own where it is none.

    Copies agree in their states, and in present values that do not repeat by themselves. Samples without a present
    value are no copies, however often their state occurs.
    """
    sources = np.arange(len(x))
    for samples, features in Patterns.of(x).parts():
        if len(features):
            both = np.column_stack([x[np.ix_(samples, features)], states[samples]])
            sources[samples] = samples[originals(both)]
    _, first, inverse = np.unique(np.column_stack([sources, states]), axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def open_ends(columns: Columns, bounds: Ends | None) -> Ends:
    """Bounds of the numeric features, infinite where there are none."""
    if bounds is None:
        return np.full(len(columns.numeric), -np.inf), np.full(len(columns.numeric), np.inf)
    return bounds[0][columns.numeric], bounds[1][columns.numeric]


@dataclass(frozen=True)
class MappedTable:
    """The samples of a fit behind the maps of the features; those left out as if the maps were fitted without them."""

    data: TableData
    maps: PresentMaps
    z: np.ndarray
    z_left_out: np.ndarray
    log_det_left_out: np.ndarray

    @classmethod
    def of(cls, data: TableData, maps: PresentMaps) -> MappedTable:
        """Map the samples of a fit."""
        left_out = maps.transform_left_out(data.x, data.sample_weight, data.groups)
        return cls(data, maps, maps.transform(data.x)[0], *left_out)

    def products(self, rows: np.ndarray, left_out: bool = False) -> ProductSamples:
        """Some samples, prepared for EM."""
        data, z = self.data, self.z_left_out if left_out else self.z
        columns = data.columns
        return ProductSamples(
            data.states[rows], z[rows], data.sample_weight[rows], columns.n_states, columns.with_other
        )
