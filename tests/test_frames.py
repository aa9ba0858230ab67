"""Estimators fitted on frames give frames back."""

import datetime
import json
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    ManifoldDiffusionEstimator,
    StackedDensityEstimator,
    load,
)
from skdiffusion._utils.encoding import Decoder, Encoder
from skdiffusion._utils.frames import note_frame, to_frame
from skdiffusion.compose import draw_samples
from skdiffusion.metrics import sliced_wasserstein_1

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 3, "n_estimators": 2, "random_state": 0}


def columns():
    rng = np.random.default_rng(0)
    return {
        "height": rng.normal(size=80).astype(np.float32),
        "count": rng.poisson(4, size=80),
        "small": rng.integers(0, 250, size=80).astype(np.uint8),
        "flag": rng.random(80) < 0.4,
        "weight": rng.gamma(2.0, size=80),
    }


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_comes_back(library):
    module = pytest.importorskip(library)
    frame = module.DataFrame(columns())
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    drawn = est.sample(60, random_state=1)
    assert type(drawn) is type(frame)
    assert list(drawn.columns) == list(frame.columns)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert np.isfinite(np.asarray(drawn["weight"])).all()
    plain = est.sample(60, random_state=1, as_frame=False)
    assert isinstance(plain, np.ndarray)
    np.testing.assert_allclose(np.asarray(drawn["weight"]), plain[:, 4])
    np.testing.assert_array_equal(np.asarray(drawn["count"]), np.round(plain[:, 1]))
    assert isinstance(draw_samples(est, 5, 0), np.ndarray)
    # What comes back can go in.
    assert np.isfinite(est.score_samples(drawn)).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
def test_the_manifold_estimator_does_too(library):
    module = pytest.importorskip(library)
    frame = module.DataFrame({k: v for k, v in columns().items() if k in ("height", "weight")})
    est = ManifoldDiffusionEstimator(support="linear", **SMALL).fit(frame)
    assert type(est.sample(4)) is type(frame)
    assert isinstance(est.sample(4, as_frame=False), np.ndarray)


def test_a_blend_does_too():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({k: v for k, v in columns().items() if k in ("height", "weight")})
    blend = StackedDensityEstimator(random_state=0).fit(frame)
    assert list(blend.sample(4).columns) == ["height", "weight"]
    assert isinstance(blend.sample(4, as_frame=False), np.ndarray)


def test_nullable_dtypes_of_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns()).astype({"count": "Int64", "flag": "boolean", "weight": "Float64"})
    drawn = DiffusionDensityEstimator(**SMALL).fit(frame).sample(10)
    assert list(drawn.dtypes) == list(frame.dtypes)


def test_arrays_stay_arrays():
    X = np.column_stack([columns()["height"], columns()["weight"]])
    est = DiffusionDensityEstimator(**SMALL).fit(X)
    assert isinstance(est.sample(3), np.ndarray)
    with pytest.raises(ValueError, match="fitted on an array"):
        est.sample(3, as_frame=True)
    with pytest.raises(ValueError, match="as_frame"):
        est.sample(3, as_frame="yes")


def test_wrong_and_reordered_features_are_errors():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns())[["height", "weight"]]
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        est.score_samples(frame[["weight", "height"]])
    with pytest.raises(ValueError, match="feature names"):
        est.score_samples(frame.rename(columns={"height": "length"}))


# -- every dtype that fit takes comes back -------------------------------------------------------

DECIMALS = [Decimal(int(v)) / 4 for v in np.random.default_rng(1).integers(0, 40, 80)]


def numbers():
    rng = np.random.default_rng(2)
    return rng.normal(size=80), rng.integers(1, 6, 80)


