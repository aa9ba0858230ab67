"""Frames of pandas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from skdiffusion._utils.frames._columns import (
    LABELS_REMEDY,
    Code,
    as_dtype,
    as_objects,
    category_numbers,
    check_distinct,
    distinct_text,
    labels_at,
    nearest_category,
    object_code,
    object_numbers,
    places_of,
    refusal,
    rounded,
)
from skdiffusion._utils.frames._labels import labels_code, labels_of
from skdiffusion._utils.frames._times import Clock

TEXT_REMEDY = f"convert it with pd.to_numeric if it holds numbers; otherwise {LABELS_REMEDY}"


def as_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself, or that of its numbers where NumPy has no such dtype."""
    if not frame.columns.is_unique:
        check_distinct(list(frame.columns))
    if all(_is_plain(dtype) for dtype in frame.dtypes):
        return frame
    numbers = pd.DataFrame({j: _numbers(frame.iloc[:, j]) for j in range(frame.shape[1])}, index=frame.index)
    return numbers.set_axis(frame.columns, axis=1)


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The samples of frames with the same columns as one."""
    columns = []
    for j in range(frames[0].shape[1]):
        parts = [column_at(frame, j) for frame in frames]
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            try:
                columns.append(pd.Series(union_categoricals(parts)))
            except TypeError as error:
                raise _different(parts) from error
            continue
        columns.append(pd.concat(parts, ignore_index=True))
        if len({is_category(part) for part in parts}) > 1 or is_category(columns[-1]) != is_category(parts[0]):
            raise _different(parts)
    return pd.concat(columns, axis=1).set_axis(frames[0].columns, axis=1)


def _different(parts: Sequence[pd.Series]) -> ValueError:
    kinds = list(dict.fromkeys(str(part.dtype) for part in parts))
    return ValueError(f"Column {parts[0].name!r} of X has different dtypes in different shards, {kinds}: give it one.")


def names(frame: pd.DataFrame) -> Any:
    """Code of the column labels."""
    return labels_code(frame.columns)


def column_at(frame: pd.DataFrame, j: int) -> pd.Series:
    """The column of a number."""
    return frame.iloc[:, j]


def code(column: pd.Series) -> Code:
    """The code of a column's dtype; ValueError if it holds no numbers."""
    return _code(column)


def is_category(column: pd.Series) -> bool:
    """Whether a column holds categories by its dtype: categories, text or booleans."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        from skdiffusion._utils.frames import _arrow

        return _arrow.is_category(_arrow_column(column))
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return True
    if not (isinstance(dtype, pd.StringDtype) or dtype == np.dtype(object)):
        return False
    values = _objects(column)
    known = [v for v in values if v is not None]
    return bool(known) and (distinct_text(values) is not None or all(isinstance(v, (bool, np.bool_)) for v in known))


def label_code(column: pd.Series) -> Code | None:
    """The code of a column of labels, with these in their order; None for a column of numbers."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return {"labels": labels_code(dtype.categories), "ordered": bool(dtype.ordered)}
    if isinstance(dtype, pd.ArrowDtype):
        from skdiffusion._utils.frames import _arrow

        inner = _arrow.label_code(_arrow_column(column))
        return None if inner is None else {"arrow": inner}
    if not (isinstance(dtype, pd.StringDtype) or dtype == np.dtype(object)):
        return None
    text = distinct_text(_objects(column))
    return None if text is None else {"labels": text, "text": str(dtype)}


def labels(code: Any) -> list:
    """The labels of a code."""
    return code["arrow"]["labels"] if "arrow" in code else list(labels_of(code["labels"]))


def places_code(column: pd.Series, known: Any) -> Code:
    """The code of a column of labels, from that of these."""
    return {"places": known}


def places(column: pd.Series, known: Sequence) -> np.ndarray:
    """Places of a column\'s values among known labels."""
    return places_of(_objects(column), known)


def with_columns(frame: pd.DataFrame, columns: dict[int, np.ndarray]) -> pd.DataFrame:
    """The frame with some columns, by their numbers, replaced."""
    parts = {j: columns.get(j, frame.iloc[:, j]) for j in range(frame.shape[1])}
    return pd.DataFrame(parts, index=frame.index).set_axis(frame.columns, axis=1)


def _label_column(values: np.ndarray, code: Any) -> Any:
    """Places as an array of the labels of a code."""
    if "arrow" in code:
        from skdiffusion._utils.frames import _arrow

        return pd.arrays.ArrowExtensionArray(_arrow.as_labels(values, code["arrow"]))
    if "text" in code:
        # A series: of an array of objects pandas would choose the dtype anew.
        return pd.Series(labels_at(values, code["labels"]), dtype=code["text"])
    categories = labels_of(code["labels"])
    places = rounded(values, 0, len(categories) - 1).astype(int)
    return pd.Categorical.from_codes(places, dtype=pd.CategoricalDtype(categories, code["ordered"]))


def build(samples: np.ndarray, labels: Any, codes: list[Code]) -> pd.DataFrame:
    """The frame of the samples."""
    frame = pd.DataFrame({j: _column(samples[:, j], code) for j, code in enumerate(codes)})
    return frame.set_axis(labels_of(labels), axis=1)


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _is_named_number(dtype: Any) -> bool:
    """Whether pandas knows an extension dtype of numbers by its name, as the nullable ones."""
    return pd.api.types.is_numeric_dtype(dtype) and dtype.kind in "biuf" and not isinstance(dtype, pd.ArrowDtype)


