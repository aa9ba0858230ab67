"""Processes that help a fit: the same results whoever does a task, as many as asked for, and nothing left over."""

import os
import pickle
import signal
import threading
import time

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context

from skdiffusion import DiffusionDensityEstimator, DiffusionRegressor, Options
from skdiffusion._utils import processes
from skdiffusion._utils.blocks import MIN_SENT
from skdiffusion._utils.parallel import n_workers
from skdiffusion._utils.processes import Sent, begin, helpers, n_free_helpers, n_helpers, results
from skdiffusion.densities import MixtureSearch
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.diffusion.training import FineTuningPlan, TrainingPlan, TrainingSets, train
from skdiffusion.diffusion.training._likelihood import Likelihood
from skdiffusion.exceptions import InterruptedFitWarning
from tests.helper_tasks import Count, Overflow, end, fail, fail_beside, settings, span, warn, where

HERE = os.getpid()
SMALL = {"max_iter": 5, "hidden_layer_sizes": (64, 64), "n_steps": 6, "random_state": 0}


def ready(n):
    """Wait until so many helpers are free: they import everything first."""
    until = time.monotonic() + 120
    while n_free_helpers() < n and time.monotonic() < until:
        time.sleep(0.01)
    assert n_free_helpers() == n


@pytest.fixture(scope="module", autouse=True)
def _imported():
    """Helpers that have imported everything, so that they take tasks of the short fits below."""
    with helpers(3):
        ready(2)


def bent(n, d, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d))
    for j in range(1, d):
        X[:, j] += 0.5 * X[:, j - 1] ** 2 + 0.3 * np.abs(X[:, j - 1]) * X[:, j]
    return X


# -- tasks ---------------------------------------------------------------------------------------


def test_tasks_are_shared_and_come_in_their_order():
    with helpers(2):
        ready(1)
        found = results([begin(where, k) for k in range(8)])
    assert [value for _, value in found] == list(range(8))
    assert {pid for pid, _ in found} > {HERE}


def test_a_function_of_many_tasks_is_unpickled_once():
    count = Count()
    with helpers(2):
        ready(1)
        sent = Sent(count)
        found = results([begin(sent, k) for k in range(8)])
    assert [k for _, _, k in found] == list(range(8))
    by_process = {pid: sorted(calls for own, calls, _ in found if own == pid) for pid in {pid for pid, _, _ in found}}
    assert by_process.keys() > {HERE}
    assert all(calls == [*range(1, len(calls) + 1)] for calls in by_process.values())
    assert count.calls == len(by_process[HERE])


def test_as_many_tasks_as_asked_for_run_at_a_time():
    with helpers(2):
        ready(1)
        spans = results([begin(span) for _ in range(8)])
    for start, _ in spans:
        assert sum(begun <= start < ended for begun, ended in spans) <= 2


def test_without_helpers_a_task_is_done_here_when_it_is_asked_for():
    for n_jobs in (None, 1):
        with helpers(n_jobs):
            assert n_helpers() == n_free_helpers() == 0
            assert begin(where).result() == (HERE, None)


def test_who_waits_does_what_is_left():
    with helpers(2):
        ready(1)
        long, short = begin(where, "long", 0.5), begin(where, "short")
        assert long.result() != (HERE, "long")
        assert short.future is None
        assert short.result() == (HERE, "short")


def test_shared_objects_come_back_as_themselves():
    known, array = {"a": 1}, np.arange(3)
    with helpers(2):
        ready(1)
        pid, (first, second, third) = begin(where, [known, array, {"a": 1}], shared=[known, array]).result()
    assert pid != HERE
    assert first is known
    assert second is array
    assert third == known
    assert third is not known


def test_a_helper_has_one_thread_and_the_settings_of_the_caller():
    with helpers(2), config_context(assume_finite=True), np.errstate(under="raise"):
        ready(1)
        pid, threads, assume_finite, underflow = begin(settings).result()
    assert pid != HERE
    assert threads == {1}
    assert assume_finite
    assert underflow == "raise"


def test_warnings_of_a_helper_are_those_of_the_caller():
    with helpers(2):
        ready(1)
        task = begin(warn)
        with pytest.warns(UserWarning, match="of a task") as caught:
            assert task.result() != HERE
    assert [warning.filename for warning in caught] == [__file__]


def test_what_fails_elsewhere_is_done_here():
    with helpers(2):
        ready(1)
        assert begin(fail_beside, HERE).result() == HERE
        assert begin(lambda: os.getpid()).result() == HERE  # which cannot be sent
        with pytest.raises(ValueError, match="of the task"):
            begin(fail).result()


def test_a_lost_helper_is_done_without_and_replaced():
    with helpers(2):
        ready(1)
        assert begin(end, HERE).result() == HERE
        assert [pid for pid, _ in results([begin(where) for _ in range(3)])] == [HERE] * 3
    with helpers(2):
        ready(1)
        assert begin(where).result()[0] != HERE


