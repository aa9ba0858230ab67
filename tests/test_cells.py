"""Probabilities of the cells that rounded values stand for, against distribution functions and sums over all cells."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.estimators._cells import cell_mass

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 1, "max_iter": 5, "random_state": 0}


def normal(X):
    """Independent normal features of standard deviations 1, 2, 3; NaN is left out."""
    return np.nansum(stats.norm(0, [1.0, 2.0, 3.0]).logpdf(X), axis=1)


@pytest.mark.parametrize("counted", [[0], [2], [0, 1], [0, 1, 2]])
def test_the_mass_of_cells_of_normal_features(counted):
    X = np.random.default_rng(0).normal(size=(50, 3))
    X[::5, 1] = np.nan
    half = np.where(np.isin(range(3), counted), 0.5, 0.0) * np.ones_like(X)
    found = cell_mass(normal, X, X - half, X + half)
    scales = np.array([1.0, 2.0, 3.0])
    masses = stats.norm.cdf((X + half) / scales) - stats.norm.cdf((X - half) / scales)
    expected = np.where(half > 0, np.log(np.where(half > 0, masses, 1.0)), stats.norm.logpdf(X, 0, scales))
    off = np.abs(found.log_mass - np.nansum(expected, axis=1))
    if len(counted) == 1:
        assert off.max() < 1e-12
    else:
        assert 0.1 < np.median(off[1::5] / found.error[1::5]) < 2
        assert off.max() < 0.01
    again = cell_mass(normal, X[:3], (X - half)[:3], (X + half)[:3])
    assert_array_equal(again.log_mass, found.log_mass[:3])


def test_nothing_is_in_a_cell_where_there_is_no_density():
    found = cell_mass(lambda X: np.full(len(X), -np.inf), np.zeros((1, 1)), -np.ones((1, 1)), np.ones((1, 1)))
    assert found == (-np.inf, 0.0)


def test_probabilities_of_counts_have_the_sum_one():
    X = np.random.default_rng(0).poisson(4.0, (600, 1)).astype(float)
    est = DiffusionDensityEstimator(**SMALL).fit(X)
    every = np.arange(-5.0, 40.0)[:, None]
    found = est.score_samples(every, measure="counting")
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-3)
    true = stats.poisson(4.0).pmf(every[:, 0])
    assert np.abs(np.exp(found) - true).sum() < 0.15
    assert (est.log_density_error(every[5:18], measure="counting") < 5e-3).all()
    assert_array_equal(est.score_samples(every[3:5], measure="counting"), found[3:5])


def test_no_cell_goes_beyond_the_bounds():
    X = np.random.default_rng(0).binomial(3, 0.5, (300, 1)).astype(float)
    est = DiffusionDensityEstimator(**SMALL, bounds=(0, 3)).fit(X)
    mass = np.exp(est.score_samples(np.arange(5.0)[:, None], measure="counting"))
    assert mass.sum() == pytest.approx(1.0, abs=1e-3)
    assert mass[4] == 0.0
    assert_allclose(mass[:4], [0.125, 0.375, 0.375, 0.125], atol=0.08)


def test_numbers_categories_and_atoms_have_no_cells():
    rng = np.random.default_rng(0)
    n = 400
    kind, counts, x = rng.integers(2, size=n), rng.poisson(3.0, n), rng.normal(size=n)
    spent = np.where(rng.random(n) < 0.5, 0.0, rng.gamma(2.0, size=n))
    X = np.column_stack([kind, counts + 2 * kind, x, spent])
    est = DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={3: [0.0]}).fit(X)
    counting = est.score_samples(X, measure="counting")
    grid = np.arange(-4.0, 30.0)
    rows = np.repeat(X[:6], len(grid), axis=0)
    rows[:, 1] = np.tile(grid, 6)
    over_counts = np.exp(est.score_samples(rows, measure="counting")).reshape(6, -1).sum(1)
    without = X[:6].copy()
    without[:, 1] = np.nan
    assert_allclose(np.log(over_counts), est.score_samples(without), atol=0.3)  # by draws, of the diffusion
    assert_allclose(counting, est.score_samples(X), atol=1.0)  # cells are one wide, and counts are spread over them
    assert_allclose(est.score_samples(without, measure="counting"), est.score_samples(without))


def test_another_measure_is_refused():
    est = DiffusionDensityEstimator(**SMALL).fit(np.random.default_rng(0).normal(size=(50, 1)))
    assert_array_equal(est.score_samples([[0.5]], measure="counting"), est.score_samples([[0.5]]))
    for method in (est.score_samples, est.log_density_error):
        with pytest.raises(ValueError, match="'measure' argument must be 'lebesgue' or 'counting'"):
            method([[0.5]], measure="lattice")
