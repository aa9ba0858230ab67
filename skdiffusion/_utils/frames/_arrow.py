"""Tables of pyarrow, and arrow types within frames of pandas."""

from typing import Any

import numpy as np
import pyarrow as pa

from skdiffusion._utils.frames._columns import (
    Code,
    as_decimals,
    as_dtype,
    category_numbers,
    check_distinct,
    nearest_category,
    refusal,
)

NUMBERS = {
    "bool", "halffloat", "float", "double", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}  # fmt: skip
TEXTS = {"string", "large_string", "string_view"}


def as_numbers(table: pa.Table) -> pa.Table:
    """The table of the numbers of a table."""
    check_distinct(table.column_names)
    columns = [pa.array(numbers_of(c, name)) for c, name in zip(table.columns, table.column_names)]
    return pa.Table.from_arrays(columns, names=table.column_names)


def describe(table: pa.Table) -> tuple[list, list[Code]]:
    """Names and codes of the columns."""
    codes = [code_of(column, name) for column, name in zip(table.columns, table.column_names)]
    return table.column_names, [c if f.nullable else {"required": c} for c, f in zip(codes, table.schema)]


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
        remedy = "cast it to pa.float64() if it holds numbers, encode it in numbers (one-hot, for instance) otherwise"
    elif pa.types.is_temporal(kind):
        remedy = "convert it to numbers, for instance the days since a start, of type pa.float64()"
    return refusal(name, f"is of type {kind}, which is not modeled yet", remedy)


def numbers_of(column: pa.ChunkedArray, name: Any) -> np.ndarray:
    """The numbers of a column, NaN where it is null; float32 for that type, else float64."""
    code = code_of(column, name)
    if isinstance(code, dict) and "dictionary" in code:
        whole = _one_dictionary(column)
        places = whole.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        numbers = np.append(category_numbers(code["dictionary"], name), np.nan)
        return numbers[np.where(np.isnan(places), -1, places).astype(int)]
    if code == "halffloat":  # which older versions do not cast
        return column.to_numpy().astype(np.float64)
    return column.cast(pa.float32() if code == "float" else pa.float64(), safe=False).to_numpy()


def _one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column with one dictionary: every chunk may have its own."""
    whole = column.unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def as_array(values: np.ndarray, code: Code) -> pa.Array:
    """Values as an array of a code's type."""
    if isinstance(code, str):
        kind = pa.type_for_alias(code)
        return pa.array(as_dtype(values, np.dtype(kind.to_pandas_dtype())), type=kind)
    if "decimal" in code:
        bits, precision, scale = code["decimal"]
        kind = getattr(pa, f"decimal{bits}")(precision, scale)
        return pa.array(as_decimals(values, scale, precision), type=kind)
    places = nearest_category(values, category_numbers(code["dictionary"], None))
    labels = pa.array(code["dictionary"], type=pa.type_for_alias(code["values"]))
    index = pa.array(places, type=pa.type_for_alias(code["index"]))
    return pa.DictionaryArray.from_arrays(index, labels, ordered=code["ordered"])
