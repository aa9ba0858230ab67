"""Samples of inputs and a target as one value: distinct, in an order of their own, the target spread over its ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import effective_number
from skdiffusion.densities.predictive._distributions import MIN_MASS, Distributions
from skdiffusion.preprocessing import (
    Preprocessor,
    Resolution,
    TrainingData,
    bounds_with_margins,
    random_folds,
    without_round_off,
)

MAX_SKEW = 1.0  # from which numbers have a power map


def distinct_samples(X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct samples in the order of their values, with the weights of their copies added up."""
    rows = np.column_stack([y, X])
    rows = rows + 0.0  # zeros have one sign
    order = np.lexsort(rows.T[::-1])
    ranked = rows[order]
    same = ((ranked[1:] == ranked[:-1]) | (np.isnan(ranked[1:]) & np.isnan(ranked[:-1]))).all(1)
    first = np.append(True, ~same)
    total = np.add.reduceat(weight[order], np.flatnonzero(first))
    k = y.shape[1]
    return ranked[first, k:], ranked[first, :k], total / total.max()


class FoldedInputs(NamedTuple):
    """Inputs with weights and folds, for trees of any target."""

    X: np.ndarray  # (n_samples, n_inputs)
    weight: np.ndarray  # (n_samples,)
    folds: tuple[np.ndarray, ...]
    categories: tuple[int, ...]


class LeftOut(NamedTuple):
    """What a component says of samples that it has not seen, arrays of shape (n_samples,)."""

    log_prob: np.ndarray  # of the mapped target; on a coarse grid that of cells
    cdf: np.ndarray  # the distribution function there

    def take(self, samples: np.ndarray) -> LeftOut:
        """Of some samples."""
        return LeftOut(self.log_prob[samples], self.cdf[samples])