def pandas_frame():
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    x, k = map(pd.Series, numbers())
    plain = {t: (k if "int" in t else x).astype(t) for t in ("float16", "float32", "float64", "int8", "uint16", ">i4")}
    named = {
        t: (k if "nt" in t else x).astype(t) for t in ("Int8", "UInt64", "Float32", "int64[pyarrow]", "double[pyarrow]")
    }
    truths = {t: (k > 3).astype(t) for t in ("bool", "boolean", "bool[pyarrow]", "Sparse[bool]")}
    return pd.DataFrame(
        {**plain, **named, **truths}
        | {
            "arrow decimal": pd.Series(DECIMALS, dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
            "sparse float": x.where(x > 0, 0.0).astype("Sparse[float]"),
            "sparse int": k.astype(pd.SparseDtype("int64", 2)),
            "grade": pd.Categorical(k, categories=[5, 3, 1, 2, 4, 9], ordered=True),
            "price": pd.Categorical(k / 8),
            "digits": pd.Categorical(k.astype(str)),
            "mixed": pd.Categorical(k.astype(object).replace({2: "2", 3: 3.5})),
            "objects": x.astype(object),
            "whole objects": pd.Series(k.tolist(), dtype=object),
            "true objects": pd.Series((k > 2).tolist(), dtype=object),
            "decimal objects": pd.Series(DECIMALS, dtype=object),
        }
    )


def polars_frame():
    pl = pytest.importorskip("polars")
    x, k = numbers()
    known = [t for t in ("Float16", "Int128", "UInt128") if hasattr(pl, t)]  # the newer ones
    types = ["Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", *known]
    columns = [pl.Series(t, x if "Float" in t else k.astype(float)).cast(getattr(pl, t)) for t in types]
    exact = [d.quantize(Decimal("0.01")) for d in DECIMALS]
    return pl.DataFrame(
        [
            *columns,
            pl.Series("Boolean", k > 3),
            pl.Series("Decimal", exact, dtype=pl.Decimal(10, 2)),
            pl.Series("Enum", k.astype(str), dtype=pl.Enum(["9", *"54321"])),
            pl.Series("Categorical", (k / 8).astype(str), dtype=pl.Categorical),
            pl.Series("Object", x.tolist(), dtype=pl.Object),
        ]
    )


def arrow_table():
    pa = pytest.importorskip("pyarrow")
    x, k = numbers()
    whole = {str(t): pa.array(k, type=t) for t in (pa.int8(), pa.int64(), pa.uint8(), pa.uint64())}
    halves = pa.chunked_array([pa.array(k[:30]).dictionary_encode(), pa.array(k[30:]).dictionary_encode()])
    columns = whole | {
        "half": pa.array(x.astype(np.float16)),
        "float": pa.array(x.astype(np.float32)),
        "double": pa.array(x),
        "bool": pa.array(k > 3),
        "decimal": pa.array(DECIMALS, type=pa.decimal128(10, 2)),
        "wide decimal": pa.array(DECIMALS, type=pa.decimal256(50, 3)),
        "dictionary": halves,
        "ordered": pa.DictionaryArray.from_arrays(
            pa.array(k - 1, type=pa.int8()), pa.array(np.arange(5) / 8), ordered=True
        ),
        "digits": pa.array(k.astype(str)).dictionary_encode(),
    }
    table = pa.table(columns)
    return table.cast(table.schema.set(0, table.schema.field(0).with_nullable(False)))


FRAMES = {"pandas": pandas_frame, "polars": polars_frame, "pyarrow": arrow_table}


@pytest.fixture(scope="module", params=FRAMES)
def fitted(request):
    """An estimator that takes every column as numbers, and the frame of all kinds of columns that it was fitted on."""
    frame = FRAMES[request.param]()
    return DiffusionDensityEstimator(**SMALL, components=None, categorical_features=None).fit(frame), frame


def dtypes_of(frame):
    return list(frame.schema) if hasattr(frame, "schema") and not hasattr(frame, "dtypes") else list(frame.dtypes)


def values_of(frame, name):
    return frame[name].to_pylist() if hasattr(frame[name], "to_pylist") else list(frame[name])


def test_every_dtype_comes_back(fitted):
    est, frame = fitted
    drawn = est.sample(50, random_state=3)
    assert type(drawn) is type(frame)
    assert dtypes_of(drawn) == dtypes_of(frame)
    assert dtypes_of(est.sample(0)) == dtypes_of(frame)
    assert np.isfinite(est.score_samples(frame)).all()
    assert np.isfinite(est.score_samples(drawn)).all()


CATEGORIES = {
    "grade": [1, 2, 3, 4, 5, 9],
    "price": np.arange(1, 6) / 8,
    "digits": range(1, 6),
    "mixed": [1, 2, 3.5, 4, 5],
    "Enum": [1, 2, 3, 4, 5, 9],
    "Categorical": np.arange(1, 6) / 8,
    "dictionary": range(1, 6),
    "ordered": np.arange(5) / 8,
}


def test_values_are_the_nearest_that_a_column_holds(fitted):
    est, frame = fitted
    drawn, plain = est.sample(50, random_state=3), est.sample(50, random_state=3, as_frame=False)
    names = list(getattr(frame, "column_names", frame.columns))
    for j, name in enumerate(names):
        values = np.array(values_of(drawn, name), dtype=np.float64)
        if name in CATEGORIES:
            known = np.array(list(CATEGORIES[name]), dtype=float)
            assert set(values) <= set(known)
            np.testing.assert_allclose(np.abs(values - plain[:, j]), np.abs(known - plain[:, [j]]).min(1), atol=1e-12)
        elif "ecimal" in name:
            scale = 3 if name == "wide decimal" else 2
            np.testing.assert_allclose(values, plain[:, j], atol=0.5 * 10.0**-scale + 1e-12)
        elif "bool" in name.lower() or name == "true objects":
            np.testing.assert_array_equal(values, np.clip(np.round(plain[:, j]), 0, 1))
        elif "int" in name.lower() or name == ">i4" or "whole" in name:
            low = 0 if name.lower().startswith("u") else -np.inf
            np.testing.assert_array_equal(values, np.maximum(np.round(plain[:, j]), low))
        else:
            half = name in ("float16", "Float16", "half")
            np.testing.assert_allclose(values, plain[:, j], rtol=1e-3 if half else 1e-6, atol=1e-6)


def test_python_objects_stay_the_numbers_that_they_were():
    pd = pytest.importorskip("pandas")
    frame = pandas_frame()[["objects", "whole objects", "true objects", "decimal objects"]]
    drawn = StackedDensityEstimator(random_state=0).fit(frame).sample(20)
    assert [{type(v) for v in drawn[c]} for c in drawn] == [{float}, {int}, {bool}, {Decimal}]
    assert isinstance(drawn, pd.DataFrame)


def test_all_of_it_is_saved(fitted, tmp_path):
    est, frame = fitted
    est.save(tmp_path / "file")
    again, drawn = load(tmp_path / "file").sample(20, random_state=5), est.sample(20, random_state=5)
    assert dtypes_of(again) == dtypes_of(frame)
    for name in getattr(frame, "column_names", frame.columns):
        assert values_of(again, name) == values_of(drawn, name)


def test_a_file_of_an_earlier_version_gives_its_frame():
    est = SimpleNamespace(_frame=("pandas", ["a", "b"], ["float32", "Int64"]))
    drawn = to_frame(np.array([[0.5, 1.6]]), est)
    assert list(drawn.columns) == ["a", "b"]
    assert list(map(str, drawn.dtypes)) == ["float32", "Int64"]


ENDS = {
    "int8": (-128, 127),
    "Int8": (-128, 127),
    "uint8": (0, 255),
    "UInt8": (0, 255),
    "uint16": (0, 2**16 - 1),
    "Int16": (-(2**15), 2**15 - 1),
    "UInt32": (0, 2**32 - 1),
    ">i4": (-(2**31), 2**31 - 1),
    "float16": (-65504, 65504),
    "half": (-65504, 65504),
    "decimal": (-Decimal("99999999.99"), Decimal("99999999.99")),
    "Decimal": (-Decimal("99999999.99"), Decimal("99999999.99")),
    "grade": (1, 9),
    "Enum": ("1", "9"),
    "digits": ("1", "5"),
}


@pytest.mark.parametrize("library", FRAMES)
def test_the_largest_values_are_those_of_the_dtype(library):
    est, frame = SimpleNamespace(), FRAMES[library]()
    note_frame(est, frame)
    names = list(getattr(frame, "column_names", frame.columns))
    high, low = (to_frame(np.full((1, len(names)), sign * 1e40), est) for sign in (1, -1))
    found = [name for name in ENDS if name in names]
    assert len(found) >= 5
    for name in found:
        assert (values_of(low, name)[0], values_of(high, name)[0]) == ENDS[name]


# -- or fit refuses it ---------------------------------------------------------------------------


def pandas_series(kind):
    pd = pytest.importorskip("pandas")
    days = pd.date_range("2024-01-01", periods=80)
    return {
        "complex": np.ones(80) + 1j,
        "text": ["red", "blue"] * 40,
        "text of numbers": ["1", "2"] * 40,
        "text in objects": pd.Series([1, "a", 2.5, 3] * 20, dtype=object),
        "dates in objects": pd.Series([datetime.date(2024, 1, 1)] * 80, dtype=object),
        "categories of text": pd.Categorical(["red", "blue"] * 40),
        "categories of dates": pd.Categorical(days),
        "intervals": pd.cut(np.arange(80), 4),
        "lists": [[1, 2]] * 80,
        "arrow text": pd.Series(["a", "b"] * 40, dtype="string[pyarrow]"),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("complex", "imaginary"),
        ("text", "one-hot"), ("text of numbers", "to_numeric"), ("text in objects", "'a'.*to_numeric"),
        ("dates in objects", "numbers"), ("lists", "numbers"), ("categories of text", "one-hot"),
        ("categories of dates", "one-hot"), ("intervals", "one-hot"), ("arrow text", "one-hot"),
    ],
)  # fmt: skip
def test_a_column_of_pandas_that_cannot_be_fitted_is_named(kind, remedy):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"weight": np.linspace(0, 1, 80), "when": pandas_series(kind)})
    numbers_alone = DiffusionDensityEstimator(categorical_features=None)
    estimators = [StackedDensityEstimator(), numbers_alone, DiffusionOutlierDetector()]
    for estimator in [*estimators, *([DiffusionDensityEstimator()] if kind == "lists" else [])]:
        with pytest.raises(ValueError, match=f"(?s)'when'.*{remedy}.*drop the column"):
            estimator.fit(frame)


