"""Features whose values lie far apart: gaps between far groups, tails over many decades, scales within scales."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import skdiffusion
from skdiffusion import DiffusionDensityEstimator
from skdiffusion.densities import ExpectationMaximization
from skdiffusion.exceptions import DegenerateDataWarning
from skdiffusion.preprocessing import Preprocessor, first_maps_candidates
from skdiffusion.preprocessing._gap_map import IQR_OF_NORMAL, REACH, GapMap, far_groups, scale_of_sorted
from skdiffusion.preprocessing._signed_log_map import SignedLogMap, spans_decades
from tests.conftest import gradient_of

SMALL = {"max_iter": 5, "hidden_layer_sizes": (16, 16), "n_estimators": 2, "random_state": 0}
ORDINARY = {
    "normal": stats.norm(),
    "uniform": stats.uniform(),
    "exponential": stats.expon(),
    "Student-t of 3": stats.t(3),
    "log-normal of 0.8": stats.lognorm(0.8),
    "log-normal of 1": stats.lognorm(1.0),
    "arcsine": stats.arcsine(),
}
DECADES = {
    "log-normal of 2": stats.lognorm(2.0),
    "log-normal of 4": stats.lognorm(4.0),
    "shifted": stats.lognorm(2.5, loc=100.0),
    "log-uniform": stats.loguniform(1e-3, 1e7),
    "Cauchy": stats.cauchy(3.0, 2.0),
    "Pareto": stats.pareto(0.7),
    "S_U": stats.johnsonsu(0.5, 0.3),
}
ordinary = pytest.mark.parametrize("distribution", ORDINARY.values(), ids=list(ORDINARY))
decades = pytest.mark.parametrize("distribution", DECADES.values(), ids=list(DECADES))


def clusters(rng, n, centers, scales):
    """Values of equally likely normal distributions."""
    k = rng.integers(0, len(centers), n)
    return np.array(centers)[k] + np.array(scales)[k] * rng.standard_normal(n)


def slope_error(m, x, h):
    """Largest error of the slope and of the curvature of a map at x, by central differences."""
    slope = (m.forward(x + h) - m.forward(x - h)) / (2 * h)
    bend = (m.log_slope(x + h) - m.log_slope(x - h)) / (2 * h)
    return np.abs(np.log(slope) - m.log_slope(x)).max(), np.abs(bend - m.curvature(x)).max()


# -- gaps ------------------------------------------------------------------------------------------


@pytest.fixture
def gap_map():
    return GapMap(np.array([-3.0, 1e4, 1e6]), np.array([3.0, 1.6e4, 1e6 + 1]), np.array([1.0, 1e3, 0.1]))


def test_the_gap_map_has_the_inverse_the_slope_and_the_curvature_that_it_says(gap_map, rng):
    edges = [-3.0, 3.0, 1e4, 1.6e4, 1e6, 1e6 + 1, *gap_map.meets]
    x = np.sort(np.concatenate([rng.uniform(-1e4, 2e6, 500), *(e + rng.uniform(-20, 20, 100) for e in edges)]))
    z = gap_map.forward(x)
    assert (np.diff(z) > 0).all()
    assert_allclose(gap_map.inverse(z), x, rtol=1e-9, atol=1e-9)
    near = rng.uniform(-30, 30, 300)
    near = near[np.abs(np.abs(near) - 3) > 1e-3]  # the curvature jumps at the ends of a group
    slope, curvature = slope_error(gap_map, near, 1e-5)
    assert slope < 1e-8
    assert curvature < 1e-8


def test_the_slope_is_continuous_where_the_maps_of_two_groups_meet(gap_map):
    before, after = (gap_map.log_slope(gap_map.meets * (1 + side * 1e-12)) for side in (-1, 1))
    assert_allclose(before, after, atol=1e-6)


def test_groups_are_in_their_own_scale_and_gaps_at_most_twice_the_reach(gap_map):
    assert_allclose(gap_map.forward(np.array([3.0, 1.6e4, 1e6 + 1])) - gap_map.start, [6.0, 6.0, 10.0])
    gaps = gap_map.start[1:] - (gap_map.start + gap_map.width)[:-1]
    assert (gaps < 2 * REACH).all()
    assert (gaps > REACH).all()


@pytest.mark.parametrize("n", [300, 2000])
@pytest.mark.parametrize(
    ("centers", "scales"),
    [
        ([0, 1e4], [1, 1]),
        ([0, 1e6], [1, 1]),
        ([0, 1e4, 1e6], [1, 1, 1]),
        ([0, 1e6, 2e6], [1, 1, 1]),
        ([0, 1e5], [1, 1e3]),
        ([-5e8, 5e8], [1e-3, 10]),
    ],
)
def test_far_groups_are_found(centers, scales, n):
    for seed in range(5):
        x = clusters(np.random.default_rng(seed), n, centers, scales)
        m = GapMap.fit(x)
        assert len(m.scale) == len(centers)
        assert_allclose(m.scale, scales, rtol=0.3)


def test_a_code_of_few_samples_is_a_group_of_its_own(rng):
    x = 1.5 * rng.standard_normal(2000)
    x[:20] = -999 + 0.01 * rng.random(20)
    groups = far_groups(np.sort(x))
    assert [(g.start, g.stop) for g in groups] == [(0, 20), (20, 2000)]
    inside, weights = GapMap.fit(x).largest_group(x, np.arange(2000.0))
    assert_array_equal(inside, x[20:])
    assert_array_equal(weights, np.arange(20.0, 2000.0))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 101])
def test_the_scale_of_sorted_values_is_that_of_their_quartiles(rng, n):
    x = np.sort(rng.standard_cauchy(n))
    robust = np.subtract(*np.quantile(x, [0.75, 0.25])) / IQR_OF_NORMAL
    assert_allclose(scale_of_sorted(x), min(robust, x.std()), rtol=1e-14)
    assert scale_of_sorted(np.full(n, 3.0)) < 1e-12


@pytest.mark.parametrize("distribution", [*ORDINARY.values(), *DECADES.values()], ids=[*ORDINARY, *DECADES])
def test_tails_have_no_gaps(distribution):
    found = [GapMap.fit(distribution.rvs(n, random_state=s)) for n in (50, 300, 2000) for s in range(10)]
    assert found == [None] * 30


# -- logarithms ------------------------------------------------------------------------------------


def test_the_signed_logarithm_has_the_inverse_the_slope_and_the_curvature_that_it_says(rng):
    m = SignedLogMap(3.0, 0.1, 50.0)
    x = rng.uniform(-20, 20, 1000)
    x = x[np.abs(np.abs(x - 3) - 5) > 1e-3]  # beyond 50 scales the map is linear
    assert_allclose(m.inverse(m.forward(x)), x, rtol=1e-12, atol=1e-12)
    slope, curvature = slope_error(m, x, 1e-6)
    assert slope < 1e-6
    assert curvature < 1e-6
    far = np.array([-1e300, -1e200, 1e200, 1e300])
    assert np.isfinite(m.forward(far)).all()
    assert np.isfinite(m.log_slope(far)).all()
    assert_allclose(m.inverse(m.forward(far)), far, rtol=1e-12)


def test_a_normal_distribution_behind_the_map_is_the_density_of_johnson(rng):
    m, (a, b), x = SignedLogMap(2.0, 0.5), (0.7, 1.3), 10 * rng.standard_cauchy(500)
    ours = stats.norm.logpdf(a + b * m.forward(x)) + np.log(b) + m.log_slope(x)
    assert_allclose(ours, stats.johnsonsu.logpdf(x, a, b, loc=2.0, scale=0.5), rtol=1e-9)


def test_a_scale_below_all_distances_makes_a_log_normal_normal():
    m, x = SignedLogMap(0.0, 1e-12), stats.lognorm(4.0).rvs(1000, random_state=0)
    ours = stats.norm.logpdf(m.forward(x), np.log(2e12), 4.0) + m.log_slope(x)
    assert_allclose(ours, stats.lognorm(4.0).logpdf(x), atol=1e-9)


@ordinary
def test_ordinary_features_do_not_span_decades(distribution):
    for n in (20, 100, 2000):
        found = [spans_decades(distribution.rvs(n, random_state=s), np.ones(n)) for s in range(20)]
        assert sum(found) <= 1, n


@decades
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_map_of_decades_is_as_good_as_the_true_density(distribution, sign):
    for seed in range(3):
        x = sign * distribution.rvs(1000, random_state=seed)
        assert spans_decades(x, np.ones(1000))
        m = SignedLogMap.fit(x, np.ones(1000))
        assert m.score(x, np.full(1000, 1e-3)) > distribution.logpdf(sign * x).mean() - 0.04


def test_positive_features_keep_zero_far_from_all_samples():
    for seed in range(10):
        x = stats.lognorm(3.0).rvs(500, random_state=seed)
        z = (m := SignedLogMap.fit(x, np.ones(500))).forward(np.array([0.0, x.min()]))
        assert abs(m.center) < x.min()
        assert z[1] - z[0] > 5


def test_a_factor_of_all_weights_changes_nothing(rng):
    x, w = stats.lognorm(3.0).rvs(3000, random_state=0), rng.random(3000)
    assert vars(SignedLogMap.fit(x, w)) == vars(SignedLogMap.fit(x, 4 * w))


# -- both behind the preprocessor ------------------------------------------------------------------


@pytest.fixture
def table(rng):
    """A code, a log-normal feature, two far clusters beside a bound, and an ordinary feature."""
    a = rng.standard_normal(800)
    return np.column_stack(
        [
            np.where(rng.random(800) < 0.1, -999 + rng.random(800), 1.5 * a),
            np.exp(3 * rng.standard_normal(800)),
            np.abs(clusters(rng, 800, [0, 1e5], [1, 1])),
            a + rng.standard_normal(800),
        ]
    )


BOUNDS = (np.array([-np.inf, -np.inf, 0.0, -np.inf]), np.full(4, np.inf))


def test_only_features_that_need_them_have_first_maps(table, rng):
    gaps, logs = first_maps_candidates(table, np.ones(800), BOUNDS)
    assert [[type(m) for m in maps] for maps in gaps] == [[GapMap], [], [GapMap], []]
    assert [[type(m) for m in maps] for maps in logs] == [[GapMap], [SignedLogMap], [GapMap], []]
    assert first_maps_candidates(rng.standard_normal((500, 3)), np.ones(500)) == [((), (), ())]
    bounded = (np.zeros(1), np.full(1, np.inf))
    assert first_maps_candidates(table[:, [1]], np.ones(800), bounded) == [((),)]


@pytest.mark.parametrize("transform", [None, "yeo-johnson", 0.3])
def test_a_preprocessor_with_first_maps_is_exact(table, transform):
    first = first_maps_candidates(table, np.ones(800), BOUNDS)[1]
    p = Preprocessor(table, np.ones(800), transform, BOUNDS, first)
    assert p.first == first
    z, log_det = p.transform(table)
    assert_allclose(p.inverse_transform(z), table, rtol=1e-8)
    assert_allclose(np.cov(z.T), np.eye(4), atol=0.1)
    x = table[(np.abs(table) > 1e-2).all(1)][:200]
    jacobian = gradient_of(lambda v: p.transform(v)[0], x, 1e-6)
    error = np.abs(np.linalg.slogdet(jacobian)[1] - p.transform(x)[1])
    assert np.quantile(error, 0.9) < 1e-4, np.quantile(error, 0.9)


# -- mixtures of very different scales -------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
def test_em_finds_a_component_however_small_beside_another(ratio, rng):
    X = rng.standard_normal((2000, 2)) * np.where(rng.random(2000) < 0.5, 1.0, ratio)[:, None] / ratio
    mixture = ExpectationMaximization().fit(X, np.ones(2000), (4, 2e-3), rng)
    truth = np.logaddexp(*(stats.norm.logpdf(X, 0, s).sum(1) for s in (1.0, 1 / ratio))) + np.log(0.5)
    assert mixture.log_prob(X).mean() > truth.mean() - 0.02


def test_few_samples_do_not_draw_a_component_to_a_point(rng):
    X = rng.standard_normal((500, 2))
    X[:10] = X[0] + 1e-12 * rng.standard_normal((10, 2))
    mixture = ExpectationMaximization().fit(X, np.ones(500), (30, 1e-5), rng)
    assert np.linalg.eigvalsh(mixture.covariances).min() >= 0.9e-6


# -- fits ------------------------------------------------------------------------------------------


def test_a_fit_of_far_clusters_loses_little():
    rng = np.random.default_rng(0)
    X, test = (1e6 * rng.integers(0, 2, (n, 1)) + rng.standard_normal((n, 2)) for n in (600, 3000))
    estimator = DiffusionDensityEstimator(**SMALL).fit(X)
    distances = [stats.norm.logpdf(test, center).sum(1) for center in (0.0, 1e6)]
    truth = (np.logaddexp(*distances) - np.log(2)).mean()
    assert estimator.score(test) > truth - 0.1
    near = np.minimum(np.abs(estimator.sample(5000)), np.abs(estimator.sample(5000) - 1e6)).max(1)
    assert (near > 12).mean() < 0.005


def chosen_maps(X, seed=0):
    """The first maps of the features, as a fit chooses them."""
    return DiffusionDensityEstimator(**SMALL | {"random_state": seed}).fit(X).preprocessor_.first


def funnel_of(z):
    """A feature, and four whose scale follows it."""
    return np.column_stack([3 * z[:, 0], np.exp(1.5 * z[:, :1]) * z[:, 1:]])


def test_regressions_take_features_without_logarithms_where_they_gain():
    """Mixtures prefer logarithms here, behind which the scale of a feature follows the others less simply."""
    z, fresh = (np.random.default_rng(seed).standard_normal((n, 5)) for seed, n in (([0, 1], 200), (7, 4000)))
    estimator = DiffusionDensityEstimator(max_iter=2, random_state=0).fit(funnel_of(z))
    assert any(estimator.preprocessor_.first)
    assert estimator.component_weights_["plain_regression"] > 0.4
    truth = stats.norm.logpdf(fresh).sum(1) - np.log(3) - 6 * fresh[:, 0]
    assert estimator.score(funnel_of(fresh)) > truth.mean() - 0.35


@pytest.mark.parametrize("seed", [1, 3])
def test_a_funnel_has_logarithms_only_where_they_gain_clearly(seed):
    # Mixtures gain by them, by less than two standard errors, and what regressions make of the features is lost.
    funnel = funnel_of(np.random.default_rng([seed, 1]).standard_normal((200, 5)))
    assert len(first_maps_candidates(funnel, np.ones(200))) == 2
    assert not any(chosen_maps(funnel, seed))


@pytest.mark.parametrize("d", [1, 3])
def test_log_normal_features_have_logarithms(d, rng):
    X = np.exp(3 * (rng.standard_normal((300, d)) + rng.standard_normal((300, 1))))
    assert all(isinstance(maps[-1], SignedLogMap) for maps in chosen_maps(X))


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_a_fit_of_log_normal_features_loses_little_and_stays_positive(sigma, tmp_path):
    distribution = stats.lognorm(sigma)
    X, test = (distribution.rvs((n, 2), random_state=n) for n in (800, 3000))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateDataWarning)
        estimator = DiffusionDensityEstimator(**SMALL).fit(X)
    assert estimator.score(test) > distribution.logpdf(test).sum(1).mean() - 0.05
    assert (estimator.sample(5000, random_state=0) < 0).mean() < 0.002
    estimator.save(tmp_path / "model")
    loaded = skdiffusion.load(tmp_path / "model")
    assert_array_equal(loaded.score_samples(test[:50]), estimator.score_samples(test[:50]))


def test_structure_that_is_not_resolved_is_said():
    X = stats.lognorm(4.0).rvs((400, 2), random_state=0)
    X[:, 1] = np.log(X[:, 1])
    with pytest.warns(DegenerateDataWarning, match=r"Features \[0\] have structure"):
        DiffusionDensityEstimator(**SMALL, feature_transform=None).fit(X)


@ordinary
def test_ordinary_features_are_resolved(distribution):
    X = distribution.rvs((200, 2), random_state=0)
    X[:, 1] = np.round(np.maximum(X[:, 1], 0.0), 1)  # ties, and often a spike
    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateDataWarning)
        DiffusionDensityEstimator(**SMALL | {"max_iter": 2}).fit(X)
