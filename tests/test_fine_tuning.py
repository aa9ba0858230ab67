"""Fine-tuning by the exact likelihood: against finite differences, and what it keeps."""

import time
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.datasets import Sphere
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField
from skdiffusion.diffusion.ode import power_grid
from skdiffusion.diffusion.settings import resolve_settings
from skdiffusion.diffusion.training import TrainingPlan, fine_tune
from skdiffusion.diffusion.training._likelihood import MAX_STEPS, MIN_STEPS, negative_log_likelihood, random_grid
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
    loss = negative_log_likelihood(network, reference, torch.as_tensor(x), power_grid(400, *ENDS).tolist())
    assert_allclose(float(loss), -flow.log_prob(x).mean(), atol=2e-4)


@references
@pytest.mark.parametrize("hidden", [(8, 8), (5, 7, 6)], ids=str)
def test_the_gradient_is_that_of_finite_differences(rng, reference, hidden):
    network, x = network_of(rng, hidden=hidden), torch.as_tensor(rng.standard_normal((5, 3)))
    grid = random_grid(rng, *ENDS).tolist()
    flat = network.flat.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(negative_log_likelihood(network.with_flat(flat), reference, x, grid), flat)
    direction = torch.as_tensor(rng.standard_normal(tuple(flat.shape)))
    with torch.no_grad():
        up, down = (
            negative_log_likelihood(network.with_flat(flat + h * direction), reference, x, grid) for h in (1e-5, -1e-5)
        )
    assert_allclose(float((gradient * direction).sum()), float(up - down) / 2e-5, rtol=1e-6)
    assert abs(float(up - down)) > 1e-6


def test_grids_are_random_and_rise_from_end_to_end(rng):
    grids = [random_grid(rng, *ENDS) for _ in range(200)]
    assert {len(g) - 1 for g in grids} == set(range(MIN_STEPS, MAX_STEPS + 1))
    assert all((np.diff(g) > 0).all() and (g[0], g[-1]) == ENDS for g in grids)
    same = [g for g in grids if len(g) == len(grids[0])]
    assert not np.isclose(same[0][1:-1], same[1][1:-1]).all()


def two_clusters(rng, n=600):
    x = rng.standard_normal((n, 2)) * 0.3
    x[:, 0] += np.where(rng.random(n) < 0.5, 0.95, -0.95)
    return x


def tune(rng, x, network, n_steps=60, **given):
    """Fine-tuning of members that leave out a half each, judged by the exact density of their average elsewhere."""
    flow = ProbabilityFlow(NetworkField(network), *ENDS, density_steps=32, tolerance=0.0)
    fresh = two_clusters(np.random.default_rng(99))
    judged = []

    def judge(tuned):
        density = ProbabilityFlow(NetworkField(tuned), *ENDS, density_steps=32, tolerance=0.0)
        judged.append(float(density.log_prob(fresh).mean()))
        return judged[-1]

    plan = TrainingPlan(n_steps=n_steps, batch_size=64, learning_rate=1e-2, **given)
    halves = [np.arange(0, len(x), 2), np.arange(1, len(x), 2)]
    result = fine_tune(flow, x, np.ones(len(x)), halves, judge, plan, rng)
    return result, judged


def test_the_likelihood_of_fresh_samples_rises(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    before = network.flat.clone()
    result, judged = tune(rng, two_clusters(rng), network)
    assert result.validation_curve == list(zip([0, 30, 60], judged))
    assert result.best_step == [0, 30, 60][int(np.argmax(judged))]
    assert max(judged) > judged[0] + 0.1
    assert result.loss_curve[-1][1] < result.loss_curve[0][1]
    assert_array_equal(network.flat, before)  # the network that came in is left alone


def test_the_start_is_kept_where_nothing_is_gained(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32)
    flow, x = ProbabilityFlow(NetworkField(network), *ENDS), two_clusters(rng)
    values = iter([0.0, -1.0, float("nan")])
    plan = TrainingPlan(n_steps=60, batch_size=16)
    result = fine_tune(flow, x, np.ones(len(x)), [np.arange(600)] * 2, lambda _: next(values), plan, rng)
    assert result.best_step == 0
    assert_array_equal(result.network.flat, network.flat)


def test_a_step_that_overflows_is_left_out(rng):
    x = two_clusters(rng)
    x[0] = 1e30
    result, judged = tune(rng, x, network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1))
    assert np.isfinite(judged).all()
    assert max(judged) > judged[0]


def test_ctrl_c_keeps_the_best_so_far(rng):
    def interrupt(step, *_):
        if step == 60:
            raise KeyboardInterrupt

    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    result, judged = tune(rng, two_clusters(rng), network, n_steps=300, monitor=interrupt)
    assert result.interrupted
    assert result.n_steps == 60
    assert judged[result.best_step // 30] == max(judged)


def test_a_deadline_shortens_and_a_monitor_ends(rng):
    network = network_of(rng, members=2, d=2, dtype=torch.float32, spread=0.1)
    result, judged = tune(rng, two_clusters(rng), network, n_steps=10**6, deadline=time.perf_counter() + 0.5)
    assert result.out_of_time
    assert result.n_steps < 10**6
    assert result.validation_curve[-1][0] == result.n_steps  # the last weights were judged
    result, _ = tune(rng, two_clusters(rng), network, n_steps=300, monitor=lambda *_: True)
    assert result.n_steps == 30


SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 20, "random_state": 0, "marginals": None}


