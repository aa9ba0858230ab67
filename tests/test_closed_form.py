import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal, multivariate_t

from skdiffusion._utils.numerics import best_blend
from skdiffusion.densities import (
    BandwidthSearch,
    GaussianKernelDensity,
    GaussianMixtureDensity,
    StudentTDensity,
    fit_mixture,
    fit_student_t,
    gaussian_flow_map,
    kernel_density,
    select_mixture,
)
from skdiffusion.densities import _components as _components
from skdiffusion.densities._kernel import leave_one_out
from skdiffusion.diffusion.ode import log_snr_grid, solve
from tests.conftest import draw, gradient_of

LEVELS = [(1.0, 0.0), (0.8, 0.6), (1.0, 30.0), (1e-3, 1.0), (1.0, 1e-3)]


def some_kernel_density(bandwidth=0.3):
    return GaussianKernelDensity(np.random.default_rng(3).standard_normal((40, 3)), bandwidth)


def laws():
    rng = np.random.default_rng(5)
    roots = rng.standard_normal((5, 3, 3)) * 0.4
    wide = GaussianMixtureDensity(rng.random(5) + 0.1, rng.standard_normal((5, 3)), roots @ roots.transpose(0, 2, 1))
    return {"mixture": wide, "kernel": some_kernel_density(), "kernels": some_kernel_density(np.linspace(0.3, 0.6, 40))}


