"""Frames of polars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from skdiffusion._utils.frames._columns import (
    LABELS_REMEDY,
    Code,
    as_decimals,
    as_objects,
    category_numbers,
    distinct_text,
    labels_at,
    nearest_category,
    object_code,
    object_numbers,
    places_of,
    refusal,
    rounded,
)
from skdiffusion._utils.frames._times import Clock

PLAIN = {
    "Boolean", "Float32", "Float64", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
}  # fmt: skip
NUMBERS = PLAIN | {"Float16", "Int128", "UInt128"}
REMEDIES = {
    "String": f"cast it to pl.Float64 if it holds numbers; otherwise {LABELS_REMEDY}",
    "Null": "fill it with numbers",
}


def as_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame itself, or that of its numbers where NumPy has no such dtype."""
    if all(str(dtype) in PLAIN for dtype in frame.dtypes):
        return frame
    return pl.DataFrame([_numbers(column) for column in frame.iter_columns()])


def joined(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The samples of frames with the same columns as one."""
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"The columns of X have different dtypes in different shards: {error}.") from error


def names(frame: pl.DataFrame) -> list:
    """Names of the columns."""
    return frame.columns


def column_at(frame: pl.DataFrame, j: int) -> pl.Series:
    """The column of a number."""
    return frame.to_series(j)


def code(column: pl.Series) -> Code:
    """The code of a column's dtype; ValueError if it holds no numbers."""
    return _code(column)


def is_category(column: pl.Series) -> bool:
    """Whether a column holds categories by its dtype: categories, text or booleans."""
    return isinstance(column.dtype, (pl.Enum, pl.Categorical)) or column.dtype in (pl.String, pl.Boolean)


def label_code(column: pl.Series) -> Code | None:
    """The code of a column of labels, with these in their order; None for a column of numbers."""
    if isinstance(column.dtype, (pl.Enum, pl.Categorical)):
        return _category_code(column)
    text = distinct_text(column.to_list()) if column.dtype == pl.String else None
    return None if text is None else {"labels": text, "pool": "text"}


def labels(code: Any) -> list:
    """The labels of a code."""
    return code["labels"]


def places_code(column: pl.Series, known: Any) -> Code:
    """The code of a column of labels, from that of these."""
    return {"places": known}


def places(column: pl.Series, known: Sequence) -> np.ndarray:
    """Places of a column\'s values among known labels."""
    return places_of(column.to_list(), known)


def with_columns(frame: pl.DataFrame, columns: dict[int, np.ndarray]) -> pl.DataFrame:
    """The frame with some columns, by their numbers, replaced."""
    return frame.with_columns([pl.Series(frame.columns[j], values) for j, values in columns.items()])


def build(samples: np.ndarray, labels: list, codes: list[Code]) -> pl.DataFrame:
    """The frame of the samples."""
    return pl.DataFrame([_column(name, x, code) for name, x, code in zip(labels, samples.T, codes)])


def _code(column: pl.Series) -> Code:
    """The code of a column's dtype; ValueError if it holds no numbers."""
    dtype, name = column.dtype, column.name
    if str(dtype) in NUMBERS:
        return str(dtype)
    if isinstance(dtype, pl.Decimal):
        return {"decimal": [dtype.precision, dtype.scale]}
    if isinstance(dtype, (pl.Enum, pl.Categorical)):
        code = _category_code(column)
        category_numbers(code["labels"], name)
        return code
    if dtype.is_temporal():
        unit, zone = getattr(dtype, "time_unit", None), getattr(dtype, "time_zone", None)
        time = {"time": str(dtype.base_type()), "unit": unit, "zone": zone}
        return {**time, "step": _clock(time).step(*_ticks(column))}
    if dtype == pl.Object:
        return {"object": object_code(column.to_list(), name, REMEDIES["String"])}
    remedy = REMEDIES.get(str(dtype.base_type()), "convert it to numbers")
    raise refusal(name, f"is of dtype {dtype}, which is not modeled yet", remedy)


def _category_code(column: pl.Series) -> dict[str, Any]:
    """The categories of an Enum, or those that a column of dtype Categorical holds, and the name of their pool."""
    if isinstance(column.dtype, pl.Enum):
        return {"labels": column.dtype.categories.to_list(), "pool": "enum"}
    labels = column.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
    pool = getattr(column.dtype, "categories", None)  # which older versions do not have
    if pool is None or pool.is_global():
        return {"labels": labels, "pool": None}
    return {"labels": labels, "pool": [pool.name(), pool.namespace(), str(pool.physical())]}


def _category_dtype(code: dict[str, Any]) -> Any:
    if code["pool"] == "text":
        return pl.String()
    if code["pool"] == "enum":
        return pl.Enum(code["labels"])
    if code["pool"] is None:
        return pl.Categorical()
    name, namespace, physical = code["pool"]
    return pl.Categorical(pl.Categories(name, namespace=namespace, physical=_dtype(physical)))


def _numbers(column: pl.Series) -> pl.Series:
    """The numbers of a column."""
    code = _code(column)
    if isinstance(code, str):
        return column if code in PLAIN else column.cast(pl.Float64)
    if "decimal" in code:
        return column.cast(pl.Float64)
    if "time" in code:
        return pl.Series(column.name, _clock(code).numbers(*_ticks(column)))
    if "object" in code:
        return pl.Series(column.name, object_numbers(column.to_list()))
    number = dict(zip(code["labels"], category_numbers(code["labels"], column.name).tolist()))
    values = [number.get(label) for label in column.cast(pl.String).to_list()]
    return pl.Series(column.name, values, dtype=pl.Float64)


def _dtype(name: str) -> Any:
    if name not in NUMBERS:
        raise ValueError(f"Polars has no dtype of numbers that is called {name!r}.")
    return getattr(pl, name)


def _column(name: str, values: np.ndarray, code: Code) -> pl.Series:
    """Values as a column of a code's dtype."""
    if "places" in code:
        known: Any = code["places"]  # type: ignore[index]
        return pl.Series(name, labels_at(values, known["labels"]), dtype=pl.String).cast(_category_dtype(known))
    if isinstance(code, str):
        return pl.Series(name, _within(values, code)).cast(_dtype(code))
    if "decimal" in code:
        precision, scale = code["decimal"]
        return pl.Series(name, as_decimals(values, scale, precision or 38), dtype=pl.Decimal(precision, scale))
    if "time" in code:
        ticks = pl.Series(name, _clock(code).ticks(values, code["step"]))
        return (ticks.cast(pl.Int32) if code["time"] == "Date" else ticks).cast(_time_dtype(code))
    if "object" in code:
        return pl.Series(name, as_objects(values, code["object"]), dtype=pl.Object)
    places = nearest_category(values, category_numbers(code["labels"], name))
    return pl.Series(name, [code["labels"][i] for i in places], dtype=pl.String).cast(_category_dtype(code))


def _within(values: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest values that a dtype of polars holds, as float64."""
    if dtype == "Boolean":
        return rounded(values, 0, 1)
    bits = int("".join(filter(str.isdigit, dtype)))
    if dtype.startswith("Float"):
        largest = np.finfo(f"float{bits}").max.astype(np.float64)
        return np.clip(values, -largest, largest)
    return (
        rounded(values, 0, 2**bits - 1)
        if dtype.startswith("U")
        else rounded(values, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )


def _clock(code: dict[str, Any]) -> Clock:
    """The ticks of a column of times."""
    if code["time"] == "Date":
        return Clock.of_dates()
    if code["time"] == "Time":
        return Clock.of_day("ns")
    return Clock.of_points(code["unit"]) if code["time"] == "Datetime" else Clock.of_durations(code["unit"])


def _time_dtype(code: dict[str, Any]) -> Any:
    if code["time"] in ("Date", "Time"):
        return pl.Date() if code["time"] == "Date" else pl.Time()
    return pl.Datetime(code["unit"], code["zone"]) if code["time"] == "Datetime" else pl.Duration(code["unit"])


def _ticks(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of a column of times, and where they are missing."""
    return column.to_physical().fill_null(0).to_numpy(), column.is_null().to_numpy()
