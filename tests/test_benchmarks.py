"""What the benchmarks and examples take from the package is there, and the comparison runs on a few samples."""

import ast
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks import compare, samples
from benchmarks.dependent_tables import TABLES

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


@pytest.mark.parametrize("name", TABLES)
def test_a_dependent_table_is_finite_and_made_by_its_generator_alone(name):
    X, again = (TABLES[name].sample(300, np.random.default_rng(7)) for _ in range(2))
    assert np.isfinite(X).all()
    np.testing.assert_array_equal(X, again)
    assert np.linalg.matrix_rank(X - X.mean(0)) == X.shape[1]


def test_spread_ratios_and_aims_see_a_feature_that_is_too_wide():
    real = np.random.default_rng(0).normal(size=(2000, 3))
    generated = real * [1.0, 1.3, 1.0]
    feature, ratio = samples.worst(samples.spread_ratios(generated, real, samples.IQR))
    assert feature == 1
    assert ratio == pytest.approx(1.3)
    good = {"w1_ratio": 1.1, "iqr": 1.05, "range": 0.9, "range_train": 1.2, "novelty": 1.0}
    assert samples.missed(good) == []
    assert samples.missed(good | {"iqr": ratio, "w1_ratio": 1.2, "novelty": 0.9}) == ["W1", "novelty", "IQR"]
