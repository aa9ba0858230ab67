"""Frames of pandas."""

from typing import Any

import numpy as np
import pandas as pd

from skdiffusion._utils.frames._columns import (
    Code,
    as_dtype,
    as_objects,
    category_numbers,
    check_distinct,
    nearest_category,
    object_code,
    object_numbers,
    refusal,
)
from skdiffusion._utils.frames._labels import labels_code, labels_of

TEXT_REMEDY = (
    "convert it with pd.to_numeric if it holds numbers, encode it in numbers (one-hot, for instance) otherwise"
)


def as_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself, or that of its numbers where NumPy has no such dtype."""
    if not frame.columns.is_unique:
        check_distinct(list(frame.columns))
    if all(_is_plain(dtype) for dtype in frame.dtypes):
        return frame
    numbers = pd.DataFrame({j: _numbers(frame.iloc[:, j]) for j in range(frame.shape[1])}, index=frame.index)
    return numbers.set_axis(frame.columns, axis=1)


def describe(frame: pd.DataFrame) -> tuple[Any, list[Code]]:
    """Codes of the column labels and of the dtypes."""
    return labels_code(frame.columns), [_code(frame.iloc[:, j]) for j in range(frame.shape[1])]


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
    elif isinstance(dtype, pd.PeriodDtype):
        remedy = "convert it to numbers, as in column.astype('int64')"
    elif kind == "M":
        remedy = "convert it to numbers, as in (column - column.min()) / pd.Timedelta('1D')"
    elif kind == "m":
        remedy = "convert it to numbers, as in column / pd.Timedelta('1D')"
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
    from skdiffusion._utils.frames import _arrow

    return _arrow.numbers_of(_arrow_column(column), column.name)


def _column(values: np.ndarray, code: Code) -> Any:
    """Values as an array of a code's dtype."""
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
    from skdiffusion._utils.frames import _arrow

    return pd.arrays.ArrowExtensionArray(_arrow.as_array(values, code["arrow"]))