@pytest.mark.parametrize("name", ["mixture", "kernel", "kernels"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_score_and_divergence_are_derivatives_of_the_log_density(name, alpha, sigma):
    density = laws()[name]
    noise = np.random.default_rng(0).standard_normal((30, 3))
    x = alpha * draw(density, 30) + sigma * noise
    # Differences over a length in proportion to the narrowest scale of the noised distribution.
    narrow = np.hypot(alpha * (0.02 if name == "mixture" else 0.3), sigma)
    step = 1e-4 * narrow
    score = density.score(x, alpha, sigma)
    assert_allclose(
        gradient_of(lambda v: density.log_prob(v, alpha, sigma), x, step), score, rtol=2e-5, atol=2e-6 / narrow
    )
    jacobian = gradient_of(lambda v: density.score(v, alpha, sigma), x, step)
    assert_allclose(
        np.trace(jacobian, axis1=1, axis2=2), density.divergence(x, alpha, sigma), rtol=2e-5, atol=2e-5 / narrow**2
    )


@pytest.mark.parametrize("name", ["mixture", "kernel", "kernels"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS[1:])
def test_denoiser_agrees_with_tweedie(name, alpha, sigma):
    density = laws()[name]
    x = alpha * draw(density, 30) + sigma * np.random.default_rng(1).standard_normal((30, 3))
    tweedie = (x + sigma**2 * density.score(x, alpha, sigma)) / alpha
    assert_allclose(density.denoised(x, alpha, sigma), tweedie, atol=1e-9)


def test_mixture_density_is_scipys(mixture, rng):
    x = rng.standard_normal((20, 2))
    a, s = 0.6, 0.5
    expected = sum(
        w * multivariate_normal(a * m, a**2 * c + s**2 * np.eye(2)).pdf(x)
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances)
    )
    assert_allclose(mixture.log_prob(x, a, s), np.log(expected), rtol=1e-12)
    assert_allclose(mixture.moments(x, a, s).log_prob, np.log(expected), rtol=1e-12)


def test_kernel_density_is_the_mixture_of_its_kernels(rng):
    z = rng.standard_normal((25, 3))
    for bandwidth in (0.3, np.linspace(0.1, 0.6, 40)):
        density = some_kernel_density(bandwidth)
        covariances = np.eye(3) * np.square(density.bandwidth)[:, None, None]
        twin = GaussianMixtureDensity(density.weights, density.samples, covariances)
        for theta in (0.01, 0.5, 1.55):
            for ours, expected in zip(density(z, theta, True), twin(z, theta, True)):
                assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def test_many_components_and_chunks_change_nothing(rng, monkeypatch):
    density = some_kernel_density()
    x = rng.standard_normal((50, 3))
    whole = density.moments(x, 0.7, 0.7)
    monkeypatch.setattr("skdiffusion.densities._diffused.CHUNK_FLOATS", 500)
    parts = density.moments(x, 0.7, 0.7)
    assert_allclose(parts.log_prob, whole.log_prob, rtol=1e-13)
    assert_allclose(parts.mean_u, whole.mean_u, rtol=1e-12)


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_far_samples_stay_finite(mixture, distance):
    x = np.array([[distance, -distance]])
    moments = mixture.moments(x, 1.0, 1e-3)
    for value in (moments.log_prob, moments.mean_u, moments.denoised, moments.laplacian):
        assert np.isfinite(value).all(), value


def test_gaussian_flow_map_is_the_solution_of_the_flow(rng):
    mean, covariance = np.array([0.5, -1.0]), np.array([[0.5, 0.2], [0.2, 1.5]])
    density = GaussianMixtureDensity([1.0], [mean], [covariance])
    z = rng.standard_normal((10, 2))
    start, stop = 0.05, 1.4
    exact = gaussian_flow_map(mean, covariance, z, start, stop)
    assert_allclose(solve(density, z, log_snr_grid(400, start, stop)).z, exact, atol=1e-10)


def test_student_density_is_scipys_and_its_score_the_gradient(rng):
    density = StudentTDensity(np.array([1.0, -1.0]), np.array([[1.0, 0.3], [0.3, 2.0]]), 4.0)
    x = 3 * rng.standard_normal((20, 2))
    assert_allclose(density.log_prob(x), multivariate_t(density.location, density.scale, df=4).logpdf(x), rtol=1e-12)
    assert_allclose(gradient_of(density.log_prob, x), density.score(x), rtol=1e-6, atol=1e-8)


def test_student_density_is_finite_however_far():
    density = StudentTDensity(np.zeros(2), np.eye(2), 3.0)
    far = np.array([[1e200, 0.0], [-1e300, 1e300]])
    assert_allclose(density.log_prob(far)[0], density.log_prob([[1e100, 0.0]])[0] - 5 * np.log(1e100), rtol=1e-12)
    assert np.isfinite(density.log_prob(far)).all()
    assert np.isfinite(density.log_prob([[0.0, 0.0]])).all()


def test_student_fit_finds_heavy_tails(rng):
    x = multivariate_t(np.zeros(3), np.eye(3), df=3).rvs(4000, random_state=1)
    fitted = fit_student_t(x, np.ones(len(x)))
    assert fitted.degrees in (2.0, 3.0, 4.0)
    assert_allclose(fitted.scale, np.eye(3), atol=0.15)
    light = fit_student_t(rng.standard_normal((4000, 3)), np.ones(4000))
    assert light.degrees == 20.0


def test_student_survives_more_features_than_samples_and_collinear_ones(rng):
    x = rng.standard_normal((6, 10))
    x[:, 1] = x[:, 0]
    assert np.isfinite(fit_student_t(x, np.ones(6)).log_prob(100 * x)).all()


def test_em_recovers_a_separated_mixture(rng):
    truth = GaussianMixtureDensity([0.2, 0.8], [[-3.0, 0.0], [2.0, 1.0]], np.stack([0.2 * np.eye(2), 0.5 * np.eye(2)]))
    x = draw(truth, 5000, 1)
    fitted = fit_mixture(x, np.ones(len(x)), 2, 1.0, rng)
    order = np.argsort(fitted.means[:, 0])
    assert_allclose(fitted.weights[order], truth.weights, atol=0.02)
    assert_allclose(fitted.means[order], truth.means, atol=0.06)
    assert_allclose(fitted.covariances[order], truth.covariances, atol=0.05)


@pytest.mark.parametrize("n_components", [1, 3])
def test_em_of_equal_samples_far_from_the_origin_stays_definite(rng, n_components):
    X = np.full((6, 2), [-2.17049714e3, 0.1])
    density = fit_mixture(X, np.ones(6), n_components, 3.0, rng)
    assert_allclose(density.means, X[:n_components], rtol=1e-12)
    assert np.isfinite(density.log_prob(X)).all()


def test_em_weights_are_repetitions(mixture):
    x = draw(mixture, 60)
    weights = np.random.default_rng(0).integers(1, 4, 60).astype(float)
    # One component has a closed-form fit, so the two must agree to round-off; strength 0 removes the prior.
    weighted = fit_mixture(x, weights, 1, 0.0, np.random.default_rng(0))
    repeated = fit_mixture(
        np.repeat(x, weights.astype(int), 0), np.ones(int(weights.sum())), 1, 0.0, np.random.default_rng(0)
    )
    assert_allclose(weighted.means, repeated.means, rtol=1e-10)
    assert_allclose(weighted.covariances, repeated.covariances, rtol=1e-5)
    doubled = fit_mixture(x, 2 * weights, 3, 1.0, np.random.default_rng(0))
    same = fit_mixture(x, weights, 3, 1.0, np.random.default_rng(0))
    assert_allclose(doubled.means, same.means, rtol=1e-8)


def test_em_goes_on_from_a_density(mixture):
    x, ones = draw(mixture, 400), np.ones(400)
    short = fit_mixture(x, ones, 3, 1.0, np.random.default_rng(0), max_iter=3, tol=0.0)
    whole = fit_mixture(x, ones, 3, 1.0, np.random.default_rng(0), max_iter=9, tol=0.0)
    longer = fit_mixture(x, ones, 3, 1.0, None, max_iter=6, tol=0.0, start=short)
    assert_allclose(longer.means, whole.means, rtol=1e-8)
    assert_allclose(longer.covariances, whole.covariances, rtol=1e-7)
    assert longer.log_prob(x).mean() > short.log_prob(x).mean()


def test_em_of_many_features_makes_its_features_anew_and_agrees(rng, monkeypatch):
    x = rng.standard_normal((60, 7)) @ rng.standard_normal((7, 7))
    kept = fit_mixture(x, np.ones(60), 2, 5.0, np.random.default_rng(0))
    monkeypatch.setattr("skdiffusion.densities._em._QuadraticFeatures.max_kept", 0)
    anew = fit_mixture(x, np.ones(60), 2, 5.0, np.random.default_rng(0))
    assert_allclose(anew.covariances, kept.covariances, rtol=1e-10)


def test_em_starts_among_samples_that_have_weight(rng, monkeypatch):
    monkeypatch.setattr("skdiffusion.densities._em.MAX_SAMPLES", 10)
    x = np.concatenate([rng.standard_normal((30, 2)), 50 + rng.standard_normal((3000, 2))])
    weights = np.concatenate([np.ones(30), np.zeros(3000)])
    density = fit_mixture(x, weights, 2, 1.0, rng)
    assert np.abs(density.means).max() < 5


def test_number_of_components_is_chosen_on_held_out_samples(rng):
    centers = 6.0 * np.stack(np.meshgrid([0, 1], [0, 1]), -1).reshape(-1, 2)
    truth = GaussianMixtureDensity(np.ones(4), centers, np.tile(np.eye(2), (4, 1, 1)))
    x = draw(truth, 800, 2)
    (n_components, _), score, laws = select_mixture(x, np.ones(800), [np.arange(600, 800), np.arange(200)], rng)
    assert n_components in (4, 6)
    assert all(density.means.shape == (n_components, 2) for density in laws)
    assert abs(score - truth.log_prob(x).mean()) < 0.15


def test_samples_in_many_groups_get_many_components(rng, monkeypatch):
    """Repeated measurements: 150 narrow groups of ten samples, of which 64 components must join two or three each."""
    centers = rng.standard_normal((150, 3))
    truth = GaussianMixtureDensity(np.ones(150), centers, np.tile(0.03**2 * np.eye(3), (150, 1, 1)))
    x, fresh, folds = draw(truth, 1500, 3), draw(truth, 4000, 4), [np.arange(300), np.arange(300, 600)]
    setting, _, _ = select_mixture(x, np.ones(1500), folds, np.random.default_rng(0))
    assert setting[0] > 64
    density = fit_mixture(x, np.ones(1500), *setting, np.random.default_rng(0))
    few = fit_mixture(x, np.ones(1500), 64, setting[1], np.random.default_rng(0))
    behind, few_behind = ((truth.log_prob(fresh) - fit.log_prob(fresh)).mean() for fit in (density, few))
    assert behind < 1 < 2 < few_behind
    # Where a step of EM is dear, 64 are the most.
    monkeypatch.setattr("skdiffusion.densities._em.STEP_COST", 1.0)
    assert select_mixture(x, np.ones(1500), folds, np.random.default_rng(0))[0][0] <= 64
    # Without time to search it is a single Gaussian, scored and fitted as any other.
    (one, _), score, laws = select_mixture(x, np.ones(1500), folds, np.random.default_rng(0), max_seconds=0.0)
    assert one == 1
    assert [len(density.weights) for density in laws] == [1, 1]
    expected = [density.log_prob(x[fold]).mean() for density, fold in zip(laws, folds)]
    assert score == pytest.approx(np.mean(expected))


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


def test_components_of_very_different_size_and_direction_are_found(rng):
    scales = np.array([1.0, 0.3, 0.1, 0.03])
    roots = scales[:, None, None] * rng.standard_normal((4, 5, 5))
    truth = GaussianMixtureDensity(np.ones(4), 3 * rng.standard_normal((4, 5)), roots @ roots.transpose(0, 2, 1))
    x, fresh = draw(truth, 1500, 5), draw(truth, 4000, 6)
    setting, _, _ = select_mixture(x, np.ones(1500), [np.arange(500), np.arange(500, 1000)], rng)
    density = fit_mixture(x, np.ones(1500), *setting, rng)
    assert setting[1] < 0.5
    assert (truth.log_prob(fresh) - density.log_prob(fresh)).mean() < 0.1


@pytest.mark.parametrize("seed", [1, 5, 7, 12])
def test_round_off_does_not_choose_between_mixtures_that_add_nothing(seed):
    X = np.random.default_rng(seed).standard_normal((40, 3))
    folds, found = np.array_split(np.random.default_rng(1).permutation(40), 8), set()
    for shift in (0.0, 0.7, 2.0):
        generator = np.random.default_rng(0)
        setting, _, _ = select_mixture(X + shift, np.ones(40), folds, generator)
        found.add((setting, generator.random()))  # as many random numbers, too: the kernel draws from the same stream
    assert len(found) == 1


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_few_scattered_samples_do_not_choose_the_mixture(seed):
    rng = np.random.default_rng(seed)
    centers = np.stack(np.meshgrid([0, 1], [0, 1]), -1).reshape(-1, 2)
    x = np.repeat(centers, 200, axis=0) + 0.02 * rng.standard_normal((800, 2))
    x[::40] = rng.uniform(-3, 4, (20, 2))
    setting, _, laws = select_mixture(x, np.ones(800), [np.arange(0, 800, 3), np.arange(1, 800, 3)], rng)
    density = fit_mixture(
        x, np.ones(800), *setting, rng, start=max(laws, key=lambda density: density.log_prob(x).mean())
    )
    # Of the four clusters alone: the log-density at the median of the squared radius, 2 log 2 variances.
    assert np.median(density.log_prob(x)) > -np.log(4 * 2 * np.pi * 0.02**2) - np.log(2) - 0.2


def test_leave_one_out_is_the_density_of_the_others(rng):
    x = rng.standard_normal((30, 2))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / 30)).T  # whitened by its own covariance
    spacing = _components.spacing_of(x, np.ones(30))
    mean_reach = np.exp(np.log(spacing.reach).mean())
    plain, whitened, spaced = [], [], []
    for i in range(30):
        others, sample = np.delete(x, i, 0), x[[i]]
        plain.append(kernel_density(others, 0.4).log_prob(sample)[0])
        root = np.linalg.inv(np.linalg.cholesky(np.cov(others.T, bias=True))).T
        density = kernel_density(others @ root, 0.4)
        whitened.append(density.log_prob(sample @ root)[0] + np.linalg.slogdet(root)[1])
        scale = np.sort(np.linalg.norm(others[:, None] - others, axis=2), axis=1)[:, 4] / mean_reach
        density = kernel_density(others, 0.4)
        spaced.append(GaussianKernelDensity(density.samples, 0.4 * scale).log_prob(sample)[0])
    every = np.arange(30)
    assert_allclose(leave_one_out(x, np.ones(30), [0.4], every)[0], plain, rtol=1e-10)
    assert_allclose(leave_one_out(x, np.ones(30), [0.4], every, whitened=1.0)[0], whitened, rtol=1e-10)
    assert_allclose(leave_one_out(x, np.ones(30), [0.4], every, spacing=spacing)[0], spaced, rtol=1e-10)


