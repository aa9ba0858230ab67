"""Densities at and near the bounds of features: the fitted shapes there, and the warning of samples outside."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion._utils.protocols import NoiseStream
from skdiffusion.compose import make_density_pipeline
from skdiffusion.densities import GaussianMixtureDensity, TransformedDensity
from skdiffusion.densities._boundary import BoundaryNodes
from skdiffusion.exceptions import ZeroDensityWarning
from skdiffusion.metrics import mean_log_likelihood
from skdiffusion.preprocessing import BoundaryRegion, Preprocessor, Resolution, bounds_with_margins

SMALL = {"max_iter": 30, "n_estimators": 2, "hidden_layer_sizes": (16, 16)}
REGIONS = [
    BoundaryRegion(0, 0.0, 1.0, 2.0, 0.005, 1.0, 0.0),
    BoundaryRegion(0, 3.0, -1.0, 0.5, 0.01, 1.0, -1.5),
    BoundaryRegion(0, -1.0, 1.0, 0.1, 0.12, 2.2, 0.7),
    BoundaryRegion(0, 1.0, -1.0, 10.0, 1e-4, 0.4, 2.0),
]


def bounds_of(X, low, high):
    pair = np.broadcast_to(np.array(low, float), X.shape[1]), np.broadcast_to(np.array(high, float), X.shape[1])
    return bounds_with_margins(X, np.ones(len(X)), Resolution.of(X), pair)


def density_of(X, low, high, transform=None):
    """A density that is wrong next to the bounds: one whose tails there are not those of a normal distribution."""
    preprocessor = Preprocessor(X, np.ones(len(X)), transform, bounds_of(X, low, high))
    assert preprocessor.regions
    d = X.shape[1]
    covariances = np.stack([0.7 * np.eye(d), 1.2 * np.eye(d) + 0.2])
    mixture = GaussianMixtureDensity(np.array([0.6, 0.4]), np.zeros((2, d)) + [[0.3], [-0.2]], covariances)
    return TransformedDensity(preprocessor, mixture)


def exponential_and_beta(rng, n=1000):
    return np.column_stack([rng.exponential(size=n), rng.beta(2, 1, n)])


@pytest.mark.parametrize("region", REGIONS)
def test_the_depth_in_a_region_is_a_map_with_the_slope_that_it_states(region):
    v = np.concatenate([np.linspace(1e-4, 2e-3, 5), np.linspace(0.05, 0.99, 50)])
    x = region.value(v)
    assert_allclose(region.depth(x), v, rtol=1e-9)
    step = 1e-6 * region.width
    slope = (region.depth(x + step) - region.depth(x - step)) / (2 * step)
    assert_allclose(region.log_slope(x), np.log(region.sign * slope), atol=2e-4)
    curvature = (region.log_slope(x + step) - region.log_slope(x - step)) / (2 * step)
    assert_allclose(region.curvature(x), curvature, rtol=1e-3, atol=1e-6 / region.width)
    assert region.depth(np.array([region.end])) < 0.01
    assert region.depth(np.array([region.end + 2 * region.sign * region.width])) == 1.0


@pytest.mark.parametrize(
    ("distribution", "exponent"),
    [(stats.halfnorm(), 1.0), (stats.expon(), 1.0), (stats.gamma(2), 2.0), (stats.gamma(0.5), 0.5)],
)
def test_the_exponent_says_whether_a_density_is_positive_on_its_bound(distribution, exponent):
    for sign, seed in ((1.0, 0), (-1.0, 1)):
        x = sign * distribution.rvs(size=(5000, 1), random_state=seed)
        (region,) = bounds_of(x, 0.0 if sign > 0 else -np.inf, np.inf if sign > 0 else 0.0).regions
        assert (region.sign, region.end) == (sign, 0.0)
        assert region.exponent == pytest.approx(exponent, rel=0.02 if exponent == 1 else 0.2)
        assert 0.02 < (np.abs(x) < region.width).mean() < 0.11


@pytest.mark.parametrize("distribution", [stats.halfnorm(), stats.expon(), stats.uniform(), stats.halfcauchy()])
def test_the_shape_of_a_thousand_samples_says_the_density_on_the_bound(distribution):
    """The share of the samples in the region, each by 2 (1 - v), times the slope of the depth v on the bound.

    With regions half as large, and exponents as the samples had them, errors were 0.18 nats in the root mean square.
    """
    errors = []
    for seed in range(40):
        x = distribution.rvs(size=1000, random_state=seed)
        region = bounds_of(x[:, None], 0.0, np.inf).regions[0]
        log_density = np.log(2 * (1 - region.depth(x)).mean()) + region.log_slope(np.zeros(1))[0]
        errors.append(log_density - distribution.logpdf(0.0))
    assert np.sqrt(np.mean(np.square(errors))) < 0.15


def test_a_region_of_one_feature_is_integrated_once(rng):
    density = density_of(rng.exponential(size=(1000, 1)), 0.0, np.inf)
    X = np.linspace(0.0, 1.0, 240)[:, None]
    nodes = BoundaryNodes.of(density.preprocessor.regions, X)
    places, which = nodes.distinct()
    assert len(places) <= len(X) + 24 < len(nodes.X)  # and what fills whole vectors
    assert_array_equal(places[which], nodes.X)
    assert_array_equal(density.log_prob(X), [density.log_prob(x[None])[0] for x in X])


def test_weights_count(rng):
    x, bounds = rng.random((8000, 1)), (np.zeros(1), np.ones(1))
    low, high = bounds_with_margins(x, x[:, 0], Resolution.of(x), bounds).regions  # weights that make it beta(2, 1)
    assert low.exponent == pytest.approx(2.0, rel=0.2)
    assert high.exponent == pytest.approx(1.0, rel=0.02)
    scaled = bounds_with_margins(x, 7 * x[:, 0], Resolution.of(x), bounds).regions[0]
    assert scaled.width == pytest.approx(low.width)
    assert scaled.exponent == pytest.approx(low.exponent)


@pytest.mark.parametrize("kind", ["far from the bound", "tied", "few"])
def test_no_shape_where_samples_do_not_tell_one(rng, kind):
    x = {"far from the bound": rng.normal(50, 1, 1000), "tied": rng.poisson(2.0, 1000), "few": rng.exponential(size=15)}
    assert bounds_of(x[kind][:, None].astype(float), 0.0, np.inf).regions == ()


@pytest.mark.parametrize("shape", ["exponential", "beta", "diverging"])
def test_total_mass_of_one_feature(rng, shape):
    x = {"exponential": rng.exponential, "beta": lambda size: rng.beta(2, 1, size)}
    x = x.get(shape, lambda size: rng.gamma(0.5, size=size))(size=1000)
    high = 1.0 if shape == "beta" else np.inf
    density = density_of(x[:, None], 0.0, high)
    u = (np.arange(20_000) + 0.5) / 20_000
    # Fine steps next to both bounds, whatever the density does there.
    if np.isinf(high):
        places, slope = (u / (1 - u)) ** 4, 4 * u**3 / (1 - u) ** 5
    else:
        places, slope = u**3 * (10 - 15 * u + 6 * u**2), 30 * u**2 * (1 - u) ** 2
    mass = np.mean(np.exp(density.log_prob(places[:, None])) * slope)
    # The margin of a diverging density, in which it is constant, costs a little.
    assert mass == pytest.approx(1.0, abs=5e-3 if shape == "diverging" else 2e-3)
    without = np.mean(np.exp(density._mapped_log_prob(places[:, None])) * slope)
    assert mass == pytest.approx(without, abs=2e-3)


def test_total_mass_of_two_features(rng):
    density = density_of(exponential_and_beta(rng), 0.0, [np.inf, 1.0])
    assert len(density.preprocessor.regions) == 3
    u = (np.arange(150) + 0.5) / 150
    first, slope = (u / (1 - u)) ** 2, 2 * u / (1 - u) ** 3
    second, of_second = u**2 * (3 - 2 * u), 6 * u * (1 - u)
    X = np.column_stack([np.repeat(first, 150), np.tile(second, 150)])
    assert np.mean(np.exp(density.log_prob(X)) * np.outer(slope, of_second).ravel()) == pytest.approx(1.0, abs=5e-3)


def test_the_score_is_the_gradient_near_bounds_and_in_corners(rng):
    density = density_of(exponential_and_beta(rng), 0.0, [np.inf, 1.0], "yeo-johnson")
    X = np.array([[0.01, 0.5], [0.03, 0.1], [1.0, 0.99], [0.02, 0.98], [0.8, 0.05], [1.0, 0.5]])
    found, step = density.score(X), 1e-6
    for j in range(2):
        move = step * np.eye(2)[j]
        slope = (density.log_prob(X + move) - density.log_prob(X - move)) / (2 * step)
        assert_allclose(found[:, j], slope, rtol=1e-4, atol=1e-4)
    assert np.isfinite(density.score(np.array([[0.0, 0.5], [1.0, 1.0], [0.0, 1.0]]))).all()


def test_the_density_is_continuous_where_a_region_ends(rng):
    density = density_of(rng.exponential(size=(1000, 1)), 0.0, np.inf)
    (region,) = density.preprocessor.regions
    around = np.array([[region.width * (1 - 1e-9)], [region.width * (1 + 1e-9)]])
    assert np.ptp(density.log_prob(around)) < 1e-6


def test_samples_are_those_of_the_density_near_its_bounds(rng):
    density = density_of(exponential_and_beta(rng), 0.0, [np.inf, 1.0])
    X = density.sample(NoiseStream(0, 2).take(100_000))
    grid = (np.arange(400) + 0.5) / 400
    for j, (end, sign, width) in enumerate([(0.0, 1.0, 0.15), (1.0, -1.0, 0.05)]):
        distance = np.sort((sign * (X[:, j] - end))[np.abs(X[:, j] - end) < width])
        # The marginal density: the other feature integrated over its range, which is cut where no mass is left.
        places = end + sign * width * grid**2
        other, slope = (grid, np.ones(400)) if j == 0 else (12.0 * grid**2, 24.0 * grid)
        table = np.empty((160_000, 2))
        table[:, j], table[:, 1 - j] = np.repeat(places, 400), np.tile(other, 400)
        marginal = (np.exp(density.log_prob(table)).reshape(400, 400) * slope).mean(1)
        cumulative = np.cumsum(marginal * 2 * grid)
        at = np.interp(distance, width * (np.arange(1, 401) / 400) ** 2, cumulative / cumulative[-1])
        gap = np.abs(at - (np.arange(len(at)) + 0.5) / len(at)).max()
        assert gap * np.sqrt(len(at)) < 1.9


def test_fewer_samples_are_a_prefix_and_a_value_does_not_depend_on_others(rng):
    density = density_of(exponential_and_beta(rng), 0.0, [np.inf, 1.0])
    X = density.sample(NoiseStream(0, 2).take(500))
    assert_array_equal(density.sample(NoiseStream(0, 2).take(200)), X[:200])
    near = np.concatenate([X, [[0.0, 0.5], [0.01, 0.99], [2.0, 0.5]]])
    whole = density.log_prob(near)
    # The exponentials of a mixture round by the place of a sample; the sums over nodes do not.
    assert_allclose([density.log_prob(near[i : i + 1])[0] for i in range(490, 503)], whole[490:], rtol=1e-13)
    nodes = BoundaryNodes.of(density.preprocessor.regions, near)
    alone = [BoundaryNodes.of(density.preprocessor.regions, near[i : i + 1]) for i in range(len(near))]
    assert_array_equal([n.log_prob(-n.X.max(1))[0] for n in alone], nodes.log_prob(-nodes.X.max(1)))


def test_the_other_features_keep_their_dependence(rng):
    """Drawing one feature anew next to its bound moves no other, and none elsewhere."""
    density = density_of(exponential_and_beta(rng), 0.0, [np.inf, 1.0])
    noise = NoiseStream(0, 2).take(5000)
    X, before = density.sample(noise), density.preprocessor.inverse_transform(density.density.sample(noise))
    regions = density.preprocessor.regions
    inside = [region.depth(before[:, region.feature]) < 1 for region in regions]
    moved = X != before
    for j in range(2):
        near = np.any([i for i, region in zip(inside, regions) if region.feature == j], axis=0)
        assert 0 < moved[near, j].mean() < 1
        assert not moved[~near, j].any()


@pytest.mark.parametrize(
    ("distribution", "bounds", "end"),
    [
        (stats.halfnorm(), (0.0, np.inf), 0.0),
        (stats.expon(-4.0), (-4.0, np.inf), -4.0),
        (stats.uniform(), (0.0, 1.0), 1.0),
        (stats.truncnorm(-1.0, np.inf, loc=1.0), (0.0, np.inf), 0.0),
    ],
)
def test_the_density_on_a_bound(distribution, bounds, end):
    """Errors of a short fit at and near the bound were 1 to 3 nats in the root mean square."""
    errors = []
    for seed in range(4):
        X = distribution.rvs(size=(1000, 1), random_state=seed)
        est = DiffusionDensityEstimator(**SMALL, bounds=bounds, random_state=seed).fit(X)
        x = end + np.sign(distribution.mean() - end) * np.array([[0.0], [0.001], [0.01], [0.03]])
        errors.append(est.score_samples(x) - distribution.logpdf(x[:, 0]))
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() < 0.2


def test_codes_and_samples_are_inverse_to_each_other_near_a_bound():
    X = np.random.default_rng(0).exponential(size=(500, 1))
    est = DiffusionDensityEstimator(**SMALL, bounds=(0.0, np.inf), random_state=0).fit(X)
    near = np.array([[0.001], [0.01], [0.05], [0.3]])
    assert_allclose(est.from_latent(est.to_latent(near)), near, rtol=0.05)
    assert est.score_samples([[-1e-9]])[0] == -np.inf
    assert np.isnan(est.score_function([[-1e-9]])).all()


def test_a_score_of_minus_infinity_says_why():
    """A scaler learns bounds from the training samples, which do not hold the others."""
    X = np.random.default_rng(0).normal(size=(120, 2))
    est = DiffusionDensityEstimator(max_iter=1, n_estimators=1, hidden_layer_sizes=(4,), bounds=(0, 1), random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), est)
    outside = []
    for fold in np.array_split(np.arange(120), 3):
        scaler = MinMaxScaler().fit(np.delete(X, fold, axis=0))
        Z = scaler.transform(X[fold])
        outside.append(((Z < 0) | (Z > 1)).any(1).sum())
    assert min(outside) > 0
    with pytest.warns(ZeroDensityWarning) as record:
        scores = cross_val_score(pipeline, X, cv=3)
    assert_array_equal(scores, -np.inf)
    messages = [str(r.message) for r in record if issubclass(r.category, ZeroDensityWarning)]
    assert [message.split(" of ")[0] for message in messages] == [str(n) for n in outside]

    fitted = pipeline.fit(X[:80])
    for score in (
        lambda: mean_log_likelihood(fitted, X),
        lambda: make_density_pipeline(*pipeline).fit(X[:80]).score(X),
    ):
        with pytest.warns(ZeroDensityWarning, match="of 120 samples have density zero.*known bounds"):
            assert score() == -np.inf
    # Each sample's own value needs no warning, nor does one without weight.
    Z = fitted[0].transform(X)
    inside = np.isfinite(est_scores := fitted[-1].score_samples(Z))
    assert fitted[-1].score(Z, sample_weight=inside.astype(float)) == pytest.approx(est_scores[inside].mean())
    with pytest.raises(NotFittedError):
        DiffusionDensityEstimator(bounds=(0, 1)).score(Z)


def test_values_that_leave_bounds_by_round_off_are_at_the_bounds(rng):
    X = rng.random((80, 2))
    X[0, 0], X[1, 1], beyond = 1.0, 0.0, X.copy()
    beyond[0, 0], beyond[1, 1] = np.nextafter(1.0, 2.0), -1e-17
    fit, other = (
        DiffusionDensityEstimator((8, 8), max_iter=2, bounds=(0, 1), random_state=0).fit(Z) for Z in (X, beyond)
    )
    np.testing.assert_array_equal(other.score_samples(beyond), fit.score_samples(X))
    assert fit.score_samples([[1.0 + 1e-12, 0.5]]) == -np.inf


def test_single_precision_rounds_no_value_beyond_a_bound_that_it_does_not_hold(rng):
    X = (0.1 * rng.random((80, 2))).astype(np.float32)
    X[0, 0], X[1, 1] = np.float32(0.1), np.float32(0.3)  # both beyond the decimal numbers
    est = DiffusionDensityEstimator((8, 8), max_iter=2, bounds=([0, 0], [0.1, 0.3]), random_state=0).fit(X)
    assert np.isfinite(est.score_samples(X)).all()
    low = -X.astype(np.float32)
    est = DiffusionDensityEstimator((8, 8), max_iter=2, bounds=([-0.1, -0.3], [0, 0]), random_state=0).fit(low)
    assert np.isfinite(est.score_samples(low)).all()


def test_values_beyond_the_reservoir_that_leave_bounds_by_round_off_are_at_the_bounds(rng):
    X = rng.random((300, 2))
    X[5, 0] = np.nextafter(1.0, 2.0)
    small = {"max_iter": 2, "bounds": (0, 1), "random_state": 0, "options": Options(reservoir_size=200)}
    est = DiffusionDensityEstimator((8, 8), **small).fit(X)
    assert est.n_samples_seen_ == 300
    assert np.isfinite(est.score_samples(X[5:6])).all()
