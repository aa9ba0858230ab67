"""Tables of pyarrow, and arrow types within frames of pandas."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from skdiffusion._utils.frames._columns import (
    LABELS_REMEDY,
    Code,
    as_decimals,
    as_dtype,
    category_numbers,
    check_distinct,
    distinct_text,
    labels_at,
    nearest_category,
    places_of,
    refusal,
    rounded,
)
from skdiffusion._utils.frames._times import Clock

NUMBERS = {
    "bool", "halffloat", "float", "double", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}  # fmt: skip
TEXTS = {"string", "large_string", "string_view"}


def as_numbers(table: pa.Table) -> pa.Table:
    """The table of the numbers of a table."""
    check_distinct(table.column_names)
    columns = [pa.array(numbers_of(c, name)) for c, name in zip(table.columns, table.column_names)]
    return pa.Table.from_arrays(columns, names=table.column_names)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The samples of tables with the same columns as one."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"The columns of X have different types in different shards: {error}.") from error


def names(table: pa.Table) -> list:
    """Names of the columns."""
    return table.column_names


class NamedColumn(NamedTuple):
    """A column of a table, its name, and whether it may have missing values."""

    values: pa.ChunkedArray
    name: str
    nullable: bool


def column_at(table: pa.Table, j: int) -> NamedColumn:
    """The column of a number."""
    return NamedColumn(table.column(j), table.column_names[j], table.schema.field(j).nullable)


def code(column: NamedColumn) -> Code:
    """The code of a column's type; ValueError if it holds no numbers."""
    return _required(code_of(column.values, column.name), column)


def places_code(column: NamedColumn, known: Any) -> Code:
    """The code of a column of labels, from that of these."""
    return _required({"places": known}, column)


def _required(code: Code, column: NamedColumn) -> Code:
    return code if column.nullable else {"required": code}


def is_category(column: NamedColumn | pa.ChunkedArray) -> bool:
    """Whether a column holds categories by its type: a dictionary, text or booleans."""
    kind = (column.values if isinstance(column, NamedColumn) else column).type
    return pa.types.is_dictionary(kind) or pa.types.is_boolean(kind) or str(kind) in TEXTS


def label_code(column: NamedColumn | pa.ChunkedArray) -> Any:
    """The code of a column of labels, with these in their order; None for a column of numbers."""
    values = column.values if isinstance(column, NamedColumn) else column
    kind = values.type
    if pa.types.is_dictionary(kind) and str(kind.value_type) in NUMBERS | TEXTS:
        index = {"index": str(kind.index_type), "ordered": kind.ordered}
        return {"labels": _one_dictionary(values).dictionary.to_pylist(), "values": str(kind.value_type), **index}
    text = distinct_text(values.to_pylist()) if str(kind) in TEXTS else None
    return None if text is None else {"labels": text, "values": str(kind)}


def labels(code: Any) -> list:
    """The labels of a code."""
    return code["labels"]


def places(column: NamedColumn, known: Sequence) -> np.ndarray:
    """Places of a column\'s values among known labels."""
    return places_of(column.values.to_pylist(), known)


def with_columns(table: pa.Table, columns: dict[int, np.ndarray]) -> pa.Table:
    """The table with some columns, by their numbers, replaced."""
    arrays = [pa.array(columns[j]) if j in columns else c for j, c in enumerate(table.columns)]
    return pa.Table.from_arrays(arrays, names=table.column_names)


def as_labels(values: np.ndarray, code: Any) -> pa.Array:
    """Places as an array of the labels of a code."""
    kind = pa.type_for_alias(code["values"])
    if "index" not in code:
        return pa.array(labels_at(values, code["labels"]), type=kind)
    found = rounded(values, 0, len(code["labels"]) - 1).astype(int)
    index = pa.array(found, type=pa.type_for_alias(code["index"]))
    return pa.DictionaryArray.from_arrays(index, pa.array(code["labels"], type=kind), ordered=code["ordered"])


