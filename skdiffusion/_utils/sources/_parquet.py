"""Parquet files and data sets of Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike, fspath
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from skdiffusion._utils.sources._source import PartedSource, Source


def _read(read: Callable[[], Any], what: str) -> Any:
    """What Arrow reads; its errors in words."""
    try:
        return read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} was not found: {error}") from error
    except (OSError, pa.ArrowException) as error:
        raise ValueError(
            f"{what} could not be read ({error}): it may be cut off or of another kind. Write it again, or give X as "
            "an array or a frame."
        ) from error


def open_parquet(path: str | PathLike) -> Source:
    """The source of a Parquet file, or of a folder of such files."""
    place = fspath(path)
    return dataset_source(_read(lambda: ds.dataset(place, format="parquet"), f"The Parquet path {place!r} of X"))


def dataset_source(dataset: ds.Dataset) -> Source:
    """The source of a data set, by its row groups where it has some; in its order where it is filtered."""
    try:
        fragments = list(dataset.get_fragments())
    except ValueError:  # by which Arrow says that it is filtered
        return FilteredSource(dataset)
    pieces: list[ds.Fragment] = []
    for fragment in fragments:
        if isinstance(fragment, ds.ParquetFileFragment):
            pieces += _read(fragment.split_by_row_group, _name(fragment))
        else:
            pieces.append(fragment)
    return DatasetSource(dataset, pieces)


def _name(fragment: ds.Fragment) -> str:
    path = getattr(fragment, "path", None)
    return "A part of the data set X" if path is None else f"The file {path!r} of X"


def _n_samples(piece: ds.Fragment) -> int:
    if isinstance(piece, ds.ParquetFileFragment):
        return sum(group.num_rows for group in piece.row_groups)  # `count_rows` is of the whole file
    return _read(piece.count_rows, _name(piece))


class DatasetSource(PartedSource):
    """A data set, a row group at a time."""

    def __init__(self, dataset: ds.Dataset, pieces: list[ds.Fragment]) -> None:
        super().__init__([_n_samples(piece) for piece in pieces])
        self.dataset, self.pieces = dataset, pieces

    def part(self, k: int) -> pa.Table:
        piece = self.pieces[k]
        return _read(lambda: piece.to_table(schema=self.dataset.schema), _name(piece))

    def whole(self) -> pa.Table:
        return _read(self.dataset.to_table, "The data set X")


class FilteredSource(Source):
    """A data set of which a filter leaves some samples."""

    def __init__(self, dataset: ds.Dataset) -> None:
        self.dataset = dataset

    def chunks(self) -> Iterator[pa.Table]:
        batches = self.dataset.to_batches()
        while (batch := _read(lambda: next(batches, None), "The data set X")) is not None:
            yield pa.Table.from_batches([batch])

    def whole(self) -> pa.Table:
        return _read(self.dataset.to_table, "The data set X")
