"""Labels of pandas, which name the columns of a frame and the categories of a dtype, in a form that a file can hold."""

from typing import Any

import numpy as np
import pandas as pd


def labels_code(index: pd.Index) -> Any:
    """The code of an index: its labels, and what it has besides, which is a dtype, a name, levels."""
    if isinstance(index, pd.MultiIndex):
        return {"levels": [labels_code(index.get_level_values(i)) for i in range(index.nlevels)]}
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if isinstance(index, pd.CategoricalIndex):
        categories, ordered = labels_code(index.categories), bool(index.ordered)
        return {"places": index.codes.tolist(), "of": categories, "ordered": ordered, "name": index.name}
    if isinstance(index, pd.IntervalIndex):
        left, right = labels_code(index.left), labels_code(index.right)
        return {"left": left, "right": right, "closed": index.closed, "name": index.name}
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)):
        frequency = None if isinstance(index, pd.PeriodIndex) else index.freqstr
        return {"times": index.asi8.tolist(), "dtype": str(index.dtype), "freq": frequency, "name": index.name}
    labels = list(index)
    if index.name is None and pd.Index(labels, tupleize_cols=False).dtype == index.dtype:
        return labels
    return {"labels": labels, "dtype": str(index.dtype), "name": index.name}


def labels_of(code: Any) -> pd.Index:
    """The index of a code."""
    if isinstance(code, list):
        return pd.Index(code, tupleize_cols=False)
    if "levels" in code:
        levels = [labels_of(level) for level in code["levels"]]
        return pd.MultiIndex.from_arrays(levels, names=[level.name for level in levels])
    return _named_labels(code).rename(code["name"])


def _named_labels(code: dict[str, Any]) -> pd.Index:
    if "range" in code:
        return pd.RangeIndex(*code["range"])
    if "places" in code:
        dtype = pd.CategoricalDtype(labels_of(code["of"]), code["ordered"])
        return pd.CategoricalIndex(pd.Categorical.from_codes(code["places"], dtype=dtype))
    if "left" in code:
        return pd.IntervalIndex.from_arrays(labels_of(code["left"]), labels_of(code["right"]), code["closed"])
    dtype = pd.api.types.pandas_dtype(code["dtype"])
    if "labels" in code:
        return pd.Index(code["labels"], dtype=dtype, tupleize_cols=False)
    times = np.array(code["times"], dtype=np.int64)
    if isinstance(dtype, pd.PeriodDtype):
        return pd.PeriodIndex(pd.arrays.PeriodArray(times, dtype=dtype))
    index = pd.Index(times, dtype=dtype)
    index.freq = code["freq"]
    return index
