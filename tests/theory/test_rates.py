"""Rates, sizes and noise levels of the other papers, against the figures they stand for."""

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.datasets import Sphere
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.manifold import sample_spacing
from skdiffusion.theory import besov, gaussian, subspace


@pytest.mark.parametrize(
    ("n", "s", "d", "size"), [(1e3, 1, 1, 10), (1e4, 2, 2, 22), (1e4, 1, 2, 100), (1e5, 1, 4, 2154)]
)
def test_effective_sizes(n, s, d, size):
    assert besov.effective_size(n, s, d) == pytest.approx(size, rel=0.03)


def test_rates_are_powers_of_the_number_of_samples():
    n = 2.0 ** np.arange(9, 16)
    for s, slope in ((0.5, -0.25), (1.0, -1 / 3), (1.5, -0.375), (2.5, -5 / 12)):
        values = [besov.rate_tv(m, s, 1) for m in n]
        assert np.polyfit(np.log(n), np.log(values), 1)[0] == pytest.approx(slope)
        assert besov.rate_w1(n[-1], s, 1) == pytest.approx(n[-1] ** -0.5)
    assert besov.rate_w1(1e4, 1, 6) == pytest.approx(1e4 ** (-2 / 8))
    assert besov.rate_tv(1e4, 1, 2) > besov.rate_tv(1e4, 2, 2)


def test_stopping_and_clipping():
    assert besov.stopping_level(1e4, 2, 1, "w1") == pytest.approx(1e4 ** (-3 / 5))
    assert besov.stopping_level(1e4, 0.5, 1) == pytest.approx(1e4 ** (-1 / 2))
    assert besov.clipping_level(1e4) == pytest.approx(2 * np.sqrt(np.log(1e4)))
    with pytest.raises(ValueError, match="'loss'"):
        besov.stopping_level(100, 1, 1, "kl")
    with pytest.raises(ValueError, match="'smoothness'"):
        besov.rate_tv(100, 0, 1)


def test_no_true_score_reaches_the_clipping_level(rng):
    """The noise predicted for a uniform distribution stays below the level of C = 2 in many draws."""
    n, x = 10_000, rng.uniform(-1, 1, 20_000)
    centers = np.linspace(-1, 1, 2001)
    for tau in (0.03, 0.15, 0.5, 2.0):
        y = x + tau * rng.standard_normal(x.size)
        worst = 0.0
        for block in np.array_split(y, 20):
            logits = -0.5 * ((block[:, None] - centers) / tau) ** 2
            share = np.exp(logits - logits.max(1, keepdims=True))
            noise = (block - share @ centers / share.sum(1)) / tau
            worst = max(worst, np.abs(noise).max())
        assert worst < besov.clipping_level(n)


def test_the_partition_is_dyadic_and_its_sizes_fall():
    edges, sizes = besov.time_partition(1e5, 1.0, 3)
    assert edges[0] == pytest.approx(besov.stopping_level(1e5, 1.0, 3, "w1") ** 2 / 2)
    np.testing.assert_allclose(edges[2:-1] / edges[1:-2], 2.0)
    assert edges[-1] == 1.0
    assert (np.diff(sizes) <= 0).all()
    assert sizes[0] == pytest.approx(besov.effective_size(1e5, 1.0, 3))
    assert sizes[0] / sizes[-1] > 10


def test_a_design_can_be_fitted(rng):
    plan = besov.design(400, 1.0, 1)
    est = DiffusionDensityEstimator(**plan.parameters, max_iter=20, random_state=0).fit(rng.uniform(-1, 1, (400, 1)))
    level = np.tan(est.blend_.densities["diffusion"].density.theta_min)
    assert level == pytest.approx(plan.stopping_level)
    assert np.isfinite(est.score(rng.uniform(-1, 1, (50, 1))))


@pytest.mark.parametrize("theta", [0.05, 0.6, 1.4])
def test_relative_scores_of_mixtures(theta, rng):
    weights, means = np.array([0.3, 0.7]), np.array([[1.0, -0.5], [-0.4, 0.2]])
    density = GaussianMixtureDensity(weights, means, np.tile(np.eye(2), (2, 1, 1)))
    X = rng.standard_normal((40, 2))
    part = gaussian.unit_mixture_relative_score(X, theta, weights, means)
    alpha, sigma = np.cos(theta), np.sin(theta)
    denoised = alpha * X + sigma**2 * part
    np.testing.assert_allclose(denoised, density.denoised(X, alpha, sigma), rtol=1e-9, atol=1e-12)
    # Bounded by the longest mean, at every level and in every place.
    far = gaussian.unit_mixture_relative_score(100 * X, theta, weights, means)
    assert np.linalg.norm(np.concatenate([part, far]), axis=1).max() <= np.linalg.norm(means, axis=1).max() + 1e-12

    def tilt(samples):
        return gaussian.unit_mixture_tilt(samples, weights, means)

    def gradient(samples):
        return gaussian.unit_mixture_relative_score(samples, 0.0, weights, means)

    drawn = gaussian.relative_score(gradient, tilt, X[:5], theta, rng.standard_normal((40_000, 2)))
    np.testing.assert_allclose(drawn, part[:5], atol=0.03)


