"""Scorers in every search class, through every kind of estimator; threads; a cluster."""

import os
import pickle
import threading
import time

import joblib
import numpy as np
import pytest
import torch
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_info

from skdiffusion import DiffusionDensityEstimator, Options, StackedDensityEstimator
from skdiffusion.compose import draw_samples, make_density_pipeline, training_scale
from skdiffusion.metrics import (
    make_sample_scorer,
    mean_log_likelihood,
    neg_c2st,
    neg_sliced_wasserstein_1,
    neg_wasserstein_1,
    wasserstein_1,
)
from skdiffusion.model_selection import param_distributions

SMALL = {"max_iter": 3, "hidden_layer_sizes": (8, 8), "n_estimators": 1, "random_state": 0}
FAST = make_sample_scorer("sliced_wasserstein_1", n_samples=100)


@pytest.fixture
def X(rng):
    return rng.normal(size=(120, 2)) * [1.0, 100.0]


ESTIMATORS = {
    "diffusion": DiffusionDensityEstimator(**SMALL),
    "stacked": StackedDensityEstimator(random_state=0),
    "kernel": KernelDensity(bandwidth=0.5),
    "mixture": GaussianMixture(2),
    "pipeline": make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.3)),
    "pipeline of a mixture": make_pipeline(StandardScaler(), "passthrough", GaussianMixture(2)),
    "density pipeline": make_density_pipeline(StandardScaler(), DiffusionDensityEstimator(**SMALL)),
    "search": GridSearchCV(KernelDensity(), {"bandwidth": [0.3, 1.0]}),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("scorer", [neg_wasserstein_1, neg_sliced_wasserstein_1, mean_log_likelihood, FAST])
def test_a_score_is_a_repeatable_float(name, scorer, X):
    fitted = ESTIMATORS[name].fit(X)
    value = scorer(fitted, X[:60])
    assert isinstance(value, float)
    assert np.isfinite(value)
    assert scorer(fitted, X[:60]) == value
    assert pickle.loads(pickle.dumps(scorer))(fitted, X[:60], None) == value


@pytest.mark.parametrize("name", ESTIMATORS)
def test_samples_are_drawn_in_the_units_of_the_input(name, X):
    samples = draw_samples(ESTIMATORS[name].fit(X), 300, 5)
    assert samples.shape == (300, 2)
    np.testing.assert_array_equal(samples, draw_samples(ESTIMATORS[name], 300, 5))
    assert wasserstein_1(samples / X.std(0), X / X.std(0)) < 0.6


def test_a_mixture_draws_components_in_any_order(rng):
    X = np.concatenate([rng.normal(size=(50, 1)), rng.normal(size=(50, 1)) + 20])
    first = draw_samples(GaussianMixture(2, random_state=0).fit(X), 200, 1)[:100] > 10
    assert 0.3 < first.mean() < 0.7


def test_a_plain_pipeline_that_cannot_be_inverted_is_named(X):
    pipe = make_pipeline(FunctionTransformer(np.square), KernelDensity()).fit(X)
    with pytest.raises(TypeError, match="functiontransformer"):
        draw_samples(pipe, 3, 0)
    with pytest.raises(TypeError, match="StandardScaler has no 'sample'"):
        draw_samples(StandardScaler().fit(X), 3, 0)


def test_the_scale_comes_from_training_samples(X):
    """The same number whatever the units, and whatever samples are scored."""
    for estimator in (GaussianMixture(1, random_state=0, reg_covar=0), DiffusionDensityEstimator(**SMALL)):
        scale = np.array([1.0, 1024.0])
        plain, moved = estimator.fit(X), None
        one = neg_wasserstein_1(plain, X[:50])
        moved = estimator.fit(X * scale)
        assert neg_wasserstein_1(moved, X[:50] * scale) == pytest.approx(one, rel=1e-6)
    kernel = KernelDensity(bandwidth=0.1).fit(X)
    by_hand = -wasserstein_1(
        draw_samples(kernel, 1000, int(np.random.default_rng(0).integers(2**31 - 1))) / X.std(0), X / X.std(0)
    )
    assert neg_wasserstein_1(kernel, X) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_the_scale_of_a_mixture_is_that_of_its_samples(kind, rng):
    X = rng.normal(size=(300, 2)) * ([1.0, 1.0] if kind == "spherical" else [1.0, 5.0])
    mixture = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    np.testing.assert_allclose(training_scale(mixture, X[:5]), X.std(0), rtol=0.05)


