"""The partitions of Dask collections, one by one."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
from dask.base import is_dask_collection

from skdiffusion._utils.shards import Shard


def partitions(X: Any) -> list[Any]:
    """The partitions of a Dask array or frame, each delayed, with all features of its samples.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(X, da.Array):
        if X.ndim > 1 and X.numblocks[1] > 1:
            X = X.rechunk({1: -1})
        return X.to_delayed().ravel().tolist()
    if is_dask_collection(X) and hasattr(X, "npartitions") and hasattr(X, "to_delayed"):
        return list(X.to_delayed())
    raise TypeError(
        f"X must be a Dask array or frame. Got {type(X).__name__}: wrap samples in memory by dask.array.from_array or "
        "dask.dataframe.from_pandas, or fit a DiffusionDensityEstimator."
    )


def lengths(X: Any, n_partitions: int) -> list[float]:
    """Samples of every partition, NaN where Dask does not know."""
    return list(X.chunks[0]) if isinstance(X, da.Array) else [float("nan")] * n_partitions


def shards(X: Any, sample_weight: Any, groups: Any) -> list[Any]:
    """Every partition of X with its weights and groups, delayed, as a `Shard`.

    Raises
    ------
    TypeError or ValueError
        If weights or groups are no Dask collections of the same partitions.
    """
    parts = partitions(X)
    beside = [_alongside(values, X, len(parts), name) for values, name in _named(sample_weight, groups)]
    return [dask.delayed(Shard)(part, w, g, place) for place, (part, w, g) in enumerate(zip(parts, *beside))]


def _named(sample_weight: Any, groups: Any) -> list[tuple[Any, str]]:
    return [(sample_weight, "sample_weight"), (groups, "groups")]


def _alongside(values: Any, X: Any, n_partitions: int, name: str) -> list[Any]:
    if values is None:
        return [None] * n_partitions
    if not is_dask_collection(values):
        raise TypeError(
            f"'{name}' must be a Dask array or series with the partitions of X. Got {type(values).__name__}."
        )
    if isinstance(values, da.Array) and isinstance(X, da.Array) and values.shape == X.shape[:1]:
        values = values.rechunk((X.chunks[0],))
    parts = partitions(values)
    if len(parts) != n_partitions:
        raise ValueError(f"'{name}' has {len(parts)} partitions and X has {n_partitions}: give both the same.")
    return parts
