"""Progress, callbacks, time limits and interruptions of a fit."""

import time

import numpy as np
import pytest

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    ManifoldDiffusionEstimator,
)
from skdiffusion._utils.progress import MIN_LEFT_OUT, FitParts, FitProgress, affordable_samples, training_deadline
from skdiffusion.preprocessing import MAX_VALIDATION, TrainingData, WeightedSamples

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

SMALL = {
    "hidden_layer_sizes": (8, 8),
    "n_estimators": 2,
    "random_state": 0,
    "components": None,
    "feature_transform": None,
}


def samples(n=200):
    return np.random.default_rng(0).normal(size=(n, 2))


class Recorder:
    """A callback that counts, and may ask for the end."""

    def __init__(self, stop_after=None):
        self.calls, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append("begin")

    def on_fit_task_end(self, estimator, context):
        self.calls.append(context.task_name)
        return self.stop_after is not None and len(self.calls) > self.stop_after


class Inherited(Recorder):
    """A recorder that inner estimators get too."""

    max_propagation_depth = None


MANIFOLD = {"hidden_layer_sizes": (8, 8), "n_estimators": 2, "max_iter": 5, "random_state": 0}


@pytest.mark.parametrize(
    "make",
    [
        lambda: ManifoldDiffusionEstimator(2, support="linear", **MANIFOLD),
        lambda: DiffusionTransformer(DiffusionDensityEstimator(**SMALL, max_iter=5)),
        lambda: DiffusionOutlierDetector(DiffusionDensityEstimator(**SMALL, max_iter=5)),
    ],
    ids=["manifold", "transformer", "outliers"],
)
def test_callbacks_of_wrappers_see_the_inner_fit(make):
    X = samples() @ np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    X += 0.01 * np.random.default_rng(1).normal(size=X.shape)
    own, inherited = Recorder(), Inherited()
    est = make().set_callbacks(own, inherited).fit(X)
    assert own.calls[-2:] == ["fit", "teardown"]
    assert sum(c.startswith("density") for c in own.calls) == 1
    assert not any(c.startswith("training") for c in own.calls)
    assert any(c.startswith("training") for c in inherited.calls)
    assert (
        np.isfinite(est.score_samples(X)).all() if hasattr(est, "score_samples") else est.transform(X).shape == X.shape
    )


def test_the_bar_shows_losses(capsys):
    DiffusionDensityEstimator(**SMALL, max_iter=50, verbose=1).fit(samples())
    shown = capsys.readouterr().err
    assert "DiffusionDensityEstimator" in shown
    assert "loss=" in shown
    assert "validation=" in shown
    DiffusionDensityEstimator(**SMALL, max_iter=5).fit(samples())
    assert capsys.readouterr().err == ""


def test_a_distillation_has_a_bar_of_its_own(capsys):
    est = DiffusionDensityEstimator(**SMALL, max_iter=5, verbose=1).fit(samples())
    capsys.readouterr()
    est.distill(n_draws=500, n_training_steps=120)
    shown = capsys.readouterr().err
    assert "DistilledDensityEstimator" in shown
    assert "120/120" in shown
    est.set_params(verbose=0).distill(n_draws=500, n_training_steps=5)
    assert capsys.readouterr().err == ""


def test_callbacks_see_every_check():
    recorder = Recorder()
    est = DiffusionDensityEstimator(**SMALL, max_iter=200, early_stopping=False).set_callbacks(recorder)
    est.fit(samples())
    assert recorder.calls[:2] == ["setup", "begin"]
    assert recorder.calls[-2:] == ["fit", "teardown"]
    checks = [c for c in recorder.calls if c.startswith("training")]
    assert len(checks) == len(est.loss_curve_)
    recorder.calls.clear()
    est.partial_fit(samples())
    assert recorder.calls[-1] == "teardown"


def test_a_callback_can_ask_for_the_end():
    whole = DiffusionDensityEstimator(**SMALL, max_iter=200).fit(samples())
    short = DiffusionDensityEstimator(**SMALL, max_iter=200).set_callbacks(Recorder(stop_after=3)).fit(samples())
    assert len(short.loss_curve_) < len(whole.loss_curve_)
    assert np.isfinite(short.score(samples()))


def test_callbacks_are_torn_down_when_a_fit_fails():
    recorder = Recorder()
    est = DiffusionDensityEstimator(**SMALL, max_iter=5).set_callbacks(recorder)
    est.fit(samples())
    before = {k: v for k, v in est.__dict__.items()}
    recorder.on_fit_task_end = lambda estimator, context: 1 / 0
    with pytest.raises(ZeroDivisionError):
        est.fit(samples())
    assert recorder.calls[-1] == "teardown"
    assert est.__dict__.keys() == before.keys()
    assert all(est.__dict__[k] is v for k, v in before.items())


