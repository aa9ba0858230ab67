"""What the benchmarks and examples take from the package is there, and the comparison runs on a few samples."""

import ast
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, norm

import benchmarks
from benchmarks import (
    compare,
    conditional,
    few_samples,
    gpu,
    imputation,
    one_column,
    regression,
    regressors,
    samples,
    versions,
)
from benchmarks.samples import TABLES

ROOT = Path(benchmarks.__file__).parent.parent
FILES = [p.relative_to(ROOT).as_posix() for folder in ("benchmarks", "examples") for p in (ROOT / folder).rglob("*.py")]


def taken(path):
    """Modules and names of the project that a file imports, those within functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("skdiffusion", "benchmarks"):
            yield from ((node.module, alias.name) for alias in node.names)


def is_there(module, name):
    """Whether a module has a name, or a module of this name within it."""
    try:
        return hasattr(import_module(module), name) or bool(import_module(f"{module}.{name}"))
    except ImportError:
        return False


@pytest.mark.parametrize("path", sorted(FILES))
def test_what_is_imported_is_there(path):
    assert [f"{module}.{name}" for module, name in taken(path) if not is_there(module, name)] == []


def test_the_comparison_records_what_ours_says_of_a_few_samples():
    X, out = np.random.default_rng(0).normal(size=(40, 2)), {}
    log_density, draw = compare.run_ours(X, X[:10], 0, out)
    assert np.isfinite(log_density).all()
    assert draw(5).shape == (5, 2)
    assert sum(out["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert out["below_promise"] <= 1e-9  # no sample costs more than the Student-t promises


def test_widths_of_few_samples_are_compared_within_splits(tmp_path, capsys):
    """Widths of a split may come from several runs; splits differ by far more than widths do."""

    def record(split, **nats):
        by_width = {w: {"diffusion": v, "blend": v + 1, "fit_s": float(w)} for w, v in nats.items()}
        return {"dataset": "iris", "n": 80, "n_train": 80, "d": 4, "split": split, "by_width": by_width}

    records = [record(0, **{"32": -5.0}), record(0, **{"64": -4.9}), record(1, **{"32": 7.0, "64": 7.3})]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    few_samples.report([path])
    assert "| iris | 80 | 4 | 2 | 64 | 32 | +0.200 (0.100) | +0.200 (0.100) | +32.0 |" in capsys.readouterr().out


def test_a_cell_of_few_samples_fits_every_width():
    out = few_samples.run_cell("moons", 40, 0, [4, 8], None)
    assert list(out["by_width"]) == [4, 8]
    assert out["n_train"] == 40
    assert all(np.isfinite([m[name] for name in few_samples.MEASURES]).all() for m in out["by_width"].values())


@pytest.mark.parametrize("name", one_column.DENSITIES)
def test_a_density_of_one_column_is_that_of_its_samples(name):
    density, rng = one_column.DENSITIES[name](), np.random.default_rng(0)
    X = density.sample(4000, rng)
    assert X.shape == (4000, 1)
    for share in (0.1, 0.5, 0.9):
        low, high = np.quantile(X, [0.02, share])
        places = np.linspace(low, high, 200_001)
        mass = np.exp(density.log_prob(places[1:, None])).mean() * (high - low)
        assert mass == pytest.approx(share - 0.02, abs=5 * 0.5 / np.sqrt(4000))


def test_the_report_of_one_column_names_what_is_behind(capsys, tmp_path):
    def record(name, lead):
        seeds = {}
        for seed in range(10):
            peers = {"kernel density": -1.0 - 0.01 * seed, "Gaussian mixture": -2.0}
            times = {f"{who}, s": 1.0 for who in ("ours", *peers)}
            seeds[seed] = {"truth": -0.9, "ours": -1.0 - 0.01 * seed + lead * (1 + 0.01 * seed), **peers, **times}
        return {"density": name, "n": 100, "seeds": seeds}

    path = tmp_path / "record.jsonl"
    path.write_text("\n".join(json.dumps(record(*r)) for r in (("normal", 0.02), ("uniform", -0.005), ("claw", -0.02))))
    one_column.report([path])
    text = capsys.readouterr().out
    assert "Behind the better peer (Holm, 5 %): claw at 100, uniform at 100." in text
    assert text.rstrip().endswith("nats behind: claw at 100 (-0.021).")
    assert "| normal | +0.021 (0.000) |" in text


@pytest.mark.parametrize("name", TABLES)
def test_a_dependent_table_is_finite_and_made_by_its_generator_alone(name):
    X, again = (TABLES[name].sample(300, np.random.default_rng(7)) for _ in range(2))
    assert np.isfinite(X).all()
    np.testing.assert_array_equal(X, again)
    assert np.linalg.matrix_rank(X - X.mean(0)) == X.shape[1]


def test_spread_ratios_and_aims_see_a_feature_that_is_too_wide():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2000, 3))
    generated = real * [1.0, 1.3, 1.0]
    feature, ratio, error = samples.compared(generated, real, samples.IQR, rng)
    assert feature == 1
    assert ratio == pytest.approx(1.3)
    density = norm.pdf(norm.ppf(0.75))  # at the quartiles, which the variance of their difference follows from
    expected = np.sqrt(2) * np.sqrt(0.25 / 2000) / density / (2 * norm.ppf(0.75))
    assert error == pytest.approx(expected, rel=0.25)
    good = {"w1_ratio": 1.1, "iqr": 1.05, "iqr_se": 0.01, "range": 0.9, "range_se": 0.01, "range_train": 1.2}
    good |= {"novelty": 1.0}
    assert samples.missed(good) == []
    assert samples.missed(good | {"iqr": ratio, "w1_ratio": 1.2, "novelty": 0.9}) == ["W1", "novelty", "IQR"]
    assert samples.missed(good | {"iqr": ratio, "iqr_se": 0.2}) == []


def test_oracle_conditionals_by_a_grid_are_those_of_a_gaussian():
    target = conditional.ORACLES["gaussian4"]()
    C, x = target.factors[0] @ target.factors[0].T, np.array([0.3, -0.5, 0.2, 0.4])
    log_given, mean, scale = conditional.oracle_conditional(target, x, 1)
    given = np.array([0, 2, 3])
    assert log_given == pytest.approx(multivariate_normal.logpdf(x[given], cov=C[np.ix_(given, given)]), abs=1e-4)
    weights = np.linalg.solve(C[np.ix_(given, given)], C[given, 1])
    assert mean == pytest.approx(x[given] @ weights, abs=1e-4)
    assert scale == pytest.approx(np.sqrt(C[1, 1] - C[1, given] @ weights), abs=1e-4)


def test_the_conditional_of_the_chosen_mixture_is_normalized():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((300, 1)) < 0.5, -3, 3) + rng.standard_normal((300, 2))
    values = np.linspace(-12, 12, 2001)
    log_prob = conditional.mixture_conditional(X, np.column_stack([values, np.full(2001, 2.0)]), np.array([1]))
    assert np.exp(log_prob).sum() * (values[1] - values[0]) == pytest.approx(1, abs=1e-3)


KNOWN_TARGETS = [name for name in regression.KNOWN if name != "two columns"]


@pytest.mark.parametrize("name", KNOWN_TARGETS)
def test_known_distributions_of_y_are_normalized_and_what_is_drawn(name):
    target = regression.KNOWN[name]
    X, y = target.draw(4000, np.random.default_rng(0))
    values = np.linspace(-30, 30, 60_001)
    rows = np.tile(X[0], (len(values), 1))
    density = np.exp(target.log_prob(rows, values))
    assert np.trapezoid(density, values) == pytest.approx(1, abs=1e-3)
    # The probability integral transform of the draws is uniform.
    cdf = [np.trapezoid(*_up_to(target, x, v)) for x, v in zip(X[:200], y[:200])]
    assert kstest(cdf, "uniform").pvalue > 1e-3


def _up_to(target, x, value):
    """Densities and values of y up to a value."""
    values = np.linspace(-30, value, 20_001)
    return np.exp(target.log_prob(np.tile(x, (len(values), 1)), values)), values


def test_the_known_distribution_of_two_columns_is_what_is_drawn():
    target = regression.KNOWN["two columns"]
    X, y = target.draw(2000, np.random.default_rng(0))
    mean = np.column_stack([np.sin(X[:, 0]), X[:, 1] * np.sin(X[:, 0])])
    slope = X[:, 1]
    covariances = np.array([[[0.25, 0.25 * b], [0.25 * b, 0.25 * b**2 + 0.09]] for b in slope])
    exact = [multivariate_normal.logpdf(v, m, c) for v, m, c in zip(y, mean, covariances)]
    np.testing.assert_allclose(target.log_prob(X, y), exact)
    distances = np.einsum("ni,nij,nj->n", y - mean, np.linalg.inv(covariances), y - mean)
    assert kstest(distances, "chi2", args=(2,)).pvalue > 1e-3


def test_narrow_densities_at_rounded_values_gain_nothing_in_cells():
    class Spike(regressors.Gaussian):
        def __init__(self, scale):
            self.scale = scale

        def _parameters(self, X):
            return np.zeros(len(X)), np.full(len(X), self.scale)

    X, y = np.zeros((5, 1)), np.array([0.0, 0.0, 1.0, 0.0, 2.0])
    assert regression.resolution(y) == 1.0
    assert regression.resolution(np.linspace(0, 1, 100_000)) == 0.0
    at_zero = [regression.cell_log_prob(Spike(s), X[:1], y[:1], 1.0)[0] for s in (1e-2, 1e-6)]
    np.testing.assert_allclose(at_zero, 0.0, atol=1e-12)
    assert regression.cell_log_prob(Spike(0.1), X[:1], y[:1] + 9.0, 1.0) == Spike(0.1).log_prob(X[:1], y[:1] + 9.0)
    assert regression.cell_log_prob(Spike(50.0), X, y, 1.0) == pytest.approx(Spike(50.0).log_prob(X, y), abs=1e-4)


def test_values_become_a_density_whose_distribution_function_is_its_integral():
    class Halves(regressors.Values):
        def _fit(self, X, y, seed):
            self.values = np.sort(y)[:: max(len(y) // 20, 1)]

        def _values(self, X):
            return np.tile(self.values, (len(X), 1))

    rng = np.random.default_rng(0)
    model = Halves().fit(rng.normal(size=(100, 1)), rng.normal(size=100), 0)
    values = np.linspace(-12, 12, 4001)
    X = np.zeros((4001, 1))
    density = np.exp(model.log_prob(X, values))
    below = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2) * (values[1] - values[0]))
    np.testing.assert_allclose(model.cdf(X, values), below, atol=1e-4)


def test_regressions_are_compared_on_the_same_splits(tmp_path, capsys):
    scores = {"nats": 0.0, "crps": 1.0, "covered": 0.9, "width": 0.5, "predict_s": 0.0, "fit_s": 2.0, "record": -0.25}
    scores["cell_covered"] = 0.87

    def record(who, seed, cell_nats):
        return scores | {"set": "yacht", "who": who, "seed": seed, "cell_nats": cell_nats, "fresh_nats": 2 * cell_nats}

    records = [record("ours", s, s + 0.1) for s in range(3)] + [record("NGBoost", s, s) for s in (1, 2)]
    known = {"known": "edge", "n": 2000, "fit_s": 1.0, "error": 0.01} | {
        k: scores[k] for k in ("crps", "covered", "width")
    }
    records += [known | {"who": "ours", "seed": s, "divergence": d} for s, d in enumerate((0.02, 0.04))]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    regression.report([path])
    text = capsys.readouterr().out
    assert "| yacht | NGBoost | 2 | 0.000 | 1.500 | 3.000 | 0.100 (0.000) | 0.200 (0.000) |  |" in text
    assert "| yacht | ours | 3 | 0.000 | 1.100 | 2.200 |  |  | 0.250 (0.000) |" in text
    assert "| 1.000 (0.000) | 0.900 | 0.870 |" in text
    assert "| edge | ours | 2000 | 2 | 0.030 (0.010) |" in text


def test_the_measurement_of_a_gpu_runs_where_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu", "run", "--out", str(tmp_path / "gpu.jsonl")])
    gpu.main()
    assert "no CUDA device" in capsys.readouterr().out
    assert not (tmp_path / "gpu.jsonl").exists()
    monkeypatch.setattr(gpu, "SCORED", 1000)
    record = gpu.run_cell("rates", "cpu", 60, 2, 0)
    assert all(record["per_second"][call] > 0 for call in gpu.CALLS)
    (tmp_path / "gpu.jsonl").write_text(json.dumps(record) + "\n" + json.dumps(record | {"on": "cuda"}) + "\n")
    gpu.report([tmp_path / "gpu.jsonl"])
    assert "| 60 | 2 | fit |" in (shown := capsys.readouterr().out)
    assert shown.count("| 1.00 |") == len(gpu.CALLS)


def test_a_peer_runs_on_published_splits_and_known_distributions(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(160, 2))
    y = np.round(3 * X[:, 0] + rng.normal(size=160), 1)
    X[150:], y[150:] = X[:10], y[:10]  # ten samples stand on both sides
    order = np.arange(160)
    splits = {"train": np.append(order[:110], -1)[None], "test": order[None, 110:]}
    np.savez(tmp_path / "small.npz", X=X, y=y, mc_dropout_ll_1=np.array([-1.5]), **splits)
    record = regression.split_cell("small", "HistGradientBoosting", 0, tmp_path)
    assert (record["n"], record["d"], record["record"]) == (110, 2, -1.5)
    assert record["repeated"] == 0.2
    assert record["cell_nats"] == pytest.approx(record["nats"], abs=0.1)
    assert record["fresh_nats"] != record["cell_nats"]
    assert 0.5 < record["covered"] <= 1
    known = regression.known_cell("edge", "HistGradientBoosting", 0, 200)
    assert known["divergence"] > 3 * known["error"] > 0
    json.dumps([record, known])


def test_draws_that_are_as_the_values_are_cover_nine_tenths_of_them():
    rng = np.random.default_rng(0)
    truth, draws = rng.standard_normal((2000, 3)), rng.standard_normal((imputation.N_DRAWS, 2000, 3))
    gaps = np.where(rng.random(truth.shape) < 0.4, np.nan, truth)
    missing = np.isnan(gaps)
    draws[:, ~missing] = truth[~missing]
    good = imputation.quality(draws, truth, gaps)
    assert good["covered"] == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / missing.sum()))
    normal = np.sqrt(2 / np.pi)  # mean absolute deviation; that from the median of few draws is a little smaller
    assert (1 - 1 / imputation.N_DRAWS) * normal < good["mad"] < normal
    narrow, zero = (imputation.quality(np.where(missing, a * draws, truth), truth, gaps) for a in (0.3, 0.0))
    one = imputation.quality(np.where(missing, 0.0, truth)[None], truth, gaps)
    assert narrow["covered"] < 0.5
    assert good["energy"] < min(narrow["energy"], one["energy"])
    assert one["covered"] == one["mad"] == 0
    assert zero["energy"] == pytest.approx(one["energy"])
    with pytest.raises(ValueError, match="changed values that are known"):
        imputation.quality(draws + 1, truth, gaps)


def test_pooled_intervals_of_the_complete_samples_hold_their_regression():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((50, 4))
    coefficients, variances = imputation.regression(X)
    expected, _, _, _ = np.linalg.lstsq(np.column_stack([np.ones(50), X[:, :3]]), X[:, 3])
    np.testing.assert_allclose(coefficients, expected, atol=1e-12)
    assert (variances > 0).all()
    assert imputation.pooled_intervals(np.stack([X, X]), X) == 1
    assert imputation.pooled_intervals(X[None], X) == 1
    assert imputation.pooled_intervals(np.stack([X, X]) + [0, 0, 0, 9], X) < 1


def test_two_versions_are_timed_by_turns_on_the_same_samples(tmp_path, capsys):
    X, file = np.random.default_rng(0).normal(size=(60, 2)), str(tmp_path / "samples.npz")
    np.savez(file, X=X, scored=X[:10])
    values, log_prob = versions.measured(versions.OWN, file, 0)
    assert np.isfinite(log_prob).all()
    assert min(values["seconds"].values()) > 0
    records = [
        {"dataset": name, "n": 60, "seed": seed, "n_train": 60, "d": 2, "gain": gain, "gain_se": 0.1}
        | {"now": values, "before": values | {"seconds": {k: 2 * s for k, s in values["seconds"].items()}}}
        for name, gain in (("a", 0.5), ("b", 0.1))
        for seed in (0, 1)
    ]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    versions.report([path])
    *_, median, _ = capsys.readouterr().out.splitlines()
    assert median == "| median | | | | | 0.50 | 0.50 | 0.50 | | | +0.300 |"