def test_a_weight_of_two_is_a_sample_twice(rng):
    x, w = rng.standard_normal((40, 3)), np.ones(40)
    w[:15] = 2
    twice, every = np.repeat(x, w.astype(int), axis=0), np.arange(40)
    positions = np.cumsum(w).astype(int) - 1
    for spaced in (False, True):
        ours, copies = (
            leave_one_out(
                samples, v, [0.4], queries, whitened=0.9, spacing=_components.spacing_of(samples, v) if spaced else None
            )
            for samples, v, queries in ((x, w, every), (twice, np.ones(55), positions))
        )  # fmt: skip
        assert_allclose(ours, copies, rtol=1e-10)


def test_samples_next_to_each_other_have_a_spacing(rng):
    samples = rng.standard_normal((200, 20))  # searched by products, whose differences round to zero
    samples[:20] = samples[0] + 1e-12 * rng.standard_normal((20, 20))
    spacing = _components.spacing_of(samples, np.ones(200))
    assert np.isfinite(np.log(spacing.scale)).all()
    assert (spacing.scale[:20] < 0.1 * spacing.scale[20:].min()).all()
    scores = leave_one_out(samples, np.ones(200), [0.5], np.arange(200), spacing=spacing)
    assert np.isfinite(scores).all()


def test_whitened_samples_keep_their_covariance_under_the_empirical_density(rng):
    x = rng.standard_normal((500, 3))
    x = (x - x.mean(0)) / x.std(0)
    for bandwidth in (0.1, 0.5, 0.9):
        density = kernel_density(x, bandwidth)
        covariance = np.cov(density.samples.T, bias=True) + bandwidth**2 * np.eye(3)
        assert_allclose(np.diag(covariance), 1.0, rtol=1e-10)
        assert_allclose(density.samples.mean(0), x.mean(0), atol=1e-12)


