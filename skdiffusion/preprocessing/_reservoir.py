"""A random part of more samples than are kept in memory, from which everything but the networks learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.sources import ChunkReader, Source
from skdiffusion.preprocessing._folds import MAX_VALIDATION

# Eight folds of `MAX_VALIDATION` samples, all that a fit ever leaves out, are a fifth of them.
RESERVOIR_SAMPLES = 40 * MAX_VALIDATION


@dataclass(frozen=True)
class OwnPart:
    """The samples that a process reads: all of them, unless it is one of several.

    Parameters
    ----------
    source : Source
    reader : ChunkReader
    n_samples : int
        Samples of the source that were read.
    first : int
        Number of the first one among the samples of all processes.
    is_complete : bool
        Whether all of the source was read.
    """

    source: Source
    reader: ChunkReader
    n_samples: int
    first: int = 0
    is_complete: bool = True


@dataclass(frozen=True)
class Reservoir:
    """Samples that were drawn from many, each as likely as any other, and where the others are.

    Parameters
    ----------
    X : array of shape (n_drawn, n_features)
        In the order of their numbers.
    numbers : int array of shape (n_drawn,)
        Rising numbers of these samples among all.
    n_samples : int
        Samples that were read, by all processes.
    own : OwnPart
    """

    X: np.ndarray
    numbers: np.ndarray
    n_samples: int
    own: OwnPart

    @property
    def samples_per_drawn(self) -> float:
        """Samples that were read for each that was drawn."""
        return self.n_samples / len(self.X)


class Kept(NamedTuple):
    """Samples of a stream with the smallest keys so far, and their numbers in it."""

    X: np.ndarray
    keys: np.ndarray
    numbers: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Kept]) -> Kept:
        """Those of several streams or chunks together."""
        return cls(*(np.concatenate(part) for part in zip(*parts)))

    def smallest(self, size: int) -> Kept:
        """The samples with the smallest keys, so many at most."""
        if len(self.keys) <= size:
            return self
        smallest = np.argpartition(self.keys, size - 1)[:size]
        return Kept(*(part[smallest] for part in self))

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples in the order of their numbers, and these."""
        order = np.argsort(self.numbers)
        return self.X[order], self.numbers[order]


class ReservoirSampling:
    """Draws samples from a stream: those with the smallest of independent random keys.

    What is drawn depends on the samples and their order, not on the chunks in which they come.

    References
    ----------
    Vitter (1985), Random sampling with a reservoir.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng, self.limit = size, rng, np.inf
        self._parts: list[Kept] = []
        self._n_kept = 0

    def add(self, X: np.ndarray, start: int) -> None:
        """Offer a chunk of samples, which begins with the sample of a number."""
        keys = self.rng.random(len(X))
        kept = np.flatnonzero(keys < self.limit)
        self._parts.append(Kept(X[kept], keys[kept], start + kept))
        self._n_kept += len(kept)
        if self._n_kept > 2 * self.size:
            self.kept()

    def kept(self) -> Kept | None:
        """What is drawn so far; None if nothing was offered."""
        if not self._parts:
            return None
        kept = Kept.joined(self._parts).smallest(self.size)
        if len(kept.keys) == self.size:
            self.limit = kept.keys.max()
        self._parts, self._n_kept = [kept], len(kept.keys)
        return kept
