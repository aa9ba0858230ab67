"""Fits, scores and samples of more samples than memory holds: the same from every source, and whole after a failure."""

import os
import pickle
import time

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion._utils.progress import TRAINING_SHARE, FitProgress
from skdiffusion.exceptions import InterruptedFitWarning

N, SIZE = 900, 300


def bent(n, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, 3))
    X[:, 1] += 0.5 * X[:, 0] ** 2
    return X.astype(np.float32)


X = bent(N)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


def tiny(size=SIZE, **given):
    options = Options(n_training_steps=60, n_pilot_steps=5, batch_size=64, reservoir_size=size)
    given = {"components": ["student"], "random_state": 0, "options": options} | given
    return DiffusionDensityEstimator((8, 8), n_estimators=2, n_steps=6, **given)


def mapped(path, samples=X):
    np.save(path / "x.npy", samples)
    return np.load(path / "x.npy", mmap_mode="r")


def parquet(path, samples=FRAME):
    pq.write_table(pa.table(samples), path / "x.parquet", row_group_size=128)
    return path / "x.parquet"


def chunks(samples=X, n=100):
    return lambda: (samples[i : i + n] for i in range(0, len(samples), n))


@pytest.fixture(scope="module")
def beyond():
    """A fit of an array of more samples than the reservoir holds."""
    return tiny().fit(X)


@pytest.fixture(scope="module")
def within():
    """A fit of the same array, all of which the reservoir holds."""
    return tiny(N).fit(X)


def scored(est, samples=X):
    """Log-densities of samples, in a frame where the fit saw one."""
    return est.score_samples(pd.DataFrame(samples, columns=list("abc")) if est._frame else samples)


def same(est, other):
    np.testing.assert_array_equal(scored(est, X[:50]), scored(other, X[:50]))
    np.testing.assert_array_equal(est.sample(20, as_frame=False), other.sample(20, as_frame=False))


# -- fit -----------------------------------------------------------------------------------------


def test_up_to_the_size_of_the_reservoir_a_source_gives_the_fit_of_the_array(within, tmp_path):
    sources = [mapped(tmp_path), parquet(tmp_path), chunks(), chunks(FRAME, 77), da.from_array(X, chunks=(200, 2))]
    for source in sources:
        same(tiny(N).fit(source), within)
    same(tiny(10 * N).fit(X), within)


def test_beyond_it_an_array_goes_through_the_blocks_of_a_memmap(beyond, within, tmp_path):
    for other in (mapped(tmp_path), FRAME, pl.DataFrame(FRAME), X[::-1][::-1]):
        same(tiny().fit(other), beyond)
    assert (beyond.score_samples(X[:50]) != within.score_samples(X[:50])).all()
    assert beyond.n_samples_seen_ == N
    assert beyond.n_iter_ == int(np.ceil(60 * 64 / N))
    assert len(beyond._replay.X) == SIZE


LARGE = {
    "parquet": (parquet, True),
    "dask frame": (lambda path: dd.from_pandas(FRAME, npartitions=4), True),
    "dask array": (lambda path: da.from_array(X, chunks=(250, 2)), False),
    "callable": (lambda path: chunks(), False),
    "callable of frames": (lambda path: chunks(pl.DataFrame(FRAME)), True),
    "callable of numbers of another type": (lambda path: chunks(X.astype(np.float64)), False),
}


@pytest.mark.parametrize("name", LARGE)
def test_other_sources_beyond_it(name, beyond, tmp_path):
    make, has_names = LARGE[name]
    est = tiny().fit(make(tmp_path))
    assert est.n_samples_seen_ == N
    np.testing.assert_array_equal(est._replay.X, beyond._replay.X)  # the same reservoir
    assert scored(est).mean() == pytest.approx(beyond.score(X), abs=0.1)
    assert hasattr(est, "feature_names_in_") == has_names
    assert isinstance(est.sample(3), np.ndarray) != has_names
    same(pickle.loads(pickle.dumps(est)), est)


def test_a_fit_on_a_source_can_be_saved_and_started_from(beyond, tmp_path):
    est = tiny(warm_start=True).fit(mapped(tmp_path))
    est.save(tmp_path / "est.skd")
    before = est.score(X)
    assert est.fit(mapped(tmp_path)).score(X) > before - 0.05


