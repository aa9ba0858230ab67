"""The experiments of `benchmarks.theory` at small size: that they run, that they can fail, and what they show."""

import numpy as np
import pytest

from benchmarks.theory import __main__ as command
from benchmarks.theory import besov, coarse, few_directions, gaussian, supports, wasserstein
from benchmarks.theory.records import (
    Kept,
    bootstrapped,
    divergence,
    jackknifed,
    mean_ratio,
    median_interval,
    share,
    slope,
    source,
    spread,
    with_error,
)

SHORT = besov.Training(steps=800, passes=1)


def test_rates_on_a_line():
    """E1a: better with more samples, and near the kernel density with the best bandwidth."""
    few, many = (besov.line_cell(1.5, n, 1, SHORT) for n in (200, 3200))
    assert many["tv"] < 0.75 * few["tv"]
    assert many["tv"] < 2.5 * many["kernel"]
    assert many["w1"] < 0.5 * few["w1"]
    assert many["h"] < few["h"]


def test_clipping():
    """E1b: C = 2 changes nothing, C = 0.5 ruins the density."""
    distance = besov.clipping_cell(400, 0, SHORT)
    assert distance["2.0"] == pytest.approx(distance["None"], rel=0.02)
    assert distance["0.5"] > 1.1 * distance["None"]


def test_switching():
    """E1c: ten times fewer parameters at large noise cost little."""
    cell = besov.switching_cell(1200, 3000, 0, SHORT)
    assert cell["sizes"][0] > 5 * cell["sizes"][-1]
    assert sum(cell["sizes"]) == pytest.approx(cell["single_size"], rel=0.05)
    assert cell["switched"] < 1.3 * cell["single"]


def test_stopping():
    """E1d: flat up to the prescribed level, worse far above it."""
    at_half, at_one, far = besov.stopping_cell(3200, (0.5, 1.0, 16.0), 0, SHORT)
    assert at_one == pytest.approx(at_half, rel=0.1)
    assert far > 1.2 * at_half


def test_a_hidden_line():
    """TV on an unknown line falls with the samples as on a known one."""
    few, many = (sum(besov.hidden_line_cell(8, 0.5, n, seed, SHORT) for seed in (0, 1)) for n in (300, 2400))
    assert many < 0.8 * few


def test_the_oracle_kernel_is_the_best_of_its_bandwidths(rng):
    target = besov.line_density(1.0)
    X = target.sample(500, random_state=0)
    best, bandwidth = besov.oracle_kernel(target, X)
    mirrored = np.concatenate([X, -2 - X, 2 - X])
    gaps = (besov.MIDPOINTS[::8] - mirrored[:, 0]) / bandwidth
    exact = np.exp(-0.5 * gaps**2).sum(1) / (bandwidth * np.sqrt(2 * np.pi) * len(X))
    assert np.abs(exact - target.density(besov.MIDPOINTS[::8])).mean() == pytest.approx(best, rel=0.02)


def test_the_reference_reduces_the_excess_loss(rng):
    """E4a: with the Gaussian reference the excess is a fraction of that without."""
    relative, plain = (gaussian.excess_cell("mixture", kind, 6, 600, 1e-4, 0) for kind in ("v", "noise"))
    assert relative < 0.5 * plain


def test_a_network_that_learns_nothing_is_the_gaussian(rng):
    """Early stopping returns the untrained network where every step makes the validation samples less likely."""
    X = rng.standard_normal((60, 6))
    field = gaussian.train(X[:20], X[20:], "v", np.random.default_rng(0), n_steps=100)
    assert not field(rng.standard_normal((5, 6)), 0.3)[0].any()


def test_few_directions_are_found_and_learned():
    """In eight features the ridge is found by its fourth moment, and its excess is a fraction of the Gaussian's."""
    cell = few_directions.few_directions_cell("ridge", 8, 2000, 0)
    assert 0 < cell["excess"] < 0.15 * cell["gaussian"]
    assert cell["gaussian"] == pytest.approx(0.189, abs=0.03)


