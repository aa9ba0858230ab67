"""The blend of any density estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from sklearn.neighbors import KernelDensity

from skdiffusion import DiffusionDensityEstimator, StackedDensityEstimator, find_atoms
from skdiffusion.compose import make_density_pipeline


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(-3, 0.3, (150, 2)), rng.normal(2, 1.0, (150, 2))])


ESTIMATORS = [
    ("mixture", GaussianMixture(2, random_state=0)),
    ("kernel", KernelDensity(bandwidth=0.4)),
    ("poor", KernelDensity(bandwidth=20.0)),
]


def test_the_right_component_gets_the_weight(X):
    est = StackedDensityEstimator(ESTIMATORS, random_state=0).fit(X)
    assert est.component_weights_["mixture"] > 0.8
    assert est.component_weights_["poor"] < 1e-3


def test_the_density_is_the_blend(X):
    est = StackedDensityEstimator(ESTIMATORS, random_state=0).fit(X)
    densities = [w * np.exp(e.score_samples(X)) for w, e in zip(est.component_weights_.values(), est.estimators_)]
    assert_allclose(est.score_samples(X), np.log(sum(densities)))
    assert est.score(X) == pytest.approx(est.score_samples(X).mean())


def test_samples_come_from_all_members_with_one_seed(X):
    est = StackedDensityEstimator(ESTIMATORS, random_state=0).fit(X)
    assert_array_equal(est.sample(50, random_state=1), est.sample(50, random_state=1))
    draws = est.sample(4000, random_state=2)
    assert np.abs(draws.mean(0) - X.mean(0)).max() < 0.25
    assert (np.sign(draws[:20, 0]) != np.sign(draws[0, 0])).any(), "components must not come in blocks"


def test_other_folds_and_our_own_estimator_as_a_component(X):
    ours = DiffusionDensityEstimator(
        hidden_layer_sizes=(16, 16), max_iter=10, n_estimators=2, n_steps=4, random_state=0
    )
    est = StackedDensityEstimator([*ESTIMATORS[:2], ("diffusion", ours)], cv=KFold(3, shuffle=True, random_state=0))
    est.set_params(random_state=0).fit(X)
    assert sum(est.component_weights_.values()) == pytest.approx(1.0)
    assert est.sample(30).shape == (30, 2)


@pytest.mark.parametrize(
    "cv", [(), np.array(5), [5], [(0, 1)], [([0, 1], [2], [3])], [([0, 1], [900])], [([0.5], [1])], [([], [1])]]
)
def test_folds_that_are_not_pairs_of_sample_numbers_are_refused(X, cv):
    components = [("one", GaussianMixture(1)), ("two", GaussianMixture(2))]
    with pytest.raises(ValueError, match="The 'cv' parameter"):
        StackedDensityEstimator(components, cv=cv).fit(X[:100])


def test_folds_may_be_given_as_pairs(X):
    components = [("one", GaussianMixture(1, random_state=0)), ("two", GaussianMixture(2, random_state=0))]
    mask = np.arange(100) < 50
    given = StackedDensityEstimator(components, cv=[(np.arange(50), np.arange(50, 100))]).fit(X[:100])
    masked = StackedDensityEstimator(components, cv=[(mask, ~mask)]).fit(X[:100])
    assert sum(given.component_weights_.values()) == pytest.approx(1.0)
    assert masked.component_weights_ == pytest.approx(given.component_weights_, rel=1e-12)


def test_the_default_kernel_is_exact_in_many_features(rng):
    # In units of the bandwidth, which knows nothing of the scale, these samples are far apart: over a tree
    # scikit-learn's sum would be off by hundreds of nats.
    X = 10 * rng.standard_normal((200, 20))
    samples = X[:9] + 3 * rng.standard_normal((9, 20))
    kernel = StackedDensityEstimator(random_state=0).fit(X).estimators_[1]
    h = kernel.bandwidth_
    exact = logsumexp(-0.5 * cdist(samples, X, "sqeuclidean") / h**2, axis=1) - np.log(200)
    assert_allclose(kernel.score_samples(samples), exact - 10 * np.log(2 * np.pi * h**2), rtol=1e-9)


def test_densities_of_different_measures_are_not_blended():
    """A probability of a category is no density: all components have one, or none."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 120)
    X = np.column_stack([group, group + rng.normal(size=120)])
    small = {"hidden_layer_sizes": (8, 8), "n_estimators": 1, "max_iter": 2, "random_state": 0}
    table = DiffusionDensityEstimator(**small, categorical_features=[0])
    mixed = [("table", table), ("mixture", GaussianMixture(random_state=0))]
    for estimators in (mixed, mixed[::-1], [("pipeline", make_density_pipeline(table)), mixed[1]]):
        with pytest.raises(ValueError, match=r"do not compare.*the categories \[0\]"):
            StackedDensityEstimator(estimators, cv=2).fit(X)
    mixture = DiffusionDensityEstimator(**small, components=["mixture"], categorical_features=[0])
    blend = StackedDensityEstimator([("table", table), ("mixture", mixture)], cv=2, random_state=0).fit(X)
    grid = np.linspace(-30, 30, 20_001)
    total = sum(
        np.trapezoid(np.exp(blend.score_samples(np.column_stack([np.full(len(grid), g), grid]))), grid)
        for g in (0, 1, 7)
    )
    assert total == pytest.approx(1, abs=1e-3)
    assert set(blend.sample(50)[:, 0]) == {0.0, 1.0}


def test_atoms_that_differ_between_folds_are_told():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.where(np.arange(120) % 2, 0.0, rng.normal(size=120)), rng.normal(size=120)])
    X[::2][:8, 0] = 5.0  # an atom where they are together
    est = DiffusionDensityEstimator(hidden_layer_sizes=(8, 8), n_estimators=1, max_iter=2, random_state=0, atoms="auto")
    halves = np.r_[0:16, 60:120], np.r_[16:60]
    with pytest.raises(ValueError, match=r"atoms=find_atoms"):
        StackedDensityEstimator([("auto", est)], cv=[halves, halves[::-1]]).fit(X)
    same = est.set_params(atoms=find_atoms(X))
    assert np.isfinite(StackedDensityEstimator([("same", same)], cv=[halves, halves[::-1]]).fit(X).score(X))


def test_one_hot_columns_are_numbers_beside_an_estimator_that_has_densities_alone():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.eye(3)[rng.integers(3, size=120)], rng.normal(size=120)])
    ours = DiffusionDensityEstimator(max_iter=2, random_state=0)
    assert clone(ours).fit(X).one_hot_groups_ == [[0, 1, 2]]
    blend = StackedDensityEstimator([("ours", ours), ("mixture", GaussianMixture())], cv=2, random_state=0).fit(X)
    assert blend.estimators_[0].one_hot_groups_ == []
    alike = StackedDensityEstimator([("ours", ours), ("other", clone(ours))], cv=2, random_state=0).fit(X)
    assert alike.estimators_[0].one_hot_groups_ == [[0, 1, 2]]
