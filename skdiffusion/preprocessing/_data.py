"""The samples of a fit as one value, and the same behind a preprocessor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.protocols import Density
from skdiffusion.preprocessing._bounds import Bounds, bounds_with_margins
from skdiffusion.preprocessing._completed import CompletedSamples
from skdiffusion.preprocessing._copies import WeightedSamples, merged_copies, numbered, originals
from skdiffusion.preprocessing._folds import MAX_VALIDATION, random_folds
from skdiffusion.preprocessing._preprocessor import Preprocessor
from skdiffusion.preprocessing._reservoir import Reservoir
from skdiffusion.preprocessing._resolution import Resolution
from skdiffusion.preprocessing._ties import without_round_off


@dataclass(frozen=True)
class TrainingData:
    """Distinct and dequantized samples with their weights, split into folds."""

    X: np.ndarray  # (n_samples, n_features)
    sample_weight: np.ndarray  # (n_samples,), positive
    folds: tuple[np.ndarray, ...]  # disjoint sets of samples, each left out in turn; some of many samples are in none
    n_validated: int  # folds that have out-of-fold log-densities: one for each network of the ensemble
    bounds: Bounds | None
    rng: np.random.Generator  # of every random number of the fit
    resolution: Resolution  # cells over which values that repeat were spread
    groups: np.ndarray | None = None  # (n_samples,), numbers of those that stay on one side of every split, if any
    completed: CompletedSamples | None = None  # the samples that they stand for, where several stand for one
    given: np.ndarray | None = None  # (n_samples, n_features), before they were dequantized; None where they were not
    places: np.ndarray | None = None  # (n_given,), the sample that each one that was given is a copy of
    reservoir: Reservoir | None = None  # where these were drawn from more samples, on which networks are trained
    _mapped: dict[int, tuple[Preprocessor, MappedData]] = field(default_factory=dict, repr=False, compare=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The ids are those of another process.
        mapped = {id(preprocessor): (preprocessor, values) for preprocessor, values in state["_mapped"].values()}
        self.__dict__.update(state, _mapped=mapped)

    @classmethod
    def of(
        cls,
        samples: WeightedSamples,
        bounds: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
        resolution: Resolution | None = None,
    ) -> TrainingData:
        """Validated samples, their copies merged and their ties dequantized, without folds.

        The resolution is that of the samples, unless one is given.
        """
        X = without_round_off(samples.X.astype(np.float64), np.finfo(samples.X.dtype).eps)
        sources = originals(X)
        X, weight, groups, completed = merged_copies(samples._replace(X=X), sources)
        resolution = Resolution.of(X, bounds) if resolution is None else resolution
        margins = None if bounds is None else bounds_with_margins(X, weight, resolution, bounds)
        groups = None if groups is None else numbered(groups)
        spread, places = resolution.dequantized(X, rng, bounds), np.unique(sources, return_inverse=True)[1]
        return cls(spread, weight, (), 0, margins, rng, resolution, groups, completed, X, places)

    def split(self, n_folds: int, n_validated: int, affordable: float = np.inf) -> TrainingData:
        """The same samples in random disjoint folds, the first of which have out-of-fold log-densities.

        No fold has more samples than are `affordable`.
        """
        largest = min(MAX_VALIDATION, affordable)
        folds = random_folds(self.sample_weight, self.groups, n_folds, self.rng, largest)
        return replace(self, folds=folds, n_validated=min(n_validated, len(folds)))

    @property
    def n_samples(self) -> int:
        return len(self.X)

    @property
    def n_effective(self) -> int:
        """The number of samples of equal weight that tell as much: what the size of models follows."""
        return max(2, round(self.information * effective_number(self.sample_weight)))

    @property
    def n_trained(self) -> int:
        """The number of samples of equal weight that tell as much as all that networks are trained on."""
        per_drawn = 1.0 if self.reservoir is None else self.reservoir.samples_per_drawn
        return max(2, round(per_drawn * self.n_effective))

    @property
    def information(self) -> float:
        """Share of their effective number that the samples are worth: several may stand for one."""
        return 1.0 if self.completed is None else self.completed.information(self.sample_weight)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def validation_folds(self) -> tuple[np.ndarray, ...]:
        """The folds that have out-of-fold log-densities."""
        return self.folds[: self.n_validated]

    @cached_property
    def validated(self) -> np.ndarray:
        """The samples of the validation folds, in the order of all out-of-fold log-densities: one of each source."""
        return self.first(np.concatenate(self.validation_folds))

    @property
    def validation_weight(self) -> np.ndarray:
        """Weights of `validated`."""
        return self.weights_of(self.validated)

    def first(self, samples: np.ndarray) -> np.ndarray:
        """Those of some samples that are the first to stand for theirs."""
        return samples if self.completed is None else self.completed.first(samples)

    def all_of(self, samples: np.ndarray) -> np.ndarray:
        """All that stand for the same samples as some do."""
        return samples if self.completed is None else self.completed.all_of(samples)

    def weights_of(self, samples: np.ndarray) -> np.ndarray:
        """Weights of what some samples stand for."""
        whole = self.sample_weight if self.completed is None else self.completed.whole_weight(self.sample_weight)
        return whole[samples]

    def without(self, fold: np.ndarray) -> np.ndarray:
        """All samples outside a fold."""
        return np.setdiff1d(np.arange(self.n_samples), fold)

    def dequantized(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Further samples of the same source, as those of the fit were: float64, and ties spread over their cells."""
        assert self.reservoir is not None
        X = self.resolution.without_round_off(X.astype(np.float64), np.finfo(self.reservoir.X.dtype).eps)
        return self.resolution.dequantized(X, rng, None if self.bounds is None else (self.bounds.low, self.bounds.high))

    def mapped(self, preprocessor: Preprocessor) -> MappedData:
        """The samples behind a preprocessor, mapped once."""
        if id(preprocessor) not in self._mapped:
            # The preprocessor is kept beside its values, so that its id is not given to another.
            self._mapped[id(preprocessor)] = preprocessor, MappedData.of(self, preprocessor)
        return self._mapped[id(preprocessor)][1]


@dataclass(frozen=True)
class MappedData:
    """The samples of a fit behind a preprocessor.

    Those that are left out are mapped as if the maps had been fitted without them, for out-of-fold log-densities.
    """

    preprocessor: Preprocessor
    z: np.ndarray  # (n_samples, n_features), whitened samples
    z_left_out: np.ndarray  # (n_samples, n_features), the same, each left out of its own map
    log_det_left_out: np.ndarray  # (n_samples,), their log-Jacobians
    completed: CompletedSamples | None = None  # the samples that they stand for, where several stand for one

    @classmethod
    def of(cls, data: TrainingData, preprocessor: Preprocessor) -> MappedData:
        """Map the samples of a fit."""
        z, _ = preprocessor.transform(data.X)
        left_out = preprocessor.transform_left_out(data.X, data.sample_weight, data.groups)
        return cls(preprocessor, z, *left_out, data.completed)

    def log_prob_left_out(self, density: Density, samples: np.ndarray) -> np.ndarray:
        """Log-densities of samples, in the units of the features, by a density of z that was fitted without them.

        Of samples that were completed, those of what was known: one for all that stand for a sample.
        """
        return self.observed(density.log_prob(self.z_left_out[samples]) + self.log_det_left_out[samples], samples)

    def observed(self, log_prob: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Log-densities of what was known of samples, from those of the samples themselves."""
        return log_prob if self.completed is None else self.completed.observed(log_prob, samples)
