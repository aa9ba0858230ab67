"""Tables of any kinds of columns go in and come back as they were, without a fit between."""

import datetime
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from skdiffusion import DiffusionDensityEstimator
from skdiffusion._utils.frames import as_numbers, note_frame, to_frame, with_places
from skdiffusion.estimators._table_kinds import kinds_of
from skdiffusion.preprocessing import UNKNOWN, Columns, atoms_of

LABELS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
COLUMNS = st.sampled_from(["text", "category", "ordered", "boolean", "numbers", "dates"])


@st.composite
def columns(draw):
    """Kinds of columns with their labels and, for every row, one of these."""
    n = draw(st.integers(1, 12))
    out = []
    for kind in draw(st.lists(COLUMNS, min_size=1, max_size=5)):
        labels = draw(st.lists(LABELS, min_size=1, max_size=5, unique=True))
        out.append((kind, labels, draw(st.lists(st.integers(0, len(labels) - 1), min_size=n, max_size=n))))
    return out


def pandas_frame(spec):
    pd = pytest.importorskip("pandas")

    def column(kind, labels, places):
        values = [labels[i] for i in places]
        if kind in ("category", "ordered"):
            return pd.Categorical(values, categories=labels, ordered=kind == "ordered")
        if kind == "text":
            return pd.Series(values, dtype=object)
        if kind == "dates":
            return pd.Timestamp("2024-02-28") + pd.to_timedelta(places, unit="h")
        return pd.Series(np.array(places) % 2 == 0) if kind == "boolean" else pd.Series(np.array(places, dtype=float))

    return pd.DataFrame({f"column {j}": column(*one) for j, one in enumerate(spec)})


def polars_frame(spec):
    pl = pytest.importorskip("polars")

    def column(name, kind, labels, places):
        values = [labels[i] for i in places]
        if kind in ("category", "ordered"):
            return pl.Series(name, values, dtype=pl.Enum(labels) if kind == "ordered" else pl.Categorical)
        if kind == "text":
            return pl.Series(name, values)
        if kind == "dates":
            return pl.Series(name, [datetime.date(2024, 2, 28 + i % 2) for i in places])
        return pl.Series(name, (np.array(places) % 2 == 0) if kind == "boolean" else np.array(places, dtype=float))

    return pl.DataFrame([column(f"column {j}", *one) for j, one in enumerate(spec)])


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
@given(spec=columns())
@settings(max_examples=40, deadline=None)
def test_a_frame_goes_to_numbers_and_back(make, spec):
    frame, noted = make(spec), SimpleNamespace()
    kinds = kinds_of(frame, "from_dtype")
    note_frame(noted, frame, kinds.label_codes)
    numbers = np.asarray(as_numbers(kinds.coded(frame)), dtype=np.float64)
    again = to_frame(numbers, noted)
    assert type(again) is type(frame)
    assert list(again.dtypes) == list(frame.dtypes)
    for name in frame.columns:
        assert list(again[name]) == list(frame[name])
    assert kinds.categories == [j for j, (kind, *_) in enumerate(spec) if kind not in ("numbers", "dates")]
    unseen = with_places(frame, {j: ["no such label"] for j in kinds.label_codes})
    for j in kinds.label_codes:
        assert (np.asarray(as_numbers(unseen))[:, j] == 1).all()


@st.composite
def mixed_tables(draw):
    """Frames of 40 rows of columns of every kind, some of them with atoms, and some with gaps."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, common = 40, rng.normal(size=40)
    makers = {
        "number": lambda: common + rng.normal(size=n),
        "count": lambda: rng.poisson(np.exp(1 + 0.5 * common)),
        "zeros": lambda: np.where(common > 0, rng.gamma(2.0, size=n), 0.0),
        "text": lambda: rng.choice(["north", "south", "west"], n),
        "ordered": lambda: pd.Categorical.from_codes(rng.integers(0, 3, n), ["low", "middle", "high"], ordered=True),
        "boolean": lambda: rng.random(n) < 1 / (1 + np.exp(common)),
        "date": lambda: pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n), unit="D"),
    }
    names = draw(st.lists(st.sampled_from(sorted(makers)), min_size=1, max_size=5, unique=True))
    frame = pd.DataFrame({name: makers[name]() for name in names})
    gaps = draw(st.sampled_from(["none", "one column"]))
    if gaps == "one column" and len(names) > 1 and names[0] not in ("count", "boolean"):  # which have no missing value
        frame.loc[rng.random(n) < 0.2, names[0]] = None
    return frame


@given(mixed_tables(), st.sampled_from(["auto", None]))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_table_is_fitted_scored_and_drawn(frame, atoms):
    model = DiffusionDensityEstimator(
        (8, 8), n_estimators=1, max_iter=1, n_steps=4, components=["mixture", "student"], atoms=atoms, random_state=0
    )
    est = model.fit(frame)
    log_prob = est.score_samples(frame)
    assert np.isfinite(log_prob).all()
    np.testing.assert_array_equal(est.score_samples(frame[:5]), log_prob[:5])
    drawn = est.sample(20, random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert drawn.notna().all(axis=None)
    for name in frame.columns.intersection(["text", "ordered", "boolean"]):
        assert set(drawn[name].astype(str)) <= set(frame[name].dropna().astype(str)) | {"low", "middle", "high"}
    assert np.isfinite(est.score_samples(drawn)).all()
    if len(frame.columns) > 1:
        known = frame.dropna()[:2]
        given_first = est.sample(3, given=known.iloc[0].drop(frame.columns[-1]).to_dict(), random_state=0)
        assert (given_first[frame.columns[0]] == known[frame.columns[0]].iloc[0]).all()


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5, 999.0, np.nan]), min_size=1, max_size=20),
    st.lists(st.sampled_from([0.0, 999.0, 2.5]), min_size=1, unique=True),
)
def test_a_split_loses_nothing(values, chosen):
    known, x = np.sort(chosen), np.array(values)
    X = np.column_stack([x, x, np.arange(len(x))])
    table = Columns(3, {0: np.array([0.0, 1.0, 2.5, 999.0])}, {1: known})
    states, present = table.split(X)
    np.testing.assert_array_equal(table.joined(states, present), X)
    assert ((states[:, 1] == UNKNOWN) == np.isnan(x)).all()
    np.testing.assert_array_equal(np.isnan(present[:, 0]), np.isnan(x) | np.isin(x, known))


@given(st.integers(0, 2**32 - 1), st.sampled_from([30, 200, 2000]), st.sampled_from(["normal", "poisson", "rounded"]))
@settings(max_examples=60, deadline=None)
def test_ordinary_features_have_no_atoms(seed, n, kind):
    rng = np.random.default_rng(seed)
    if kind == "poisson":
        x = rng.poisson(rng.uniform(0.02, 30), n).astype(float)
    else:
        x = np.exp(rng.uniform(0, 1) * rng.normal(size=n))
        x = np.round(x, rng.integers(1, 3)) if kind == "rounded" else x
    assert len(atoms_of(x)) == 0