def test_noise_intervals_share_the_blocks(tmp_path):
    est = tiny(options=Options(n_training_steps=60, n_pilot_steps=5, noise_intervals=2, reservoir_size=SIZE))
    same(est.fit(mapped(tmp_path)), tiny(options=est.options).fit(X))


def test_samples_beyond_the_reservoir_teach_the_networks(tmp_path):
    """Half of the samples lie elsewhere in every pass but the first: the networks learn from passes."""
    passes = []

    def made():
        passes.append(None)
        return iter([X if len(passes) == 1 else bent(N, 1) + [2.0, 0.0, 0.0]])

    options = Options(n_training_steps=200, n_pilot_steps=5, reservoir_size=SIZE, fine_tune=False)
    est = tiny(components=None, early_stopping=False, options=options)
    moved = bent(500, 2) + [2.0, 0.0, 0.0]
    assert est.fit(made).score(moved) > est.fit(X).score(moved) + 0.3
    assert len(passes) > 10


def test_a_single_feature_and_the_plane(tmp_path):
    for d in (1, 2):
        samples = np.ascontiguousarray(X[:400, :d])
        same_d = tiny().fit(samples).score_samples(samples[:20])
        np.testing.assert_array_equal(tiny().fit(mapped(tmp_path, samples)).score_samples(samples[:20]), same_d)


def test_bounds_ties_and_constants_beyond_the_reservoir(tmp_path):
    samples = np.column_stack([np.abs(X[:, 0]), np.round(X[:, 1], 1), np.full(N, 2.0)])
    est = tiny(bounds=([0, -np.inf, -np.inf], np.inf)).fit(mapped(tmp_path, samples))
    drawn = est.sample(200)
    assert (drawn[:, 0] >= 0).all()
    assert (drawn[:, 2] == 2.0).all()
    assert est._resolution.step[1] == pytest.approx(0.1)


# -- what needs memory ---------------------------------------------------------------------------


