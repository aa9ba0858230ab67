"""Invariants of the whole estimator, on small fits of tables of every kind."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest, multivariate_t

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.exceptions import DegenerateDataWarning
from tests.strategies import tables

TINY = {"hidden_layer_sizes": (8, 8), "max_iter": 2, "n_estimators": 2, "n_steps": 4, "random_state": 0}


def fit(X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return DiffusionDensityEstimator(**TINY | given).fit(X)


@given(tables())
def test_any_finite_table_gives_finite_densities_and_samples(X):
    est = fit(X)
    assert np.isfinite(est.score_samples(X)).all()
    sample = est.sample(20, random_state=1)
    assert np.isfinite(sample).all()
    assert np.isfinite(est.score_samples(sample)).all()
    assert np.isfinite(est.score_samples(X + 1e3 * (np.ptp(X, axis=0) + 1))).all()


@given(tables(min_samples=10), st.integers(-18, 18), st.booleans())
@settings(max_examples=15)
def test_positive_rescaling_moves_the_density_by_the_log_determinant(X, exponent, every):
    """A power of two rescales without rounding, so the whole fit is the same bit for bit."""
    assume((np.ptp(X, axis=0) > 0).all())  # a constant feature has no scale to follow
    factor = np.full(X.shape[1], 2.0**exponent)
    factor[1:] = factor[1:] if every else 1.0
    shifted = fit(X * factor).score_samples(X * factor)
    assert_allclose(shifted, fit(X).score_samples(X) - np.log(factor).sum(), rtol=1e-6, atol=1e-6)


@given(st.integers(0, 1000), st.floats(-5, 5))
@example(300, 2.0)
@settings(max_examples=10)
def test_a_shift_moves_nothing_but_the_samples(seed, shift):
    """Of the diffusion: from other last bits, k-means of a mixture may end at other clusters."""
    X = np.random.default_rng(seed).standard_normal((60, 2))
    moved, still = fit(X + shift, components=None), fit(X, components=None)
    assert_allclose(moved.score_samples(X + shift), still.score_samples(X), atol=1e-9)


NETWORKS = [{}, {"noise_intervals": 3}, {"score_clip": 0.3}, {"activation": "relu", "n_nonzero_weights": 40}]


@given(tables(min_samples=5), st.integers(0, 2**32 - 1), st.sampled_from(NETWORKS))
def test_samples_are_scored_alone(X, seed, given):
    est = fit(X, options=Options(**given))
    whole = est.score_samples(X)
    order = np.random.default_rng(seed).permutation(len(X))
    assert_allclose(est.score_samples(X[order]), whole[order], rtol=1e-9, atol=1e-9)
    assert_allclose(est.score_samples(X[:1]), whole[:1], rtol=1e-9, atol=1e-9)


@given(tables(min_samples=5), st.integers(0, 50), st.integers(0, 2**31 - 1))
def test_fewer_samples_are_a_prefix(X, k, seed):
    est = fit(X)
    assert_array_equal(est.sample(50, random_state=seed)[:k], est.sample(k, random_state=seed))


@pytest.mark.parametrize("components", ["auto", None])
@pytest.mark.parametrize("seed", [0, 1])
def test_samples_agree_with_the_density_in_one_dimension(components, seed):
    """The distribution function from `score_samples`, at samples from `sample`, is uniform.

    False-alarm rate 1e-4 a case (Kolmogorov-Smirnov); the quadrature error is far below its resolution.
    """
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(-2, 0.5, 150), rng.gamma(2.0, 1.0, 150)])[:, None]
    est = fit(X, max_iter=60, n_steps="auto", components=components)
    grid = np.linspace(-60, 70, 60_001)
    density = np.exp(est.score_samples(grid[:, None]))
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * (grid[1] - grid[0]))])
    assert cumulative[-1] == pytest.approx(1.0, abs=3e-3)
    sample = est.sample(3000, random_state=5)[:, 0]
    assert kstest(np.interp(sample, grid, cumulative / cumulative[-1]), "uniform").pvalue > 1e-4


def test_separated_narrow_peaks_are_normalized_after_training():
    """Eight peaks 5 % of the feature wide: the fitted density integrates to 1 within 2e-3."""
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 8, 600) + 0.12 * rng.standard_normal(600))[:, None]
    est = fit(X, hidden_layer_sizes=(32, 32), max_iter=150, n_steps="auto", components=None, feature_transform=None)
    grid = np.linspace(-6, 13, 12_001)
    mass = np.exp(est.score_samples(grid[:, None])).sum() * (grid[1] - grid[0])
    assert mass == pytest.approx(1.0, abs=2e-3)


def test_rotations_change_the_density_only_statistically():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2)) * [2.0, 0.5]
    test = rng.standard_normal((500, 2)) * [2.0, 0.5]
    a = np.pi / 5
    rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    straight = fit(X, max_iter=20, feature_transform=None).score(test)
    turned = fit(X @ rotation, max_iter=20, feature_transform=None).score(test @ rotation)
    assert straight == pytest.approx(turned, abs=0.05)


def test_mass_by_importance_sampling_in_four_dimensions():
    """E_q[p / q] = 1 within three standard errors (false-alarm rate 0.3 %), q a Student-t twice as wide."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    X[:, 0] += 2 * np.sign(X[:, 1])
    est = fit(X, hidden_layer_sizes=(16, 16), max_iter=60, n_steps="auto", components=None)
    location, spread = X.mean(0), 1.4 * X.std(0)
    q = multivariate_t(location, np.diag(spread**2), df=6)
    proposals = q.rvs(4000, random_state=1)
    ratio = np.exp(est.score_samples(proposals) - q.logpdf(proposals))
    assert abs(ratio.mean() - 1) < 3 * ratio.std() / np.sqrt(len(ratio)), ratio.mean()
    assert ratio.std() / np.sqrt(len(ratio)) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("side", "narrow"), [(3, 0.05), (5, 0.05), (3, 0.02)])
def test_grids_of_narrow_peaks_are_normalized_after_training(side, narrow):
    """9 and 25 separated peaks in the plane, 2 to 5 % of the feature wide: mass within 2e-3 of 1."""
    rng = np.random.default_rng(0)
    centers = rng.integers(0, side, (2000, 2)).astype(float)
    scale = centers.std()
    X = centers + narrow * scale * rng.standard_normal((2000, 2))
    est = DiffusionDensityEstimator(
        components=None, feature_transform=None, n_estimators=1, max_iter=150, random_state=0
    ).fit(X)
    axis = np.linspace(-1.0, side, 300 if narrow > 0.02 else 500)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = np.exp(est.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1.0, abs=2e-3)
