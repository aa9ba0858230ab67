"""The samples that an estimator keeps of its stream, so that a call of `partial_fit` sees more than its own few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdiffusion.densities import Component
from skdiffusion.preprocessing import MappedData, Preprocessor, Resolution, TrainingData, originals

MAX_SAMPLES = 2000  # that are kept
UNKNOWN = -2  # fold of a sample that has none yet
UNSEEN = ("fold", "log_prob", "z_left_out", "log_det_left_out")  # what a sample has from its first coming
PER_SAMPLE = ("X", "given", "sample_weight", *UNSEEN)


@dataclass(frozen=True)
class ReplayBuffer:
    """The latest samples of a stream, at most `MAX_SAMPLES`, with what densities that have not seen them say of them.

    Every sample keeps its fold, so that the network that leaves the fold out never learns from it. The samples of one
    call have no order: where a call brings more than are kept, a random part of them is.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Dequantized samples, the latest last.
    given : array of shape (n_samples, n_features)
        The same before they were dequantized, by which copies are found.
    sample_weight : array of shape (n_samples,)
        The weights of a call sum to its effective number of samples.
    fold : int array of shape (n_samples,)
        -1 where every network learns from a sample.
    n_folds : int
    log_prob : array of shape (n_samples, n_components)
        Log-densities of the closed-form components that were fitted without the sample, in nats; NaN in no fold.
    z_left_out, log_det_left_out : arrays of shape (n_samples, n_features) and (n_samples,)
        Whitened samples and log-Jacobians by maps that were fitted without the sample.
    min_weights : array of shape (n_components,)
        Least weights of these components in the blend.
    resolution : Resolution
        Of the fit, by which the samples are dequantized.
    n_waiting : int
        Samples since the last round of training, the latest ones.
    """

    X: np.ndarray
    given: np.ndarray
    sample_weight: np.ndarray
    fold: np.ndarray
    n_folds: int
    log_prob: np.ndarray
    z_left_out: np.ndarray
    log_det_left_out: np.ndarray
    min_weights: np.ndarray
    resolution: Resolution
    n_waiting: int = 0

    @classmethod
    def of_fit(
        cls, data: TrainingData, mapped: MappedData, components: Sequence[Component], rng: np.random.Generator
    ) -> ReplayBuffer:
        """The samples of a fit, with their out-of-fold log-densities, the maps of the diffusion among them."""
        fold, log_prob = np.full(data.n_samples, -1), np.full((data.n_samples, len(components)), np.nan)
        for k, part in enumerate(data.folds):
            fold[part] = k
        if components:
            log_prob[data.validated] = np.stack([c.held_out_log_prob for c in components], axis=1)
        everything = cls(
            X=data.X,
            given=data.X if data.given is None else data.given,
            sample_weight=data.weights_of(np.arange(data.n_samples)),
            fold=fold,
            n_folds=len(data.folds),
            log_prob=log_prob,
            z_left_out=mapped.z_left_out,
            log_det_left_out=mapped.log_det_left_out,
            min_weights=np.array([c.min_weight for c in components]),
            resolution=data.resolution,
        )
        first = data.first(np.arange(data.n_samples))
        kept = everything._take(first[rng.permutation(len(first))[:MAX_SAMPLES]])
        return replace(kept, sample_weight=effective(kept.sample_weight))

    @property
    def waiting(self) -> np.ndarray:
        """Whether samples have come since the last round of training, shape (n_samples,) of bool."""
        return np.arange(len(self.X)) >= len(self.X) - self.n_waiting

    @property
    def n_effective(self) -> float:
        """Effective number of samples."""
        return float(self.sample_weight.sum())

    @property
    def share_waiting(self) -> float:
        """Share of the effective number of samples that has come since the last round of training."""
        return float(self.sample_weight[self.waiting].sum()) / self.n_effective

    def followed_by(self, data: TrainingData, preprocessor: Preprocessor, log_prob: np.ndarray) -> ReplayBuffer:
        """The buffer with the samples of a call, of which the earliest samples make way.

        A sample that is there already becomes the latest, in its own fold.

        Parameters
        ----------
        data : TrainingData
            Dequantized samples of the call.
        preprocessor : Preprocessor
            Of the diffusion.
        log_prob : array of shape (n_samples, n_components)
            Log-densities of the samples under the closed-form components.
        """
        given = data.X if data.given is None else data.given
        n_before = len(self.X)
        first_of = originals(np.concatenate([self.given, given]))[n_before:]
        sources, place = np.unique(first_of, return_inverse=True)
        weight = np.bincount(place, data.sample_weight)
        # A copy of an earlier sample stands where it comes first in the call.
        first = np.full(len(sources), len(given))
        np.minimum.at(first, place, np.arange(len(given)))
        z, log_det = preprocessor.transform(data.X)
        new = replace(
            self,
            X=data.X,
            given=given,
            sample_weight=np.zeros(len(z)),
            fold=np.full(len(z), UNKNOWN),
            log_prob=log_prob,
            z_left_out=z,
            log_det_left_out=log_det,
        )
        order = data.rng.permutation(len(first))[:MAX_SAMPLES]
        new = replace(new._take(first[order]), sample_weight=effective(weight)[order])
        copies = np.flatnonzero(sources[order] < n_before)
        earlier = sources[order][copies]
        for name in UNSEEN:
            getattr(new, name)[copies] = getattr(self, name)[earlier]
        kept = np.setdiff1d(np.arange(len(self.X)), earlier)
        kept = kept[max(0, len(kept) + len(new.X) - MAX_SAMPLES) :]
        both: dict[str, Any] = {
            name: np.concatenate([getattr(self, name)[kept], getattr(new, name)]) for name in PER_SAMPLE
        }
        n_waiting = int(self.waiting[kept].sum()) + len(new.X)
        return replace(replace(self, **both), fold=self._spread(both["fold"], data.rng), n_waiting=n_waiting)

    def _take(self, which: np.ndarray | slice) -> ReplayBuffer:
        """The buffer with some of its samples."""
        return replace(self, **{name: getattr(self, name)[which] for name in PER_SAMPLE})

    def _spread(self, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Folds in which every sample of unknown fold has gone to one of the smallest."""
        counts = np.bincount(fold[fold >= 0], minlength=self.n_folds)
        for i in np.flatnonzero(fold == UNKNOWN):
            fold[i] = np.argmin(counts + rng.random(self.n_folds))
            counts[fold[i]] += 1
        return fold

    def trained(self, validated: np.ndarray, log_prob: Sequence[np.ndarray]) -> ReplayBuffer:
        """The same after a round of training, with what each closed-form component says of validation samples now."""
        of_all = self.log_prob.copy()
        for k, column in enumerate(log_prob):
            of_all[validated, k] = column
        return replace(self, log_prob=of_all, n_waiting=0)

    def latest(self, n_samples: int) -> ReplayBuffer:
        """The buffer of the latest samples alone, so many of them, and of all that wait."""
        return self._take(slice(len(self.X) - max(n_samples, self.n_waiting), None))

    def training_data(self, n_validated: int, rng: np.random.Generator) -> TrainingData:
        """The samples in their folds."""
        folds = tuple(np.flatnonzero(self.fold == k) for k in range(self.n_folds))
        return TrainingData(self.X, self.sample_weight, folds, n_validated, None, rng, self.resolution)


def effective(weight: np.ndarray) -> np.ndarray:
    """Weights that sum to the effective number of samples."""
    return weight * (weight.sum() / (weight @ weight))
