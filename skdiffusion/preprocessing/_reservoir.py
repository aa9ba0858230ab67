"""A random part of more samples than are kept in memory, from which everything but the networks learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.sources import ChunkReader, Source
from skdiffusion.preprocessing._folds import MAX_VALIDATION

# Eight folds of `MAX_VALIDATION` samples, all that a fit ever leaves out, are a fifth of them.
RESERVOIR_SAMPLES = 40 * MAX_VALIDATION


@dataclass(frozen=True)
class Reservoir:
    """Samples that were drawn from a source, each as likely as any other, and the source.

    Parameters
    ----------
    X : array of shape (n_drawn, n_features)
        In the order of the source.
    numbers : int array of shape (n_drawn,)
        Rising numbers of these samples in the source.
    n_samples : int
        Samples of the source that were read.
    source : Source
    reader : ChunkReader
    is_complete : bool
        Whether all of the source was read.
    """

    X: np.ndarray
    numbers: np.ndarray
    n_samples: int
    source: Source
    reader: ChunkReader
    is_complete: bool = True

    @property
    def samples_per_drawn(self) -> float:
        """Samples of the source for each that was drawn."""
        return self.n_samples / len(self.X)


class ReservoirSampling:
    """Draws samples from a stream: those with the smallest of independent random keys.

    What is drawn depends on the samples and their order, not on the chunks in which they come.

    References
    ----------
    Vitter (1985), Random sampling with a reservoir.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng, self.limit = size, rng, np.inf
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_kept = 0

    def add(self, X: np.ndarray, start: int) -> None:
        """Offer a chunk of samples, which begins with the sample of a number."""
        keys = self.rng.random(len(X))
        kept = np.flatnonzero(keys < self.limit)
        self._parts.append((X[kept], keys[kept], start + kept))
        self._n_kept += len(kept)
        if self._n_kept > 2 * self.size:
            self._prune()

    def _prune(self) -> None:
        X, keys, numbers = (np.concatenate(part) for part in zip(*self._parts))
        if len(keys) > self.size:
            smallest = np.argpartition(keys, self.size - 1)[: self.size]
            self.limit = keys[smallest].max()
            X, keys, numbers = X[smallest], keys[smallest], numbers[smallest]
        self._parts, self._n_kept = [(X, keys, numbers)], len(keys)

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples that were drawn, in their order, and their numbers."""
        self._prune()
        X, _, numbers = self._parts[0]
        order = np.argsort(numbers)
        return X[order], numbers[order]
