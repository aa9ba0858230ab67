"""Dates, times and durations of frames: numbers in a stated unit, and back as they came."""

import datetime

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, load
from skdiffusion._utils.frames import as_number, as_numbers, note_frame, to_frame

SMALL = {"hidden_layer_sizes": (8, 8), "n_estimators": 1, "max_iter": 3, "random_state": 0}
DAYS = 19_723 + np.array([0, 31, 60])  # of the first days of January, February and March 2024
SECONDS = np.array([0, 43_200, 86_399])
BERLIN = "Europe/Berlin"


def pandas_frame():
    pd = pytest.importorskip("pandas")
    days = pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-01"])
    return pd.DataFrame(
        {
            "day": days,
            "second": days.astype("datetime64[s]"),
            "nano": (days + pd.to_timedelta([1, 2, 3], unit="us")).astype("datetime64[ns]"),
            "berlin": days.tz_localize("UTC").tz_convert(BERLIN),
            "length": pd.to_timedelta(SECONDS, unit="s"),
            "month": pd.period_range("2024-01", periods=3, freq="M"),
            "arrow": pd.Series(days).astype("timestamp[us, tz=UTC][pyarrow]"),
            "weight": [1.0, 2.0, 3.0],
        }
    )


def polars_frame():
    pl = pytest.importorskip("polars")
    days = pl.Series([datetime.datetime(2024, m, 1) for m in (1, 2, 3)])
    times = pl.Series([datetime.time(0), datetime.time(12), datetime.time(23, 59, 59)])
    return pl.DataFrame(
        {
            "day": days.cast(pl.Date),
            "milli": days.cast(pl.Datetime("ms")),
            "berlin": days.dt.replace_time_zone("UTC").dt.convert_time_zone(BERLIN),
            "length": pl.Series([datetime.timedelta(seconds=int(s)) for s in SECONDS]).cast(pl.Duration("ns")),
            "time": times,
            "weight": [1.0, 2.0, 3.0],
        }
    )


def arrow_frame():
    pa = pytest.importorskip("pyarrow")
    days = pa.array([datetime.datetime(2024, m, 1) for m in (1, 2, 3)])
    return pa.table(
        {
            "day": days.cast(pa.date32()),
            "long": days.cast(pa.date64()),
            "berlin": days.cast(pa.timestamp("us")).cast(pa.timestamp("us", BERLIN)),
            "length": pa.array(SECONDS).cast(pa.duration("s")),
            "time": pa.array(SECONDS.astype(np.int32)).cast(pa.time32("s")),
            "fine": pa.array(SECONDS * 10**6).cast(pa.time64("us")),
            "weight": [1.0, 2.0, 3.0],
        }
    )


OF_UNIT = {"length": SECONDS, "time": SECONDS, "fine": SECONDS, "month": 648 + np.arange(3), "weight": [1.0, 2.0, 3.0]}
OF_UNIT["nano"] = DAYS + np.array([1, 2, 3]) / 8.64e10


@pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_frame])
def test_times_are_numbers_in_a_stated_unit_and_come_back(make):
    frame = make()
    names = list(getattr(frame, "column_names", getattr(frame, "columns", [])))
    numbers = np.asarray(as_numbers(frame), dtype=np.float64)
    for x, name in zip(numbers.T, names):
        np.testing.assert_allclose(x, OF_UNIT.get(name, DAYS), rtol=1e-15, err_msg=name)
    est = DiffusionDensityEstimator()
    note_frame(est, frame)
    again = to_frame(numbers, est)
    if make is pandas_frame:
        assert list(again.dtypes) == list(frame.dtypes)
        whole = frame.columns != "nano"
        assert again.loc[:, whole].equals(frame.loc[:, whole])
        assert (again["nano"] - frame["nano"]).abs().max().total_seconds() < 4e-7  # double precision of days
    else:
        assert again.equals(frame)
    to_frame(np.full((1, len(names)), 1e30), est)  # no time is beyond the last that its column holds
    to_frame(np.full((1, len(names)), -1e30), est)


@pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_frame])
def test_missing_times_are_unknown(make):
    frame = make()
    part = frame.slice(0, 1) if not hasattr(frame, "iloc") else frame.iloc[:1]
    known = np.asarray(as_numbers(part), dtype=np.float64)
    if hasattr(frame, "iloc"):
        part = part.where(part.isna(), None).astype(frame.dtypes.drop("weight").to_dict() | {"weight": float})
    elif make is polars_frame:
        part = part.clear(n=1)
    else:
        pa = pytest.importorskip("pyarrow")
        part = pa.table([pa.nulls(1, type=t) for t in frame.schema.types], names=frame.column_names)
    missing = np.asarray(as_numbers(part), dtype=np.float64)
    assert np.isnan(missing).all()
    assert np.isfinite(known).all()


def test_times_come_back_as_fine_as_they_were():
    pd = pytest.importorskip("pandas")
    start = pd.Timestamp("2024-01-01")
    frame = pd.DataFrame({"hour": start + pd.to_timedelta([1, 2, 26], unit="h"), "day": [start] * 3})
    frame["second"] = pd.to_timedelta([90, 30, 61], unit="s")
    est = DiffusionDensityEstimator()
    note_frame(est, frame)
    drawn = to_frame(np.array([[19_723.3, 19_723.3, 70.6], [19_800.01, 19_800.9, 10.2]]), est)
    assert drawn["hour"].tolist() == [pd.Timestamp("2024-01-01 07:00"), pd.Timestamp("2024-03-18")]
    assert drawn["day"].tolist() == [start, pd.Timestamp("2024-03-19")]
    assert drawn["second"].dt.total_seconds().tolist() == [71.0, 10.0]
    polars = pytest.importorskip("polars")
    dates = polars.DataFrame({"day": [datetime.date(1970, 3, 2), datetime.date(1970, 5, 1)]})  # 60 and 120 days
    note_frame(est, dates)
    assert to_frame(np.array([[61.0]]), est)["day"][0] == datetime.date(1970, 3, 3)


def test_single_times():
    pd = pytest.importorskip("pandas")
    noon = datetime.datetime(2024, 1, 1, 12)
    berlin = datetime.timezone(datetime.timedelta(hours=1))
    points = [noon, np.datetime64(noon), pd.Timestamp(noon), datetime.datetime(2024, 1, 1, 13, tzinfo=berlin)]
    assert [as_number(t) for t in points] == [DAYS[0] + 0.5] * 4
    assert as_number(datetime.date(2024, 2, 1)) == DAYS[1]
    minutes = [datetime.timedelta(minutes=90), np.timedelta64(90, "m"), pd.Timedelta("90min"), datetime.time(1, 30)]
    assert [as_number(t) for t in minutes] == [5400.0] * 4
    assert as_number(pd.Period("2024-01", "M")) == 648.0
    assert np.isnan([as_number(pd.NaT), as_number(np.datetime64("NaT"))]).all()


def test_a_density_of_dates_beside_floats(tmp_path):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    day = rng.integers(0, 365, 300)
    frame = pd.DataFrame({"day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")})
    frame["demand"] = 10 + 0.02 * day + rng.normal(size=300)
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    est.save(tmp_path / "file")
    drawn = load(tmp_path / "file").sample(200, random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert (drawn["day"].dt.normalize() == drawn["day"]).all()  # whole days, as those of the fit
    assert drawn["day"].between("2023-10-01", "2025-03-31").mean() > 0.95
    given = est.sample(3, given={"day": pd.Timestamp("2024-07-01")})
    assert (given["day"] == pd.Timestamp("2024-07-01")).all()
    early, late = (est.conditional({"day": pd.Timestamp(t)}).mean[0, 0] for t in ("2024-01-15", "2024-12-15"))
    assert late > early + 3
    numbers = frame.assign(day=DAYS[0] + day.astype(float))
    np.testing.assert_allclose(est.score(frame), DiffusionDensityEstimator(**SMALL).fit(numbers).score(numbers))


def test_intervals_of_months_are_refused():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"weight": [1.0, 2.0], "span": pa.array([None, None], type=pa.month_day_nano_interval())})
    with pytest.raises(ValueError, match="'span'.*not modeled"):
        DiffusionDensityEstimator().fit(table)