@pytest.mark.parametrize(
    ("values", "dtype", "remedy"),
    [
        (["1", "2"] * 40, None, "pl.Float64"),
        (["red", "blue"] * 40, "Categorical", "'red'.*one-hot"),
        ([1, "red"] * 40, "Object", "'red'.*one-hot"),
        ([None] * 80, None, "numbers"),
        ([[1.0, 2.0]] * 80, None, "numbers"),
    ],
)
def test_a_column_of_polars_that_cannot_be_fitted_is_named(values, dtype, remedy):
    pl = pytest.importorskip("polars")
    column = pl.Series(values, dtype=dtype and getattr(pl, dtype))
    frame = pl.DataFrame({"weight": np.linspace(0, 1, 80), "when": column})
    with pytest.raises(ValueError, match=f"'when'.*{remedy}.*drop the column"):
        StackedDensityEstimator().fit(frame)


@pytest.mark.parametrize("values", [["a", "b"], [[1], [2]], [None, None]])
def test_a_column_of_pyarrow_that_cannot_be_fitted_is_named(values):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"weight": np.linspace(0, 1, 80), "when": values * 40})
    with pytest.raises(ValueError, match="'when'.*drop the column"):
        StackedDensityEstimator().fit(table)


def test_columns_that_are_in_no_frame_yet_are_refused():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    columns = {"a": np.linspace(0, 1, 30), "b": np.linspace(0, 1, 30) ** 2}
    for estimator in (StackedDensityEstimator(), DiffusionDensityEstimator()):
        with pytest.raises(ValueError, match="LazyFrame.*collect"):
            estimator.fit(pl.LazyFrame(columns))
        with pytest.raises(ValueError, match="RecordBatch.*from_batches"):
            estimator.fit(pa.record_batch(columns))


