"""Fine-tuning by the exact likelihood: against finite differences, and what it keeps."""

import time
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator, Options
from skdiffusion.datasets import Sphere
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField
from skdiffusion.diffusion.ode import power_grid
from skdiffusion.diffusion.training import FineTuningPlan, TrainingSets, fine_tune
from skdiffusion.diffusion.training._likelihood import STEPPER, Likelihood, negative_log_likelihood, random_grid
from skdiffusion.diffusion.training._likelihood_passes import LikelihoodPasses
from skdiffusion.estimators._resolve import resolve_options
from skdiffusion.exceptions import InterruptedFitWarning

C = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.8], [0.3, 0.8, 1.0]])
ENDS = 0.01, 1.52
references = pytest.mark.parametrize(
    "reference", [None, GaussianReference(C, False), GaussianReference(C, True)], ids=["none", "whole", "departure"]
)


def network_of(rng, spread=0.2, members=1, d=3, dtype=torch.float64, hidden=(8, 8)):
    network = FilmEnsemble(d, hidden, "silu", members).to(dtype)
    network.flat.copy_(torch.as_tensor(spread * rng.standard_normal(tuple(network.flat.shape))))
    return network


@references
def test_the_loss_is_minus_the_log_density_of_the_flow(rng, reference):
    network, x = network_of(rng), rng.standard_normal((20, 3))
    flow = ProbabilityFlow(NetworkField(network, None, reference), *ENDS, density_steps=96, tolerance=0.0)
    loss = negative_log_likelihood(network, reference, torch.as_tensor(x)[None], power_grid(400, *ENDS).tolist())
    assert_allclose(float(loss), -flow.log_prob(x).mean(), atol=2e-4)


@references
@pytest.mark.parametrize("hidden", [(8, 8), (5, 7, 6)], ids=str)
def test_the_gradient_is_that_of_finite_differences(rng, reference, hidden):
    network, x = network_of(rng, hidden=hidden), torch.as_tensor(rng.standard_normal((1, 5, 3)))
    grid = random_grid(rng, *ENDS, FineTuningPlan()).tolist()
    flat = network.flat.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(negative_log_likelihood(network.with_flat(flat), reference, x, grid), flat)
    direction = torch.as_tensor(rng.standard_normal(tuple(flat.shape)))
    with torch.no_grad():
        up, down = (
            negative_log_likelihood(network.with_flat(flat + h * direction), reference, x, grid) for h in (1e-5, -1e-5)
        )
    assert_allclose(float((gradient * direction).sum()), float(up - down) / 2e-5, rtol=1e-6)
    assert abs(float(up - down)) > 1e-6


