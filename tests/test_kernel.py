"""Kernel densities: samples left out one at a time against densities without them, the search for the bandwidth."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skdiffusion.densities import BandwidthSearch, GaussianKernelDensity, KernelSamples, Spacing, kernel_density


def leave_one_out(samples, bandwidths, queries, **given):
    """Log-densities of samples of equal weight."""
    return KernelSamples(samples, np.ones(len(samples)), **given).leave_one_out(bandwidths, queries)


def bandwidth_search(samples, others):
    """The search by all samples, of equal weight."""
    return BandwidthSearch(KernelSamples(samples, np.ones(len(samples))), np.arange(len(samples)), others)


def test_leave_one_out_is_the_density_of_the_others(rng):
    x = rng.standard_normal((30, 2))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / 30)).T  # whitened by its own covariance
    spacing = Spacing.of_samples(x, np.ones(30))
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
    assert_allclose(leave_one_out(x, [0.4], every)[0], plain, rtol=1e-10)
    assert_allclose(leave_one_out(x, [0.4], every, whitened=1.0)[0], whitened, rtol=1e-10)
    assert_allclose(leave_one_out(x, [0.4], every, spacing=spacing)[0], spaced, rtol=1e-10)


def test_a_weight_of_two_is_a_sample_twice(rng):
    x, w = rng.standard_normal((40, 3)), np.ones(40)
    w[:15] = 2
    twice, every = np.repeat(x, w.astype(int), axis=0), np.arange(40)
    positions = np.cumsum(w).astype(int) - 1
    for spaced in (False, True):
        ours, copies = (
            KernelSamples(
                samples, v, whitened=0.9, spacing=Spacing.of_samples(samples, v) if spaced else None
            ).leave_one_out([0.4], queries)
            for samples, v, queries in ((x, w, every), (twice, np.ones(55), positions))
        )
        assert_allclose(ours, copies, rtol=1e-10)


def test_samples_next_to_each_other_have_a_spacing(rng):
    samples = rng.standard_normal((200, 20))  # searched by products, whose differences round to zero
    samples[:20] = samples[0] + 1e-12 * rng.standard_normal((20, 20))
    spacing = Spacing.of_samples(samples, np.ones(200))
    assert np.isfinite(np.log(spacing.scale)).all()
    assert (spacing.scale[:20] < 0.1 * spacing.scale[20:].min()).all()
    scores = leave_one_out(samples, [0.5], np.arange(200), spacing=spacing)
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
        search = bandwidth_search(x, others)
        search.refine()
        assert search.bandwidth > 0.1


def test_a_refined_search_is_near_the_best_bandwidth(rng):
    x = rng.standard_normal((300, 2)) ** 3
    every, nothing = np.arange(300), np.full(300, -1e6)
    search = bandwidth_search(x, nothing)
    coarse = search.bandwidth
    search.refine()
    grid = np.geomspace(0.02, 0.95, 400)
    means = leave_one_out(x, grid, every).mean(1)
    best = grid[means.argmax()]
    assert abs(np.log(search.bandwidth / best)) < 0.06 < abs(np.log(coarse / best))
    assert_allclose(search.blended, leave_one_out(x, [search.bandwidth], every)[0], atol=1e-6)
    assert_allclose(search.max_gain, (search.blended - nothing).sum(), rtol=1e-9)


def test_beside_another_density_a_kernel_may_serve_near_copies_alone(rng):
    x = rng.standard_normal((400, 3))
    x[300:] = x[:100] + 0.01 * rng.standard_normal((100, 3))
    normal = multivariate_normal(np.zeros(3)).logpdf(x)
    searches = [bandwidth_search(x, others) for others in (np.full(400, -200.0), normal)]
    for search in searches:
        search.refine()
    alone, beside = (search.bandwidth for search in searches)
    assert beside < 0.1 < alone
    kernel = leave_one_out(x, [alone, beside], np.arange(400))
    shares = np.linspace(0, 1, 101)[:, None]
    best = np.log(shares * np.exp(kernel[:, None]) + (1 - shares) * np.exp(normal) + 1e-300).mean(2).max(1)
    assert_allclose(searches[1].blended.mean(), best[1], atol=1e-3)
    assert best[1] > best[0] + 0.5
