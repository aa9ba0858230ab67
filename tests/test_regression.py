"""Autoregressive regressions: oracles in closed form, densities that integrate to one, structure that is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from skdiffusion import DiffusionDensityEstimator, load
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import (
    AutoregressiveRegression,
    GaussianMixtureDensity,
    LeftOut,
    RegressionDensity,
    choose_head,
    fit_head,
    fit_regression,
    informative_order,
)
from skdiffusion.densities._chained_mixture import ChainedMixture
from skdiffusion.densities._regression import RegressionBasis
from skdiffusion.densities._regression_head import distribution_distances, max_distance
from skdiffusion.densities._residuals import ResidualDistribution, WithinLimits, fit_residuals
from skdiffusion.preprocessing import ranges_beyond


def funnel(n, rng, d=4):
    """Log-scale of all features but one is half that one; and the density."""
    neck = 2.0 * rng.standard_normal(n)
    X = rng.standard_normal((n, d)) * np.exp(neck / 2)[:, None]
    X[:, 0] = neck
    log_p = stats.norm(0, 2).logpdf(neck) + stats.norm(0, np.exp(neck / 2)).logpdf(X[:, 1:].T).sum(0)
    return X, log_p


@pytest.fixture
def by_hand():
    """x_1 ~ N(0, 1), x_0 = m(x_1) + e^{(x_1 - 1)/2} e with e of two parts, in this order."""
    mean, log_variance = np.zeros((2, 5, 2))
    mean[[4, 3], 0] = 0.5, 1.0
    log_variance[[0, 2], 0] = -1.0, 1.0
    reach, bounds = np.array([[-3.0, -3.0], [3.0, 3.0]]), np.array([[-9.0] * 4, [4.0, 9.0, 9.0, 9.0]])
    hinges, products = (np.array([1]), np.array([1.0])), np.array([[1, 1]])
    residuals = ResidualDistribution(
        np.array([[0.3, 0.7], [1.0, 0.0]]), np.array([[-1.0, 0.5], [0.0, 0.0]]), np.array([[0.4, 2.0], [1, 1]])
    )
    basis = RegressionBasis(reach, hinges, products)
    limits = np.array([[-np.inf] * 2, [np.inf] * 2])
    return AutoregressiveRegression(np.array([1, 0]), basis, mean, log_variance, bounds, residuals, limits)


def bent(at):
    """m above: at^2 / 2 + max(at - 1, 0), at most 4."""
    return np.minimum(0.5 * at**2 + np.maximum(at - 1, 0), 4.0)


def two_parts(e, function):
    """The residuals of the first feature: their density or distribution function."""
    return 0.3 * function(e, -1.0, 0.4) + 0.7 * function(e, 0.5, 2.0)


def test_density_is_that_of_its_conditionals(by_hand):
    x = np.random.default_rng(0).normal(size=(200, 2)) * 2
    at = np.clip(x[:, 1], -3, 3)
    scale = np.exp((at - 1) / 2)
    residual = (x[:, 0] - bent(at)) / scale
    assert (bent(at) == 4.0).any()
    expected = stats.norm.logpdf(x[:, 1]) + np.log(two_parts(residual, stats.norm.pdf) / scale)
    np.testing.assert_allclose(by_hand.log_prob(x), expected, rtol=1e-12)


def test_random_numbers_become_samples_of_that_density(by_hand):
    noise = np.random.default_rng(0).standard_normal((4000, 2))
    x = by_hand.sample(SampleNoise(noise))
    np.testing.assert_allclose(x[:, 1], noise[:, 1])
    at = np.clip(x[:, 1], -3, 3)
    standard = (x[:, 0] - bent(at)) * np.exp((1 - at) / 2)
    assert stats.kstest(standard, lambda e: two_parts(e, stats.norm.cdf)).pvalue > 0.01
    assert abs(stats.spearmanr(standard, at).statistic) < 0.04


def test_far_random_numbers_become_far_residuals():
    parts = np.array([[0.5, 0.5, 0.0]]), np.array([[-2.0, 2.0, 0.0]]), np.array([[0.5, 1.0, 1.0]])
    ends = ResidualDistribution(*parts).from_normal(np.array([-30.0, 30.0]), 0)
    # P(e < x) = Phi(-30) where only the first part lies, and P(e > x) where only the second does.
    expected = [-2.0 + 0.5 * stats.norm.ppf(2 * stats.norm.cdf(-30)), 2.0 - stats.norm.ppf(2 * stats.norm.cdf(-30))]
    np.testing.assert_allclose(ends, expected, rtol=1e-9)


def test_density_within_limits_integrates_to_one_and_samples_follow_it(by_hand):
    limited = replace(by_hand, limits=np.array([[-1.5, -1.0], [2.0, 1.5]]))
    at = np.array([-0.9, 0.2, 1.4])
    grid = np.linspace(-1.5, 2.0, 20_001)
    for value in at:
        x = np.column_stack([grid, np.full(len(grid), value)])
        marginal = stats.norm.pdf(value) / (stats.norm.cdf(1.5) - stats.norm.cdf(-1.0))
        np.testing.assert_allclose(np.trapezoid(np.exp(limited.log_prob(x)), grid), marginal, rtol=1e-4)
    assert np.isneginf(limited.log_prob(np.array([[2.1, 0.0], [0.0, -1.1]]))).all()
    x = limited.sample(SampleNoise(np.random.default_rng(0).standard_normal((4000, 2))))
    scale = np.exp((x[:, 1] - 1) / 2)
    mass = [two_parts((end - bent(x[:, 1])) / scale, stats.norm.cdf) for end in (-1.5, x[:, 0], 2.0)]
    assert stats.kstest((mass[1] - mass[0]) / (mass[2] - mass[0]), stats.uniform.cdf).pvalue > 0.01
    assert stats.kstest(x[:, 1], stats.truncnorm(-1.0, 1.5).cdf).pvalue > 0.01


def test_limits_far_in_a_tail_keep_their_digits():
    residuals = ResidualDistribution(np.array([[1.0]]), np.zeros((1, 1)), np.ones((1, 1)))
    low, high = np.array([[5.0], [-7.0]]), np.array([[7.0], [-5.0]])
    within = WithinLimits(residuals, low, high)
    np.testing.assert_allclose(within.mass, stats.norm.sf(5) - stats.norm.sf(7), rtol=1e-9)
    for u in (0.0, 0.3, 1.0):
        x = within.from_uniform(np.full(2, u))
        truncated = stats.truncnorm([5, -7], [7, -5])
        np.testing.assert_allclose(x, truncated.ppf(u), rtol=1e-6)


def test_generated_features_stay_where_their_tails_may_be_thought_to_end():
    # A heavy-tailed feature that comes last, and is told almost exactly by those before it.
    rng = np.random.default_rng(0)
    t = rng.standard_t(2, 1000)
    X = np.column_stack([t + 0.01 * rng.standard_normal(1000), np.tanh(t), t**2, rng.standard_normal(1000) * np.abs(t)])
    Z = (X - X.mean(0)) / X.std(0)
    low, high = ranges_beyond(Z)
    regression = fit_regression(Z, np.ones(1000), np.array([1, 3, 2, 0]))
    x = regression.sample(SampleNoise(rng.standard_normal((20_000, 4))))
    assert (x >= low).all()
    assert (x <= high).all()
    unlimited = replace(regression, limits=np.array([[-np.inf] * 4, [np.inf] * 4]))
    far = unlimited.sample(SampleNoise(rng.standard_normal((20_000, 4))))
    assert (far > high).any() or (far < low).any()


def grouped(n, rng):
    """Two features in four groups, and three that nearly follow from them."""
    center = np.array([[-2.0, 1.0], [2.0, 1.5], [0.0, -2.0], [3.0, -1.0]])[rng.integers(4, size=n)]
    a, b = (center + 0.2 * rng.standard_normal((n, 2))).T
    follow = [a * b, a + b**2, a - 2 * b]
    X = np.column_stack([a, b, *(f + 0.02 * rng.standard_normal(n) for f in follow)])
    return (X - X.mean(0)) / X.std(0)


def test_head_is_chosen_where_samples_come_in_groups_and_others_follow():
    rng, order = np.random.default_rng(0), np.arange(5)
    Z, fresh = grouped(800, rng), grouped(400, rng)
    regression = fit_regression(Z, np.ones(800), order)
    sizes = choose_head(regression, Z, np.ones(800), LeftOut(fresh, np.full(400, 1 / 400)))
    assert sizes
    headed = regression.with_head(fit_head(Z, np.ones(800), regression, sizes))
    assert headed.log_prob(fresh).mean() > regression.log_prob(fresh).mean() + 0.1
    noise = SampleNoise(rng.standard_normal((4000, 5)), rng.random(4000))
    distance = [stats.wasserstein_distance(d.sample(noise)[:, 0], Z[:, 0]) for d in (regression, headed)]
    assert distance[1] < distance[0]
    assert distance[1] < 0.06
    plain = rng.standard_normal((800, 4)), rng.standard_normal((400, 4))
    regression = fit_regression(plain[0], np.ones(800), np.arange(4))
    assert choose_head(regression, plain[0], np.ones(800), LeftOut(plain[1], np.full(400, 1 / 400))) == ()


def near_a_grid(n, rng):
    """A heavy-tailed feature, itself near a grid, a feature of three modes that follows it, and two copies of this."""
    x = rng.choice([-2.0, 0.0, 3.0], n) + 0.6 * rng.standard_normal(n)
    y = 0.5 * x + rng.standard_t(4, n)
    grid = np.round(2 * y) / 2 + 0.1 * rng.standard_normal(n)
    X = np.column_stack([grid, y, x, x + 0.01 * rng.standard_normal(n), np.round(x, 1) + 1e-3 * rng.standard_normal(n)])
    return (X - X.mean(0)) / X.std(0)


def test_head_is_chosen_by_the_features_that_are_generated_with_it_too():
    rng, order = np.random.default_rng(0), np.arange(5)
    Z, fresh, ones = near_a_grid(1500, rng), near_a_grid(3000, rng), np.ones(1500)
    regression = fit_regression(Z, ones, order)
    sizes = choose_head(regression, Z, ones, LeftOut(fresh[:500], np.full(500, 1 / 500)))
    noise = SampleNoise(rng.standard_normal((4000, 5)), rng.random(4000))
    two, chosen = (regression.with_head(fit_head(Z, ones, regression, s)) for s in ((2,), sizes))
    distances = [distribution_distances(d.sample(noise), fresh, np.ones(3000)).max() for d in (two, chosen)]
    assert distances[0] > 0.1  # the mixture of the first two says where the grid is, and the third is smeared
    assert distances[1] < 0.06
    gain = chosen.log_prob(fresh) - two.log_prob(fresh)
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_distances_are_those_of_kolmogorov_and_smirnov():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((500, 3)), 1.3 * rng.standard_normal((300, 3))
    b[:, 1] = b[:, 1].round()
    expected = [stats.ks_2samp(x, y).statistic for x, y in zip(a.T, b.T)]
    np.testing.assert_allclose(distribution_distances(a, b, np.ones(300)), expected, rtol=1e-12)
    twice = rng.integers(3, size=300)
    weighted = distribution_distances(a, b, twice.astype(float))
    np.testing.assert_allclose(weighted, distribution_distances(a, np.repeat(b, twice, axis=0), np.ones(twice.sum())))


def test_chance_alone_exceeds_the_greatest_distance_as_rarely_as_promised():
    rng, n, bad = np.random.default_rng(0), 400, 0
    for _ in range(300):
        a, b = rng.standard_normal((2000, 4)), rng.standard_normal((n, 4))
        bad += distribution_distances(a, b, np.ones(n)).max() > max_distance(4, n)
    assert bad <= 9  # three are expected


def test_chained_mixture_is_a_mixture_and_another_given_its_features():
    rng = np.random.default_rng(0)
    roots = 0.5 * rng.standard_normal((2, 3, 3, 3))
    joint, other = (
        GaussianMixtureDensity(
            rng.dirichlet([3.0] * 3), rng.standard_normal((3, 3)), r @ r.transpose(0, 2, 1) + 0.05 * np.eye(3)
        )
        for r in roots
    )
    axes = np.eye(3)[:, :2]
    x = joint.sample(SampleNoise(rng.standard_normal((200, 3)), rng.random(200)))
    same = ChainedMixture(joint.marginal(axes), joint)
    np.testing.assert_allclose(same.log_prob(x), joint.log_prob(x), rtol=1e-10)
    chained = ChainedMixture(other.marginal(axes), joint)
    h = 1e-6
    numeric = np.stack([chained.log_prob(x + h * e) - chained.log_prob(x - h * e) for e in np.eye(3)], 1) / (2 * h)
    np.testing.assert_allclose(chained.score(x), numeric, atol=1e-5 * np.abs(numeric).max())
    # Weighted samples of a third density are samples of it.
    drawn = chained.sample(SampleNoise(rng.standard_normal((20_000, 3)), rng.random(20_000)))
    proposal = GaussianMixtureDensity(np.ones(1), drawn.mean(0)[None], 2 * np.cov(drawn.T)[None])
    x = proposal.sample(SampleNoise(rng.standard_normal((40_000, 3)), rng.random(40_000)))
    w = np.exp(chained.log_prob(x) - proposal.log_prob(x))
    assert w.mean() == pytest.approx(1.0, abs=0.03)
    assert distribution_distances(drawn, x, w).max() < 0.03
    sums = [(drawn @ [[1.0], [-1.0], [1.0]]), (x @ [[1.0], [-1.0], [1.0]])]
    assert distribution_distances(*sums, w).max() < 0.03


def test_density_with_a_head_is_that_of_the_head_and_of_the_others_given_it():
    rng = np.random.default_rng(1)
    Z = grouped(500, rng)
    regression = fit_regression(Z, np.ones(500), np.arange(5))
    headed = regression.with_head(head := fit_head(Z, np.ones(500), regression, (2,)))
    expected = head.log_prob(Z[:, :2]) + regression.log_conditionals(Z)[:, 2:].sum(1)
    np.testing.assert_allclose(headed.log_prob(Z), expected, rtol=1e-10)
    h, x = 1e-6, Z[:50] + 0.01
    numeric = np.stack([headed.log_prob(x + h * e) - headed.log_prob(x - h * e) for e in np.eye(5)], 1) / (2 * h)
    score = headed.score(x)
    np.testing.assert_allclose(score, numeric, atol=1e-4 * np.abs(score).max())


def test_heads_of_two_orders_take_uniform_numbers_of_their_own():
    Z = grouped(500, np.random.default_rng(1))
    regression = fit_regression(Z, np.ones(500), np.arange(5))
    headed = regression.with_head(fit_head(Z, np.ones(500), regression, (2,)))
    noise = np.random.default_rng(2)
    noise = SampleNoise(noise.standard_normal((4000, 5)), noise.random(4000))
    x = RegressionDensity([headed, headed], [0.3, 0.7]).sample(noise)
    first = noise.uniform < 0.3
    for part in (x[first], x[~first]):
        assert stats.wasserstein_distance(part[:, 0], headed.sample(noise)[:, 0]) < 0.08


def test_score_is_the_gradient(by_hand):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 2)) * 2
    other = fit_regression(rng.normal(size=(300, 2)), np.ones(300), np.array([0, 1]))
    limited = replace(by_hand, limits=np.array([[-9.0, -8.0], [9.0, 8.0]]))
    other = replace(other, limits=np.array([[-7.0, -7.5], [8.0, 9.0]]))
    density = RegressionDensity([limited, other], [0.4, 0.6])
    h = 1e-5
    numeric = np.stack([density.log_prob(x + h * e) - density.log_prob(x - h * e) for e in np.eye(2)], 1) / (2 * h)
    np.testing.assert_allclose(density.score(x), numeric, atol=1e-7)


def test_means_and_spreads_of_far_samples_are_those_of_samples_of_the_fit():
    rng = np.random.default_rng(0)
    X, _ = funnel(1000, rng)
    X[:, 3] = X[:, 1] * X[:, 2] + X[:, 0] ** 2
    Z = (X - X.mean(0)) / X.std(0)
    regression = fit_regression(Z, np.ones(1000), np.arange(4))
    mean, log_variance, *_ = regression.predict(Z)
    far_mean, far_log_variance, *moves = regression.predict(rng.uniform(-30, 30, (1000, 4)))
    for near, far in ((mean, far_mean), (log_variance, far_log_variance)):
        assert (far >= near.min(0) - 1e-9).all()
        assert (far <= near.max(0) + 1e-9).all()
    assert not np.all(moves)


def test_samples_bound_means_and_spreads():
    # Three heavy-tailed features, and others that follow products of them: linear means and log-variances run away.
    rng = np.random.default_rng(0)
    X = rng.standard_t(2, size=(400, 12))
    X[:, 3:] = X[:, [0]] * X[:, [1]] + X[:, 3:] * np.abs(X[:, [2]])
    Z = (X - X.mean(0)) / X.std(0)
    regression = fit_regression(Z, np.ones(400), np.arange(12))
    mean, log_variance, *free = regression.predict(Z)
    assert not np.all(free)
    assert (mean >= Z.min(0)).all()
    assert (mean <= Z.max(0)).all()
    functions = regression.basis.values(np.clip(Z, *regression.basis.reach))
    residual = Z - functions @ regression.mean  # of the fit itself, without bounds
    assert (np.exp(log_variance) <= (residual**2).max(0) * (1 + 1e-9)).all()
    noise = rng.standard_normal((5000, 12))
    e = np.stack([regression.residuals.from_normal(noise[:, j], j) for j in range(12)], axis=1)
    largest = np.abs(Z).max(0) + np.abs(residual).max(0) * np.abs(e).max(0)
    assert (np.abs(regression.sample(SampleNoise(noise))) <= largest).all()


@pytest.mark.parametrize("seed", range(8))
def test_rare_large_residuals_do_not_upset_the_scoring_steps(seed):
    # At the start log-variances are far too low where a rare residual is large.
    rng = np.random.default_rng(seed)
    x, rare = rng.standard_normal((1000, 6)), rng.random(1000) < 0.03
    jump = np.abs(rng.standard_normal(1000)) * 3 * (1 + x[:, 0] ** 2)
    Z = np.column_stack([x, np.where(rare, jump, 0.0) + 1e-5 * rng.standard_normal(1000)])
    Z = (Z - Z.mean(0)) / Z.std(0)
    regression = fit_regression(Z, np.ones(1000), np.arange(7))
    mean, v, *_ = regression.predict(Z)
    constant = -0.5  # nats of a Gaussian of unit variance, less those of its norming constant
    assert np.mean(-(v + (Z - mean) ** 2 * np.exp(-v)) / 2, axis=0)[6] > constant - 0.01


def test_fitted_density_integrates_to_one():
    X, _ = funnel(1000, np.random.default_rng(0), d=2)
    Z = (X - X.mean(0)) / X.std(0)
    density = RegressionDensity([fit_regression(Z, np.ones(1000), np.array(o)) for o in ([0, 1], [1, 0])], [0.5, 0.5])
    axis = np.sinh(np.linspace(-8, 8, 3001))
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(density.log_prob(grid)).reshape(3001, 3001)
    assert np.trapezoid(np.trapezoid(mass, axis), axis) == pytest.approx(1.0, abs=2e-3)


def test_uncurved_samples_get_a_gaussian():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.7, 0.2], [0.7, 1.0, 0.4], [0.2, 0.4, 1.0]])
    X, fresh = (rng.multivariate_normal(np.zeros(3), covariance, n) for n in (4000, 2000))
    regression = fit_regression(X, np.ones(4000), np.array([2, 0, 1]))
    exact = stats.multivariate_normal(np.zeros(3), covariance).logpdf(fresh)
    assert np.mean(exact - regression.log_prob(fresh)) < 0.01
    np.testing.assert_array_equal(regression.residuals.weights[:, 0], 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_funnel_is_found_whatever_the_order_of_its_features(seed):
    rng = np.random.default_rng(seed)
    X, _ = funnel(2000, rng)
    fresh, log_p = funnel(4000, rng)
    features = rng.permutation(4)
    scale, shift = X.std(0)[features], X.mean(0)[features]
    Z, Z_fresh = (X[:, features] - shift) / scale, (fresh[:, features] - shift) / scale
    order = informative_order(Z, np.ones(2000))
    assert features[order[0]] == 0
    log_q = fit_regression(Z, np.ones(2000), order).log_prob(Z_fresh) - np.log(scale).sum()
    inside = np.isfinite(log_q)
    assert inside.mean() > 0.998  # a regression ends where the tails of its samples may be thought to end
    assert np.mean((log_p - log_q)[inside]) < 0.06


@pytest.mark.parametrize(
    ("density", "gap"),
    [(stats.t(3), 0.02), (stats.gamma(3), 0.02), (stats.uniform(), 0.1), (stats.norm(), 0.002)],
    ids=["heavy", "skewed", "edged", "normal"],
)
def test_the_distribution_takes_the_shape_of_residuals(density, gap):
    train, fresh = density.rvs(4000, random_state=0), density.rvs(20000, random_state=1)
    fitted = fit_residuals((train - train.mean())[:, None] / train.std(), np.ones(4000))
    log_q = fitted.log_prob((fresh - train.mean())[:, None] / train.std())[:, 0] - np.log(train.std())
    assert np.mean(density.logpdf(fresh) - log_q) < gap


def test_samples_of_no_weight_do_not_count():
    rng = np.random.default_rng(0)
    X, _ = funnel(300, rng)
    X /= X.std(0)
    w, order = (rng.random(300) > 0.3).astype(float), np.arange(4)
    some, kept = fit_regression(X, w, order), fit_regression(X[w > 0], np.ones(int(w.sum())), order)
    np.testing.assert_allclose(some.log_prob(X), kept.log_prob(X), rtol=1e-9)
    np.testing.assert_array_equal(informative_order(X, w), informative_order(X[w > 0], np.ones(int(w.sum()))))


def test_far_samples_are_beyond_the_limits_of_every_order():
    X, _ = funnel(500, np.random.default_rng(0))
    density = RegressionDensity([fit_regression(X / X.std(0), np.ones(500), np.arange(4))], [1.0])
    far = np.array([[1e6, 0, 0, 0], [0, -1e8, 0, 0], [1e3, 1e3, 1e3, 1e3]])
    assert np.isneginf(density.log_prob(far)).all()
    assert np.isfinite(density.score(far)).all()


def test_estimator_takes_regressions(tmp_path):
    rng = np.random.default_rng(0)
    X, _ = funnel(800, rng)
    fresh, log_p = funnel(2000, rng)
    est = DiffusionDensityEstimator(max_iter=20, random_state=0).fit(X)
    assert sum(weight for name, weight in est.component_weights_.items() if "regression" in name) > 0.5
    assert np.mean(log_p - est.score_samples(fresh)) < 0.1
    est.save(tmp_path / "funnel.skd")
    again = load(tmp_path / "funnel.skd")
    np.testing.assert_array_equal(again.score_samples(fresh), est.score_samples(fresh))
    draws = est.sample(3000, random_state=0)
    np.testing.assert_array_equal(again.sample(3000, random_state=0), draws)
    assert stats.ks_2samp(draws[:, 0], fresh[:, 0]).pvalue > 1e-3
    assert stats.ks_2samp(draws[:, 1] * np.exp(-draws[:, 0] / 2), fresh[:, 1] * np.exp(-fresh[:, 0] / 2)).pvalue > 1e-3