@dataclass(frozen=True)
class RegressionData:
    """The samples of a fit of one target given inputs.

    Parameters
    ----------
    X : array of shape (n_samples, n_inputs)
        NaN where a value is unknown.
    target : TrainingData
        Of the target alone, dequantized, with the weights and folds of the samples.
    target_map : Preprocessor
        Of the target, to a number of unit variance.
    z, log_det : array of shape (n_samples,)
        The mapped target, and the logarithms of the slope of the map.
    categories : tuple of int
        Numbers of the inputs that are categories.
    """

    X: np.ndarray
    target: TrainingData
    target_map: Preprocessor
    z: np.ndarray
    log_det: np.ndarray
    categories: tuple[int, ...]

    @classmethod
    def of(
        cls,
        samples: tuple[np.ndarray, np.ndarray, np.ndarray],
        categories: tuple[int, ...],
        bounds: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> RegressionData:
        """Distinct samples (X, y, weight) of a target y (n_samples,), without folds."""
        X, y, weight = samples
        column = without_round_off(y[:, None], float(np.finfo(np.float64).eps))
        ends = None if bounds is None else (np.array([bounds[0]]), np.array([bounds[1]]))
        resolution = Resolution.of(column, ends)
        margins = None if ends is None else bounds_with_margins(column, weight, resolution, ends)
        margins = None if margins is None else margins._replace(regions=())  # trees and flows learn what is there
        spread = resolution.dequantized(column, rng, ends)
        target = TrainingData(spread, weight, (), 0, margins, rng, resolution)
        # The maps of bounds serve skewed targets themselves.
        transform = power_map_of(spread[:, 0], weight) if bounds is None else None
        target_map = Preprocessor(spread, weight, transform, margins)
        z, log_det = target_map.transform(spread)
        return cls(X, target, target_map, z[:, 0], log_det, categories)

    def split(self, n_folds: int, n_validated: int) -> RegressionData:
        """The same in random folds that hold every sample, the first of which have networks of their own."""
        folds = random_folds(self.weight, None, n_folds, self.target.rng, np.inf)
        target = replace(self.target, folds=folds, n_validated=min(n_validated, len(folds)))
        return replace(self, target=target)

    @property
    def inputs(self) -> FoldedInputs:
        """The inputs with their weights and folds."""
        return FoldedInputs(self.X, self.weight, self.folds, self.categories)

    @property
    def folds(self) -> tuple[np.ndarray, ...]:
        """Disjoint sets of samples, each left out in turn."""
        return self.target.folds

    @property
    def weight(self) -> np.ndarray:
        """Weights of the samples."""
        return self.target.sample_weight

    @property
    def n_effective(self) -> float:
        """The number of samples of equal weight that tell as much."""
        return effective_number(self.weight)

    @property
    def reach(self) -> tuple[float, float]:
        """Ends of the values of the target, moved apart by their distance each, and within its bounds."""
        y, least, greatest = self.target.X[:, 0], self.target_map.low[0], self.target_map.high[0]
        span = y.max() - y.min()
        return float(max(y.min() - span, least)), float(min(y.max() + span, greatest))

    @cached_property
    def cell_edges(self) -> np.ndarray:
        """Rising ends of the cells of a coarse grid of the target, in its own units; none off such a grid."""
        return self.target.resolution.cell_edges(0, (float(self.target_map.low[0]), float(self.target_map.high[0])))

    @cached_property
    def mapped_edges(self) -> np.ndarray:
        """The same, mapped."""
        return self.target_map.transform(self.cell_edges[:, None])[0][:, 0]

    def log_prob_of(self, distributions: Distributions, samples: np.ndarray) -> np.ndarray:
        """Log-densities of the mapped targets of some samples by their distributions; on a coarse grid, as high as the
        mass of the cell evenly spread over it."""
        z, edges = self.z[samples], self.mapped_edges
        if not len(edges):
            return distributions.log_prob(z)
        return even_in_cells(z, edges, distributions.cdf).log_prob

    def left_out(self, given: Callable[[int], Distributions]) -> LeftOut:
        """What components without each of the folds say of it, from the distributions of the samples of a fold by its
        number."""
        out = LeftOut(np.empty(len(self.z)), np.empty(len(self.z)))
        for k, fold in enumerate(self.folds):
            z, distributions = self.z[fold], given(k)
            if len(self.mapped_edges):
                log_prob, cdf = even_in_cells(z, self.mapped_edges, distributions.cdf)
            else:
                log_prob, cdf = distributions.log_prob(z), distributions.cdf(z[:, None])[:, 0]
            out.log_prob[fold], out.cdf[fold] = log_prob, cdf
        return out

    @property
    def numeric(self) -> np.ndarray:
        """Numbers of the inputs that are no categories."""
        return np.setdiff1d(np.arange(self.X.shape[1]), self.categories)

    @property
    def min_scale(self) -> float:
        """Standard deviation of the cells over which a target on a grid was spread, when mapped; 0 off a grid."""
        return float(np.exp(np.median(self.log_det)) * self.target.resolution.step[0] / np.sqrt(12.0))


def even_in_cells(z: np.ndarray, edges: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> LeftOut:
    """Log-densities and distribution functions at one number for every sample (n,), the mass of each cell evenly spread
    over it, from the distribution functions (n, 2) at both ends of its cell (n, 2)."""
    cell = np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)
    ends = np.stack([edges[cell], edges[cell + 1]], axis=1)
    below, above = cdf(ends).T
    width, mass = ends[:, 1] - ends[:, 0], above - below
    return LeftOut(np.log(np.maximum(mass, MIN_MASS) / width), below + mass * (z - ends[:, 0]) / width)


def power_map_of(x: np.ndarray, weight: np.ndarray) -> str | None:
    """The feature transform of numbers x (n_samples,): a power map where they are skewed, none elsewhere."""
    centered = x - np.average(x, weights=weight)
    deviation = np.sqrt(np.average(centered**2, weights=weight))
    if not deviation > 0:
        return None
    skew = np.average((centered / deviation) ** 3, weights=weight)
    return "yeo-johnson" if abs(skew) > MAX_SKEW else None