def _code(column: pd.Series) -> Code:
    """The code of a column's dtype; ValueError if it holds no numbers."""
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype) and _is_plain(dtype.subtype):
        fill = dtype.fill_value
        return {"sparse": str(dtype.subtype), "fill": fill.item() if isinstance(fill, np.generic) else fill}
    if isinstance(dtype, pd.CategoricalDtype):
        category_numbers(list(dtype.categories), column.name)
        return {"category": labels_code(dtype.categories), "ordered": bool(dtype.ordered)}
    if isinstance(dtype, pd.ArrowDtype):
        from skdiffusion._utils.frames import _arrow

        return {"arrow": _arrow.code_of(_arrow_column(column), column.name)}
    if dtype.kind in "Mm":
        return {"time": str(dtype), "step": _clock(dtype).step(*_ticks(column))}
    if isinstance(dtype, pd.PeriodDtype):
        return {"period": str(dtype)}
    if dtype == np.dtype(object):
        return {"object": object_code(_objects(column), column.name, TEXT_REMEDY)}
    if _is_plain(dtype) or _is_named_number(dtype):
        return str(dtype)
    raise _refused(dtype, column.name)


def _refused(dtype: Any, name: Any) -> ValueError:
    kind = getattr(dtype, "kind", "O")
    if kind == "c":
        return refusal(
            name, f"is of dtype {dtype}: Complex data not supported", "make its real and imaginary parts two columns"
        )
    remedy = "convert it to numbers"
    if isinstance(dtype, pd.StringDtype):
        remedy = TEXT_REMEDY
    return refusal(name, f"is of dtype {dtype}, which is not modeled yet", remedy)


def _objects(column: pd.Series) -> list:
    """The values of a column, None for missing ones."""
    return [None if missing else value for value, missing in zip(column, column.isna())]


def _arrow_column(column: pd.Series) -> Any:
    import pyarrow as pa

    array = pa.array(column)  # which is in chunks already where the column is
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _numbers(column: pd.Series) -> np.ndarray:
    """The numbers of a column, NaN where it has none."""
    code = _code(column)
    if isinstance(code, str):
        if _is_plain(column.dtype):
            return column.to_numpy()
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if "sparse" in code:
        return column.sparse.to_dense().to_numpy()
    if "category" in code:
        numbers = np.append(category_numbers(list(column.cat.categories), column.name), np.nan)
        return numbers[column.cat.codes]
    if "object" in code:
        return object_numbers(_objects(column))
    if "time" in code:
        return _clock(column.dtype).numbers(*_ticks(column))
    if "period" in code:
        return np.array([np.nan if missing else p.ordinal for p, missing in zip(column, column.isna())])
    from skdiffusion._utils.frames import _arrow

    return _arrow.numbers_of(_arrow_column(column), column.name)


def _column(values: np.ndarray, code: Code) -> Any:
    """Values as an array of a code's dtype."""
    if "places" in code:
        return _label_column(values, code["places"])  # type: ignore[index]
    if isinstance(code, str):
        dtype = pd.api.types.pandas_dtype(code)
        if _is_plain(dtype):
            return as_dtype(values, dtype)
        return pd.array(as_dtype(values, getattr(dtype, "numpy_dtype", values.dtype)), dtype=dtype)
    if "sparse" in code:
        dtype = pd.SparseDtype(np.dtype(code["sparse"]), code["fill"])
        return pd.arrays.SparseArray(as_dtype(values, dtype.subtype), dtype=dtype)
    if "category" in code:
        categories = labels_of(code["category"])
        places = nearest_category(values, category_numbers(list(categories), None))
        return pd.Categorical.from_codes(places, dtype=pd.CategoricalDtype(categories, code["ordered"]))
    if "object" in code:
        return pd.Series(as_objects(values, code["object"]), dtype=object).array
    if "time" in code:
        dtype = pd.api.types.pandas_dtype(code["time"])
        times = pd.Series(_clock(dtype).ticks(values, code["step"]).view(_plain_times(dtype)))
        return times.dt.tz_localize("UTC").astype(dtype).array if isinstance(dtype, pd.DatetimeTZDtype) else times.array
    if "period" in code:
        dtype = pd.api.types.pandas_dtype(code["period"])
        return pd.PeriodIndex.from_ordinals(Clock(1).ticks(values, 1), freq=dtype.freq).array
    from skdiffusion._utils.frames import _arrow

    return pd.arrays.ArrowExtensionArray(_arrow.as_array(values, code["arrow"]))


def _plain_times(dtype: Any) -> np.dtype:
    """The dtype of NumPy of a dtype of times, in universal time."""
    return np.dtype(f"datetime64[{dtype.unit}]") if isinstance(dtype, pd.DatetimeTZDtype) else dtype


def _clock(dtype: Any) -> Clock:
    """The ticks of a dtype of times."""
    unit = np.datetime_data(_plain_times(dtype))[0]
    return Clock.of_points(unit) if dtype.kind == "M" else Clock.of_durations(unit)


def _ticks(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of a column of times, and where they are missing."""
    values = column.to_numpy(dtype=_plain_times(column.dtype))
    return values.astype(np.int64), np.isnat(values)