def test_subspace_rates():
    assert subspace.stopping_time(1e4, 2) == pytest.approx(1e4 ** (-1 / 7))
    assert subspace.score_rate(1e4, 2, 64) == pytest.approx(1e4 ** (-2 / 7) + 64 * 1e4 ** (-5 / 7))
    assert subspace.subspace_error(100, 6, 0.0, [1.0, 2.0]) == 0
    assert subspace.subspace_error(1000, 12, 0.2, [1.0]) == pytest.approx(2 * 11 / 1000 * (0.04 + 0.0016))
    assert subspace.coarse_level(1000, 2) > subspace.coarse_level(4000, 2)
    # The coarse level of a uniform circle holds the coarse samples, up to a constant that n does not change.
    spacing = [sample_spacing(Sphere(1).sample(n, 0)) for n in (500, 8000)]
    level = [subspace.coarse_level(n, 1, 2 * np.pi) for n in (500, 8000)]
    assert spacing[0] / level[0] == pytest.approx(spacing[1] / level[1], rel=0.1)
    assert subspace.coarse_samples(500) == 15
    assert subspace.projection_rate(1e4, 2, 4) == pytest.approx((np.log(1e4) / 1e4) ** 2)
    with pytest.raises(ValueError, match="'dimension'"):
        subspace.coarse_level(100, 0)


def test_a_design_with_switching_is_the_partition(rng):
    n = 3000
    plan = besov.design(n, 1.0, 3, loss="w1", switching=True)
    ratio = np.array(plan.parameters["options"].noise_intervals)
    # From the ratio of noise and signal back to the paper's time.
    np.testing.assert_allclose(np.log1p(ratio**2) / 2, plan.edges[1:-1])
    widths = [w for w, _ in plan.parameters["hidden_layer_sizes"]]
    assert len(widths) == len(plan.sizes) == len(ratio) + 1
    np.testing.assert_allclose(widths, np.maximum(8, np.ceil(np.sqrt(32 * plan.sizes))))
    est = DiffusionDensityEstimator(**plan.parameters, max_iter=2, n_steps=24, random_state=0)
    est.fit(rng.uniform(-1, 1, (n, 3)))
    field = est.blend_.densities["diffusion"].density.field
    np.testing.assert_allclose(np.tan(field.edges), ratio)
    assert [part.hidden_layer_sizes for part in field.network.parts] == plan.parameters["hidden_layer_sizes"]
    # A coarse stop leaves out the intervals below it.
    coarse = besov.design(200, 0.5, 1, switching=True).parameters
    levels, last = coarse["options"].noise_intervals, coarse["options"].sigma_min
    assert len(coarse["hidden_layer_sizes"]) == len(levels) + 1
    assert min(levels, default=np.inf) > last


def test_a_sparse_design_is_in_the_class(rng):
    plan = besov.design(500, 1.0, 1, sparse=True).parameters
    est = DiffusionDensityEstimator(**plan, max_iter=60, random_state=0).fit(rng.uniform(-1, 1, (500, 1)))
    flat = est.score_model().field.network.flat
    assert (flat != 0).sum(1).max() <= plan["options"].n_nonzero_weights
    assert flat.abs().max() <= plan["options"].weight_bound


def test_a_direction_of_another_kurtosis_is_found_before_the_spectrum_shows_it(rng):
    """Among twenty features one is a sign: half of the samples of detection find it, and 30 do not."""
    size = gaussian.detection_size(20, -2.0)
    assert size == 2 * 20 * 21 / 4
    direction = np.linalg.qr(rng.standard_normal((20, 1)))[0][:, 0]
    overlap = []
    for n in (30, int(size / 2)):
        X = rng.standard_normal((n, 20))
        X += np.outer(np.sign(X @ direction) - X @ direction, direction)
        overlap.append(abs(gaussian.fourth_moment_directions(X, random_state=0)[0] @ direction))
    assert overlap[0] < 0.8
    assert overlap[1] > 0.95


def test_fourth_moments_of_a_heavy_direction_and_of_one_feature(rng):
    X = np.column_stack([rng.standard_t(6, 4000) / np.sqrt(1.5), rng.standard_normal((4000, 3))])
    assert abs(gaussian.fourth_moment_directions(X, 100, random_state=0)[-1, 0]) > 0.98
    np.testing.assert_allclose(np.abs(gaussian.fourth_moment_directions(X[:, :1], 10)), 1.0, rtol=1e-6)


def test_directions_are_ordered_by_kurtosis_and_follow_linear_maps(rng):
    """From the least kurtosis to the largest; of mixed features, the combinations that give the pure ones back."""
    X = np.column_stack([np.sign(rng.standard_normal(3000)), rng.laplace(size=3000), rng.standard_normal((3000, 2))])
    mixing = rng.standard_normal((4, 4))
    found = gaussian.fourth_moment_directions(X @ mixing, 100, random_state=0)
    along = X @ mixing @ found.T
    kurtosis = (along**4).mean(0) / (along**2).mean(0) ** 2
    assert (np.diff(kurtosis) > -1e-3).all()
    assert abs(np.corrcoef(along[:, 0], X[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(along[:, -1], X[:, 1])[0, 1]) > 0.99


def test_arguments_of_the_search_for_directions(rng):
    with pytest.raises(ValueError, match="in a subspace"):
        gaussian.fourth_moment_directions(rng.standard_normal((10, 101)))
    with pytest.raises(ValueError, match="'n_starts'"):
        gaussian.fourth_moment_directions(rng.standard_normal((10, 2)), n_starts=0)
    with pytest.raises(ValueError, match="'excess_kurtosis' argument is 0"):
        gaussian.detection_size(4, 0.0)
    with pytest.raises(ValueError, match="'excess_kurtosis'"):
        gaussian.detection_size(4, -2.5)
    with pytest.raises(ValueError, match="NaN"):
        gaussian.fourth_moment_directions([[0.0, np.nan], [1.0, 2.0]])
