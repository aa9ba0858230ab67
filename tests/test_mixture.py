"""Gaussian mixtures: densities against scipy's, EM against known mixtures, the search for their size."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skdiffusion.densities import (
    ComponentOptions,
    ExpectationMaximization,
    GaussianMixtureDensity,
    MixtureSearch,
    gaussian_flow_map,
)
from skdiffusion.diffusion.ode import log_snr_grid, solve
from tests.conftest import draw

EM = ExpectationMaximization()


def test_mixture_density_is_scipys(mixture, rng):
    x = rng.standard_normal((20, 2))
    a, s = 0.6, 0.5
    expected = sum(
        w * multivariate_normal(a * m, a**2 * c + s**2 * np.eye(2)).pdf(x)
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances)
    )
    assert_allclose(mixture.log_prob(x, a, s), np.log(expected), rtol=1e-12)
    assert_allclose(mixture.moments(x, a, s).log_prob, np.log(expected), rtol=1e-12)


def test_a_sample_has_the_same_bits_wherever_it_stands(rng):
    roots = rng.standard_normal((7, 8, 8))
    covariances = roots @ roots.transpose(0, 2, 1) + np.eye(8)
    density = GaussianMixtureDensity(rng.uniform(1, 2, 7), rng.standard_normal((7, 8)), covariances)
    x = rng.standard_normal((4000, 8))
    whole = density.log_prob(x)
    for start in (8, 1000, 2000, 3992):
        np.testing.assert_array_equal(density.log_prob(x[start:]), whole[start:])


def test_gaussian_flow_map_is_the_solution_of_the_flow(rng):
    mean, covariance = np.array([0.5, -1.0]), np.array([[0.5, 0.2], [0.2, 1.5]])
    density = GaussianMixtureDensity([1.0], [mean], [covariance])
    z = rng.standard_normal((10, 2))
    start, stop = 0.05, 1.4
    exact = gaussian_flow_map(mean, covariance, z, start, stop)
    assert_allclose(solve(density, z, log_snr_grid(400, start, stop)).z, exact, atol=1e-10)


def test_mean_of_mixtures_is_the_mean_of_their_densities(mixture, rng):
    d = mixture.n_features
    other, x = (
        GaussianMixtureDensity([1.0, 2.0], rng.standard_normal((2, d)), [np.eye(d)] * 2),
        rng.standard_normal((50, d)),
    )
    densities = [np.exp(density.log_prob(x)) for density in (mixture, other)]
    assert_allclose(
        np.exp(GaussianMixtureDensity.mean([mixture, other]).log_prob(x)), np.mean(densities, 0), rtol=1e-12
    )


def test_em_recovers_a_separated_mixture(rng):
    truth = GaussianMixtureDensity([0.2, 0.8], [[-3.0, 0.0], [2.0, 1.0]], np.stack([0.2 * np.eye(2), 0.5 * np.eye(2)]))
    x = draw(truth, 5000, 1)
    fitted = EM.fit(x, np.ones(len(x)), (2, 1.0), rng)
    order = np.argsort(fitted.means[:, 0])
    assert_allclose(fitted.weights[order], truth.weights, atol=0.02)
    assert_allclose(fitted.means[order], truth.means, atol=0.06)
    assert_allclose(fitted.covariances[order], truth.covariances, atol=0.05)


@pytest.mark.parametrize("n_components", [1, 3])
def test_em_of_equal_samples_far_from_the_origin_stays_definite(rng, n_components):
    X = np.full((6, 2), [-2.17049714e3, 0.1])
    density = EM.fit(X, np.ones(6), (n_components, 3.0), rng)
    assert_allclose(density.means, X[:n_components], rtol=1e-12)
    assert np.isfinite(density.log_prob(X)).all()


def test_em_weights_are_repetitions(mixture):
    x = draw(mixture, 60)
    weights = np.random.default_rng(0).integers(1, 4, 60).astype(float)
    # One component has a closed-form fit, so the two must agree to round-off; strength 0 removes the prior.
    weighted = EM.fit(x, weights, (1, 0.0))
    repeated = EM.fit(np.repeat(x, weights.astype(int), 0), np.ones(int(weights.sum())), (1, 0.0))
    assert_allclose(weighted.means, repeated.means, rtol=1e-10)
    assert_allclose(weighted.covariances, repeated.covariances, rtol=1e-5)
    doubled = EM.fit(x, 2 * weights, (3, 1.0), np.random.default_rng(0))
    same = EM.fit(x, weights, (3, 1.0), np.random.default_rng(0))
    assert_allclose(doubled.means, same.means, rtol=1e-8)


def test_em_goes_on_from_a_density(mixture):
    x, ones = draw(mixture, 400), np.ones(400)
    three, six, nine = (ExpectationMaximization(max_iter=steps, tol=0.0) for steps in (3, 6, 9))
    short = three.fit(x, ones, (3, 1.0), np.random.default_rng(0))
    whole = nine.fit(x, ones, (3, 1.0), np.random.default_rng(0))
    longer = six.fit(x, ones, (3, 1.0), start=short)
    assert_allclose(longer.means, whole.means, rtol=1e-8)
    assert_allclose(longer.covariances, whole.covariances, rtol=1e-7)
    assert longer.log_prob(x).mean() > short.log_prob(x).mean()


def test_em_that_stores_nothing_agrees(rng):
    x = rng.standard_normal((60, 7)) @ rng.standard_normal((7, 7))
    stored, anew = (
        em.fit(x, np.ones(60), (2, 5.0), np.random.default_rng(0)) for em in (EM, ExpectationMaximization(max_stored=0))
    )
    assert_allclose(anew.covariances, stored.covariances, rtol=1e-10)


def test_em_starts_among_samples_that_have_weight(rng):
    x = np.concatenate([rng.standard_normal((30, 2)), 50 + rng.standard_normal((3000, 2))])
    weights = np.concatenate([np.ones(30), np.zeros(3000)])
    density = ExpectationMaximization(max_k_means_samples=10).fit(x, weights, (2, 1.0), rng)
    assert np.abs(density.means).max() < 5


def test_number_of_components_is_chosen_by_out_of_fold_samples(rng):
    centers = 6.0 * np.stack(np.meshgrid([0, 1], [0, 1]), -1).reshape(-1, 2)
    truth = GaussianMixtureDensity(np.ones(4), centers, np.tile(np.eye(2), (4, 1, 1)))
    x = draw(truth, 800, 2)
    folds = [np.arange(600, 800), np.arange(200)]
    (n_components, _), score, densities = MixtureSearch(x, np.ones(800), folds, rng).choose()
    assert n_components in (4, 6)
    assert all(density.means.shape == (n_components, 2) for density in densities)
    assert abs(score - truth.log_prob(x).mean()) < 0.15


def test_samples_in_many_groups_get_many_components(rng):
    """Repeated measurements: 150 narrow groups of ten samples, of which 64 components must join two or three each."""
    centers = rng.standard_normal((150, 3))
    truth = GaussianMixtureDensity(np.ones(150), centers, np.tile(0.03**2 * np.eye(3), (150, 1, 1)))
    x, fresh, folds = draw(truth, 1500, 3), draw(truth, 4000, 4), [np.arange(300), np.arange(300, 600)]

    def choose(**limits):
        return MixtureSearch(x, np.ones(1500), folds, np.random.default_rng(0), **limits).choose()

    setting = choose().setting
    assert setting.n_components > 64
    density = EM.fit(x, np.ones(1500), setting, np.random.default_rng(0))
    few = EM.fit(x, np.ones(1500), (64, setting.strength), np.random.default_rng(0))
    behind, few_behind = ((truth.log_prob(fresh) - fit.log_prob(fresh)).mean() for fit in (density, few))
    assert behind < 1 < 2 < few_behind
    # Where a step of EM is costly, there are at most 64.
    assert choose(options=ComponentOptions(max_search_cost=1.0)).setting.n_components <= 64
    # Without time to search it is a single Gaussian, scored and fitted as any other.
    (one, _), score, densities = choose(max_seconds=0.0)
    assert one == 1
    assert [len(density.weights) for density in densities] == [1, 1]
    expected = [density.log_prob(x[fold]).mean() for density, fold in zip(densities, folds)]
    assert score == pytest.approx(np.mean(expected))


def test_components_of_very_different_size_and_direction_are_found(rng):
    scales = np.array([1.0, 0.3, 0.1, 0.03])
    roots = scales[:, None, None] * rng.standard_normal((4, 5, 5))
    truth = GaussianMixtureDensity(np.ones(4), 3 * rng.standard_normal((4, 5)), roots @ roots.transpose(0, 2, 1))
    x, fresh = draw(truth, 1500, 5), draw(truth, 4000, 6)
    setting = MixtureSearch(x, np.ones(1500), [np.arange(500), np.arange(500, 1000)], rng).choose().setting
    density = EM.fit(x, np.ones(1500), setting, rng)
    assert setting.strength < 0.5
    assert (truth.log_prob(fresh) - density.log_prob(fresh)).mean() < 0.1


@pytest.mark.parametrize("seed", [1, 5, 7, 12])
def test_round_off_does_not_choose_between_mixtures_that_add_nothing(seed):
    X = np.random.default_rng(seed).standard_normal((40, 3))
    folds, found = np.array_split(np.random.default_rng(1).permutation(40), 8), set()
    for shift in (0.0, 0.7, 2.0):
        generator = np.random.default_rng(0)
        setting = MixtureSearch(X + shift, np.ones(40), folds, generator).choose().setting
        found.add((setting, generator.random()))  # as many random numbers, too: the kernel draws from the same stream
    assert len(found) == 1


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_few_scattered_samples_do_not_choose_the_mixture(seed):
    rng = np.random.default_rng(seed)
    centers = np.stack(np.meshgrid([0, 1], [0, 1]), -1).reshape(-1, 2)
    x = np.repeat(centers, 200, axis=0) + 0.02 * rng.standard_normal((800, 2))
    x[::40] = rng.uniform(-3, 4, (20, 2))
    folds = [np.arange(0, 800, 3), np.arange(1, 800, 3)]
    setting, _, densities = MixtureSearch(x, np.ones(800), folds, rng).choose()
    start = max(densities, key=lambda density: density.log_prob(x).mean())
    density = EM.fit(x, np.ones(800), setting, start=start)
    # Of the four clusters alone: the log-density at the median of the squared radius, 2 log 2 variances.
    assert np.median(density.log_prob(x)) > -np.log(4 * 2 * np.pi * 0.02**2) - np.log(2) - 0.2


def test_narrowest_is_the_least_scale_of_a_gaussian_that_carries_data():
    covariances = np.stack([np.diag([4.0, 0.25]), 1e-8 * np.eye(2), np.eye(2)])
    mixture = GaussianMixtureDensity([0.5, 1e-4, 0.4999], np.zeros((3, 2)), covariances)
    assert mixture.narrowest == pytest.approx(0.5)
    assert GaussianMixtureDensity([1.0], np.zeros((1, 2)), 9 * np.eye(2)).narrowest == 1.0


def test_mixtures_may_be_scored_alone(rng):
    """Beside a single Gaussian it is left to that one to explain far samples; alone the mixture must be wide itself."""
    x = 0.1 * rng.standard_normal((400, 2)) + rng.integers(0, 2, (400, 1))
    x[::20] *= 60
    folds = [np.arange(0, 400, 3), np.arange(1, 400, 3)]
    choices = [
        MixtureSearch(
            x, np.ones(400), folds, np.random.default_rng(0), ComponentOptions(score_beside_others=beside)
        ).choose()
        for beside in (True, False)
    ]
    for (_, score, densities), beside in zip(choices, (True, False)):
        single = multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x).mean()
        alone = np.mean(np.concatenate([density.log_prob(x[fold]) for density, fold in zip(densities, folds)]))
        assert (score == pytest.approx(alone, abs=1e-9)) != beside
        assert score > single