SEARCHES = {
    "grid": lambda s: GridSearchCV(KernelDensity(), {"bandwidth": [0.05, 0.3, 5.0]}, scoring=s, cv=3),
    "random": lambda s: RandomizedSearchCV(
        KernelDensity(), {"bandwidth": [0.05, 0.3, 5.0]}, n_iter=3, scoring=s, cv=3, random_state=0
    ),
    "halving": lambda s: HalvingGridSearchCV(
        KernelDensity(), {"bandwidth": [0.3, 1.0, 5.0]}, scoring=s, cv=3, min_resources=60, random_state=0
    ),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_choose_by_samples_and_refit(search, rng):
    found = SEARCHES[search](FAST).fit(rng.normal(size=(240, 2)))
    assert found.best_params_["bandwidth"] == 0.3 or search != "halving"
    assert found.best_params_["bandwidth"] < 5.0
    assert found.best_estimator_.sample(3).shape == (3, 2)


class CountingMixture(GaussianMixture):
    """A mixture that counts how often samples are drawn, over all of its clones."""

    n_draws = 0

    def sample(self, n_samples=1):
        CountingMixture.n_draws += 1
        return super().sample(n_samples)


def test_several_metrics_from_one_set_of_draws(X):
    drawn_before = CountingMixture.n_draws
    scorer = make_sample_scorer(["wasserstein_1", "sliced_wasserstein_1", "c2st", "mean_log_likelihood"], n_samples=80)
    out = cross_validate(CountingMixture(1, random_state=0), X, scoring=scorer, cv=3)
    names = ["neg_wasserstein_1", "neg_sliced_wasserstein_1", "neg_c2st", "mean_log_likelihood"]
    assert all(np.isfinite(out[f"test_{n}"]).all() for n in names)
    assert CountingMixture.n_draws - drawn_before == 3
    alone = cross_val_score(GaussianMixture(1, random_state=0), X, scoring=mean_log_likelihood, cv=3)
    np.testing.assert_allclose(out["test_mean_log_likelihood"], alone)
    search = GridSearchCV(
        GaussianMixture(random_state=0), {"n_components": [1, 2]}, scoring=scorer, refit="neg_wasserstein_1", cv=3
    ).fit(X)
    assert search.best_score_ == search.cv_results_["mean_test_neg_wasserstein_1"].max()


def test_c2st_as_a_scorer(rng):
    X = rng.normal(size=(300, 2))
    good, bad = KernelDensity(bandwidth=0.3).fit(X), KernelDensity(bandwidth=5.0).fit(X)
    assert neg_c2st(good, rng.normal(size=(300, 2))) > -0.6
    assert neg_c2st(bad, rng.normal(size=(300, 2))) < -0.85


def test_a_memorizing_model_is_not_chosen_when_novelty_counts(rng):
    """In two features a copy of the training samples has as good a W1 as the truth: W1 alone cannot choose."""
    X = rng.normal(size=(400, 2))
    grid = {"bandwidth": [1e-4, 0.3]}
    alone = GridSearchCV(KernelDensity(), grid, scoring=make_sample_scorer("wasserstein_1", X_ref=X)).fit(X)
    copy, smooth = -alone.cv_results_["mean_test_score"]
    assert copy < 1.15 * smooth
    scorer = make_sample_scorer("wasserstein_1", X_ref=X, novelty_weight=1.0)
    both = GridSearchCV(KernelDensity(), grid, scoring=scorer).fit(X)
    assert both.best_params_["bandwidth"] == 0.3
    copy_with_novelty = -both.cv_results_["mean_test_score"][0]
    assert copy_with_novelty == pytest.approx(2 * copy, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "accuracy"}, "metric"),
        ({"metric": []}, "metric"),
        ({"n_samples": 1}, "n_samples"),
        ({"novelty_weight": -1.0}, "novelty_weight"),
        ({"novelty_weight": 1.0}, "X_ref"),
        ({"X_ref": [[np.nan]]}, "X_ref"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_sample_scorer(**arguments)


def test_the_ready_search_space(rng):
    X = rng.normal(size=(80, 2))
    model = DiffusionDensityEstimator(max_iter=1, components=None, n_steps=4, random_state=0)
    space = param_distributions(80, 2)
    search = RandomizedSearchCV(model, space, n_iter=3, cv=2, random_state=0, scoring=FAST, error_score="raise").fit(X)
    assert set(search.best_params_) == set(space)
    prefixed = param_distributions(80, 2, prefix="model__")
    assert all(name.startswith("model__") for name in prefixed)
    halving = HalvingRandomSearchCV(
        model, space, n_candidates=3, cv=2, random_state=0, scoring=FAST, min_resources=40, error_score="raise"
    ).fit(X)
    assert np.isfinite(halving.best_score_)
    with pytest.raises(ValueError, match="'n_samples'"):
        param_distributions(1, 2)


def test_the_default_scoring(rng):
    """`est.score` is the mean log-likelihood."""
    X = rng.normal(size=(100, 2))
    model = DiffusionDensityEstimator(**SMALL)
    np.testing.assert_allclose(
        cross_val_score(model, X, cv=2), cross_val_score(model, X, cv=2, scoring=mean_log_likelihood)
    )


def _warm():
    DiffusionDensityEstimator(**SMALL).fit(np.zeros((3, 1)) + np.arange(3)[:, None])


def _running_threads(stop, counts, processes):
    """Count the running threads of the workers (threads of this process, or child processes) until `stop` is set."""
    idle = {threading.get_native_id(), os.getpid()}  # the main thread only waits for its workers
    while not stop.is_set():
        running = 0
        for pid in _children(os.getpid()) if processes else [os.getpid()]:
            try:
                tasks = os.listdir(f"/proc/{pid}/task")
            except FileNotFoundError:
                continue
            for task in tasks:
                if int(task) in idle:
                    continue
                try:
                    with open(f"/proc/{pid}/task/{task}/stat") as file:
                        running += file.read().rpartition(")")[2].split()[0] == "R"
                except (FileNotFoundError, ProcessLookupError):
                    continue
        counts.append(running)
        time.sleep(0.002)


def _children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                for child in map(int, file.read().split()):
                    found += [child, *_children(child)]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.skipif(not os.path.exists(f"/proc/self/task/{os.getpid()}/children"), reason="reads Linux's /proc")
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_a_search_runs_no_more_threads_than_jobs(backend, rng):
    X = rng.normal(size=(300, 8))
    before = {i["filepath"]: i["num_threads"] for i in threadpool_info()}, torch.get_num_threads()
    model = DiffusionDensityEstimator((128, 128), max_iter=20, n_estimators=2, random_state=0, options=Options())
    scorer = make_sample_scorer(["c2st", "sliced_wasserstein_1", "mean_log_likelihood"], n_samples=200)
    search = GridSearchCV(
        model, {"options__learning_rate": [1e-3, 1e-2]}, cv=2, n_jobs=2, scoring=scorer, refit="neg_c2st"
    )
    stop, counts = threading.Event(), []
    watcher = threading.Thread(target=_running_threads, args=(stop, counts, backend != "threading"))
    with joblib.parallel_backend(backend):
        # Starting workers and importing torch in them is not the search.
        joblib.Parallel(n_jobs=2)(joblib.delayed(_warm)() for _ in range(8))
        watcher.start()
        try:
            search.fit(X)
        finally:
            stop.set()
            watcher.join()
    counts = np.array(counts)
    # Helper threads of joblib wake for moments: a few of a hundred counts may be one higher.
    assert np.quantile(counts, 0.95) <= 2, np.bincount(counts)
    assert (counts >= 2).mean() > 0.1, np.bincount(counts)  # the search was observed
    after = {i["filepath"]: i["num_threads"] for i in threadpool_info()}
    assert {k: after[k] for k in before[0]} == before[0]
    assert torch.get_num_threads() == before[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
def test_a_search_on_a_dask_cluster_gives_the_same_result(rng):
    distributed = pytest.importorskip("dask.distributed")
    X = rng.normal(size=(100, 2))
    search = GridSearchCV(
        DiffusionDensityEstimator(**SMALL), {"hidden_layer_sizes": [(8, 8), (16, 16)]}, cv=2, scoring=FAST, n_jobs=1
    )
    alone = search.fit(X).cv_results_["mean_test_score"]
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_backend("dask"),
    ):
        spread = search.set_params(n_jobs=None).fit(X).cv_results_["mean_test_score"]
    np.testing.assert_allclose(spread, alone, rtol=1e-7)
