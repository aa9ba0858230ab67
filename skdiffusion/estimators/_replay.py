"""The samples that an estimator keeps of its stream, so that a call of `partial_fit` sees more than its own few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skdiffusion.densities import Component
from skdiffusion.preprocessing import TrainingData

MAX_SAMPLES = 2000  # that are kept
UNKNOWN = -2  # fold of a sample that has none yet


@dataclass(frozen=True)
class ReplayBuffer:
    """The latest samples of a stream, at most `MAX_SAMPLES`, with what densities that have not seen them say of them.

    Every sample keeps its fold, so that the network that leaves the fold out never learns from it. The samples of one
    call have no order: where a call brings more than are kept, a random part of them is.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Dequantized samples, the latest last.
    sample_weight : array of shape (n_samples,)
        The weights of a call sum to its effective number of samples.
    fold : int array of shape (n_samples,)
        -1 where every network learns from a sample.
    n_folds : int
    log_prob : array of shape (n_samples, n_components)
        Log-densities of the closed-form components that were fitted without the sample, in nats; NaN in no fold.
    min_weights : array of shape (n_components,)
        Least weights of these components in the blend.
    n_waiting : int
        Samples since the last round of training, the latest ones.
    """

    X: np.ndarray
    sample_weight: np.ndarray
    fold: np.ndarray
    n_folds: int
    log_prob: np.ndarray
    min_weights: np.ndarray
    n_waiting: int = 0

    @classmethod
    def of_fit(cls, data: TrainingData, components: Sequence[Component], rng: np.random.Generator) -> ReplayBuffer:
        """The samples of a fit, with their out-of-fold log-densities."""
        fold, log_prob = np.full(data.n_samples, -1), np.full((data.n_samples, len(components)), np.nan)
        for k, part in enumerate(data.folds):
            fold[part] = k
        if components:
            log_prob[data.validated] = np.stack([c.held_out_log_prob for c in components], axis=1)
        kept = rng.permutation(data.n_samples)[:MAX_SAMPLES]
        weight = data.sample_weight[kept]
        min_weights = np.array([c.min_weight for c in components])
        return cls(data.X[kept], effective(weight), fold[kept], len(data.folds), log_prob[kept], min_weights)

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

    def followed_by(self, data: TrainingData, log_prob: np.ndarray, identifying: np.ndarray) -> ReplayBuffer:
        """The buffer with the samples of a call, of which the earliest samples make way.

        A sample that is there already becomes the latest, in its own fold.

        Parameters
        ----------
        data : TrainingData
            Dequantized samples of the call.
        log_prob : array of shape (n_samples, n_components)
            Their log-densities under the closed-form components.
        identifying : bool array of shape (n_features,)
            Features without ties: samples that agree in all of these are copies. Without any, there are no copies.
        """
        X, weight, log_prob = _without_copies(data.X, data.sample_weight, log_prob, identifying)
        order = data.rng.permutation(len(X))[:MAX_SAMPLES]
        X, weight, log_prob = X[order], effective(weight)[order], log_prob[order]
        mine, earlier = _places_of_copies(X, self.X, identifying)
        log_prob[mine] = self.log_prob[earlier]
        kept = np.setdiff1d(np.arange(len(self.X)), earlier)
        kept = kept[max(0, len(kept) + len(X) - MAX_SAMPLES) :]
        folds = np.full(len(X), UNKNOWN)
        folds[mine] = self.fold[earlier]
        fold = self._spread(np.concatenate([self.fold[kept], folds]), data.rng)
        return replace(
            self,
            X=np.concatenate([self.X[kept], X]),
            sample_weight=np.concatenate([self.sample_weight[kept], weight]),
            fold=fold,
            log_prob=np.concatenate([self.log_prob[kept], log_prob]),
            n_waiting=int(self.waiting[kept].sum()) + len(X),
        )

    def _spread(self, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Folds in which every sample of unknown fold has gone to one of the smallest."""
        counts = np.bincount(fold[fold >= 0], minlength=self.n_folds)
        for i in np.flatnonzero(fold == UNKNOWN):
            fold[i] = np.argmin(counts + rng.random(self.n_folds))
            counts[fold[i]] += 1
        return fold

    def trained(self) -> ReplayBuffer:
        """The same after a round of training."""
        return replace(self, n_waiting=0)

    def forgetting(self) -> ReplayBuffer:
        """The buffer without the earlier half of the samples that do not wait."""
        n = (len(self.X) - self.n_waiting) // 2
        return replace(
            self, X=self.X[n:], sample_weight=self.sample_weight[n:], fold=self.fold[n:], log_prob=self.log_prob[n:]
        )

    def training_data(self, n_validated: int, rng: np.random.Generator) -> TrainingData:
        """The samples in their folds."""
        folds = tuple(np.flatnonzero(self.fold == k) for k in range(self.n_folds))
        return TrainingData(self.X, self.sample_weight, folds, n_validated, None, rng)


def effective(weight: np.ndarray) -> np.ndarray:
    """Weights that sum to the effective number of samples."""
    return weight * (weight.sum() / (weight @ weight))


def _places_of_copies(X: np.ndarray, earlier: np.ndarray, identifying: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the samples of X that are among the earlier ones, and of these."""
    if not identifying.any():
        return np.empty(0, dtype=int), np.empty(0, dtype=int)
    there = {sample.tobytes(): i for i, sample in enumerate(earlier[:, identifying] + 0.0)}  # minus zero is zero
    found = [(i, there.get(sample.tobytes())) for i, sample in enumerate(X[:, identifying] + 0.0)]
    pairs = np.array([pair for pair in found if pair[1] is not None], dtype=int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _without_copies(
    X: np.ndarray, weight: np.ndarray, log_prob: np.ndarray, identifying: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples, of which each comes once with the weight of all of its copies, their weights and log-densities."""
    if not identifying.any():
        return X, weight, log_prob
    _, first, copy_of = np.unique(X[:, identifying], axis=0, return_index=True, return_inverse=True)
    return X[first], np.bincount(copy_of.ravel(), weights=weight), log_prob[first]
