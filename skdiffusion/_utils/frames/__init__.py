"""Samples in frames of pandas, polars and pyarrow: their numbers for `fit`, and samples in the frame that `fit` saw.

A frame is described by its library, its column labels and the code of every dtype: strings, numbers, lists and dicts,
so that a file of a fitted estimator can hold the description. A dtype that has no code is refused by `fit`, in words.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

# The class of a library's frames, and the module that converts them, which imports the library.
FRAMES = {
    "pandas": ("DataFrame", "skdiffusion._utils.frames._pandas"),
    "polars": ("DataFrame", "skdiffusion._utils.frames._polars"),
    "pyarrow": ("Table", "skdiffusion._utils.frames._arrow"),
}


def frame_library(X: Any) -> str | None:
    """The library whose frame X is; None for anything else."""
    for library, (name, _) in FRAMES.items():
        if (module := sys.modules.get(library)) is not None and isinstance(X, getattr(module, name, ())):
            return library
    return None


def _converter(library: str) -> ModuleType:
    return import_module(FRAMES[library][1])


def as_numbers(X: Any) -> Any:
    """X, ready for scikit-learn's validation: a frame of X's library whose columns are numbers, or what is no frame.

    Raises
    ------
    ValueError
        If a column of a frame holds no numbers, or two columns have one name.
    """
    library = frame_library(X)
    return X if library is None else _converter(library).as_numbers(X)


def as_number(value: Any) -> float:
    """A single value as a number: NaN for None and for the missing value of pandas.

    Raises
    ------
    TypeError or ValueError
        If it is no number.
    """
    pandas = sys.modules.get("pandas")
    return float("nan") if value is None or (pandas is not None and value is pandas.NA) else float(value)


def note_frame(estimator: BaseEstimator, X: Any) -> None:
    """Keep the library, names and dtypes of a frame on an estimator; forget those of an earlier fit."""
    library = frame_library(X)
    estimator._frame = None if library is None else (library, *_converter(library).describe(X))


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
