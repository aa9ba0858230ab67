"""Networks for intervals of the noise level: which one answers, solvers that restart at edges, training in parts."""

import pickle

import numpy as np
import pytest
import torch

from skdiffusion import DiffusionDensityEstimator, Options, load
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField, SwitchedNetworks
from skdiffusion.diffusion.ode import GRIDS, STEPPERS, grid_with_edges, solve
from skdiffusion.diffusion.training import TrainingPlan, TrainingSets, train_intervals
from skdiffusion.diffusion.training._intervals import noise_shares

EDGES = (0.2, 0.9)


def random_ensemble(seed, widths=(8, 6), scale=0.3):
    network = FilmEnsemble(2, widths, "silu", 2)
    draws = np.random.default_rng(seed).standard_normal(network.flat.shape)
    network.flat += scale * torch.as_tensor(draws, dtype=torch.float32)
    return network


def switched(**kwargs):
    return SwitchedNetworks([random_ensemble(s, **kwargs) for s in range(3)], EDGES)


def test_each_interval_has_its_own_network(rng):
    network, z = switched(), rng.standard_normal((5, 2))
    field = NetworkField(network)
    for part, theta in zip(network.parts, (0.1, 0.5, 1.2)):
        for ours, theirs in zip(field(z, theta, True), NetworkField(part)(z, theta, True)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(field.jacobian(z, theta), NetworkField(part).jacobian(z, theta), atol=1e-6)
    one = NetworkField(network.member(1))(z, 0.5)[0]
    np.testing.assert_allclose(one, NetworkField(network.parts[1].member(1))(z, 0.5)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize("n_steps", [2, 7, 40])
def test_grids_have_knots_at_the_edges(grid, n_steps):
    knots = grid_with_edges(GRIDS[grid], n_steps, 0.01, 1.5, EDGES)
    assert set(EDGES) < set(knots)
    assert (np.diff(knots) > 0).all()
    assert abs(len(knots) - 1 - n_steps) <= len(EDGES)
    np.testing.assert_array_equal(
        grid_with_edges(GRIDS[grid], n_steps, 0.3, 0.8, EDGES), GRIDS[grid](n_steps, 0.3, 0.8)
    )


@pytest.mark.parametrize("stepper", list(STEPPERS))
def test_a_solution_is_that_of_its_intervals_one_after_the_other(stepper, rng):
    """A multistep method carries nothing over an edge, in either direction."""
    network, z = switched(), rng.standard_normal((6, 2))
    field = NetworkField(network)
    knots = grid_with_edges(GRIDS["power"], 24, 0.02, 1.4, EDGES)
    for thetas in (knots, knots[::-1]):
        whole = solve(field, torch.as_tensor(z), thetas, stepper, divergence=True)
        sample, change = torch.as_tensor(z), 0.0
        cuts = [0, *sorted(int(np.flatnonzero(thetas == e)[0]) for e in EDGES), len(thetas) - 1]
        for first, last in zip(cuts[:-1], cuts[1:]):
            piece = thetas[first : last + 1]
            middle = (piece[0] + piece[-1]) / 2
            part = NetworkField(network.parts[np.searchsorted(EDGES, middle)])
            solved = solve(part, sample, piece, stepper, divergence=True)
            sample, change = solved.z, change + solved.log_density_change
        np.testing.assert_allclose(whole.z, sample, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(whole.log_density_change, change, rtol=1e-6, atol=1e-6)


def test_a_grid_without_the_edges_is_refused(rng):
    with pytest.raises(ValueError, match="must be among 'thetas'"):
        solve(NetworkField(switched()), torch.as_tensor(rng.standard_normal((3, 2))), [0.1, 0.5, 1.4])


def test_order_survives_the_edges(rng):
    """Smooth within every interval, the flow is solved to order 4 across all of them."""
    z = rng.standard_normal((50, 2))
    flow = ProbabilityFlow(NetworkField(switched(), precision="double"), 0.05, 1.5, tolerance=0.0)
    exact = flow._plain_log_density(z, 1024)[0]
    errors = [np.abs(flow._plain_log_density(z, n)[0] - exact).max() for n in (64, 128)]
    assert np.log2(errors[0] / errors[1]) > 3.5


def test_shares_are_those_of_the_noise_levels(rng):
    plan = TrainingPlan(n_steps=1)
    shares, intervals = noise_shares(EDGES, plan)
    levels = np.exp(plan.noise_mean + plan.noise_spread * rng.standard_normal(200_000))
    levels = levels[(levels > plan.sigma_range[0]) & (levels < plan.sigma_range[1])]
    seen = [((levels >= low) & (levels < high)).mean() for low, high in intervals]
    np.testing.assert_allclose(shares, seen, atol=0.005)


def test_training_in_parts(rng):
    """Every network learns its own levels. The curves are those of all levels and start at the Gaussian fit."""
    samples = rng.standard_normal((400, 2)) * 0.3 + rng.choice([-1.0, 1.0], (400, 1))
    network = SwitchedNetworks([FilmEnsemble(2, (16, 16), "silu", 2) for _ in range(3)], EDGES)
    for part in network.parts:
        part.initialize(rng, 2.0, 1.2)
    seen = []
    plan = TrainingPlan(n_steps=300, batch_size=64, monitor=lambda *report: seen.append(report))
    sets = TrainingSets(
        torch.as_tensor(samples, dtype=torch.float32), np.ones(400),
        training=[np.arange(200, 400)] * 2, validation=[np.arange(100), np.arange(100, 200)],
    )  # fmt: skip
    result = train_intervals(network, sets, plan, rng)
    steps, losses = np.array(result.validation_curve).T
    assert losses[0] == pytest.approx(1.0, abs=0.15)  # the zero network, but for the spread of the draws
    assert losses[-1] < 0.9 * losses[0]
    assert (np.diff(steps) >= 0).all()
    assert steps[-1] == result.n_steps
    assert abs(result.n_steps - 300) <= 3
    assert all(total == result.n_steps for _, total, _, _ in seen)
    assert [s for s, *_ in seen] == [s for s, _ in result.loss_curve]
    assert all((part.flat != 0).any() for part in result.network.parts)
    assert result.loss_by_noise[:, 0].min() < np.tan(EDGES[0]) < np.tan(EDGES[1]) < result.loss_by_noise[:, 0].max()

    plan = TrainingPlan(n_steps=300, batch_size=64, monitor=lambda *report: True)
    stopped = train_intervals(network, sets, plan, rng)
    assert stopped.n_steps <= 50
    assert len(stopped.network.parts) == 3


def test_an_estimator_with_intervals_goes_on_and_is_saved(rng, tmp_path):
    X = rng.standard_normal((80, 2))
    est = DiffusionDensityEstimator(
        hidden_layer_sizes=[(12, 12), (8, 8), (4, 4)], n_estimators=2, max_iter=10, components=None,
        random_state=0, warm_start=True, options=Options(noise_intervals=3),
    ).fit(X)  # fmt: skip
    field = est.score_model().field
    assert [part.hidden_layer_sizes for part in field.network.parts] == [(12, 12), (8, 8), (4, 4)]
    levels = np.log(np.tan([est.blend_.densities["diffusion"].density.theta_min, *field.edges, np.arctan(20.0)]))
    np.testing.assert_allclose(np.diff(levels), np.diff(levels)[0])
    est.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").score_samples(X), est.score_samples(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).score_samples(X), est.score_samples(X))
    before, edges = est.score_samples(X), field.edges
    est.partial_fit(X + 2.0)
    assert np.abs(est.score_samples(X) - before).max() > 1e-9
    est.fit(X)
    assert est.score_model().field.edges == edges
    with pytest.raises(ValueError, match="'noise_intervals'"):
        est.set_params(options__noise_intervals=2, hidden_layer_sizes="auto").fit(X)
    with pytest.raises(ValueError, match="'noise_intervals'"):
        est.set_params(options__noise_intervals=[0.3, 3.0]).fit(X)
    with pytest.raises(ValueError, match="'noise_intervals'"):
        est.partial_fit(X)


def test_one_width_serves_all_intervals(rng):
    X = rng.standard_normal((60, 1))
    given = {"max_iter": 2, "n_estimators": 1, "components": None, "random_state": 0, "n_steps": 16}
    est = DiffusionDensityEstimator((6, 6), options=Options(noise_intervals=[0.25, 1.5]), **given).fit(X)
    np.testing.assert_allclose(np.tan(est.score_model().field.edges), [0.25, 1.5])
    assert [part.hidden_layer_sizes for part in est.score_model().field.network.parts] == [(6, 6)] * 3
    assert est.warm_start is False
    est.set_params(warm_start=True).fit(X)
    assert len(est.score_model().field.network.parts) == 3
    # Deadline and progress count the steps of all intervals.
    short = DiffusionDensityEstimator(
        (6, 6), options=Options(noise_intervals=3), max_fit_seconds=0.01, **given | {"max_iter": 2000}
    ).fit(X)
    assert short.loss_curve_[-1, 0] < 2000
