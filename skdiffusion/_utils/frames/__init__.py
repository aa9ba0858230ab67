"""Samples in frames of pandas, polars and pyarrow: their numbers for `fit`, and samples in the frame that `fit` saw.

A frame is described by its library, its column labels and the code of every dtype: strings, numbers, lists and dicts,
so that a file of a fitted estimator can hold the description. A dtype that has no code is refused by `fit`, in words.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skdiffusion._utils.frames._times import time_number

# The class of a library's frames, and the module that converts them, which imports the library.
FRAMES = {
    "pandas": ("DataFrame", "skdiffusion._utils.frames._pandas"),
    "polars": ("DataFrame", "skdiffusion._utils.frames._polars"),
    "pyarrow": ("Table", "skdiffusion._utils.frames._arrow"),
}


# What holds columns and is no frame, and how it becomes one.
UNREAD = {
    "polars": ("LazyFrame", "pass X.collect()"),
    "pyarrow": ("RecordBatch", "pass pyarrow.Table.from_batches([X])"),
}


def frame_library(X: Any) -> str | None:
    """The library whose frame X is; None for anything else."""
    for library, (name, _) in FRAMES.items():
        if (module := sys.modules.get(library)) is not None and isinstance(X, getattr(module, name, ())):
            return library
    return None


def refuse_unread(X: Any) -> None:
    """Raise ValueError for a container of columns that is no frame yet."""
    for library, (name, remedy) in UNREAD.items():
        if (module := sys.modules.get(library)) is not None and isinstance(X, getattr(module, name, ())):
            raise ValueError(f"X is a {name} of {library}, not a frame that has been read: {remedy}.")


def _converter(library: str) -> ModuleType:
    return import_module(FRAMES[library][1])


def column_names(X: Any) -> list | None:
    """Names of the columns of a frame; None for anything else."""
    if (library := frame_library(X)) is None:
        return None
    return list(X.column_names if library == "pyarrow" else X.columns)


def as_numbers(X: Any) -> Any:
    """X, ready for scikit-learn's validation: a frame of X's library whose columns are numbers, or what is no frame.

    Raises
    ------
    ValueError
        If a column of a frame holds no numbers, two columns have one name, or columns are in no frame yet.
    """
    library = frame_library(X)
    if library is None:
        refuse_unread(X)
        return X
    return _converter(library).as_numbers(X)


def as_number(value: Any) -> float:
    """A single value as a number, a time in the unit of its columns: NaN for None and for missing values of pandas.

    Raises
    ------
    TypeError or ValueError
        If it is no number.
    """
    pandas = sys.modules.get("pandas")
    if value is None or (pandas is not None and (value is pandas.NA or value is pandas.NaT)):
        return float("nan")
    if pandas is not None and isinstance(value, pandas.Period):
        return float(value.ordinal)
    number = time_number(value)
    return float(value) if number is None else number


def note_frame(estimator: BaseEstimator, X: Any, label_codes: Mapping[int, Any] | None = None) -> None:
    """Keep the library, names and dtypes of a frame on an estimator; forget those of an earlier fit.

    Columns of labels have the codes that are given for their numbers.
    """
    if (library := frame_library(X)) is None:
        estimator._frame = None
        return
    converter, known = _converter(library), label_codes or {}
    columns = enumerate(converter.column_at(X, j) for j in range(X.shape[1]))
    codes = [converter.places_code(c, known[j]) if j in known else converter.code(c) for j, c in columns]
    estimator._frame = library, converter.names(X), codes


def category_columns(X: Any) -> list[int]:
    """Numbers of the columns of a frame that hold categories by their dtypes: categories, text or booleans."""
    if (library := frame_library(X)) is None:
        return []
    converter = _converter(library)
    return [j for j in range(X.shape[1]) if converter.is_category(converter.column_at(X, j))]


def label_codes_of(X: Any, columns: Iterable[int]) -> dict[int, Any]:
    """Codes, with their labels, of those columns of a frame, by their numbers, that hold labels and no numbers."""
    if (library := frame_library(X)) is None:
        return {}
    converter = _converter(library)
    codes = {j: converter.label_code(converter.column_at(X, j)) for j in columns}
    return {j: code for j, code in codes.items() if code is not None}


def labels_of_code(library: str, code: Any) -> list:
    """The labels of the code of a column."""
    return _converter(library).labels(code)


def is_ordered(code: Any) -> bool:
    """Whether the labels of the code of a column are in an order that its dtype states."""
    inner = code.get("arrow", code)
    return bool(inner.get("ordered", inner.get("pool") == "enum"))


def with_places(X: Any, labels: Mapping[int, Sequence]) -> Any:
    """X with the columns of labels, by their numbers, as the places of their values among these.

    A missing value is NaN, and one that is none of the labels has the place after the last. Numbers in place of text
    are a ValueError.
    """
    if (library := frame_library(X)) is None:
        return X
    converter = _converter(library)
    columns = {}
    for j, known in labels.items():
        if j < X.shape[1]:
            column = converter.column_at(X, j)
            columns[j] = converter.places(column, known)
            dtype = str(getattr(column, "dtype", getattr(column, "type", ""))).lower()
            numbers = dtype.startswith(("int", "uint", "float", "double")) and not np.isnan(columns[j]).all()
            if numbers and known and all(isinstance(label, str) for label in known):
                raise ValueError(
                    f"Column {j} of X holds numbers, where 'fit' saw the labels {list(known)[:5]}: pass labels in a "
                    "frame, or their places in an array."
                )
    return converter.with_columns(X, columns)


def joined_frames(frames: Sequence[Any]) -> Any:
    """The samples of frames of one library as one frame; columns of categories have the categories of all.

    Raises
    ------
    ValueError
        If the columns differ in their names, their order or the kinds of their values.
    """
    converter = _converter(str(frame_library(frames[0])))
    names = [list(getattr(frame, "column_names", frame.columns)) for frame in frames]
    if other := next((found for found in names if found != names[0]), None):
        raise ValueError(f"Every shard of X must have the same columns in the same order. Got {names[0]} and {other}.")
    return converter.joined(frames)


def wants_frame(estimator: BaseEstimator, as_frame: bool | str) -> bool:
    """Whether `sample` should return a frame; ValueError if one is asked for and `fit` saw none."""
    if as_frame not in ("auto", True, False):
        raise ValueError(f"The 'as_frame' argument must be 'auto', True or False. Got {as_frame!r} instead.")
    known = getattr(estimator, "_frame", None) is not None
    if as_frame is True and not known:
        raise ValueError(
            "as_frame=True asks for the columns of a frame, but the estimator was fitted on an array: fit it on a "
            "frame of pandas, polars or pyarrow, or leave 'as_frame' out."
        )
    return as_frame is not False and known


def to_frame(samples: np.ndarray, estimator: BaseEstimator) -> Any:
    """Samples as a frame with the library, names and dtypes that `note_frame` kept."""
    library, labels, dtypes = estimator._frame
    return _converter(library).build(samples, labels, dtypes)
