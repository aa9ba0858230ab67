"""Every command of the benchmarks imports, and the comparison runs on a few samples."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks import compare

ROOT = Path(benchmarks.__file__).parent
MODULES = [
    ".".join(["benchmarks", *path.relative_to(ROOT).with_suffix("").parts])
    for path in sorted(ROOT.rglob("*.py"))
    if not path.name.startswith("__")
]


@pytest.mark.parametrize("name", MODULES)
def test_modules_import(name):
    import_module(name)


def test_the_comparison_records_what_ours_says_of_a_few_samples():
    X, out = np.random.default_rng(0).normal(size=(40, 2)), {}
    log_density, draw = compare.run_ours(X, X[:10], 0, out)
    assert np.isfinite(log_density).all()
    assert draw(5).shape == (5, 2)
    assert sum(out["weights"].values()) == pytest.approx(1, abs=1e-3)
    assert out["below_promise"] <= 1e-9  # no sample costs more than the Student-t promises