def test_bandwidth_is_not_driven_to_zero_by_copies(rng):
    x = np.repeat(rng.standard_normal((100, 2)), 3, axis=0)
    for others in (multivariate_normal(np.zeros(2)).logpdf(x), np.full(300, -200.0)):
        search = BandwidthSearch(x, np.ones(300), np.arange(300), others)
        search.refine()
        assert search.bandwidth > 0.1


def test_a_refined_search_is_near_the_best_bandwidth(rng):
    x = rng.standard_normal((300, 2)) ** 3
    every, ones, nothing = np.arange(300), np.ones(300), np.full(300, -1e6)
    search = BandwidthSearch(x, ones, every, nothing)
    coarse = search.bandwidth
    search.refine()
    grid = np.geomspace(0.02, 0.95, 400)
    means = leave_one_out(x, ones, grid, every).mean(1)
    best = grid[means.argmax()]
    assert abs(np.log(search.bandwidth / best)) < 0.06 < abs(np.log(coarse / best))
    assert_allclose(search.blended, leave_one_out(x, ones, [search.bandwidth], every)[0], atol=1e-6)
    assert_allclose(search.max_gained, (search.blended - nothing).sum(), rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), reach=st.sampled_from([0.1, 3.0, 300.0, 1e5]))
def test_the_best_blend_is_the_best_of_all_shares(seed, n, reach):
    rng = np.random.default_rng(seed)
    density, others, weights = *rng.normal(0, reach, (2, n)), rng.dirichlet(np.ones(n))
    shares = np.r_[0, np.geomspace(1e-6, 0.5, 60), 1 - np.geomspace(0.5, 1e-6, 60), 1][:, None]
    with np.errstate(divide="ignore"):
        every = np.logaddexp(np.log(shares) + density, np.log1p(-shares) + others) @ weights
    best = weights @ best_blend(density, others, weights)
    assert best >= every.max() - 1e-6 * (1 + abs(every.max()))


def test_beside_another_density_a_kernel_may_serve_near_copies_alone(rng):
    x = rng.standard_normal((400, 3))
    x[300:] = x[:100] + 0.01 * rng.standard_normal((100, 3))
    every, ones = np.arange(400), np.ones(400)
    normal = multivariate_normal(np.zeros(3)).logpdf(x)
    searches = [BandwidthSearch(x, ones, every, others) for others in (np.full(400, -200.0), normal)]
    for search in searches:
        search.refine()
    alone, beside = (search.bandwidth for search in searches)
    assert beside < 0.1 < alone
    kernel = leave_one_out(x, ones, [alone, beside], every)
    shares = np.linspace(0, 1, 101)[:, None]
    best = np.log(shares * np.exp(kernel[:, None]) + (1 - shares) * np.exp(normal) + 1e-300).mean(2).max(1)
    assert_allclose(searches[1].blended.mean(), best[1], atol=1e-3)
    assert best[1] > best[0] + 0.5
