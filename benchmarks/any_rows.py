"""Samples of every dtype, shape, memory layout, scale and pattern of missing values, as a hypothesis strategy."""

import warnings

import numpy as np
from hypothesis import strategies as st


def _values(kind, n, d, rng):
    if kind == "normal":
        return rng.standard_normal((n, d))
    if kind == "integers":
        return rng.integers(-3, 4, (n, d)).astype(float)
    if kind == "constant":
        return np.full((n, d), 7.25)
    if kind == "one row":
        return np.repeat(rng.standard_normal((1, d)), n, 0)
    if kind == "heavy tails":
        return rng.standard_t(0.7, (n, d))
    if kind == "collinear":
        return rng.standard_normal((n, 1)) @ np.ones((1, d))
    if kind == "scales":
        return rng.standard_normal((n, d)) * 10.0 ** rng.integers(-300, 300, d)
    if kind == "far":
        return 1e8 + rng.standard_normal((n, d))
    if kind == "range":
        return rng.choice([-1, 1], (n, d)) * 10.0 ** rng.uniform(-307, 307, (n, d))
    return rng.random((n, d))


KINDS = ["normal", "integers", "constant", "one row", "heavy tails", "collinear", "scales", "far", "range", "unit"]
DTYPES = [
    "f8",
    "f8",
    "f8",
    "f4",
    "f2",
    "i1",
    "i4",
    "i8",
    "u1",
    "u8",
    "?",
    ">f8",
    "longdouble",
    "c16",
    "O",
    "U",
    "M8[s]",
]
LAYOUTS = [
    "C", "C", "C", "F", "strided", "reversed", "read-only", "list", "pandas", "polars", "sparse", "flat", "cube",
    "scalar", "masked", "tensor", "iterator",
]  # fmt: skip


def _layout(X, layout):
    if layout == "F":
        return np.asfortranarray(X)
    if layout == "strided":
        return np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3]
    if layout == "reversed":
        return X[::-1, ::-1]
    if layout == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X
    if layout == "list":
        return X.tolist()
    if layout == "pandas":
        import pandas

        return pandas.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    if layout == "polars":
        import polars

        return polars.DataFrame({f"c{i}": X[:, i].astype(float) for i in range(X.shape[1])})
    if layout == "sparse":
        from scipy.sparse import csr_array

        return csr_array(X.astype(float))
    if layout == "tensor":
        import torch

        return torch.as_tensor(X.astype(float))
    if layout == "masked":
        return np.ma.masked_array(X, np.zeros(X.shape, bool))
    if layout == "iterator":
        return iter(X)
    return {"flat": X.ravel(), "cube": X[None], "scalar": np.array(3.0)}.get(layout, X)


@st.composite
def samples(draw, n_features=None):
    """Samples and whether they are finite."""
    n = draw(st.sampled_from([0, 1, 2, 3, 5, 12, 30, 30]))
    d = n_features if n_features and draw(st.integers(0, 9)) else draw(st.sampled_from([1, 2, 3, 4, 2, 3, 0]))
    X = _values(draw(st.sampled_from(KINDS)), n, d, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    if X.size and not draw(st.integers(0, 5)):
        holes = draw(st.lists(st.integers(0, X.size - 1), min_size=1, max_size=3))
        X.flat[holes] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    dtype = draw(st.sampled_from(DTYPES)) if draw(st.booleans()) else "f8"
    layout = draw(st.sampled_from(LAYOUTS)) if draw(st.booleans()) else "C"
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            X = X.astype(dtype)
        except (ValueError, OverflowError):
            dtype = "f8"
        return _layout(X, layout) if dtype not in ("c16", "U", "M8[s]") or layout in ("C", "F") else X