def test_a_newton_step_turns_a_basis_towards_the_ridge():
    density, rng = gaussian.target_density("ridge", 6), np.random.default_rng(0)
    true = density.means[1][:, None] / 0.9
    X = gaussian.draw(density, 6000, rng)
    off = np.linalg.qr(true + 0.3 * np.eye(6)[:, :1])[0]
    field = gaussian.train(X[:600] @ off, X[600:] @ off, "v", rng, n_steps=300)
    turned = few_directions.turned(off, field, X[600:], rng)
    before, after = (1 - float((basis.T @ true)[0, 0]) ** 2 for basis in (off, turned))
    assert after < 0.3 * before


def test_fields_are_compared_on_the_same_noise():
    """A field is as far off as itself in other coordinates, the true velocity less than the Gaussian's."""
    density = gaussian.target_density("mixture", 2)
    validation = gaussian.draw(density, 200, np.random.default_rng(0))
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((2, 2)))[0]
    turned = few_directions.Along(few_directions.Along(density, turn), turn.T)
    exact, same, other = (
        few_directions.held_out_error(field, validation, 0)
        for field in (density, turned, few_directions.Along(density, np.zeros((2, 2))))
    )
    assert same == pytest.approx(exact, rel=1e-12)
    assert exact < 0.95 * other


def test_the_divergence_is_that_of_gaussians(rng):
    """Of N(0.1, 1) from N(0, 1), 0.005 nats, from so few samples that the mean of log p - log q would not show it."""
    x = rng.standard_normal(2000)
    assert divergence(-0.5 * x**2, -0.5 * (x - 0.1) ** 2) == pytest.approx(0.005, rel=0.1)


def test_a_field_along_a_basis_has_its_divergence(rng):
    basis = np.linalg.qr(rng.standard_normal((4, 2)))[0]
    density = gaussian.target_density("mixture", 2)
    field, z, step = few_directions.Along(density, basis), rng.standard_normal((6, 4)), 1e-5
    velocity, trace = field(z, 0.5, True)
    np.testing.assert_allclose(velocity @ basis, density(z @ basis, 0.5)[0])
    moved = [
        (field(z + step * e, 0.5)[0] - field(z - step * e, 0.5)[0])[:, k] / (2 * step) for k, e in enumerate(np.eye(4))
    ]
    np.testing.assert_allclose(trace, np.sum(moved, 0), atol=1e-6)


def test_the_relative_part_suits_smooth_densities():
    """E4c."""
    smooth, circle = ([gaussian.score_cell(target, c, 0) for c in (0.0, 1.0)] for target in ("smooth", "circle"))
    assert smooth[1] < smooth[0]
    assert circle[1] > circle[0]


def test_parametrizations_are_of_one_field(rng):
    """A network that is zero gives the Gaussian, except where it predicts the noise without a reference."""
    import torch

    from skdiffusion.diffusion.networks import FilmEnsemble

    network, z = FilmEnsemble(2, (4, 4), "silu", 1).to(torch.float64), rng.standard_normal((5, 2))
    for kind in ("v", "relative"):
        velocity, trace = gaussian.Parametrised(network, kind, 0.5)(z, 0.4, True)
        assert not velocity.any()
        assert not trace.any()
    velocity, trace = gaussian.Parametrised(network, "noise")(z, 0.4, True)
    np.testing.assert_allclose(z * np.sin(0.4) - velocity * np.cos(0.4), 0, atol=1e-12)
    np.testing.assert_allclose(trace, 2 * np.tan(0.4))


def test_the_total_variation_of_kernels_falls_with_their_error():
    """Many samples and a wide kernel on a uniform sphere: hardly any; few and a narrow one: nearly 1."""
    sphere = coarse.SETS["sphere"](3, "uniform")
    fresh = sphere.sample(200, 1)
    assert coarse.total_variation(sphere.sample(20_000, 0), 0.2, sphere, fresh) < 0.05
    assert coarse.total_variation(sphere.sample(50, 0), 0.02, sphere, fresh) > 0.8