def test_the_estimator_keeps_what_held_out_samples_like_best(rng):
    X, fresh = two_clusters(rng), two_clusters(np.random.default_rng(99))
    plain, tuned = (DiffusionDensityEstimator(**SMALL, stacking=False, fine_tune=f).fit(X) for f in (False, True))
    assert plain.likelihood_curve_.shape == (0, 2)
    steps, nats = tuned.likelihood_curve_.T
    assert steps[0] == 0
    assert nats.max() > nats[0]  # 20 passes leave something to gain
    assert tuned.score(fresh) > plain.score(fresh)


def test_the_judge_is_the_whole_blend(rng):
    X, fresh = two_clusters(rng), two_clusters(np.random.default_rng(99))
    smaller = SMALL | {"hidden_layer_sizes": (4, 4), "max_iter": 1}
    est = DiffusionDensityEstimator(**smaller, stacking="mixture", fine_tune=True).fit(X)
    promised = est.likelihood_curve_[:, 1].max()
    assert_allclose(promised, est.score(fresh), atol=0.1)
    # The mixture is the truth here, and four units alone far from it.
    assert promised > est.members_["diffusion"].log_prob(fresh).mean() + 0.1


def test_auto_asks_for_samples_features_and_plain_networks():
    def steps(n, d, **given):
        return resolve_settings(DiffusionDensityEstimator(**given), n, d).n_tuning_steps

    assert steps(5000, 3) > 0
    assert steps(4999, 3) == 0
    assert steps(5000, 2) == 0
    assert steps(50, 2, fine_tune=True) > 0
    assert steps(5000, 3, hidden_layer_sizes=(8, 8, 8)) > 0
    assert steps(5000, 3, max_iter=7) == 0
    assert steps(5000, 3, max_iter=7, fine_tune=True) > 0
    obstacles = {
        "n_intervals": 2, "score_clip": "auto", "n_nonzero_weights": 100, "weight_bound": 1.0,
        "hidden_layer_sizes": (8,),
    }  # fmt: skip
    for name, value in obstacles.items():
        assert steps(5000, 3, **{name: value}) == 0
        with pytest.raises(ValueError, match=f"fine_tune=True .*'{name}'"):
            steps(5000, 3, fine_tune=True, **{name: value})
    assert steps(5000, 3, early_stopping=False) == 0
    # Networks of several depths, one for each interval.
    assert steps(5000, 3, n_intervals=2, hidden_layer_sizes=[(8, 8), (8, 8, 8)]) == 0


def test_an_interrupted_fine_tuning_is_told(rng, monkeypatch):
    from skdiffusion.estimators import _density

    def interrupted(progress, step, n_steps, loss, held_out):
        if progress.stage == "fine-tuning" and step == 60:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(_density.FitProgress, "__call__", interrupted)
    est = DiffusionDensityEstimator(**SMALL, stacking=False, fine_tune=True)
    with pytest.warns(InterruptedFitWarning, match="60 of 120 steps of its fine-tuning"):
        est.fit(two_clusters(rng))
    assert est.likelihood_curve_[-1, 0] == 60
    assert np.isfinite(est.score(two_clusters(rng)))


def test_progress_counts_on(rng, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DiffusionDensityEstimator(**SMALL, stacking=False, fine_tune=True, verbose=1).fit(two_clusters(rng))
    shown = capsys.readouterr().err
    assert "DiffusionDensityEstimator, training" in shown
    assert "DiffusionDensityEstimator, fine-tuning" in shown


def test_a_time_limit_leaves_a_part_to_the_fine_tuning(rng):
    given = SMALL | {"max_iter": 10**6, "stacking": False, "early_stopping": False, "max_fit_seconds": 3.0}
    est = DiffusionDensityEstimator(**given, fine_tune=True).fit(two_clusters(rng))
    assert 0 < est.likelihood_curve_[-1, 0] <= 120


def test_files_from_before_a_parameter_load_with_its_default(rng, tmp_path):
    from skdiffusion import load

    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 2}, stacking=False).fit(two_clusters(rng))
    del est.fine_tune
    est.save(tmp_path / "old")
    assert load(tmp_path / "old").get_params()["fine_tune"] == "auto"


def test_networks_that_look_for_a_support_are_not_tuned(monkeypatch):
    from skdiffusion.estimators import _manifold

    asked = []

    class Recording(DiffusionDensityEstimator):
        def fit(self, X):
            asked.append(self.fine_tune)
            return super().fit(X)

    monkeypatch.setattr(_manifold, "DiffusionDensityEstimator", Recording)
    small = SMALL | {"max_iter": 5}
    del small["marginals"]
    ManifoldDiffusionEstimator(1, **small).fit(Sphere(1).sample(200, 0))
    assert asked == [False]