def test_a_helper_that_is_lost_between_fits_is_replaced():
    with helpers(2):
        ready(1)
        pid = begin(where).result()[0]
    assert pid != HERE
    os.kill(pid, signal.SIGKILL)
    time.sleep(1.0)
    for _ in range(2):
        with helpers(2):
            ready(1)
            assert begin(where).result()[0] not in (HERE, pid)


def test_what_cannot_be_sent_is_tried_once():
    with helpers(2):
        ready(1)
        asked = []

        class Unsendable:
            def __getstate__(self):
                asked.append(HERE)
                raise TypeError("of a lock")

        found = results([begin(where, Unsendable()) for _ in range(3)])
    assert [pid for pid, _ in found] == [HERE] * 3
    assert len(asked) == 1


def test_fine_tuning_is_shared_whatever_hears_of_its_progress():
    network = FilmEnsemble(2, (8, 8), n_members=2)
    flow = ProbabilityFlow(NetworkField(network), 0.01, 1.52)
    sets = TrainingSets(torch.zeros(64, 2), np.ones(64), [np.arange(64)] * 2)
    plan = FineTuningPlan(n_steps=4, monitor=lambda *_: threading.Lock())
    objective = Likelihood(flow, sets, lambda _: 0.0, plan, np.random.default_rng(0))
    with helpers(2):
        ready(1)
        (_, first), (_, second) = objective.parts(0, 4, 2)
        assert max(len(pickle.dumps(steps)) for steps in (first, second)) < 100_000


def test_an_error_ends_what_still_runs():
    def body():
        ready(1)
        begin(where, None, 60.0)
        raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"), helpers(2):
        body()
    assert n_helpers() == 0
    assert processes._executors == {}
    with helpers(2):
        ready(1)


def test_contexts_of_joblib_set_the_number():
    with joblib.parallel_config(n_jobs=3), helpers(None):
        assert n_helpers() == 2
        with helpers(5):
            assert n_helpers() == 2
    with joblib.parallel_config(n_jobs=3), helpers(1):
        assert n_helpers() == 0
    with joblib.parallel_config(backend="threading", n_jobs=3), helpers(None):
        assert n_helpers() == 0


# -- fits ----------------------------------------------------------------------------------------


def with_gaps(X):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    return X


def table(n):
    X = bent(n, 3)
    X[:, 0] = np.digitize(X[:, 0], [-0.5, 0.5])
    return X


