"""Samples for users of pandas and polars, returned in a frame with the columns that `fit` saw."""

import sys
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

LIBRARIES = ("pandas", "polars")
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def note_frame(estimator: BaseEstimator, X: Any) -> None:
    """Keep the library, names and dtypes of a frame on an estimator; forget those of an earlier fit."""
    library = type(X).__module__.partition(".")[0]
    is_frame = library in LIBRARIES and hasattr(X, "columns")
    estimator._frame = (library, list(X.columns), [str(dtype) for dtype in X.dtypes]) if is_frame else None


def wants_frame(estimator: BaseEstimator, as_frame: bool | str) -> bool:
    """Whether `sample` should return a frame; ValueError if one is asked for and `fit` saw none."""
    if as_frame not in ("auto", True, False):
        raise ValueError(f"The 'as_frame' argument must be 'auto', True or False. Got {as_frame!r} instead.")
    if as_frame is True and estimator._frame is None:
        raise ValueError(
            "as_frame=True asks for the columns of a frame, but the estimator was fitted on an array: fit it on a "
            "pandas or polars frame, or leave 'as_frame' out."
        )
    return as_frame is not False and estimator._frame is not None


def _as_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values as the numbers that a dtype of this name can hold."""
    name = dtype.lower()
    if name.startswith("bool"):
        return np.clip(np.round(values), 0, 1).astype(bool)
    if name not in INTEGERS:
        return values
    # The largest values of 64 bits are not doubles.
    low, high = (np.nextafter(float(bound), 0) for bound in (np.iinfo(name).min, np.iinfo(name).max))
    return np.clip(np.round(values), low, high).astype(name)


def to_frame(samples: np.ndarray, estimator: BaseEstimator) -> Any:
    """Samples as a frame with the library, names and dtypes that `note_frame` kept."""
    library, names, dtypes = estimator._frame
    columns = {name: _as_dtype(samples[:, j], dtype) for j, (name, dtype) in enumerate(zip(names, dtypes))}
    module = sys.modules.get(library) or __import__(library)
    frame = module.DataFrame(columns)
    if library == "pandas":
        return frame.astype(dict(zip(names, dtypes)))
    known = {name: getattr(module, dtype, None) for name, dtype in zip(names, dtypes)}
    return frame.cast({name: dtype for name, dtype in known.items() if dtype is not None})
