"""What takes `random_state=None` draws from NumPy's global generator, and nothing else touches that generator."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    ManifoldDiffusionEstimator,
    StackedDensityEstimator,
)
from skdiffusion.compose import draw_samples, make_density_pipeline
from skdiffusion.datasets import BesovDensity, Sphere
from skdiffusion.inspection import TrajectoryDisplay
from skdiffusion.metrics import (
    classifier_two_sample_test,
    density_comparability,
    highest_density_coverage,
    sliced_wasserstein_1,
    two_sample_floor,
    wasserstein_1,
)

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 2, "n_estimators": 1}
X = np.random.default_rng(0).standard_normal((60, 2))
X[:, 0] += 4 * np.sign(X[:, 0])


TRAINED = {"early_stopping": False, "feature_transform": None, "components": None}  # so that the velocity is not zero


def small(**given):
    return DiffusionDensityEstimator(n_steps=4, **SMALL | given)


def distilled(**given):
    return small(components=None, **given).fit(X).distill(n_draws=100, n_training_steps=2)


DRAWN_FROM = {
    "diffusion": lambda **seed: small(**seed).fit(X),
    "pure diffusion": lambda **seed: small(components=None, **seed).fit(X),
    "support": lambda **seed: ManifoldDiffusionEstimator(support="linear", n_components=1, **SMALL, **seed).fit(X),
    "curved support": lambda **seed: ManifoldDiffusionEstimator(
        support="nonlinear", n_components=1, **SMALL, **seed
    ).fit(X),
    "stacked": lambda **seed: StackedDensityEstimator(**seed).fit(X),
    "distilled": distilled,
    "pipeline": lambda **seed: make_density_pipeline(StandardScaler(), small(**seed)).fit(X),
    "pipeline of a mixture": lambda **seed: make_density_pipeline(StandardScaler(), GaussianMixture(2, **seed)).fit(X),
}
fits = pytest.mark.parametrize("fit", DRAWN_FROM.values(), ids=DRAWN_FROM)


def global_state():
    return [np.copy(part) for part in np.random.get_state()[1:]]


@fits
def test_a_fit_and_its_samples_repeat_after_the_global_seed(fit):
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        est = fit()
        drawn.append([est.sample(5), est.sample(5)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0][0], drawn[0][1])


@fits
def test_with_a_seed_the_global_generator_is_neither_read_nor_moved(fit):
    drawn = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = global_state()
        est = fit(random_state=3)
        drawn.append(est.sample(5, random_state=4))
        est.score_samples(X)
        np.testing.assert_array_equal(est.sample(5), est.sample(5))
        for a, b in zip(before, global_state()):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("method", ["score_samples", "score_function", "to_latent", "log_density_error"])
def test_densities_leave_the_global_generator_alone(method):
    est = small().fit(X)
    before = global_state()
    getattr(est, method)(X)
    for a, b in zip(before, global_state()):
        np.testing.assert_array_equal(a, b)


CALLS = {
    "draw_samples": lambda: draw_samples(GaussianMixture(2, random_state=0).fit(X), 5, None),
    "draw_samples of a kernel density": lambda: draw_samples(KernelDensity().fit(X), 5, None),
    "sphere": lambda: Sphere(2).sample(5),
    "von Mises-Fisher": lambda: Sphere(2, density="vmf").sample(5),
    "besov": lambda: BesovDensity(1).sample(5),
    "sliced distance": lambda: sliced_wasserstein_1(X, X + 1, n_projections=3, random_state=None),
    "classifier test": lambda: classifier_two_sample_test(X, X + 0.3, random_state=None),
    "comparability": lambda: density_comparability(X, X[:40], n_cells=5, random_state=None),
    "coverage": lambda: highest_density_coverage(small(random_state=0).fit(X), X, n_samples=50, random_state=None)[1],
    "floor": lambda: two_sample_floor(wasserstein_1, X, n_repeats=2, random_state=None),
    "sample error": lambda: small(**TRAINED).fit(X).sample_error(20),
    "threshold": lambda: DiffusionOutlierDetector(small()).fit(X).offset_,
    "codes": lambda: DiffusionTransformer(small(**TRAINED)).fit(X).transform(X),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_functions_repeat_after_the_global_seed(call):
    values = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        values.append(call())
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_paths_repeat_after_the_global_seed():
    pytest.importorskip("matplotlib")
    est, paths = small(components=None, random_state=0).fit(X), []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        paths.append(TrajectoryDisplay.from_estimator(est, n_samples=3, n_times=4, random_state=None).paths)
    np.testing.assert_array_equal(paths[0], paths[1])
    assert not np.array_equal(paths[0], paths[2])
