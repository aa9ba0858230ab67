"""Which objects are sources."""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any

import numpy as np

from skdiffusion._utils.sources._arrays import ArraySource, MappedFile
from skdiffusion._utils.sources._callables import CallableSource
from skdiffusion._utils.sources._source import Source


def source_of(X: Any) -> Source | None:
    """The source that X is; None for an array or frame in memory, and for anything else.

    Raises
    ------
    FileNotFoundError
        If X is a path, and there is nothing.
    ImportError
        If it is a path, and pyarrow is not installed.
    ValueError
        If it cannot be read.
    """
    if isinstance(X, np.ndarray):
        return ArraySource(X) if X.ndim == 2 and X.dtype.kind in "biuf" and MappedFile.of(X) else None
    if isinstance(X, (str, PathLike)):
        return _of_path(X)
    if (module := sys.modules.get("pyarrow.dataset")) is not None and isinstance(X, module.Dataset):
        from skdiffusion._utils.sources._parquet import dataset_source

        return dataset_source(X)
    if "dask" in sys.modules and hasattr(X, "__dask_graph__") and hasattr(X, "compute") and getattr(X, "ndim", 0) == 2:
        from skdiffusion._utils.sources._dask import DaskSource

        return DaskSource(X)
    return CallableSource(X) if callable(X) else None


def _of_path(path: str | PathLike) -> Source:
    try:
        from skdiffusion._utils.sources._parquet import open_parquet
    except ImportError as error:
        raise ImportError(f"X is the path {str(path)!r}, and Parquet files are read by pyarrow: install it.") from error
    return open_parquet(path)
