"""The theory's experiments on supports at small size; the gallery and the benchmarks run them whole."""

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.datasets import Sphere, Subspace
from skdiffusion.manifold import LocalPolynomials, sample_spacing
from skdiffusion.metrics import fidelity, memorized_excess, novelty


def test_fidelity_comes_before_memorization():
    """E2b: with 16 training points samples are closest to the circle before the network memorizes the points."""
    circle = Sphere(1)
    X, fresh = circle.sample(16, 0), circle.sample(1000, 1)
    distance, new, memory, loss = [], [], [], []
    for steps in (30, 300, 2000):
        est = DiffusionDensityEstimator(
            (256, 256), components=None, feature_transform=None, early_stopping=False, validation_fraction=0.07, n_estimators=1,
            batch_size=64, max_iter=int(steps * 64 / 16), learning_rate=3e-3, weight_decay=0.0, t_min=0.01,
            n_steps=24, random_state=0,
        ).fit(X)  # fmt: skip
        draws = est.sample(1000, random_state=1)
        distance.append(fidelity(draws, circle.distance))
        new.append(novelty(draws, X, fresh))
        memory.append(memorized_excess(draws, X, fresh))
        loss.append(est.loss_curve_[-1, 1])
    assert loss[0] > loss[1] > loss[2]
    assert new[0] > new[1] > new[2]
    assert memory[2] > 0.1 > memory[1]
    assert np.argmin(distance) < 2


def test_an_irregular_density_does_not_change_the_rate_of_the_support():
    """E2c: the slope of log distance on log spacing changes by less than 20 %."""
    slopes = []
    for density in ("uniform", "kinked"):
        target, spacing, errors = Sphere(1, density=density), [], []
        for n in (250, 1000, 4000):
            X = [target.sample(n, seed) for seed in range(4)]
            spacing.append(np.mean([sample_spacing(samples) for samples in X]))
            fits = [LocalPolynomials(samples, 1, spacing[-1], 2, 12.0) for samples in X]
            errors.append(np.median([fidelity(f.project(target.sample(300, 50)), target.distance) for f in fits]))
        slopes.append(np.polyfit(np.log(spacing), np.log(errors), 1)[0])
    assert slopes[1] == pytest.approx(slopes[0], rel=0.2)


def test_the_number_of_features_does_not_matter_on_a_plane():
    """E5a: the same latent distribution in 4 and in 64 features, to 0.05 nats."""
    nats = []
    for d in (4, 64):
        target = Subspace(2, d)
        est = ManifoldDiffusionEstimator(2, "linear", max_iter=40, random_state=0).fit(target.sample(400, 0))
        nats.append(est.intrinsic_log_density(target.sample(500, 1)).mean())
    assert nats[0] == pytest.approx(nats[1], abs=0.05)


@pytest.mark.parametrize(
    ("target", "k"),
    [
        (Subspace(1, 6, noise=0.05), 1), (Subspace(3, 32, noise=0.1), 3), (Subspace(5, 16), 5),
        (Sphere(1, 4), 1), (Sphere(2), 2),
    ],
    ids=["line", "3 of 32, noise", "5 of 16", "circle", "sphere"],
)  # fmt: skip
def test_the_dimension_is_found(target, k):
    """E5d, with a short training."""
    est = ManifoldDiffusionEstimator(hidden_layer_sizes=(64, 64), n_estimators=1, max_iter=150, random_state=0)
    assert est.fit(target.sample(1000, 0)).intrinsic_dimension_ == k
