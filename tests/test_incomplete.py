"""EM of Gaussian mixtures on incomplete samples, against closed forms and simulated truths."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion.densities import ExpectationMaximization, GaussianMixtureDensity, MixtureSetting
from skdiffusion.densities._incomplete import IncompleteSamples, fit_incomplete_mixture
from tests.conftest import draw


@pytest.fixture
def gaps(mixture, rng):
    X = draw(mixture, 600, 0)
    return X, np.where(rng.random(X.shape) < 0.3, np.nan, X)


def test_the_density_of_what_is_known_is_the_marginal_one(mixture, gaps):
    X, incomplete = gaps
    found = IncompleteSamples(incomplete, np.ones(len(X))).log_prob(mixture)
    for x, log_prob in zip(incomplete[:50], found):
        known = np.flatnonzero(~np.isnan(x))
        expected = mixture.marginal(np.eye(2)[:, known]).log_prob(x[None, known])[0] if len(known) else 0.0
        assert log_prob == pytest.approx(expected, abs=1e-10)


def test_a_step_raises_the_likelihood_of_what_is_known(mixture, gaps):
    samples = IncompleteSamples(gaps[1], np.random.default_rng(1).uniform(0.5, 2, 600))
    found = []
    for _ in range(10):
        mixture, mean_log_density = samples.step(mixture, 0.0)
        found.append(mean_log_density)
    assert (np.diff(found) > -1e-9).all()


def test_a_step_of_complete_samples_is_that_of_plain_em(mixture, gaps):
    X, w = gaps[0], np.ones(600)
    ours, _ = IncompleteSamples(X, w).step(mixture, 0.0)
    plain = ExpectationMaximization(max_iter=1).fit(X, w, (3, 0.0), start=mixture)
    assert_allclose(ours.means, plain.means, rtol=1e-10)
    assert_allclose(ours.covariances, plain.covariances, atol=1e-5)  # their floors differ


def test_monotone_gaps_have_the_product_of_regressions(rng):
    """Anderson (1957): the most likely Gaussian, where the second feature is missing in dependence on the first."""
    X = rng.standard_normal((4000, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    missing = X[:, 0] > 0.3
    incomplete = X.copy()
    incomplete[missing, 1] = np.nan
    mixture = fit_incomplete_mixture(IncompleteSamples(incomplete, np.ones(4000)), MixtureSetting(1, 1.0), rng)
    first, kept = X[:, 0], ~missing
    slope, offset = np.polyfit(first[kept], X[kept, 1], 1)
    residual = np.var(X[kept, 1] - offset - slope * first[kept])
    mean, variance = first.mean(), first.var()
    assert_allclose(mixture.means[0], [mean, offset + slope * mean], atol=0.01)
    expected = [[variance, slope * variance], [slope * variance, residual + slope**2 * variance]]
    assert_allclose(mixture.covariances[0], expected, atol=0.01)
    assert abs(np.nanmean(incomplete[:, 1]) - mixture.means[0, 1]) > 0.2  # what dropping samples would give


def test_a_mixture_is_recovered_through_gaps(rng):
    truth = GaussianMixtureDensity([0.3, 0.7], [[-2.0, 0.0], [1.5, 1.0]], np.stack([0.2 * np.eye(2), 0.4 * np.eye(2)]))
    X = draw(truth, 3000, 2)
    X = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    found = fit_incomplete_mixture(IncompleteSamples(X, np.ones(3000)), MixtureSetting(2, 4.0), rng)
    order = np.argsort(found.means[:, 0])
    assert_allclose(found.weights[order], truth.weights, atol=0.03)
    assert_allclose(found.means[order], truth.means, atol=0.08)
    assert_allclose(found.covariances[order], truth.covariances, atol=0.08)