def test_two_columns_of_one_name_are_refused():
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    X = np.random.default_rng(0).normal(size=(20, 3))
    for frame in (pd.DataFrame(X, columns=["a", "b", "a"]), pa.Table.from_arrays(list(X.T), names=["a", "b", "a"])):
        with pytest.raises(ValueError, match="'a'.*more than once"):
            StackedDensityEstimator().fit(frame)


def test_missing_values_are_told_as_such():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    gaps = [1, None] * 10
    columns = [pd.Series(gaps, dtype=t) for t in ("Int64", "object", "category", "int64[pyarrow]", "Sparse[float]")]
    frames = [pd.DataFrame({"a": c, "b": 1.0}) for c in columns]
    frames.append(pl.DataFrame({"a": pl.Series(["1", None] * 10, dtype=pl.Enum(["1"]))}))
    for frame in frames:
        with pytest.raises(ValueError, match="NaN"):
            StackedDensityEstimator().fit(frame)


def test_text_is_refused_after_fit_too():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.arange(30.0), "k": pd.Categorical([1, 2, 4] * 10)})
    est = StackedDensityEstimator(random_state=0).fit(frame)
    expected = est.score_samples(frame)
    np.testing.assert_array_equal(est.score_samples(frame.astype({"k": "int64"})), expected)
    np.testing.assert_array_equal(est.score_samples(frame.astype({"k": "Int64", "a": "Sparse[float]"})), expected)
    with pytest.raises(ValueError, match="'k'"):
        est.score_samples(frame.assign(k=["a", "b", "c"] * 10))


