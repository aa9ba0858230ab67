"""The samples of a fit as one value, and the same behind a preprocessor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from skdiffusion._utils.protocols import Density
from skdiffusion.preprocessing._dequantization import Bounds, bounds_with_margins, dequantize, feature_resolution
from skdiffusion.preprocessing._preprocessor import Preprocessor

MAX_VALIDATION = 2500  # samples of a fold, of equal weight


@dataclass(frozen=True)
class TrainingData:
    """Validated and dequantized samples with their weights, split into folds."""

    X: np.ndarray  # (n_samples, n_features)
    sample_weight: np.ndarray  # (n_samples,), positive
    folds: tuple[np.ndarray, ...]  # disjoint sets of samples, each left out in turn; some of many samples are in none
    n_validated: int  # folds that have out-of-fold log-densities: one for each network of the ensemble
    bounds: Bounds | None
    rng: np.random.Generator  # of every random number of the fit
    _mapped: dict[int, tuple[Preprocessor, MappedData]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        sample_weight: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
        resolution: np.ndarray | None = None,
    ) -> TrainingData:
        """Validated samples, their ties dequantized, without folds.

        A `resolution` of the features that is known replaces that of these samples.
        """
        resolution = feature_resolution(X, bounds) if resolution is None else resolution
        margins = None if bounds is None else bounds_with_margins(X, resolution, bounds)
        return cls(dequantize(X, resolution, rng, bounds), sample_weight, (), 0, margins, rng)

    def split(self, n_folds: int, n_validated: int) -> TrainingData:
        """The same samples in random disjoint folds, the first of which have out-of-fold log-densities.

        A fold of many samples is cut: more than `MAX_VALIDATION` of equal weight decide nothing that these do not, and
        each costs every candidate its density.
        """
        n, w = self.n_samples, self.sample_weight
        size = round(MAX_VALIDATION * n * (w @ w) / w.sum() ** 2)  # uneven weights take more samples to tell as much
        parts = np.array_split(self.rng.permutation(n), min(n_folds, n))
        return replace(self, folds=tuple(np.sort(part[:size]) for part in parts), n_validated=n_validated)

    @property
    def n_samples(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def validation_folds(self) -> tuple[np.ndarray, ...]:
        """The folds that have out-of-fold log-densities."""
        return self.folds[: self.n_validated]

    @cached_property
    def validated(self) -> np.ndarray:
        """The samples of the validation folds, in the order of all out-of-fold log-densities."""
        return np.concatenate(self.validation_folds)

    @property
    def validation_weight(self) -> np.ndarray:
        """Weights of `validated`."""
        return self.sample_weight[self.validated]

    def without(self, fold: np.ndarray) -> np.ndarray:
        """All samples outside a fold."""
        return np.setdiff1d(np.arange(self.n_samples), fold)

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

    @classmethod
    def of(cls, data: TrainingData, preprocessor: Preprocessor) -> MappedData:
        """Map the samples of a fit."""
        z, _ = preprocessor.transform(data.X)
        return cls(preprocessor, z, *preprocessor.transform_left_out(data.X, data.sample_weight))

    def log_prob_left_out(self, density: Density, samples: np.ndarray) -> np.ndarray:
        """Log-densities of samples, in the units of the features, by a density of z that was fitted without them."""
        return density.log_prob(self.z_left_out[samples]) + self.log_det_left_out[samples]
