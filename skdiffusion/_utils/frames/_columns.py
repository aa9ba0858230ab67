"""Numbers as the values that a column can hold, and columns that hold no numbers, for frames of every library."""

from collections.abc import Sequence
from decimal import Context, Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

Code = str | dict[str, Any]  # a dtype in a form that a file can hold
EXACT = Context(prec=1000)


LABELS_REMEDY = (
    "encode it in numbers (one-hot, for instance). DiffusionDensityEstimator models labels as categories where it is "
    "fitted itself; where another estimator fits it, give each label a number, and the place of the column to its "
    "parameter 'categorical_features'"
)


def refusal(name: Any, what: str, remedy: str) -> ValueError:
    """The error for a column that cannot be fitted."""
    return ValueError(f"Column {name!r} of X {what}: {remedy}. Or drop the column.")


def check_distinct(names: Sequence) -> None:
    """Raise ValueError for two columns of one name."""
    if len(set(names)) < len(names):
        repeated = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"The column name {repeated!r} of X occurs more than once: give every column its own name.")


# -- values that a dtype holds -------------------------------------------------------------------


def rounded(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """The nearest integers from low to high, as float64."""
    # The largest integers of 64 bits and more are not float64 themselves.
    least, most = (end if int(end) in (low, high) else np.nextafter(end, 0) for end in (float(low), float(high)))
    return np.clip(np.round(values), least, most)


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The nearest values of a NumPy dtype of booleans, integers or floats."""
    if dtype.kind == "b":
        return rounded(values, 0, 1).astype(dtype)
    if dtype.kind in "iu":
        return rounded(values, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    if dtype.itemsize < values.dtype.itemsize:
        values = np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max)
    return values.astype(dtype)


def as_decimals(values: np.ndarray, scale: int, precision: int | None = None) -> list[Decimal]:
    """The nearest decimals of `scale` digits after the point, and of `precision` digits in all."""
    unit = Decimal(1).scaleb(-scale)
    nearest = [Decimal(repr(float(v))).quantize(unit, context=EXACT) for v in values]
    if precision is None:
        return nearest
    largest = Decimal(10**precision - 1).scaleb(-scale, context=EXACT)
    return [min(max(v, -largest), largest) for v in nearest]


# -- categories that are numbers -----------------------------------------------------------------


def category_numbers(labels: Sequence, name: Any) -> np.ndarray:
    """The number of every category; ValueError if one is none."""
    return np.array([_category_number(label, name) for label in labels], dtype=np.float64)


def _category_number(label: Any, name: Any) -> float:
    try:
        if isinstance(label, (Real, str)) and np.isfinite(number := float(label)):
            return number
    except (ValueError, OverflowError):
        pass
    raise refusal(
        name,
        f"has the category {label!r}, which is not a number, and is taken as numbers here",
        LABELS_REMEDY,
    )


def nearest_category(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Position of the number that is nearest to every value."""
    order = np.argsort(numbers, kind="stable")
    middles = (numbers[order][1:] + numbers[order][:-1]) / 2
    return order[np.searchsorted(middles, values)]


# -- categories of any labels --------------------------------------------------------------------


def places_of(values: Sequence, labels: Sequence) -> np.ndarray:
    """Place of every value among the labels: NaN for None, the number of labels for a value that is none of them."""
    place = {label: float(i) for i, label in enumerate(labels)}
    return np.array([np.nan if v is None else place.get(v, float(len(labels))) for v in values], dtype=np.float64)


def labels_at(values: np.ndarray, labels: Sequence) -> list:
    """The labels at the nearest places."""
    return [labels[i] for i in rounded(values, 0, len(labels) - 1).astype(int)]


def distinct_text(values: Sequence) -> list[str] | None:
    """The sorted texts of a column, None where a value is something else or none is known."""
    known = [v for v in values if v is not None]
    return sorted(set(known)) if known and all(isinstance(v, str) for v in known) else None


# -- Python objects that are numbers -------------------------------------------------------------


def object_code(values: Sequence, name: Any, remedy_for_text: str) -> Code:
    """What the Python objects of a column are: "bool", "int", "float" or decimals; None stands for a missing one.

    ValueError for anything else.
    """
    known = [v for v in values if v is not None]
    if all(isinstance(v, (bool, np.bool_)) for v in known) and known:
        return "bool"
    if all(isinstance(v, Integral) for v in known) and known:
        return "int"
    if all(isinstance(v, Decimal) and v.is_finite() for v in known) and known:
        return {"scale": max(0, *(-int(v.as_tuple().exponent) for v in known))}
    for v in known:
        if not isinstance(v, (Real, Decimal, np.bool_)):
            remedy = remedy_for_text if isinstance(v, str) else "convert it to numbers"
            raise refusal(name, f"holds {v!r}, which is not a number", remedy)
    return "float"


def object_numbers(values: Sequence) -> np.ndarray:
    """The numbers of the Python objects of a column."""
    return np.array([np.nan if v is None else _as_float(v) for v in values], dtype=np.float64)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def as_objects(values: np.ndarray, code: Code) -> list:
    """Values as the Python objects of a code."""
    if isinstance(code, dict):
        return as_decimals(values, code["scale"])
    if code == "bool":
        return as_dtype(values, np.dtype(bool)).tolist()
    return [round(v) for v in values.tolist()] if code == "int" else values.tolist()