# -- labels --------------------------------------------------------------------------------------


def labels(kind):
    pd = pytest.importorskip("pandas")
    return {
        "a name": pd.Index(["a", "b", "c"], name="feature"),
        "objects": pd.Index(["a", "b", "c"], dtype=object),
        "integers": pd.Index([3, 1, 2], name="year"),
        "a range": pd.RangeIndex(3),
        "floats": pd.Index([0.1, 0.2, 0.3]),
        "tuples": pd.Index([("a", 1), ("a", 2), ("b", 1)], tupleize_cols=False),
        "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["unit", None]),
        "levels of dates": pd.MultiIndex.from_arrays(
            [
                pd.to_datetime(["2024-01-03", "2023-05-01", "2024-01-01"]).tz_localize("Europe/Paris"),
                pd.Categorical(["x", "y", "x"]),
            ],
            names=["day", ("k", 1)],
        ),
        "dates": pd.DatetimeIndex(["2024-01-01", "2024-01-05", "2023-01-01"], name="day"),
        "regular dates": pd.date_range("2024", periods=3, freq="W", tz="UTC"),
        "durations": pd.TimedeltaIndex(["1h", "2h", "5h"]),
        "periods": pd.period_range("2024", periods=3, freq="M"),
        "categories": pd.CategoricalIndex(["b", "a", "c"], ordered=True, name="site"),
        "intervals": pd.interval_range(0, 3, name="range"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["a name", "objects", "integers", "a range", "floats", "tuples", "levels", "levels of dates", "dates",
     "regular dates", "durations", "periods", "categories", "intervals"],
)  # fmt: skip
def test_labels_of_the_columns_come_back(kind):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=labels(kind))
    est = StackedDensityEstimator(random_state=0).fit(frame)
    pd.testing.assert_index_equal(est.sample(4).columns, frame.columns, exact=True)
    assert np.isfinite(est.score_samples(est.sample(4))).all()
    encoder = Encoder()
    code = json.loads(json.dumps(encoder(est._frame)))
    again = SimpleNamespace(_frame=Decoder([], encoder.tensors)(code))
    pd.testing.assert_index_equal(to_frame(np.zeros((2, 3)), again).columns, frame.columns, exact=True)


# -- codes ---------------------------------------------------------------------------------------


def test_codes_have_no_names_of_features(fitted):
    est, frame = fitted
    codes = est.to_latent(frame)
    samples = est.from_latent(codes)  # a warning of feature names would be an error here
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names = [f"z{j}" for j in range(codes.shape[1])]
    for framed in (pd.DataFrame(codes), pd.DataFrame(codes, columns=names), pl.DataFrame(codes, schema=names)):
        np.testing.assert_array_equal(est.from_latent(framed), samples)
    with pytest.raises(ValueError, match=f"{codes.shape[1] - 1} features, but .* is expecting {codes.shape[1]}"):
        est.from_latent(codes[:, 1:])


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_the_transformer_takes_its_codes_back(output):
    frame = pandas_frame()[["float64", "int8", "grade"]]
    mapper = DiffusionTransformer(DiffusionDensityEstimator(**SMALL, components=None)).fit(frame)
    codes = mapper.set_output(transform=output).transform(frame)
    assert np.abs(mapper.inverse_transform(codes) - frame.to_numpy(dtype=float)).max() < 0.1


def test_metrics_take_what_fit_takes():
    frame = pandas_frame()[["float64", "sparse float", "grade"]].astype({"float64": "Sparse[float]"})
    drawn = StackedDensityEstimator(random_state=0).fit(frame).sample(80, random_state=0)
    assert 0 < sliced_wasserstein_1(frame, drawn) < 1
