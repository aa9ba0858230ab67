"""Arrays of NumPy, in memory or mapped from a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.sources._source import Source

CHUNK_SAMPLES = 65_536  # that are read together in their order
RUN_BYTES = 16_384  # of neighboring samples that are read together in random order, a few pages of a disk, and
RUN_SAMPLES = 256  # of these at most: neighbors resemble each other


class MappedFile(NamedTuple):
    """The file that an array lies in, and how long it must be for its samples to be there."""

    file: mmap.mmap
    size: int

    @classmethod
    def of(cls, X: np.ndarray) -> MappedFile | None:
        """The file of an array or of what it is a view of; None for one in memory."""
        offset, base = None, X
        while isinstance(base, np.ndarray):
            if isinstance(base, np.memmap) and base.offset is not None:
                offset = int(base.offset)
            base = base.base  # type: ignore[assignment]
        if offset is None or not isinstance(base, mmap.mmap):
            return None
        last = sum((n - 1) * stride for n, stride in zip(X.shape, X.strides) if stride > 0)
        end = X.__array_interface__["data"][0] + last + X.itemsize
        start = np.frombuffer(base, dtype=np.uint8).__array_interface__["data"][0]
        return cls(base, offset - offset % mmap.ALLOCATIONGRANULARITY + end - start)

    def check(self) -> None:
        """Raise ValueError if the file ends before the samples do: reading on would end the process."""
        if (found := self.file.size()) < self.size:
            raise ValueError(
                f"The file of the memmap X was cut off: it has {found} bytes, and the samples end at {self.size}. "
                "Write it again, and open it anew."
            )


class ArraySource(Source):
    """The rows of an array."""

    is_fine = True

    def __init__(self, X: np.ndarray) -> None:
        self.X, self.n_samples = X, len(X)
        self._file = MappedFile.of(X) if len(X) else None

    def chunks(self) -> Iterator[np.ndarray]:
        for part in slices(len(self.X), CHUNK_SAMPLES):
            yield self._read(part)

    def whole(self) -> np.ndarray:
        if self._file is not None:
            self._file.check()
        return self.X

    def shuffled(self, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
        size = max(1, min(RUN_SAMPLES, RUN_BYTES // max(1, self.X[:1].nbytes)))
        for start in size * rng.permutation(-(-len(self.X) // size)):
            yield int(start), self._read(slice(start, start + size))

    def _read(self, part: slice) -> np.ndarray:
        """Samples in memory of their own, whatever becomes of the file."""
        if self._file is not None:
            self._file.check()
        return np.array(self.X[part])


class FrameSource(ArraySource):
    """The numbers of a frame in memory."""

    def __init__(self, frame: Any) -> None:
        super().__init__(np.asarray(as_numbers(frame)))
        self.frame = frame

    def whole(self) -> Any:
        return self.frame
