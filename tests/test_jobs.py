"""n_jobs: the same bits whatever their number, no more threads than asked for, and nothing left behind by an error."""

import pickle
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator, load
from skdiffusion._utils.blocks import MIN_SENT, in_parts
from skdiffusion._utils.parallel import n_workers, side_by_side, workers
from skdiffusion._utils.warnings import without_convergence_warnings
from skdiffusion.datasets import Sphere
from skdiffusion.densities import ExpectationMaximization

SMALL = {"max_iter": 5, "hidden_layer_sizes": (64, 64), "n_steps": 6, "random_state": 0}


def bent(n, d, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d))
    for j in range(1, d):
        X[:, j] += 0.5 * X[:, j - 1] ** 2 + 0.3 * np.abs(X[:, j - 1]) * X[:, j]
    return X


def meeting(n):
    """Tasks that end once n of them have begun, each of which tells its thread."""
    barrier = threading.Barrier(n)

    def task():
        barrier.wait(10)
        return threading.get_ident()

    return [task] * n


# -- tasks ---------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_tasks_whoever_is_faster():
    with workers(2):
        found = side_by_side([lambda k=k: (time.sleep(0.002 * (5 - k)), k)[1] for k in range(5)])
    assert found == list(range(5))


def test_as_many_tasks_as_workers_run_at_a_time():
    with workers(3):
        assert n_workers() == 3
        assert len(set(side_by_side(meeting(3)))) == 3


@pytest.mark.parametrize("n_jobs", [None, 1])
def test_one_job_stays_in_its_thread(n_jobs):
    with workers(n_jobs):
        assert n_workers() == 1
        assert set(side_by_side([threading.get_ident] * 3)) == {threading.get_ident()}


def test_tasks_of_a_task_and_computations_within_it_run_one_after_the_other():
    def task():
        with workers(4):
            return n_workers(), side_by_side([threading.get_ident] * 3)

    with workers(2):
        for count, idents in side_by_side([task] * 4):
            assert count == 1
            assert len(set(idents)) == 1
        with workers(5):
            assert n_workers() == 2
    assert n_workers() == 1


def test_every_thread_of_a_task_is_alone_and_has_the_settings_of_the_caller():
    def settings():
        time.sleep(0.01)
        return torch.get_num_threads(), get_config()["assume_finite"], torch.is_grad_enabled()

    before, started = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(2)
    try:
        with config_context(assume_finite=True), workers(2):
            assert side_by_side([settings] * 4) == [(1, True, True)] * 4
            with torch.no_grad():
                assert side_by_side([settings] * 4) == [(1, True, False)] * 4
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threading.active_count() == started


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_running_tasks_end_and_no_other_begins(error):
    barrier, begun, ended = threading.Barrier(2), [], []

    def fails():
        barrier.wait(10)
        raise error("of a task")

    def runs():
        barrier.wait(10)
        time.sleep(0.05)
        ended.append(True)

    with pytest.raises(error, match="of a task"), workers(2):
        side_by_side([fails, runs, *[lambda: begun.append(True)] * 50])
    assert ended == [True]
    assert len(begun) == 0


@pytest.mark.parametrize("n_samples", [0, 1, 383, 385, 5000, 40_000])
def test_parts_cover_every_sample_once(n_samples):
    seen = np.zeros(n_samples, dtype=int)

    def count(part):
        seen[part] += 1

    with workers(2):
        in_parts(count, n_samples)
    assert (seen == 1).all()


def test_overlapping_threads_leave_the_filters_of_warnings_as_they_were():
    before, barrier = list(warnings.filters), threading.Barrier(2)

    def quiet(seconds):
        with without_convergence_warnings():
            barrier.wait(10)
            time.sleep(seconds)
            warnings.warn("of clusters", ConvergenceWarning, stacklevel=1)

    threads = [threading.Thread(target=quiet, args=(seconds,)) for seconds in (0.0, 0.02)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# -- the same bits -------------------------------------------------------------------------------


def fitted(n_jobs, X, **given):
    return DiffusionDensityEstimator(**{**SMALL, **given}, n_jobs=n_jobs).fit(X)


@pytest.fixture(scope="module")
def one_job():
    X = np.concatenate([bent(500, 3), 6 + 0.3 * bent(200, 3, 1)])
    return fitted(1, X), X


@pytest.mark.parametrize("method", ["score_samples", "score_function", "to_latent", "from_latent", "log_density_error"])
@pytest.mark.parametrize("n_samples", [MIN_SENT - 1, 2 * MIN_SENT])
def test_values_of_several_blocks_have_the_same_bits(method, n_samples, one_job):
    est, X = one_job
    several = clone(est).set_params(n_jobs=3)
    several.__dict__.update({k: v for k, v in vars(est).items() if k != "n_jobs"})
    rng = np.random.default_rng(0)
    queries = X[rng.integers(len(X), size=n_samples)] + 0.2 * rng.standard_normal((n_samples, 3))
    assert_array_equal(getattr(several, method)(queries), getattr(est, method)(queries))
    assert_array_equal(several.sample(9000, random_state=0), est.sample(9000, random_state=0))


def test_the_support_has_the_same_bits():
    X = Sphere(1, n_features=3).sample(200, 0)
    given = {"n_components": 1, "max_iter": 8, "random_state": 0}
    one, two = (ManifoldDiffusionEstimator(**given, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2))
    assert_array_equal(one.score_samples(np.tile(X, (4, 1))), two.score_samples(np.tile(X, (4, 1))))
    assert_array_equal(one.sample(1000, random_state=0), two.sample(1000, random_state=0))


def test_a_start_drawn_before_is_the_start_of_the_fit():
    X, w = bent(200, 2), np.ones(200)
    em, rngs = ExpectationMaximization(max_k_means_samples=100), [np.random.default_rng(0) for _ in range(2)]
    start = em.draw_start(w, 3, rngs[0])
    assert_array_equal(em.fit(X, w, (3, 1.0), start=start).means, em.fit(X, w, (3, 1.0), rngs[1]).means)
    assert rngs[0].random() == rngs[1].random()


# -- the estimator -------------------------------------------------------------------------------


def test_the_context_of_joblib_sets_the_number():
    with joblib.parallel_config(n_jobs=3), workers(None):
        assert n_workers() == 3
    with joblib.parallel_config(n_jobs=3), workers(1):
        assert n_workers() == 1
    with workers(-1):
        assert n_workers() == joblib.cpu_count()


def test_n_jobs_is_a_parameter_that_is_saved(one_job, tmp_path):
    est, X = one_job
    two = fitted(2, X[:100])
    assert clone(two).get_params()["n_jobs"] == 2
    two.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.n_jobs == pickle.loads(pickle.dumps(two)).n_jobs == 2
    assert_array_equal(again.score_samples(X[:500]), two.score_samples(X[:500]))


def test_zero_jobs_have_no_meaning():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        fitted(0, bent(30, 2)).score_samples(bent(30, 2))


def test_no_more_threads_compute_than_asked_for(one_job):
    est, X = one_job
    est, seen = pickle.loads(pickle.dumps(est)).set_params(n_jobs=2), []
    started, stop = threading.active_count(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.append(threading.active_count())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        est.score_samples(np.tile(X, (2, 1))[: MIN_SENT - 1])  # more would go to processes
    finally:
        stop.set()
        watcher.join()
    assert max(seen) == started + 2  # the watcher, and the thread beside the calling one
