"""EM of Gaussian mixtures on incomplete samples, against closed forms and simulated truths."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import (
    ExpectationMaximization,
    GaussianMixtureDensity,
    MixtureSetting,
    StudentTDensity,
    fit_student_t,
)
from skdiffusion.densities._incomplete import (
    IncompleteSamples,
    fit_incomplete_mixture,
    fit_incomplete_student_t,
    student_t_log_prob,
)
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


def test_moments_of_unknown_features_are_those_of_the_conditional_gaussian(rng):
    """Of every pattern, complete and empty samples included."""
    d, root = 5, rng.standard_normal((5, 5))
    covariances = np.stack([root @ root.T + 0.1 * np.eye(d), np.eye(d)])
    means, X = rng.standard_normal((2, d)), rng.standard_normal((32, d))
    known = (np.arange(32)[:, None] >> np.arange(d)) & 1 == 1
    samples = IncompleteSamples(np.where(known, X, np.nan), np.ones(32))
    found = samples.distances(means, covariances)
    for k, (mean, C) in enumerate(zip(means, covariances)):
        for i, (x, o) in enumerate(zip(X, known)):
            u, expected, conditional = ~o, np.where(o, x - mean, 0.0), np.zeros((d, d))
            gain = np.linalg.solve(C[np.ix_(o, o)], C[np.ix_(o, u)]).T
            expected[u] = gain @ expected[o]
            conditional[np.ix_(u, u)] = C[np.ix_(u, u)] - gain @ C[np.ix_(o, u)]
            squared = (x - mean)[o] @ np.linalg.solve(C[np.ix_(o, o)], (x - mean)[o])
            left = samples.left(found.conditional, np.outer(np.eye(32)[i], [1.0, 1.0]))
            assert_allclose(found.deviations[k, i], expected, atol=1e-10)
            assert_allclose(left[k], conditional, atol=1e-10)
            assert found.squared[k, i] == pytest.approx(squared, abs=1e-10)
            assert found.log_det[k, i] == pytest.approx(np.linalg.slogdet(C[np.ix_(o, o)])[1], abs=1e-10)


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


def test_a_student_t_of_complete_samples_is_that_of_plain_em(rng):
    X = rng.standard_t(4, (500, 3)) @ rng.standard_normal((3, 3))
    X = (X - X.mean(0)) / X.std(0)
    ours, plain = fit_incomplete_student_t(IncompleteSamples(X, np.ones(500)), 200), fit_student_t(X, np.ones(500), 200)
    assert ours.degrees == plain.degrees
    assert_allclose(ours.location, plain.location, atol=2e-3)
    assert_allclose(ours.scale, plain.scale, atol=5e-3)
    log_prob = student_t_log_prob(IncompleteSamples(X, np.ones(500)), ours)
    assert_allclose(log_prob, ours.log_prob(X), atol=1e-9)


def test_a_student_t_is_recovered_through_gaps_that_depend_on_what_is_known(rng):
    truth = StudentTDensity(np.array([0.0, 0.5, -0.3]), np.array([[1, 0.6, 0.2], [0.6, 1, 0.5], [0.2, 0.5, 1.0]]), 4.0)
    chi2 = rng.chisquare(4.0, 4000)
    X = truth.sample(SampleNoise(rng.standard_normal((4000, 3)), None, chi2))
    gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    gaps[:, 0] = X[:, 0]
    gaps[X[:, 0] > 0.7, 2] = np.nan
    found = fit_incomplete_student_t(IncompleteSamples(gaps, np.ones(4000)), 200)
    assert found.degrees == 4.0
    assert_allclose(found.location, truth.location, atol=0.07)
    assert_allclose(found.scale, truth.scale, atol=0.12)
    known = ~np.isnan(gaps)
    log_prob = student_t_log_prob(IncompleteSamples(gaps, np.ones(4000)), found)
    for x, which, value in zip(gaps[:40], known[:40], log_prob):
        marginal = found.marginal(np.eye(3)[:, which])
        assert value == pytest.approx(marginal.log_prob(x[None, which])[0], abs=1e-9)
