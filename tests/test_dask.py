"""The estimator on a Dask cluster of two worker processes: the fit of two processes, and what happens when one dies."""

import os
import pickle
import signal
import threading
import time

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import skdiffusion
from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.dask import DaskDiffusionDensityEstimator
from skdiffusion.exceptions import LostProcessError
from tests.test_processes import TOLERANCE, samples

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask and of the libraries that its workers start


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        yield client


def parameters(n_training_steps=60, **given):
    options = Options(n_training_steps=n_training_steps, n_pilot_steps=5, **given.pop("options", {}))
    chosen = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "random_state": 0, "components": None, "n_steps": 8}
    return chosen | {"feature_transform": None, "options": options} | given


def small(client=None, **given):
    return DaskDiffusionDensityEstimator(client=client, **parameters(**given))


def in_chunks(X, sizes):
    return da.from_array(X, chunks=(sizes, X.shape[1]))


@pytest.fixture(scope="module")
def fitted(client):
    X = samples(240)
    return small(client).fit(in_chunks(X, (100, 0, 60, 80))), X


def test_the_fit_is_that_of_one_process_whatever_worker_holds_what(client, fitted):
    estimator, X = fitted
    alone = DiffusionDensityEstimator(**parameters()).fit(X)
    expected = alone.score_samples(X)
    assert_allclose(estimator.to_local().score_samples(X), expected, atol=TOLERANCE)
    first, second = client.nthreads()
    parts = [client.scatter(x, workers=[w]) for x, w in ((X[:50], second), (X[50:70], first), (X[70:], second))]
    placed = da.concatenate([da.from_delayed(p, (n, 3), dtype=float) for p, n in zip(parts, (50, 20, 170))])
    again = small(client).fit(placed)
    assert_allclose(again.to_local().score_samples(X), expected, atol=TOLERANCE)


def test_scores_imputations_and_samples_are_lazy_and_those_of_the_plain_estimator(fitted, monkeypatch):
    estimator, X = fitted
    local, chunked = estimator.to_local(), in_chunks(X, (100, 0, 60, 80))
    assert type(local) is DiffusionDensityEstimator
    lazy = estimator.score_samples(chunked)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == (240,)
    assert_array_equal(lazy, local.score_samples(X))
    assert_array_equal(estimator.score_samples(X), local.score_samples(X))
    assert estimator.score(chunked) == local.score(X)
    monkeypatch.setattr("skdiffusion.dask._estimator.SAMPLE_CHUNK", 50)
    drawn = estimator.sample(120)
    assert drawn.shape == (120, 3)
    assert_array_equal(drawn[:50], local.sample(50))
    assert_array_equal(estimator.sample(70), drawn[:70])
    assert len(np.unique(np.asarray(drawn), axis=0)) == 120
    assert_array_equal(estimator.sample(40, 5), local.sample(40, 5))


def test_the_estimator_travels_without_its_client(fitted, tmp_path):
    estimator, X = fitted
    expected = estimator.to_local().score_samples(X)
    copy = pickle.loads(pickle.dumps(estimator))
    assert copy.client is None
    assert_array_equal(copy.score_samples(X), expected)
    estimator.save(tmp_path / "estimator.skd")
    assert_array_equal(skdiffusion.load(tmp_path / "estimator.skd").score_samples(X), expected)
    unfitted = clone(estimator)
    assert unfitted.client is estimator.client
    assert not hasattr(unfitted, "blend_")


def table(n=200):
    rng = np.random.default_rng(0)
    kind, size = rng.choice(["a", "b", "c"], n), rng.standard_normal(n)
    size[kind == "b"] += 3
    return pd.DataFrame({"kind": pd.Categorical(kind), "size": np.where(rng.random(n) < 0.1, np.nan, size)})


