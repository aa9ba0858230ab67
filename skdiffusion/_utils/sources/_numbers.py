"""Chunks of a source as arrays of numbers, all with the columns of the first."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdiffusion._utils.frames import as_numbers, column_names, frame_library


class ChunkReader:
    """Turns chunks into arrays, float32 where all of a chunk is, and refuses those of other columns by name.

    Attributes
    ----------
    first : array or frame
        Two samples of the first chunk, as they came: the names and dtypes of the columns.
    """

    def __init__(self, first: Any) -> None:
        if len(first.shape) != 2:
            raise ValueError(f"The chunks of X must have the shape (n_samples, n_features). Got {first.shape} instead.")
        self.first, self.library = first[:2], frame_library(first)
        self.names = column_names(first)
        self.n_features: int = first.shape[1]

    def numbers(self, chunk: Any, start: int) -> np.ndarray:
        """The numbers of a chunk that begins with the sample of a number, in float32 or float64.

        Raises
        ------
        ValueError
            If its columns are not those of the first, or hold no numbers.
        """
        self.check(chunk, start)
        values = np.asarray(as_numbers(chunk))
        if values.dtype.kind not in "biuf":
            try:
                values = values.astype(np.float64, casting="same_kind" if values.dtype.kind != "O" else "unsafe")
            except (TypeError, ValueError) as error:
                raise ValueError(f"The chunk of X from sample {start} on holds no real numbers: {error}.") from error
        return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)

    def check(self, chunk: Any, start: int) -> None:
        """Raise ValueError, by name, unless the columns of a chunk are those of the first."""
        where = f"The chunk of X from sample {start} on"
        if frame_library(chunk) != self.library:
            kinds = [library or "NumPy" for library in (frame_library(chunk), self.library)]
            raise ValueError(f"{where} is of {kinds[0]}, the first one of {kinds[1]}: give chunks of one kind.")
        if (names := column_names(chunk)) != self.names:
            assert names is not None
            assert self.names is not None
            lacking, new = [n for n in self.names if n not in names], [n for n in names if n not in self.names]
            why = f"lacks {lacking} and has {new} beside those" if lacking or new else "has them in another order than"
            raise ValueError(
                f"{where} has other columns: it {why} of the first chunk. Give all chunks the same columns."
            )
        if len(chunk.shape) != 2 or chunk.shape[1] != self.n_features:
            raise ValueError(f"{where} has the shape {chunk.shape}, the first one {self.n_features} features.")