def test_categories_weights_and_gaps_of_a_memmap_are_those_of_the_array(tmp_path):
    n = 90
    labels = np.column_stack([X[:n, 0], np.arange(n) % 3])
    gaps = np.where(np.arange(3 * n).reshape(n, 3) % 50 == 7, np.nan, X[:n])
    frame = FRAME[:n].assign(d=np.where(X[:n, 0] > 0, "x", "y"))
    est, other = tiny(60, categorical_features=[3]).fit(frame), tiny(n).fit(frame)
    np.testing.assert_array_equal(est.score_samples(frame[:20]), other.score_samples(frame[:20]))
    for samples, given, parameters in (
        (labels, {}, {"categorical_features": [1]}),
        (gaps, {}, {"fit_conditionals": False}),
        (X[:n], {"sample_weight": np.linspace(0.1, 1, n)}, {}),
        (X[:n], {"groups": np.arange(n) // 3}, {}),
    ):
        est, other = (tiny(60, **parameters).fit(s, **given) for s in (samples, mapped(tmp_path, samples)))
        np.testing.assert_array_equal(est.score_samples(samples[:20]), other.score_samples(samples[:20]))
        assert est.n_samples_seen_ == n


NEEDS_MEMORY = {
    "gaps": (
        chunks(np.where(np.arange(3 * N).reshape(N, 3) == 370, np.nan, X)),
        {},
        {},
        r"unknown values \(NaN\).*sample 123",
    ),
    "categories": (chunks(FRAME.assign(d="x")), {}, {}, "columns of categories"),
    "atoms": (chunks(), {"atoms": {0: [0.0]}}, {}, "'atoms' are asked for"),
    "weights": (chunks(), {}, {"sample_weight": np.ones(N)}, "has weights or groups"),
    "groups": (chunks(), {}, {"groups": np.arange(N)}, "has weights or groups"),
}


@pytest.mark.parametrize(("source", "parameters", "given", "message"), NEEDS_MEMORY.values(), ids=list(NEEDS_MEMORY))
def test_what_needs_memory_is_said_of_other_sources(source, parameters, given, message):
    with pytest.raises(ValueError, match=f"more than 300 samples and .*{message}.*in memory"):
        tiny(**parameters).fit(source, **given)
    assert tiny(N, **parameters).fit(source, **given).n_samples_seen_ == N


# -- bad sources ---------------------------------------------------------------------------------


def failing(after, error):
    def made():
        yield X[:after]
        raise error

    return made


def with_value(value):
    samples = X.copy()
    samples[700, 1] = value
    return samples


ONE_ITERATOR = iter([X[:450], X[450:]])
BAD = {
    "infinity": (lambda path: mapped(path, with_value(np.inf)), "contains infinity"),
    "overflow": (lambda path: mapped(path, with_value(0).astype(float) + 1e200), "squares overflow"),
    "out of bounds": (lambda path: mapped(path, with_value(-99)), r"outside 'bounds' \(the first is sample 700\)"),
    "no chunk": (lambda path: lambda: iter([]), "no chunk"),
    "other columns": (
        lambda path: lambda: iter([FRAME[:400], FRAME[400:].rename(columns={"b": "x"})]),
        r"sample 400 on has other columns: it lacks \['b'\]",
    ),
    "other columns of few samples": (
        lambda path: lambda: iter([FRAME[:40], FRAME[40:90].rename(columns={"b": "x"})]),
        r"sample 40 on has other columns: it lacks \['b'\]",
    ),
    "its own error": (lambda path: failing(400, ConnectionError("the line is dead")), "the line is dead"),
    "one iterator for all passes": (lambda path: lambda made=ONE_ITERATOR: made, "must return a new iter"),
    "nowhere": (lambda path: path / "nowhere.parquet", "was not found"),
    "one sample": (lambda path: chunks(X[:1]), "minimum of 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_source_is_an_error_and_the_earlier_fit_stays(name, beyond, tmp_path):
    est, (make, message) = pickle.loads(pickle.dumps(beyond)), BAD[name]
    before = dict(est.__dict__)
    with pytest.raises((ValueError, ConnectionError, FileNotFoundError), match=message):
        est.set_params(bounds=(-50, np.inf) if "bounds" in name else None).fit(make(tmp_path))
    est.set_params(bounds=None)
    assert est.__dict__ == before
    same(est, beyond)


@pytest.mark.parametrize("kind", [mapped, parquet])
def test_a_file_cut_off_in_the_middle_of_training(kind, beyond, tmp_path):
    est, source = pickle.loads(pickle.dumps(beyond)), kind(tmp_path)
    name = tmp_path / ("x.npy" if kind is mapped else "x.parquet")

    class Cutting:
        """A bar of progress that cuts the file off when training has begun."""

        def __call__(self, step, *args):
            os.truncate(name, 2000)

    options = Options(n_training_steps=200, n_pilot_steps=5, reservoir_size=SIZE, fine_tune=False)
    est.set_params(options=options, verbose=1)
    original = FitProgress.__call__
    FitProgress.__call__ = lambda self, *args: Cutting()(*args) or original(self, *args)
    try:
        with pytest.raises(ValueError, match="cut off|could not be read"):
            est.fit(source)
    finally:
        FitProgress.__call__ = original
    same(est, beyond)


# -- time ----------------------------------------------------------------------------------------


def slow(samples, seconds, n=100, moments=None):
    def made():
        for start in range(0, len(samples), n):
            if moments is not None:
                moments.append(time.perf_counter())
            time.sleep(seconds)
            yield samples[start : start + n]

    return made


def test_nothing_is_read_of_a_slow_source_once_its_time_is_over():
    """A pass takes 50 seconds, and training several."""
    est, moments = tiny(max_fit_seconds=3.0, components=None), []
    est.fit(X[:100])  # what is loaded on first use
    started = time.perf_counter()
    with pytest.warns(InterruptedFitWarning, match=r"ended the first reading of X after \d+ samples"):
        est.fit(slow(bent(5000), 1.0, moments=moments))
    assert moments[-1] - started < TRAINING_SHARE * 3.0 + 1.0
    assert len(moments) < 8
    assert est.n_samples_seen_ == 100  # a fifth of the time is less than the first chunk takes
    assert np.isfinite(est.score(X))


def test_samples_that_must_be_in_memory_are_all_read_however_slowly():
    gaps = np.where(np.arange(60 * 3).reshape(60, 3) == 4, np.nan, X[:60])
    est = tiny(max_fit_seconds=0.5, components=None, fit_conditionals=False).fit(slow(gaps, 0.3, 20))
    assert est.n_samples_seen_ == 60


# -- the other methods ---------------------------------------------------------------------------


def test_scores_of_sources(beyond, tmp_path):
    expected = beyond.score_samples(X)
    for source in (mapped(tmp_path), chunks(), da.from_array(X, chunks=(250, 2))):
        np.testing.assert_array_equal(beyond.score_samples(source), expected)
        parts = list(beyond.score_chunks(source))
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert len(list(beyond.score_chunks(chunks(n=100)))) == 9
    np.testing.assert_array_equal(next(iter(beyond.score_chunks(X))), expected)
    assert beyond.score(chunks()) == pytest.approx(expected.mean())
    named = tiny(components=None).fit(FRAME)
    np.testing.assert_array_equal(named.score_samples(parquet(tmp_path)), named.score_samples(FRAME))
    gaps = np.where(np.arange(3 * N).reshape(N, 3) % 50 == 7, np.nan, X)
    np.testing.assert_array_equal(beyond.score_samples(mapped(tmp_path, gaps)), beyond.score_samples(gaps))
    with pytest.raises(ValueError, match="feature names"):
        list(named.score_chunks(chunks(FRAME.rename(columns={"b": "x"}))))


def test_samples_in_chunks_are_those_of_sample(beyond, monkeypatch):
    monkeypatch.setattr("skdiffusion.estimators._joint.CHUNK_SAMPLES", 60)
    for seed in (None, 3):
        parts = list(beyond.sample_chunks(200, seed))
        assert [len(part) for part in parts] == [60, 60, 60, 20]
        np.testing.assert_array_equal(np.concatenate(parts), beyond.sample(200, seed))
    assert list(beyond.sample_chunks(0)) == []
    named = tiny(components=None).fit(FRAME)
    pd.testing.assert_frame_equal(pd.concat(named.sample_chunks(100), ignore_index=True), named.sample(100))
    assert isinstance(next(named.sample_chunks(5, as_frame=False)), np.ndarray)
    with pytest.raises(ValueError, match="n_samples"):
        next(beyond.sample_chunks(-1))


def test_progress_of_reading_scoring_and_sampling(tmp_path, capsys):
    est = tiny(verbose=1, components=None).fit(mapped(tmp_path))
    est.score_samples(mapped(tmp_path))
    list(est.sample_chunks(100))
    shown = capsys.readouterr().err
    for stage in ("reading: 100%", "scoring: 100%", "sampling: 100%"):
        assert f"DiffusionDensityEstimator, {stage}" in shown


def test_a_stream_takes_the_chunks_of_a_source_one_after_the_other(beyond, tmp_path):
    one, other = (pickle.loads(pickle.dumps(beyond)) for _ in range(2))
    new = bent(300, 5) + np.float32(0.5)
    one.partial_fit(chunks(new))
    for chunk in chunks(new)():
        other.partial_fit(chunk)
    same(one, other)
    assert one.n_samples_seen_ == N + 300
    same(tiny().partial_fit(chunks()), tiny().fit(chunks()))
    before = one.score_samples(X[:20])
    with pytest.raises(ConnectionError):
        one.partial_fit(failing(100, ConnectionError("the line is dead")))
    np.testing.assert_array_equal(one.score_samples(X[:20]), before)
    weight = np.linspace(0.1, 1, 300)
    same(one.partial_fit(chunks(new), sample_weight=weight), other.partial_fit(new, sample_weight=weight))


def test_a_stream_may_begin_with_a_file_whose_columns_a_mask_takes_as_numbers(tmp_path):
    """What the columns are is asked of the samples, not of the path."""
    est = tiny(N, categorical_features=[False] * 3).partial_fit(parquet(tmp_path))
    assert est.n_samples_seen_ == N
    same(est, tiny(N, categorical_features=[False] * 3).fit(parquet(tmp_path)))
    labels = FRAME[:50].assign(kind=np.repeat(["a", "b"], 25))
    labels.to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match="'partial_fit' is not defined for a table with categories"):
        tiny(N).partial_fit(tmp_path / "labels.parquet")