def test_frames_with_categories_and_gaps(client):
    frame = table()
    given = {"components": ["mixture", "student"], "n_training_steps": 40}
    weights = dd.from_pandas(pd.Series(np.linspace(1, 2, 200)), npartitions=3)
    estimator = small(client, **given).fit(dd.from_pandas(frame, npartitions=3), sample_weight=weights)
    alone = DiffusionDensityEstimator(**parameters(**given)).fit(frame, sample_weight=np.linspace(1, 2, 200))
    chunked = dd.from_pandas(frame, npartitions=2)
    scores = estimator.score_samples(chunked).compute()
    assert_allclose(scores, alone.score_samples(frame), atol=TOLERANCE)
    assert_array_equal(scores, estimator.to_local().score_samples(frame))
    drawn = estimator.sample(30)
    assert isinstance(drawn, dd.DataFrame)
    pd.testing.assert_frame_equal(drawn.compute(), estimator.to_local().sample(30))
    filled = estimator.impute(chunked, random_state=1).compute()
    assert_array_equal(filled[:100], estimator.to_local().impute(frame[:100], random_state=1))
    assert not np.isnan(filled).any()
    assert estimator.impute(chunked, n_draws=3, random_state=1).compute().shape == (3, 200, 2)


def test_bad_input_is_an_error_in_words_and_keeps_the_fit(client, fitted):
    estimator, X = fitted
    chunked = in_chunks(X, 120)
    before = estimator.blend_
    with pytest.raises(TypeError, match="Dask array or frame.*from_array"):
        estimator.fit(X)
    with pytest.raises(TypeError, match="'sample_weight' must be a Dask array"):
        estimator.fit(chunked, sample_weight=np.ones(240))
    with pytest.raises(ValueError, match="'groups' has 1 partitions and X has 2"):
        estimator.fit(chunked, groups=da.ones(100))
    with pytest.raises(ValueError, match="infinity"):
        estimator.fit(chunked.map_blocks(lambda x: x * np.inf))
    with pytest.raises(ZeroDivisionError):
        estimator.fit(chunked.map_blocks(lambda x: x / (1 // 0), meta=np.empty((0, 0))))
    assert estimator.blend_ is before


def test_two_fits_at_once_wait_for_each_other(client):
    X, found = samples(60), {}

    def fit(seed):
        found[seed] = small(client, random_state=seed, n_training_steps=30).fit(in_chunks(X, 30))

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for seed in (0, 1):
        alone = DiffusionDensityEstimator(**parameters(random_state=seed, n_training_steps=30)).fit(X)
        assert_allclose(found[seed].to_local().score_samples(X), alone.score_samples(X), atol=TOLERANCE)


def kill_one(client):
    pids = client.run(os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_fit_and_another_goes_on(client, tmp_path):
    path, X = tmp_path / "fit.checkpoint", samples(60)
    options = {"patience": 2000}
    estimator = small(client, n_training_steps=2000, options=options | {"checkpoint": str(path)})
    found = {}

    def fit():
        try:
            estimator.fit(in_chunks(X, 30))
        except Exception as error:
            found.update(error=error, at=time.monotonic())

    thread = threading.Thread(target=fit)
    thread.start()
    while not path.exists():
        assert thread.is_alive()
        time.sleep(0.1)
    kill_one(client)
    killed = time.monotonic()
    thread.join(60)
    assert isinstance(found["error"], LostProcessError)
    assert found["at"] - killed < 30
    assert "died during the fit" in str(found["error"]) or "lost the others at step" in str(found["error"])
    assert path.exists()
    assert not hasattr(estimator, "blend_")
    client.wait_for_workers(2, timeout=60)
    estimator.fit(in_chunks(X, 30))
    assert not path.exists()
    alone = DiffusionDensityEstimator(**parameters(2000, options=options)).fit(X)
    assert_allclose(estimator.validation_scores_, alone.validation_scores_, atol=1e-3)


def test_scores_outlive_a_worker_that_dies(client, fitted):
    estimator, X = fitted
    many = da.from_array(np.tile(X, (20, 1)), chunks=(240, 3))
    expected = np.tile(estimator.to_local().score_samples(X), 20)
    future = client.compute(estimator.score_samples(many))
    time.sleep(0.5)
    kill_one(client)
    assert_array_equal(future.result(timeout=120), expected)
