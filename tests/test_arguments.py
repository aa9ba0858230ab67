"""Functions of numbers and arrays name the argument that is wrong."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    ManifoldDiffusionEstimator,
    StackedDensityEstimator,
    datasets,
    load,
    metrics,
)
from skdiffusion.inspection import DimensionSpectrumDisplay, PairDisplay
from skdiffusion.theory import besov, gaussian, subspace, wasserstein

ONE = np.eye(1)
WRONG = {
    "n": [
        lambda: besov.rate_tv(None, 1, 1),
        lambda: subspace.coarse_level(b"x", 1),
        lambda: besov.design(np.nan, 1, 1),
    ],
    "n_features": [
        lambda: besov.rate_w1(100, 1, (3, -1)),
        lambda: datasets.Subspace(2, "auto"),
        lambda: datasets.BesovDensity(1.5, True),
    ],
    "dimension": [lambda: datasets.Subspace(2.5), lambda: datasets.Sphere(0)],
    "smoothness": [lambda: datasets.BesovDensity(object)],
    "n_levels": [lambda: datasets.BesovDensity(1.5, 1, True)],
    "error": [lambda: wasserstein.suggest_steps((3, -1))],
    "regularity": [lambda: wasserstein.suggest_steps(0.1, 3)],
    "diameter": [lambda: wasserstein.bounded_regularity([1.0, 2.0], ONE)],
    "covariance": [lambda: wasserstein.gaussian_regularity(np.ones((1, 2)))],
    "weights": [
        lambda: wasserstein.mixture_regularity([0.5], [[0.0], [1.0]], ONE),
        lambda: gaussian.unit_mixture_tilt([[0.0]], [-1.0], [[0.0]]),
    ],
    "means": [lambda: wasserstein.mixture_regularity([1.0], [[0.0, 1.0]], ONE)],
    "metric": [lambda: metrics.make_sample_scorer(0), lambda: metrics.make_sample_scorer([3])],
    "log_proposal": [lambda: metrics.importance_mass(lambda X: X[:, 0], [[1.0], [2.0]], np.nan)],
}


@pytest.mark.parametrize("name", WRONG)
def test_the_argument_is_named(name):
    for call in WRONG[name]:
        with pytest.raises((ValueError, TypeError), match=name):
            call()


def test_shapes_that_do_not_match_are_named():
    with pytest.raises(ValueError, match="covariances"):
        metrics.gaussian_wasserstein_2([0.0], np.ones((1, 2)), [0.0], ONE)
    with pytest.raises(ValueError, match="drawn from p"):
        metrics.total_variation(lambda X: np.full(len(X), -np.inf), lambda X: 0 * X[:, 0], samples=np.ones((3, 1)))
    with pytest.raises(ValueError, match="distinct"):
        metrics.delta_coverage(np.ones((3, 1)), np.ones((3, 1)), np.ones((3, 1)))
    with pytest.raises(TypeError, match="'path'"):
        load(None)
    with pytest.raises(ValueError, match="overflow"):
        metrics.novelty([[1e200]], [[0.0], [1.0]], [[2.0]])
    est = DiffusionDensityEstimator(hidden_layer_sizes=(4, 4), n_estimators=1, max_iter=1, random_state=0)
    est.fit(np.random.default_rng(0).normal(size=(30, 2)))
    with pytest.raises(ValueError, match="3 features"):
        metrics.neg_wasserstein_1(est, np.ones((4, 3)))
    with pytest.raises(ValueError, match="3 features"):
        PairDisplay.from_estimator(est, np.ones((4, 3)))
    with pytest.raises(ValueError, match="ManifoldDiffusionEstimator"):
        DimensionSpectrumDisplay.from_estimator(est)


def test_the_error_of_a_density_of_zero_is_zero():
    """Constant features far away: both numbers of steps give minus infinity, whose difference is not taken."""
    X = np.ones((12, 2))
    with pytest.warns(UserWarning, match="constant"):
        est = DiffusionDensityEstimator(hidden_layer_sizes=(4, 4), n_estimators=1, max_iter=1, random_state=0).fit(X)
    error = est.log_density_error(np.array([[1.0, 1.0], [1e300, -1e300]]))
    assert np.isfinite(error).all()


@pytest.mark.parametrize("make", [DiffusionDensityEstimator, ManifoldDiffusionEstimator, DiffusionOutlierDetector])
def test_numbers_whose_squares_overflow_are_refused(make):
    with pytest.raises(ValueError, match="rescale"):
        make().fit(np.random.default_rng(0).normal(size=(30, 2)) * [1e288, 1e-290])


def test_codes_of_samples_beyond_the_arithmetic_are_refused():
    X = np.random.default_rng(0).normal(size=(30, 2))
    given = {"hidden_layer_sizes": (4, 4), "n_estimators": True, "max_iter": 1, "random_state": 0}
    est, pure = (DiffusionDensityEstimator(**given, components=c).fit(X) for c in ("auto", None))
    far = np.array([[-1e68, 1e167]])
    even = copy.copy(est)
    # A component without weight is not evaluated.
    even.blend_ = replace(est.blend_, weights=dict.fromkeys(est.blend_.densities, 1 / len(est.blend_.densities)))
    for method in (est.to_latent, est.from_latent, even.score_function, pure.score_function):
        with pytest.raises(ValueError, match="so far"):
            method(far)
    assert np.isfinite(est.score_samples(far)).all()


@pytest.mark.parametrize("estimators", [[5], [("a", 1, 2)], []])
def test_estimators_of_a_stack_are_pairs(estimators):
    with pytest.raises(ValueError, match="'estimators'"):
        StackedDensityEstimator(estimators).fit(np.ones((12, 2)))


@pytest.mark.parametrize("cv", [[], 0])
def test_a_stack_needs_a_split(cv):
    with pytest.raises(ValueError, match="'cv'"):
        StackedDensityEstimator(cv=cv).fit(np.random.default_rng(0).normal(size=(12, 2)))


@pytest.mark.parametrize("seed", range(10))
def test_equal_samples_have_no_support_however_their_mean_is_rounded(seed):
    sample = np.random.default_rng(seed).random((1, 2))
    with pytest.raises(ValueError, match="All samples of X are the same"):
        ManifoldDiffusionEstimator(hidden_layer_sizes=(4, 4), max_iter=1).fit(np.tile(sample, (5, 1)))