CASES = {
    "blend": (np.concatenate([bent(500, 3), 6 + 0.3 * bent(200, 3, 1)]), {}),
    "plane": (bent(300, 2), {"hidden_layer_sizes": (32, 32, 32)}),
    "one feature": (bent(200, 1), {}),
    "odd widths": (bent(300, 3), {"hidden_layer_sizes": (33, 20)}),
    "fine-tuned": (bent(200, 3), {"n_estimators": 2, "options": Options(fine_tune=True)}),
    "intervals": (bent(300, 3), {"options": Options(noise_intervals=2, activation="gelu")}),
    "sparse": (bent(300, 3), {"options": Options(n_nonzero_weights=500)}),
    "gaps": (with_gaps(bent(300, 3)), {}),
    "table": (table(300), {"categorical_features": [0]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_has_the_same_bits_whatever_n_jobs(case):
    X, given = CASES[case]
    one, *several = (DiffusionDensityEstimator(**{**SMALL, **given}, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2, 3))
    for est in several:
        assert one.component_weights_ == est.component_weights_
        assert_array_equal(one.loss_curve_, est.loss_curve_)
        assert_array_equal(one.validation_scores_, est.validation_scores_)
        assert_array_equal(one.likelihood_curve_, est.likelihood_curve_)
        assert_array_equal(one.score_samples(X), est.score_samples(X))
        assert_array_equal(one.sample(50, random_state=1), est.sample(50, random_state=1))


@pytest.mark.parametrize("method", ["score_samples", "score_function", "to_latent", "from_latent", "log_density_error"])
def test_helpers_have_the_bits_of_this_process(method, monkeypatch):
    X, received, receive = bent(400, 2), [], processes.Task._received
    est = DiffusionDensityEstimator(**{**SMALL, "max_iter": 60}).fit(X)
    assert est.component_weights_["diffusion"] > 0
    queries = np.tile(X, (6, 1)) + 0.1 * bent(6 * len(X), 2, 2)
    expected, drawn = getattr(est, method)(queries), est.sample(30_000, random_state=0)
    monkeypatch.setattr(processes.Task, "_received", lambda task: received.append(task) or receive(task))
    with helpers(3):
        ready(2)
        assert_array_equal(getattr(est, method)(queries), expected)
        n_received = len(received)
        assert n_received > 0
        assert_array_equal(est.sample(30_000, random_state=0), drawn)
        assert len(received) > n_received


def test_processes_help_with_many_samples_and_threads_with_few():
    est = DiffusionDensityEstimator(n_jobs=3)
    with est._side_by_side(MIN_SENT):
        assert (n_helpers(), n_workers()) == (2, 1)
    with est._side_by_side(MIN_SENT - 1):
        assert (n_helpers(), n_workers()) == (0, 3)
    with joblib.parallel_config("threading"), est._side_by_side(MIN_SENT):
        assert (n_helpers(), n_workers()) == (0, 3)


def test_an_overflow_in_a_helper_is_an_error_here():
    est = DiffusionDensityEstimator(**SMALL, n_jobs=2).fit(CASES["plane"][0])
    with pytest.raises(ValueError, match="arithmetic overflows"):
        est._evaluate(Overflow(), np.zeros((2000, 2)))


def test_a_regressor_has_the_same_bits():
    X = bent(150, 3)
    given = {"max_iter": 3, "random_state": 0}
    one, two = (DiffusionRegressor(**given, n_jobs=n_jobs).fit(X[:, :2], X[:, 2]) for n_jobs in (1, 2))
    assert_array_equal(one.predict(X[:, :2]), two.predict(X[:, :2]))


def test_groups_of_members_train_as_all_together_do():
    z, everything = torch.as_tensor(bent(200, 3), dtype=torch.float32), [np.arange(200)] * 4

    def trained():
        reports, rng, network = [], np.random.default_rng(0), FilmEnsemble(3, (64, 64), n_members=4)
        network.initialize(rng, 1.0, 1.2)
        plan = TrainingPlan(n_steps=120, n_target_samples=300, monitor=lambda *given: reports.append(given))
        result = train(network, TrainingSets(z, np.ones(200), everything, everything), plan, rng)
        return result.network.flat, reports

    alone, reports = trained()
    for n_jobs in (2, 3):
        with helpers(n_jobs):
            ready(n_jobs - 1)
            beside, same = trained()
        assert torch.equal(alone, beside)
        assert same == reports


def of_a_worker(X, n_jobs):
    return DiffusionDensityEstimator(**SMALL, n_jobs=n_jobs).fit(X).score_samples(X)


def test_a_fit_in_a_worker_of_joblib_is_the_same():
    X = bent(150, 2)
    expected = of_a_worker(X, 1)
    for found in joblib.Parallel(n_jobs=2)(joblib.delayed(of_a_worker)(X, n_jobs) for n_jobs in (None, 2)):
        assert_array_equal(found, expected)


def test_an_interrupted_fit_keeps_the_best_weights(monkeypatch):
    rate, calls = TrainingPlan.learning_rate_at, []

    def interrupt(plan, step):
        calls.append(step)
        if step == 120:
            raise KeyboardInterrupt
        return rate(plan, step)

    monkeypatch.setattr(TrainingPlan, "learning_rate_at", interrupt)
    X = bent(300, 3)
    with pytest.warns(InterruptedFitWarning, match="interrupted after 1[0-9]0 of"):
        est = DiffusionDensityEstimator((64, 64), max_iter=300, random_state=0, n_jobs=2).fit(X)
    assert np.isfinite(est.score(X))


def test_an_error_leaves_the_earlier_fit(monkeypatch):
    X = bent(150, 2)
    est = DiffusionDensityEstimator(**SMALL, n_jobs=2).fit(X)
    before = est.score_samples(X)
    monkeypatch.setattr("skdiffusion.estimators._numeric_fit.stack", fail)
    with pytest.raises(TypeError):
        est.fit(X[:, :1])
    assert est.n_features_in_ == 2
    assert_array_equal(est.score_samples(X), before)
    assert n_helpers() == 0


@pytest.mark.filterwarnings("ignore:There was no time")
def test_a_limit_of_time_is_kept():
    started = time.monotonic()
    est = DiffusionDensityEstimator(random_state=0, n_jobs=2, max_fit_seconds=3).fit(bent(2000, 4))
    assert np.isfinite(est.score(bent(100, 4)))
    assert time.monotonic() - started < 60  # however busy the machine is


def test_mixtures_tried_ahead_leave_no_trace():
    X, found = np.concatenate([bent(300, 2), 4 + bent(100, 2)]), []
    folds = np.array_split(np.random.default_rng(1).permutation(400), 4)
    for n_jobs in (1, 2, 3):
        search = MixtureSearch(X, np.ones(400), folds[:3], np.random.default_rng(0))
        with helpers(n_jobs):
            choice = search.choose()
        found.append((choice.setting, choice.score, search.rng.random(), set(search._fitted)))
    assert found[0] == found[1] == found[2]
