"""What a limit of time asks of the stages of a fit, by the number of samples and by clocks of steps, not by seconds."""

import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skdiffusion.densities._incomplete as incomplete
from skdiffusion import DiffusionDensityEstimator, DiffusionRegressor, Options
from skdiffusion._utils.progress import MIN_IN_MEMORY, affordable_in_memory
from skdiffusion.densities import Completion
from skdiffusion.estimators._numeric_fit import NumericFit
from skdiffusion.preprocessing import TrainingData, WeightedSamples


def test_more_time_affords_more_samples():
    assert affordable_in_memory(None) == np.inf
    assert affordable_in_memory(1e-3) == MIN_IN_MEMORY
    assert MIN_IN_MEMORY < affordable_in_memory(5) < affordable_in_memory(60)


@pytest.fixture
def sizes(monkeypatch):
    """The numbers of samples that everything but the networks learns from, without a fit."""
    found = []

    class Enough(Exception):
        pass

    def noted(samples, *given):
        found.append(len(samples.X))
        raise Enough

    monkeypatch.setattr(TrainingData, "of", noted)

    def of_fit(X, **given):
        with pytest.raises(Enough):
            DiffusionDensityEstimator(random_state=0, **given).fit(X)
        return found.pop()

    return of_fit


def test_closed_forms_learn_from_as_many_samples_as_there_is_time_for(sizes):
    X = np.random.default_rng(0).standard_normal((7000, 2))
    assert sizes(X) == 7000
    assert sizes(X, max_fit_seconds=1.0) == MIN_IN_MEMORY
    assert sizes(X, max_fit_seconds=60.0) == 7000
    assert sizes(X, max_fit_seconds=1.0, options=Options(reservoir_size=1000)) == 1000


def test_samples_are_drawn_with_all_that_belongs_to_them():
    X = np.random.default_rng(0).standard_normal((500, 2))
    X[:, 1] = np.nan
    X[7, 1] = 3.0
    samples = WeightedSamples(X, np.arange(1.0, 501.0), np.arange(500))
    drawn = samples.drawn(50, np.random.default_rng(1))
    assert 50 <= len(drawn.X) <= 51
    assert np.isfinite(drawn.X[:, 1]).sum() == 1  # a feature that is known of no other
    assert_array_equal(drawn.X, X[drawn.groups])
    assert drawn.weight.max() == 1
    assert samples.drawn(np.inf, np.random.default_rng(1)) is samples


@pytest.mark.parametrize("deadline", [3.0, 20.0])
def test_the_mixture_that_completes_samples_ends_at_its_deadline(monkeypatch, deadline):
    """By a clock that goes on by a second at every step of EM: each mixture has one step at least."""
    now, step = [0.0], incomplete.IncompleteSamples.step

    def counted(*given):
        now[0] += 1.0
        return step(*given)

    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3)) ** 3
    X[rng.random(X.shape) < 0.3] = np.nan
    X = X[~np.isnan(X).all(1)]
    monkeypatch.setattr(incomplete.IncompleteSamples, "step", counted)
    Completion(X, np.ones(len(X)), None, np.random.default_rng(0))
    assert now[0] > 40
    now[0] = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    density = Completion(X, np.ones(len(X)), None, np.random.default_rng(0), deadline).density
    assert now[0] <= deadline + 3
    assert np.isfinite(density.log_prob(np.zeros((1, 3)))).all()


def test_the_mixture_that_completes_samples_has_a_share_of_the_time(monkeypatch):
    seen = []

    def noted(samples, bounds, rng, deadline):
        seen.append(deadline)
        raise InterruptedError

    monkeypatch.setattr(f"{NumericFit.__module__}.completed_samples", noted)
    X = np.random.default_rng(0).standard_normal((50, 2))
    X[3, 1] = np.nan
    started = time.perf_counter()
    for seconds in (None, 100.0):
        with pytest.raises(InterruptedError):
            DiffusionDensityEstimator(max_fit_seconds=seconds, random_state=0).fit(X)
    assert seen[0] == np.inf
    assert seen[1] < started + 60


def test_a_regression_without_time_trains_no_flow():
    X = np.random.default_rng(0).standard_normal((200, 2))
    given = {"max_iter": 2, "n_estimators": 2, "hidden_layer_sizes": (4, 4), "random_state": 0}
    reg = DiffusionRegressor(max_fit_seconds=1e-3, **given).fit(X, X[:, 0])
    assert "diffusion" not in reg.component_weights_
    alone = DiffusionRegressor(max_fit_seconds=1e-3, components=["diffusion"], **given).fit(X, X[:, 0])
    assert set(alone.component_weights_) == {"diffusion"}
