"""Small fits with pinned seeds, whose numbers no change of structure may move.

Log-densities and generated samples stand in ``snapshot.json``. On the machine that recorded them (its processor and
the versions of the numerical libraries) they agree to the bit; elsewhere matrix products round otherwise, and training
carries that on, so that they agree within `TOLERANCE`, or that of a case with numbers over many decades or transforms
that training runs choose: two kinds of processors differed by 2e-5 and 6e-4 in these, by less than 1e-6 in the others.
A change that moves a fit on purpose records anew, and its commit says so:

    python -m tests.test_snapshot
"""

import json
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy
import sklearn
import torch

from skdiffusion import (
    DiffusionDensityEstimator,
    ManifoldDiffusionEstimator,
    Options,
    StackedDensityEstimator,
)
from skdiffusion.datasets import Sphere

RECORD = Path(__file__).with_name("snapshot.json")
TOLERANCE = 1e-4
WIDER = {"ten_features": 1e-3, "mapped_features": 5e-3}
N_SCORED, N_GENERATED = 6, 8


def normal(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def bent(n, d):
    """Features of which each follows from the one before it, with noise that grows."""
    X = normal(n, d)
    for j in range(1, d):
        X[:, j] += 0.5 * X[:, j - 1] ** 2 + 0.3 * np.abs(X[:, j - 1]) * X[:, j]
    return X


def small(**given):
    return DiffusionDensityEstimator(**{"max_iter": 6, "hidden_layer_sizes": (16, 16), "random_state": 0} | given)


def one_feature():
    X = np.concatenate([normal(120, 1), normal(80, 1, 1) / 5 + 2])
    return small().fit(X), X


def plane():
    X = bent(200, 2)
    return small(hidden_layer_sizes=(12, 12, 12)).fit(X), X


def ten_features():
    X = bent(150, 10)
    return small().fit(X), X


def bounds():
    X = np.abs(bent(150, 2))
    return small(bounds=(0, np.inf)).fit(X), X


def ties():
    X = np.round(2 * bent(200, 3))
    return small().fit(X), X


def weights():
    X = bent(200, 3)
    return small().fit(X, sample_weight=np.linspace(0, 2, 200)), X


def frame():
    X = bent(150, 3)
    table = pd.DataFrame({"a": X[:, 0].astype(np.float32), "b": np.round(5 * X[:, 1]).astype(int), "c": X[:, 2]})
    return small().fit(table), table


def warm_start():
    X = bent(150, 2)
    return small(warm_start=True).fit(X).fit(X + 0.1), X


def partial_fit():
    X = bent(150, 2)
    return small().fit(X).partial_fit(X[:60] + 0.1), X


def pure_diffusion():
    X = bent(200, 4)
    return small(components=None).fit(X), X


def fine_tuned():
    X = bent(150, 3)
    return small(components=None, n_estimators=2, options=Options(fine_tune=True)).fit(X), X


def noise_intervals():
    X = bent(150, 2)
    options = Options(noise_intervals=2, n_nonzero_weights=200, weight_bound=2.0)
    return small(components=None, hidden_layer_sizes=[(16, 16), (8, 8)], options=options).fit(X), X


def mapped_features():
    X = np.exp(bent(300, 2))
    return small(feature_transform="gaussianize").fit(X), X


def stacked():
    X = bent(150, 2)
    return StackedDensityEstimator(random_state=0).fit(X), X


def distilled():
    X = bent(150, 2)
    return small().fit(X).distill(n_draws=2000, n_training_steps=60), X


def manifold_curved():
    X = Sphere(1, n_features=3).sample(200, 0)
    return ManifoldDiffusionEstimator(n_components=1, max_iter=8, random_state=0).fit(X), X


def manifold_linear():
    X = normal(150, 2) @ normal(2, 4, 1)
    return ManifoldDiffusionEstimator(max_iter=20, random_state=0).fit(X), X


CASES = {
    case.__name__: case
    for case in (
        one_feature, plane, ten_features, bounds, ties, weights, frame, warm_start, partial_fit, pure_diffusion,
        fine_tuned, noise_intervals, mapped_features, stacked, distilled, manifold_curved, manifold_linear,
    )
}  # fmt: skip


def machine():
    """What the last bits of a fit depend on."""
    cpu = Path("/proc/cpuinfo")
    models = {line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model")}
    versions = {m.__name__: m.__version__ for m in (np, scipy, sklearn, torch)}
    return {"processor": sorted(models) if cpu.exists() else platform.processor(), **versions}


def measured(name):
    """Log-densities of the first samples of a case, and the first generated samples, as lists of floats."""
    estimator, X = CASES[name]()
    generated = estimator.sample(N_GENERATED, random_state=1)
    return {
        "log_density": estimator.score_samples(X[:N_SCORED]).tolist(),
        "generated": np.asarray(generated, dtype=float).tolist(),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_fit_is_what_it_was(name):
    record = json.loads(RECORD.read_text(encoding="utf8"))
    here, there = measured(name), record["fits"][name]
    if record["machine"] == machine():
        assert here == there
    else:
        near = WIDER.get(name, TOLERANCE)
        for key, values in here.items():
            np.testing.assert_allclose(values, there[key], rtol=near, atol=near, err_msg=key)


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    RECORD.write_text(json.dumps({"machine": machine(), "fits": {n: measured(n) for n in CASES}}, indent=1) + "\n")