def build(samples: np.ndarray, labels: list, codes: list[Code]) -> pa.Table:
    """The table of the samples."""
    required = [isinstance(code, dict) and "required" in code for code in codes]
    arrays = [as_array(x, c["required"] if r else c) for x, c, r in zip(samples.T, codes, required)]  # type: ignore[index]
    fields = [pa.field(name, array.type, not r) for name, array, r in zip(labels, arrays, required)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def code_of(column: pa.ChunkedArray, name: Any) -> Code:
    """The code of a column's type; ValueError if it holds no numbers."""
    kind = column.type
    if str(kind) in NUMBERS:
        return str(kind)
    if pa.types.is_temporal(kind):
        time = {"time": str(kind).partition("[")[0], "unit": getattr(kind, "unit", None)}
        zone = {"zone": kind.tz} if pa.types.is_timestamp(kind) else {}
        return {**time, **zone, "step": clock_of(kind, name).step(*_ticks(column))}
    if pa.types.is_decimal(kind):
        return {"decimal": [kind.bit_width, kind.precision, kind.scale]}
    if pa.types.is_dictionary(kind) and str(kind.value_type) in NUMBERS | TEXTS:
        labels = _one_dictionary(column).dictionary.to_pylist()
        category_numbers(labels, name)
        values, index = str(kind.value_type), str(kind.index_type)
        return {"dictionary": labels, "values": values, "index": index, "ordered": kind.ordered}
    raise _refused(kind, name)


def _refused(kind: pa.DataType, name: Any) -> ValueError:
    remedy = "convert it to numbers"
    if str(kind) in TEXTS:
        remedy = f"cast it to pa.float64() if it holds numbers; otherwise {LABELS_REMEDY}"
    return refusal(name, f"is of type {kind}, which is not modeled yet", remedy)


def numbers_of(column: pa.ChunkedArray, name: Any) -> np.ndarray:
    """The numbers of a column, NaN where it is null; float32 for that type, else float64."""
    code = code_of(column, name)
    if isinstance(code, dict) and "dictionary" in code:
        whole = _one_dictionary(column)
        places = whole.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        numbers = np.append(category_numbers(code["dictionary"], name), np.nan)
        return numbers[np.where(np.isnan(places), -1, places).astype(int)]
    if isinstance(code, dict) and "time" in code:
        return clock_of(column.type, name).numbers(*_ticks(column))
    if code == "halffloat":  # which older versions do not cast
        return column.to_numpy().astype(np.float64)
    return column.cast(pa.float32() if code == "float" else pa.float64(), safe=False).to_numpy()


def _one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column with one dictionary: every chunk may have its own."""
    whole = column.unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def as_array(values: np.ndarray, code: Code) -> pa.Array:
    """Values as an array of a code's type."""
    if "places" in code:
        return as_labels(values, code["places"])  # type: ignore[index]
    if isinstance(code, str):
        kind = pa.type_for_alias(code)
        return pa.array(as_dtype(values, np.dtype(kind.to_pandas_dtype())), type=kind)
    if "time" in code:
        kind = _time_type(code)
        ticks = pa.array(clock_of(kind, None).ticks(values, code["step"]))
        return (ticks.cast(pa.int32()) if kind.bit_width == 32 else ticks).cast(kind)
    if "decimal" in code:
        bits, precision, scale = code["decimal"]
        kind = getattr(pa, f"decimal{bits}")(precision, scale)
        return pa.array(as_decimals(values, scale, precision), type=kind)
    places = nearest_category(values, category_numbers(code["dictionary"], None))
    labels = pa.array(code["dictionary"], type=pa.type_for_alias(code["values"]))
    index = pa.array(places, type=pa.type_for_alias(code["index"]))
    return pa.DictionaryArray.from_arrays(index, labels, ordered=code["ordered"])


def clock_of(kind: pa.DataType, name: Any) -> Clock:
    """The ticks of a type of times; ValueError for an interval of months, which has no length."""
    if pa.types.is_date(kind):
        return Clock.of_dates() if pa.types.is_date32(kind) else Clock.of_points("ms")
    if pa.types.is_time(kind):
        return Clock.of_day(kind.unit)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return Clock.of_points(kind.unit) if pa.types.is_timestamp(kind) else Clock.of_durations(kind.unit)
    raise _refused(kind, name)


def _time_type(code: dict[str, Any]) -> pa.DataType:
    if code["time"].startswith("date"):
        return pa.type_for_alias(code["time"])
    if code["time"] == "timestamp":
        return pa.timestamp(code["unit"], code["zone"])
    return getattr(pa, code["time"])(code["unit"])


def _ticks(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of a column of times, and where they are missing."""
    bits = pa.int32() if column.type.bit_width == 32 else pa.int64()
    return column.cast(bits).fill_null(0).to_numpy(), column.is_null().to_numpy()