@pytest.mark.slow
def test_a_subspace_is_learned_from_more_samples():
    few, many = (supports.subspace_cell(1, n, 0) for n in (60, 800))
    assert 0 < many < 0.5 * few


def test_every_experiment_names_its_source():
    for experiments in command.EXPERIMENTS.values():
        for experiment in experiments:
            assert experiment.source.endswith(("(stated)", "(recalled)", "(derived)"))
            assert "|" not in experiment.source
    with pytest.raises(ValueError, match="known"):
        source("Theorem 1", "guessed")


def test_slopes_and_shares():
    n = np.array([100, 1000, 10_000])
    found, shown = slope(n, np.outer(n**-0.5, [1.0, 2.0]))
    assert found == pytest.approx(-0.5)
    assert shown == "-0.500 (0.000)"
    low, high = share(14, 16)
    assert (low, high) == pytest.approx((0.617, 0.984), abs=0.001)


def test_errors_over_seeds(rng):
    """Leaving out seeds gives the standard error of a mean; intervals hold 95 % of the statistics of new samples."""
    table = rng.standard_normal((3, 12))
    _, error = jackknifed(lambda t: t[0].mean(), table)
    assert error == pytest.approx(table[0].std(ddof=1) / np.sqrt(12))
    ratio, error = jackknifed(mean_ratio, [2.0, 4.0], [1.0, 2.0])
    assert (ratio, error) == (2.0, 0.0)
    assert with_error(ratio, error) == "2.000 (0.000)"
    assert with_error(*jackknifed(mean_ratio, [3.0], [2.0])) == "1.500"
    assert with_error(381.2, 23.4, ".0f") == "381 (23)"
    inside = [low < 0 < high for low, high in (median_interval(rng.standard_normal(60)) for _ in range(400))]
    assert 0.92 < np.mean(inside) < 0.99
    low, high = bootstrapped(lambda t: t.mean(), rng.standard_normal(100))
    assert high - low == pytest.approx(2 * 1.96 / 10, rel=0.25)


def test_the_range_of_slopes_is_that_of_means():
    n = np.array([100, 1000, 10_000])
    tables = np.array([np.outer(n**p, [1.0, 2.0]) for p in (-0.5, -0.9, -0.6)])
    assert few_directions.range_of_slopes(n, tables) == pytest.approx(0.4)


def test_stored_values_are_not_computed_again(tmp_path):
    calls = []

    def square(x):
        calls.append(x)
        return x * x

    kept = Kept(tmp_path / "runs.jsonl")
    assert [kept(square, "square", x) for x in (2, 3, 2)] == [4, 9, 4]
    assert Kept(tmp_path / "runs.jsonl")(square, "square", 3) == 9
    assert calls == [2, 3]
    assert spread([1.0, 3.0], 1) == "2.0 (1.0)"
    assert spread([1.5], 1) == "1.5"


@pytest.mark.parametrize(
    "experiment",
    [
        wasserstein.bound_is_sharp_for_gaussians, wasserstein.default_solvers_on_mixtures,
        wasserstein.start_at_the_horizon, gaussian.zero_network_is_the_gaussian, supports.order_of_the_projection,
        supports.irregular_density, supports.across_the_subspace, supports.dimension_is_found,
        coarse.set_before_density, coarse.coverage,
    ],
)  # fmt: skip
def test_cheap_experiments_pass(experiment, tmp_path):
    samples = experiment(True, Kept(tmp_path / "runs.jsonl"))
    assert samples
    assert all(r["passed"] for r in samples), samples


def test_the_command_goes_on_where_it_stopped(tmp_path, capsys):
    calls = []

    @source("Theorem 1", "recalled")
    def once(quick, kept):
        calls.append(quick)
        return [besov.entry("gaussian", "claim", "1", "2", False)]

    for _ in range(2):
        command.main(["--quick", "--out", str(tmp_path / "table.jsonl")], {"gaussian": (once,)})
    assert calls == [True]
    shown = capsys.readouterr().out
    assert "| gaussian | Theorem 1 (recalled) | claim | 1 | 2 | FAIL |" in shown
    assert "0 of 1 rows pass" in shown