@references
@pytest.mark.parametrize("activation", ["silu", "gelu", "tanh"])
def test_the_gradient_by_hand_is_that_of_automatic_differentiation(rng, reference, activation):
    network = FilmEnsemble(3, (8, 7), activation, 3).to(torch.float64)
    network.flat.copy_(torch.as_tensor(0.3 * rng.standard_normal(tuple(network.flat.shape))))
    passes = LikelihoodPasses(network, reference, 5, STEPPER, 20)
    for _ in range(2):  # the second time in memory that has been used
        x, grid = torch.as_tensor(rng.standard_normal((3, 5, 3))), random_grid(rng, *ENDS, FineTuningPlan()).tolist()
        flat = network.flat.clone().requires_grad_(True)
        expected = negative_log_likelihood(network.with_flat(flat), reference, x, grid)
        (expected_gradient,) = torch.autograd.grad(expected.sum(), flat)
        losses, gradient = passes.losses_and_gradient(network, x, grid, share=0.25)
        assert_allclose(4 * losses, expected.detach(), rtol=1e-12)
        assert_allclose(4 * gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@references
@pytest.mark.parametrize("hidden", [(96, 96), (48, 48, 48)], ids=str)
def test_members_have_the_same_bits_in_one_pass_and_in_two(rng, reference, hidden):
    network = network_of(rng, members=4, dtype=torch.float32, hidden=hidden)
    x, grid = torch.randn(4, 128, 3), random_grid(rng, *ENDS, FineTuningPlan()).tolist()

    def of(members):
        flat = network.flat[members].clone().requires_grad_(len(hidden) > 2)
        part = network.with_flat(flat)
        if len(hidden) == 2:
            return LikelihoodPasses(part, reference, 128, STEPPER, 20).losses_and_gradient(part, x[members], grid)
        losses = negative_log_likelihood(part, reference, x[members], grid)
        return losses.detach(), *torch.autograd.grad(losses.sum(), flat)

    together, halves = of(slice(4)), [of(slice(2)), of(slice(2, 4))]
    for whole, parts in zip(together, zip(*halves)):
        assert_array_equal(whole, torch.cat(parts))


@references
@pytest.mark.parametrize("hidden", [(8, 8), (5, 7, 6)], ids=str)
def test_members_together_have_the_losses_and_gradients_that_each_has_alone(rng, reference, hidden):
    network, x = network_of(rng, members=3, hidden=hidden), torch.as_tensor(rng.standard_normal((3, 6, 3)))
    grid = random_grid(rng, *ENDS, FineTuningPlan()).tolist()

    def losses_and_gradient(members):
        flat = network.flat[members].clone().requires_grad_(True)
        losses = negative_log_likelihood(network.with_flat(flat), reference, x[members], grid)
        return losses.detach(), *torch.autograd.grad(losses.sum(), flat)

    together = losses_and_gradient(slice(3))
    for m in range(3):
        for one, of_all in zip(losses_and_gradient(slice(m, m + 1)), together):
            assert_allclose(one[0], of_all[m], rtol=1e-11, atol=1e-13)


def test_one_member_that_overflows_keeps_the_others_going(rng):
    network, x = network_of(rng, members=3, d=2, dtype=torch.float32, spread=0.1), two_clusters(rng)
    x[0] = 1e30
    flow = ProbabilityFlow(NetworkField(network), *ENDS)
    training = [np.arange(1, 65), np.arange(64), np.arange(65, 129)]
    objective = Likelihood(flow, sets_of(x, training), lambda _: 0.0, FineTuningPlan(batch_size=64), rng)
    gradient, _ = objective.gradient(0, 1)
    assert_array_equal(gradient[1], 0.0)
    assert (gradient[[0, 2]].norm(dim=1) > 0).all()
    assert torch.isfinite(gradient).all()


def test_grids_are_random_and_rise_from_end_to_end(rng):
    grids = [random_grid(rng, *ENDS, FineTuningPlan(solver_steps=(6, 9))) for _ in range(200)]
    assert {len(g) - 1 for g in grids} == {6, 7, 8, 9}
    assert all((np.diff(g) > 0).all() and (g[0], g[-1]) == ENDS for g in grids)
    same = [g for g in grids if len(g) == len(grids[0])]
    assert not np.isclose(same[0][1:-1], same[1][1:-1]).all()


def two_clusters(rng, n=600):
    x = rng.standard_normal((n, 2)) * 0.3
    x[:, 0] += np.where(rng.random(n) < 0.5, 0.95, -0.95)
    return x


def tune(rng, x, network, n_steps=60, **given):
    """Fine-tuning of members that leave out a half each, validated by the exact density of their average elsewhere."""
    flow = ProbabilityFlow(NetworkField(network), *ENDS, density_steps=32, tolerance=0.0)
    fresh = two_clusters(np.random.default_rng(99))
    scores = []

    def validation_score(tuned):
        density = ProbabilityFlow(NetworkField(tuned), *ENDS, density_steps=32, tolerance=0.0)
        scores.append(float(density.log_prob(fresh).mean()))
        return scores[-1]

    plan = FineTuningPlan(n_steps=n_steps, batch_size=64, learning_rate=1e-2, **given)
    halves = [np.arange(0, len(x), 2), np.arange(1, len(x), 2)]
    return fine_tune(flow, sets_of(x, halves), validation_score, plan, rng), scores


def sets_of(x, training):
    return TrainingSets(torch.as_tensor(x, dtype=torch.float32), np.ones(len(x)), training)


def test_the_likelihood_of_fresh_samples_rises(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    before = network.flat.clone()
    result, scores = tune(rng, two_clusters(rng), network)
    assert result.validation_curve == list(zip([0, 30, 60], scores))
    assert_array_equal(result.best_step, [0, 30, 60][int(np.argmax(scores))])
    assert max(scores) > scores[0] + 0.1
    assert result.loss_curve[-1][1] < result.loss_curve[0][1]
    assert_array_equal(network.flat, before)  # the network that came in is left alone


def test_the_start_is_kept_where_nothing_is_gained(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32)
    flow, x = ProbabilityFlow(NetworkField(network), *ENDS), two_clusters(rng)
    values = iter([0.0, -1.0, float("nan")])
    plan = FineTuningPlan(n_steps=60, batch_size=16)
    result = fine_tune(flow, sets_of(x, [np.arange(600)] * 2), lambda _: next(values), plan, rng)
    assert_array_equal(result.best_step, 0)
    assert_array_equal(result.network.flat, network.flat)


def test_a_step_that_overflows_is_left_out(rng):
    x = two_clusters(rng)
    x[0] = 1e30
    result, scores = tune(rng, x, network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1))
    assert np.isfinite(scores).all()
    assert max(scores) > scores[0]


def test_ctrl_c_keeps_the_best_so_far(rng):
    def interrupt(step, *_):
        if step == 60:
            raise KeyboardInterrupt

    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    result, scores = tune(rng, two_clusters(rng), network, n_steps=300, monitor=interrupt)
    assert result.interrupted
    assert result.n_steps == 60
    assert scores[result.best_step[0] // 30] == max(scores)


def test_a_deadline_shortens_and_a_monitor_ends(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    result, scores = tune(rng, two_clusters(rng), network, n_steps=10**6, deadline=time.perf_counter() + 0.5)
    assert result.out_of_time
    assert result.n_steps < 10**6
    assert result.validation_curve[-1][0] == result.n_steps  # the last weights were validated
    result, _ = tune(rng, two_clusters(rng), network, n_steps=300, monitor=lambda *_: True)
    assert result.n_steps == 30


SMALL = {
    "hidden_layer_sizes": (16, 16),
    "n_estimators": 2,
    "max_iter": 20,
    "random_state": 0,
    "feature_transform": None,
}


def test_the_estimator_keeps_what_is_best_on_validation_samples(rng):
    X, fresh = two_clusters(rng), two_clusters(np.random.default_rng(99))
    plain, tuned = (
        DiffusionDensityEstimator(**SMALL, components=None, options=Options(fine_tune=f)).fit(X) for f in (False, True)
    )
    assert plain.likelihood_curve_.shape == (0, 2)
    steps, nats = tuned.likelihood_curve_.T
    assert steps[0] == 0
    assert nats.max() > nats[0]  # 20 passes leave something to gain
    assert tuned.score(fresh) > plain.score(fresh)


def test_validation_is_of_the_whole_blend(rng):
    X, fresh = two_clusters(rng), two_clusters(np.random.default_rng(99))
    smaller = SMALL | {"hidden_layer_sizes": (4, 4), "max_iter": 1}
    est = DiffusionDensityEstimator(
        **smaller, components=["mixture", "student", "regression"], options=Options(fine_tune=True)
    ).fit(X)
    promised = est.likelihood_curve_[:, 1].max()
    assert_allclose(promised, est.score(fresh), atol=0.1)
    # The mixture is the truth here, and four units alone far from it.
    assert promised > est.blend_.densities["diffusion"].log_prob(fresh).mean() + 0.1


def test_auto_asks_for_samples_features_and_plain_networks():
    def steps(n, d, options=None, **given):
        est = DiffusionDensityEstimator(options=Options(**(options or {})), **given)
        plan = resolve_options(est, (n, d), torch.device("cpu")).fine_tuning
        return 0 if plan is None else plan.n_steps

    tuned = {"fine_tune": True}
    assert steps(5000, 3) > 0
    assert steps(4999, 3) == 0
    assert steps(5000, 2) == 0
    assert steps(50, 2, tuned) > 0
    assert steps(5000, 3, hidden_layer_sizes=(8, 8, 8)) > 0
    assert steps(5000, 3, max_iter=7) == 0
    assert steps(5000, 3, tuned, max_iter=7) > 0
    obstacles = {"noise_intervals": 2, "score_clip": "auto", "n_nonzero_weights": 100, "weight_bound": 1.0}
    for name, value in obstacles.items():
        assert steps(5000, 3, {name: value}) == 0
        with pytest.raises(ValueError, match=f"fine_tune=True .*'{name}'"):
            steps(5000, 3, tuned | {name: value})
    assert steps(5000, 3, hidden_layer_sizes=(8,)) == 0
    with pytest.raises(ValueError, match="fine_tune=True .*'hidden_layer_sizes'"):
        steps(5000, 3, tuned, hidden_layer_sizes=(8,))
    assert steps(5000, 3, early_stopping=False) == 0
    # Networks of several depths, one for each interval.
    assert steps(5000, 3, {"noise_intervals": 2}, hidden_layer_sizes=[(8, 8), (8, 8, 8)]) == 0


def test_an_interrupted_fine_tuning_is_reported(rng):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

    class Interrupt:
        """A callback that interrupts the second report of the fine-tuning."""

        def setup(self, estimator, context):
            self.reports = 0

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context):
            self.reports += context.task_name.startswith("fine-tuning")
            if self.reports == 2:
                self.reports = 3
                raise KeyboardInterrupt

        def on_fit_task_end(self, estimator, context): ...

    est = DiffusionDensityEstimator(**SMALL, components=None, options=Options(fine_tune=True)).set_callbacks(
        Interrupt()
    )
    with pytest.warns(InterruptedFitWarning, match="60 of 120 steps of its fine-tuning"):
        est.fit(two_clusters(rng))
    assert est.likelihood_curve_[-1, 0] == 60
    assert np.isfinite(est.score(two_clusters(rng)))


def test_progress_counts_on(rng, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DiffusionDensityEstimator(**SMALL, components=None, options=Options(fine_tune=True), verbose=1).fit(
            two_clusters(rng)
        )
    shown = capsys.readouterr().err
    assert "DiffusionDensityEstimator, training" in shown
    assert "DiffusionDensityEstimator, fine-tuning" in shown


def test_a_time_limit_leaves_time_to_the_fine_tuning(rng):
    given = SMALL | {"max_iter": 10**6, "components": None, "early_stopping": False, "max_fit_seconds": 3.0}
    est = DiffusionDensityEstimator(**given, options=Options(fine_tune=True)).fit(two_clusters(rng))
    assert 0 < est.likelihood_curve_[-1, 0] <= 120


def test_networks_that_look_for_a_support_are_not_tuned():
    small = SMALL | {"max_iter": 5}
    del small["feature_transform"]
    est = ManifoldDiffusionEstimator(1, **small).fit(Sphere(1).sample(200, 0))
    assert est.support_ == "nonlinear"  # the estimator is the one that looked
    assert est.estimator_.options.fine_tune is False
    assert len(est.estimator_.likelihood_curve_) == 0