def open_bars():
    from tqdm.auto import tqdm

    return [bar for bar in getattr(tqdm, "_instances", ()) if not bar.disable]


def test_an_exception_closes_the_bar_and_ends_the_task():
    recorder = Recorder()
    est = DiffusionDensityEstimator(**SMALL, verbose=1).set_callbacks(recorder)
    progress = FitProgress(est, 3)
    progress(50, 150, 1.0, None)
    assert open_bars() == [progress.bar]
    with pytest.raises(ZeroDivisionError), progress:
        raise ZeroDivisionError
    assert progress.bar.disable
    assert open_bars() == []
    assert recorder.calls[-1] == "fit"
    progress.close()  # nothing is left to end
    assert recorder.calls.count("fit") == 1


def test_a_fit_within_a_fit_that_fails_ends_its_task():
    recorder, est = Recorder(), DiffusionTransformer()
    inner = DiffusionDensityEstimator(**SMALL)
    est.set_callbacks(recorder)
    with pytest.raises(ValueError, match="infinity"), FitParts(est, 1) as parts:
        parts.fit("density", inner, np.full((5, 2), np.inf))
    assert recorder.calls[-2:] == ["density", "fit"]


class Failing(Recorder):
    """A callback that fails at the first report."""

    def on_fit_task_begin(self, estimator, context):
        if context.task_name.startswith("training"):
            raise ZeroDivisionError


def test_a_fit_that_fails_leaves_no_bar_open():
    est = DiffusionDensityEstimator(**SMALL, max_iter=5, verbose=1).set_callbacks(Failing())
    with pytest.raises(ZeroDivisionError):
        est.fit(samples())
    assert open_bars() == []


def test_scikit_learns_progress_bar_works(capsys):
    pytest.importorskip("rich", reason="the bar of scikit-learn is drawn by rich")
    est = DiffusionDensityEstimator(**SMALL, max_iter=50).set_callbacks(callback.ProgressBar())
    assert np.isfinite(est.fit(samples()).score(samples()))


@pytest.mark.filterwarnings("ignore:There was no time to try the components")  # on a busy machine
@pytest.mark.parametrize(
    "est",
    [
        DiffusionDensityEstimator(random_state=0, max_iter=20_000, early_stopping=False),
        ManifoldDiffusionEstimator(random_state=0, max_iter=20_000, support="linear", n_components=1),
    ],
    ids=["density", "manifold"],
)
def test_a_time_limit_shortens_the_training(est):
    start = time.perf_counter()
    est.set_params(max_fit_seconds=2.0).fit(samples(300))
    seconds = time.perf_counter() - start
    # Hours without the limit; the components and the blend may take a few seconds on a busy machine.
    assert seconds < 60
    assert est.n_iter_ < 20_000
    assert est.score(samples()) > -5


def test_without_time_no_mixture_is_searched():
    rng = np.random.default_rng(0)
    X = rng.choice(np.arange(-40.0, 41.0, 2.0), (2000, 2)) + 0.1 * rng.standard_normal((2000, 2))

    def components(seconds):
        est = DiffusionDensityEstimator(
            **SMALL | {"components": ["mixture", "student", "regression"]}, max_iter=1, max_fit_seconds=seconds
        ).fit(X)
        return {*est.blend_.densities}

    with pytest.warns(UserWarning, match=r"no time to try the components \['mixture', 'regression'\]"):
        assert components(1e-3) == {"diffusion", "student"}
    assert components(None) >= {"diffusion", "student", "mixture"}


def test_the_limit_leaves_time_for_the_rest():
    assert training_deadline(10.0, None) == float("inf")
    assert 10.0 < training_deadline(10.0, 4.0) < 14.0


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, MAX_VALIDATION), (1e6, MAX_VALIDATION), (10.0, 500), (1e-3, MIN_LEFT_OUT)]
)
def test_less_time_leaves_fewer_samples_out(seconds, expected):
    X = np.random.default_rng(0).standard_normal((21_000, 1))
    data = TrainingData.of(WeightedSamples(X, np.ones(len(X)), None), None, np.random.default_rng(0))
    folds = data.split(8, 4, affordable_samples(seconds)).folds
    assert [len(fold) for fold in folds] == [expected] * 8


def test_a_limit_that_does_not_bind_changes_nothing():
    one = DiffusionDensityEstimator(**SMALL, max_iter=40).fit(samples())
    two = DiffusionDensityEstimator(**SMALL, max_iter=40, max_fit_seconds=1e6).fit(samples())
    np.testing.assert_array_equal(one.score_samples(samples()), two.score_samples(samples()))
