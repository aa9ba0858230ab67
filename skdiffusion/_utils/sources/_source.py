"""What every source of samples can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np


class Source(ABC):
    """Samples that are read in chunks, arrays or frames, each of which fits into memory."""

    n_samples: int | None = None  # None where only reading them tells
    frame: Any = None  # whose numbers the chunks are, if they are not frames themselves
    is_fine = False  # whether the parts of `shuffled` are so small that some of them stand for all

    @abstractmethod
    def chunks(self) -> Iterator[Any]:
        """All samples in their order, a chunk at a time."""

    @abstractmethod
    def whole(self) -> Any:
        """All samples in memory, as one array or frame."""

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
        """All samples, in an order of parts as random as the source allows: the number of the first sample, a chunk.

        A source that can only be read from its beginning keeps its order.
        """
        start = 0
        for chunk in self.chunks():
            yield start, chunk
            start += len(chunk)


class PartedSource(Source):
    """A source whose parts can be read in any order."""

    def __init__(self, sizes: list[int | None]) -> None:
        self.sizes = sizes  # samples of every part; None where only reading them tells

    @property
    def n_samples(self) -> int | None:  # type: ignore[override]
        known = [size for size in self.sizes if size is not None]
        return sum(known) if len(known) == len(self.sizes) else None

    @abstractmethod
    def part(self, k: int) -> Any:
        """The samples of a part, by its number."""

    def chunks(self) -> Iterator[Any]:
        for k in range(len(self.sizes)):
            yield self._read(k)

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[int, Any]]:
        if self.n_samples is None:  # where a part starts is not known before all have been read
            yield from super().shuffled(rng)
            return
        starts = list(accumulate((size or 0 for size in self.sizes), initial=0))
        for k in rng.permutation(len(self.sizes)).tolist():
            yield starts[k], self._read(k)

    def _read(self, k: int) -> Any:
        chunk = self.part(k)
        self.sizes[k] = len(chunk)
        return chunk
