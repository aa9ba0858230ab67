"""Arrays and frames of dask."""

from __future__ import annotations

from typing import Any

from skdiffusion._utils.sources._source import PartedSource


class DaskSource(PartedSource):
    """A dask array by its blocks of rows, a dask frame by its partitions; computed by the scheduler in force."""

    def __init__(self, X: Any) -> None:
        if is_array := hasattr(X, "numblocks"):
            X = X if X.numblocks[1] == 1 else X.rechunk({1: -1})
            sizes = [int(size) if size == size else None for size in X.chunks[0]]
        else:
            sizes = [None] * X.npartitions
        super().__init__(sizes)
        self.X, self._parts = X, X.blocks if is_array else X.partitions

    def part(self, k: int) -> Any:
        return self._parts[k].compute()

    def whole(self) -> Any:
        return self.X.compute()
