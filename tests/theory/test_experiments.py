"""The experiments of `benchmarks.theory` at small size: that they run, that they can fail, and what they show."""

import numpy as np
import pytest

from benchmarks.theory import __main__ as command
from benchmarks.theory import besov, gaussian, supports, wasserstein
from benchmarks.theory.records import Kept, spread

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
    ],
)  # fmt: skip
def test_cheap_experiments_pass(experiment, tmp_path):
    samples = experiment(True, Kept(tmp_path / "runs.jsonl"))
    assert samples
    assert all(r["passed"] for r in samples), samples


def test_the_command_goes_on_where_it_stopped(tmp_path, capsys):
    calls = []

    def once(quick, kept):
        calls.append(quick)
        return [besov.entry("gaussian", "claim", "1", "2", False)]

    for _ in range(2):
        command.main(["--quick", "--out", str(tmp_path / "table.jsonl")], {"gaussian": (once,)})
    assert calls == [True]
    assert "| gaussian | claim | 1 | 2 | FAIL |" in capsys.readouterr().out
