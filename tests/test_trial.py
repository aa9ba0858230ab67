"""The trial of the networks early in training, and what a fit leaves out when its time is over."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.densities import Component, ComponentOptions
from skdiffusion.densities.components import COMPONENTS, Spaces, TimeLimits, fit_components
from skdiffusion.diffusion.fitting import choose_coordinates
from skdiffusion.diffusion.networks import FilmEnsemble
from skdiffusion.diffusion.options import default_training
from skdiffusion.diffusion.split_fitting import fit_split_flow
from skdiffusion.diffusion.training import TrainingPlan, TrainingResult, TrainingSets, train_intervals
from skdiffusion.estimators import _conditional_fit
from skdiffusion.estimators._resolve import resolve_options
from skdiffusion.estimators._stages import Beside, warn_if_untrained
from skdiffusion.exceptions import UntrainedNetworkWarning
from skdiffusion.preprocessing import Preprocessor, TrainingData, WeightedSamples


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
    return TrainingData.of(WeightedSamples(X, np.ones(120), None), None, rng).split(4, 4)


def steps_of(plan):
    """Optimizer steps of a run with this plan, and whether the trial ended it."""
    rng = np.random.default_rng(0)
    network = FilmEnsemble(2, (4, 4), "silu", 1)
    network.initialize(rng, 1.0, 1.2)
    samples = torch.as_tensor(rng.standard_normal((64, 2)), dtype=torch.float32)
    half = np.arange(32)
    sets = TrainingSets(samples, np.ones(64), [half], [half + 32])
    result = train_intervals(network, sets, plan, rng)
    return result.n_steps, result.not_worthwhile


def test_a_run_that_is_not_worthwhile_ends_with_a_falling_learning_rate():
    asked = []

    def answer(value):
        def is_worthwhile(network):
            asked.append(network)
            return value

        return is_worthwhile

    plan = TrainingPlan(n_steps=400, batch_size=32, decay_fraction=0.5, check_every=50)
    assert steps_of(plan) == (400, False)
    assert steps_of(replace(plan, is_worthwhile=answer(True))) == (400, False)
    # The question comes after 100 steps, which are half of those of a run whose rate falls from there.
    assert steps_of(replace(plan, is_worthwhile=answer(False))) == (200, True)
    assert len(asked) == 2
    assert replace(plan, n_steps=200).learning_rate_at(100) == plan.learning_rate
    assert replace(plan, n_steps=200).learning_rate_at(150) == plan.learning_rate / 2


def test_the_worth_of_a_diffusion_is_its_weight_and_gain_in_the_blend(data):
    n = len(data.validated)
    other = Component("other", None, np.full(n, -2.0), "other")
    beside, places = Beside(data, lambda: [other], ComponentOptions()), np.arange(n)
    assert_allclose(beside.worth(np.full(n, -5.0), places), (0.0, 0.0), atol=1e-3)
    weight, gain = beside.worth(np.full(n, -1.0), places)
    assert weight > 0.97
    assert_allclose(gain, 1.0, atol=0.03)
    # Each is right for half of the samples: both have half of the weight, and log(1/2 + e^3/2) - 3 is what both pay.
    half = np.where(np.arange(n) % 2, -5.0, 1.0)
    weight, gain = beside.worth(half, places)
    assert_allclose(weight, 0.5, atol=0.06)
    assert_allclose(gain, np.logaddexp(half, -2.0).mean() - np.log(2) + 2.0, atol=0.01)
    alone = Beside(data, list, ComponentOptions())
    assert alone.worth(half, places) == (1.0, np.inf)


def test_networks_without_weight_are_trained_for_a_part_of_the_steps(data):
    def n_steps(components="auto", **options):
        # With random_state=0 the networks have no weight at all, and what they are worth is round-off.
        fitted = DiffusionDensityEstimator(
            (4, 4), n_estimators=2, components=components, n_steps=4, random_state=1, options=Options(**options)
        ).fit(data.X)
        return int(fitted.loss_curve_[-1, 0])

    planned = default_training(len(data.X), 2)[0].n_steps
    part = n_steps(min_trial_weight=1.0, min_trial_gain=100.0)
    assert part < 0.6 * planned
    longer = {"patience": 10_000}  # nothing but the trial may end it
    assert n_steps(min_trial_weight=0.0, min_trial_gain=100.0, **longer) == planned
    assert n_steps(None, min_trial_weight=1.0, min_trial_gain=100.0, **longer) == planned
    # Either of the two is enough.
    assert n_steps(min_trial_weight=1.0, min_trial_gain=0.0, **longer) == planned
    assert n_steps(min_trial_weight=1e-9, min_trial_gain=100.0, **longer) == planned
    assert n_steps(min_trial_gain=100.0, **longer) == planned  # of so few samples none is tried


def test_networks_of_all_splits_are_tried_beside_the_components_that_answer_with_them(monkeypatch):
    rng, found = np.random.default_rng(0), []
    X = 3.0 * rng.integers(0, 2, (120, 2)) + 0.1 * rng.standard_normal((120, 2))  # a mixture knows them

    def fit_and_keep(*args):
        flow, result = fit_split_flow(*args)
        found.append((result.n_steps, result.not_worthwhile))
        return flow, result

    monkeypatch.setattr(_conditional_fit, "fit_split_flow", fit_and_keep)
    longer = {"patience": 10_000}  # nothing but the trial may end it
    for gain in (100.0, 0.0):
        options = Options(min_trial_weight=1.0, min_trial_gain=gain, **longer)
        est = DiffusionDensityEstimator((4, 4), n_estimators=2, n_steps=4, options=options, random_state=1)
        est.set_params(fit_conditionals=True).fit(X)
    (part, ended), (whole, went_on) = found
    assert (ended, went_on) == (True, False)
    assert part < 0.7 * whole


def test_networks_that_the_blend_does_without_are_not_called_untrained(recwarn):
    plan = TrainingPlan(n_steps=400, patience=300)
    kept = TrainingResult(best_step=np.zeros(2, dtype=int), n_steps=143, validation_curve=[(0, 1.0), (143, 1.1)])
    warn_if_untrained(replace(kept, not_worthwhile=True), plan)
    assert not recwarn.list
    with pytest.warns(UntrainedNetworkWarning):
        warn_if_untrained(kept, plan)


@pytest.mark.parametrize("asked", [{"max_iter": 5}, {"early_stopping": False}])
def test_who_asks_for_a_length_of_training_gets_it(asked):
    def weight(options, n_samples=1000, **parameters):
        est = DiffusionDensityEstimator(**parameters, options=Options(**options))
        return resolve_options(est, (n_samples, 3), "cpu").min_trial_weight

    assert weight({}) == 0.1
    assert weight({}, n_samples=999) == 0
    assert weight({"min_trial_weight": 0.3}, n_samples=999) == 0.3
    assert weight({}, **asked) == 0
    for options in ({"n_training_steps": 10}, {"fine_tune": True}, {"noise_intervals": 2}):
        assert weight(options) == 0


def test_without_time_only_the_student_t_is_fitted(data):
    spaces, options = Spaces(Preprocessor(data.X, data.sample_weight)), ComponentOptions()

    def kinds(limits=None):
        rng = np.random.default_rng(0)
        return {c.kind for c in fit_components(data, spaces, [*COMPONENTS], options, rng, limits)}

    assert kinds() == {"mixture", "student"}
    with pytest.warns(UserWarning, match="no time to try"):
        assert kinds(TimeLimits(deadline=time.perf_counter())) == {"student"}


def test_without_time_the_first_coordinates_stand(data):
    options = resolve_options(DiffusionDensityEstimator((4, 4)), (120, 2), "cpu")
    preprocessors = [Preprocessor(data.X, data.sample_weight, t) for t in ("yeo-johnson", None)]
    state = data.rng.bit_generator.state
    chosen = choose_coordinates(data, preprocessors, replace(options, pilot_deadline=time.perf_counter()))
    assert chosen.preprocessor is preprocessors[0]
    assert chosen.reference is None
    assert data.rng.bit_generator.state == state  # no run has drawn from it
