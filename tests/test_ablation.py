"""The ablation and the libraries beside our own code, at small size."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from benchmarks import ablation, cells, libraries, library_components
from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.densities.components import COMPONENTS
from skdiffusion.diffusion.training import DistillationPlan

RESULTS = Path(ablation.__file__).parent / "results"


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 2))
    return np.column_stack([x[:, 0], x[:, 0] ** 2 + np.exp(x[:, 0] / 2) * x[:, 1]])


@pytest.fixture
def library_families():
    """The table of components with those of scikit-learn; the same as before after the test."""
    before = dict(COMPONENTS)
    library_components.register()
    yield
    COMPONENTS.clear()
    COMPONENTS.update(before)


@pytest.mark.parametrize("variant", ablation.VARIANTS)
def test_a_variant_is_parameters_and_options(variant):
    parameters, fields = ablation.arguments_of(variant, 2000, 8)
    est, default = DiffusionDensityEstimator(options=Options(**fields), **parameters), Options().get_params()
    assert set(parameters) <= set(est.get_params())
    assert all(est.options.get_params()[name] == value != default[name] for name, value in fields.items())


@pytest.mark.parametrize("name", ["ablation", "ablation_plane", "libraries"])
def test_the_records_are_of_known_variants(name):
    records = cells.read(RESULTS / f"{name}.jsonl")
    assert records
    assert {r["variant"] for r in records} <= set(ablation.VARIANTS)


@pytest.mark.parametrize("name", library_components.FAMILIES)
def test_a_library_takes_the_place_of_a_component(name, samples, library_families):
    order = list(COMPONENTS)
    assert order.index(name) < order.index(library_components.FAMILIES[name][1])
    est = DiffusionDensityEstimator(max_iter=2, n_estimators=2, components=["student", name], random_state=0)
    est.fit(samples)
    assert any(name in found for found in est.component_weights_)
    assert np.isfinite(est.score_samples(samples)).all()


def test_the_mixture_of_the_library_is_the_mean_of_its_runs(samples):
    density = library_components.LibraryMixture(samples, 3, 1e-6, n_runs=2)
    runs = [GaussianMixture(3, random_state=seed).fit(samples).score_samples(samples) for seed in range(2)]
    np.testing.assert_allclose(np.exp(density.log_prob(samples)), np.mean(np.exp(runs), axis=0))


@pytest.mark.parametrize(
    "regressors", [library_components.Boosting(), library_components.Splines()], ids=["trees", "splines"]
)
def test_a_regression_of_the_library_is_normalized(regressors, samples):
    """Its density of the second feature given the first integrates to 1."""
    z = (samples - samples.mean(0)) / samples.std(0)
    density = library_components.LibraryRegression(regressors, z, np.array([0, 1]))
    grid = np.linspace(-12, 12, 4001)
    given = density.log_prob(np.column_stack([np.full(4001, 0.3), grid]))
    alone = density.fits[0][1].score_samples([[0.3]])
    assert np.exp(given - alone).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)


def test_the_gradient_by_hand_is_that_of_automatic_differentiation():
    record = libraries.backward_cell(3, 32)
    assert record["difference"] < 1e-5


def test_a_masked_network_of_zuko_learns_what_ours_learns():
    """Both learn a normal distribution of correlated features from its draws."""
    pytest.importorskip("zuko")
    z = np.random.default_rng(0).standard_normal((2000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    exact = multivariate_normal(np.zeros(2), [[1.0, 0.8], [0.8, 1.0]]).logpdf(z)
    plan = DistillationPlan(n_steps=200, batch_size=200)
    model = libraries.train_zuko(libraries.masked_mixture(2), z, exact, plan)
    assert np.mean(exact - libraries.scores_of(model, z)) == pytest.approx(0, abs=0.05)
