import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr
from scipy.stats import norm

from skdiffusion.densities import FEATURE_TRANSFORMS, select_feature_transforms
from skdiffusion.densities._feature_transforms import NARROWER_TRANSFORMS
from skdiffusion.preprocessing import (
    Preprocessor,
    Resolution,
    TrainingData,
    Whitening,
    bounds_with_margins,
)
from skdiffusion.preprocessing._feature_map import AffineMap, BoxMap, ComposedMap, HalfLineMap, YeoJohnsonMap
from skdiffusion.preprocessing._gaussianize_map import GaussianizeMap, kernel_masses
from tests.conftest import gradient_of

BOUNDS = (np.array([-np.inf, -np.inf, 0.0, 0.0]), np.array([np.inf, 30.0, 1.0, np.inf]))
candidates = pytest.mark.parametrize("transform", [*FEATURE_TRANSFORMS, *NARROWER_TRANSFORMS], ids=str)
bounds_cases = pytest.mark.parametrize("bounds", [None, BOUNDS], ids=["open", "bounded"])


@pytest.fixture
def table(rng):
    x = rng.standard_normal(600)
    return np.column_stack([x, rng.exponential(size=600) + x**2, rng.random(600), np.exp(rng.standard_normal(600))])


@candidates
@bounds_cases
def test_the_inverse_returns_the_samples(table, transform, bounds):
    p = Preprocessor(table, np.ones(600), transform, bounds)
    z, _ = p.transform(table)
    assert_allclose(p.inverse_transform(z), table, rtol=1e-9, atol=1e-10)


@candidates
@bounds_cases
def test_values_and_slopes_of_maps_at_once_are_those_of_each_alone(table, transform, bounds):
    for feature, x in zip(Preprocessor(table, np.ones(600), transform, bounds).maps, table.T):
        value, log_slope = feature.forward_and_log_slope(x)
        assert_array_equal(value, feature.forward(x))
        assert_array_equal(log_slope, feature.log_slope(x))


@candidates
def test_samples_beyond_the_data_come_back_too(table, transform, rng):
    p = Preprocessor(table, np.ones(600), transform)
    far = table.mean(0) + 20 * table.std(0) * rng.standard_normal((50, 4))
    z, log_det = p.transform(far)
    assert np.isfinite(log_det).all()
    assert_allclose(p.inverse_transform(z), far, rtol=1e-7, atol=1e-7)


@candidates
@bounds_cases
def test_log_determinant_is_that_of_the_jacobian(table, transform, bounds, rng):
    # Midpoints between samples, so that no difference straddles a knot of a spline.
    p = Preprocessor(table, np.ones(600), transform, bounds)
    x = (table[:300] + 1e-3 * rng.random((300, 4))).clip(*(BOUNDS if bounds else (-np.inf, np.inf)))
    _, log_det = p.transform(x)
    jacobian = gradient_of(lambda v: p.transform(v)[0], x, 1e-7)
    error = np.abs(np.linalg.slogdet(jacobian)[1] - log_det)
    assert np.quantile(error, 0.97) < 1e-5, np.quantile(error, 0.97)


@candidates
@bounds_cases
def test_pull_back_is_the_gradient_in_the_features(table, transform, bounds, rng):
    p = Preprocessor(table, np.ones(600), transform, bounds)
    direction = rng.standard_normal(4)
    x = table[:200]

    def value(v):
        z, log_det = p.transform(v)
        return np.sin(z @ direction) + log_det

    z, _ = p.transform(x)
    ours = p.pull_back(x, np.cos(z @ direction)[:, None] * direction)
    error = np.abs(gradient_of(value, x, 1e-7) - ours) / (1 + np.abs(ours))
    assert np.quantile(error, 0.95) < 1e-5, np.quantile(error, 0.95)


def test_whitened_samples_have_mean_zero_and_covariance_near_the_identity(table):
    z, _ = Preprocessor(table, np.ones(600)).transform(table)
    assert_allclose(z.mean(0), 0, atol=1e-12)
    assert_allclose(np.cov(z.T, bias=True), np.eye(4), atol=0.1)


@pytest.mark.parametrize("n", [3, 10, 2000])
def test_whitening_is_invertible_for_few_samples_and_collinear_features(n, rng):
    u = rng.standard_normal((n, 8))
    u[:, 7] = u[:, 0] + u[:, 1]
    w = Whitening(u, np.ones(n))
    assert_allclose(w.backward(w.forward(u)), u, atol=1e-7)
    assert_allclose(w.log_det, np.linalg.slogdet(w.matrix)[1], rtol=1e-9)
    assert np.isfinite(w.log_det)


def test_a_uniform_box_becomes_normal(rng):
    z = BoxMap(2.0, 5.0).forward(2 + 3 * rng.random(20000))
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.03


def test_an_exponential_half_line_becomes_normal(rng):
    x = 4 - 2 * rng.exponential(size=20000)
    z = HalfLineMap(4.0, -1.0, 2.0).forward(x)
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.03


def test_maps_that_do_not_overfit_map_a_sample_left_out_as_any_other(rng):
    x, share = rng.exponential(size=50), np.full(50, 0.02)
    composed = ComposedMap(HalfLineMap(0.0, 1.0, 1.0), AffineMap(0.3, 2.0), YeoJohnsonMap(0.4))
    assert_array_equal(composed.left_out(x, share), (composed.forward(x), composed.log_slope(x)))


@pytest.mark.parametrize(
    ("map_", "edge"),
    [(BoxMap(0.0, 1.0), [0.0, 1.0, 1e-300, 1 - 1e-16]), (HalfLineMap(0.0, 1.0, 1.0), [0.0, 1e-300, 700.0])],
)
def test_edges_stay_finite(map_, edge):
    z = map_.forward(np.array(edge))
    assert np.isfinite(z).all()
    assert np.isfinite(map_.log_slope(np.array(edge))).all()
    assert_allclose(map_.inverse(z), edge, rtol=1e-12, atol=1e-15)


def test_yeo_johnson_finds_the_exponent_of_a_log_normal(rng):
    x = np.exp(rng.standard_normal(5000)) - 1
    fitted = YeoJohnsonMap.fit(x[x > 0], np.ones((x > 0).sum()))
    assert fitted.exponent < 0.5
    twin = YeoJohnsonMap(0.0)
    assert_allclose(twin.forward(np.array([3.0])), np.log(4.0))


def test_gaussianizing_map_follows_the_distribution_function(rng):
    x = rng.standard_normal(4000) ** 3
    m = GaussianizeMap.fit(x / x.std(), np.ones(4000), 0.3)
    z = m.forward(np.sort(x / x.std()))
    expected = norm.ppf((np.arange(4000) + 0.5) / 4000)
    assert np.abs(z - expected)[100:-100].max() < 0.25


@pytest.mark.parametrize("factor", [1.0, 0.3, 0.1])
def test_a_sample_left_out_is_mapped_as_a_refit_without_it_would(factor, rng):
    x = rng.standard_t(3, size=150)
    x /= x.std()
    z, log_slope = GaussianizeMap.fit(x, np.ones(150), factor).left_out(x, np.full(150, 1 / 150))
    refits = [GaussianizeMap.fit(np.delete(x, i), np.ones(149), factor) for i in range(150)]
    z_refit = np.array([m.forward(x[[i]])[0] for i, m in enumerate(refits)])
    slope_refit = np.array([m.log_slope(x[[i]])[0] for i, m in enumerate(refits)])
    assert np.median(np.abs(z - z_refit)) < 0.03
    assert np.abs((log_slope - slope_refit).mean()) < 0.15, (log_slope - slope_refit).mean()
    whole = GaussianizeMap.fit(x, np.ones(150), factor)
    flattery = (whole.log_slope(x) - slope_refit).mean()
    assert np.abs((log_slope - slope_refit).mean()) < 0.5 * flattery or flattery < 0.05


@pytest.mark.parametrize("kind", ["box", "half-line", "mirrored"])
def test_values_on_a_bound_are_read_off_it(rng, kind):
    x = {"box": rng.random((1000, 1)), "half-line": rng.exponential(size=(1000, 1))}.get(kind)
    x, low, high = (-rng.exponential(size=(1000, 1)), -np.inf, 0.0) if x is None else (x, 0.0, np.inf)
    low, high = np.array([low]), np.array([1.0 if kind == "box" else high])
    bounds = bounds_with_margins(x, np.ones(1000), Resolution.of(x), (low, high))
    p = Preprocessor(x, np.ones(1000), None, bounds)
    end = np.zeros((1, 1))
    z, log_det = p.transform(end)
    assert np.abs(z).max() < 6
    assert log_det[0] < 20
    # The margin holds next to no samples, and values beyond it are distinguished.
    nearest = np.abs(x).min(keepdims=True) * (-1.0 if kind == "mirrored" else 1.0)
    assert np.abs(p.transform(nearest)[0] - z).min() > 0.1
    assert_array_equal(p.pull_back(end, np.ones((1, 1))), 0.0)
    assert_allclose(p.inverse_transform(p.transform(x)[0]), x, rtol=1e-9)


def test_the_margin_of_a_tied_feature_is_a_thousandth_of_its_step(rng):
    x = rng.integers(0, 5, (500, 1)).astype(float)
    bounds = bounds_with_margins(x, np.ones(500), Resolution.of(x), (np.array([0.0]), np.array([np.inf])))
    assert_array_equal(bounds.margins, [[0.001], [0.0]])


def transform_scores(X, folds, rng):
    """Scores of the feature transforms of samples of equal weight."""
    return select_feature_transforms(TrainingData(X, np.ones(len(X)), tuple(folds), 0, None, rng, Resolution.of(X)))


def test_a_skewed_table_chooses_a_map_and_a_gaussian_one_does_not(rng):
    folds = np.array_split(rng.permutation(800), 4)
    skewed = np.exp(rng.standard_normal((800, 3)))
    scores = transform_scores(skewed, folds, rng)
    assert max(scores, key=scores.get) is not None
    plain = transform_scores(rng.standard_normal((800, 3)), folds, rng)
    assert plain[None] > max(plain.values()) - 0.03


def test_maps_by_feature_must_be_better_on_samples_that_did_not_choose_them():
    """Of 24 Gaussian features out-of-fold samples favor a map in about ten, by chance."""
    kept = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, folds = rng.standard_normal((800, 24)), np.array_split(rng.permutation(800), 4)[:2]
        kept.append(max(scores := transform_scores(X, folds, rng), key=scores.get))
    assert kept == [None] * 4
    X[:, :12] = np.exp(X[:, :12])
    scores = transform_scores(X, folds, rng)
    best = max(scores, key=scores.get)
    assert isinstance(best, tuple)
    assert None not in best[:12]


def test_features_that_heap_at_some_values_have_narrower_maps(rng):
    """Half of the first feature lies in four boxes, a twentieth of its spread wide: the truth is known."""
    n, width = 1200, 0.05

    def draw(n):
        heap = rng.integers(0, 4, n) + width * (rng.random(n) - 0.5)
        first = np.where(rng.random(n) < 0.5, heap, rng.uniform(-1, 4, n))
        return np.column_stack([first, rng.standard_normal(n), np.exp(rng.standard_normal(n))])

    X, test = draw(n), draw(4000)
    scores = transform_scores(X, np.array_split(rng.permutation(n), 2), rng)
    best = max(scores, key=scores.get)
    assert best[0] in NARROWER_TRANSFORMS
    assert not set(best[1:]) & set(NARROWER_TRANSFORMS)
    density = np.where(np.abs(test[:, 0] - np.round(test[:, 0])) < width / 2, 0.5 / 4 / width, 0.0)
    density = np.where((test[:, 0] > -0.5) & (test[:, 0] < 3.5), density, 0.0) + 0.5 / 5
    behind = [
        np.log(density).mean() - Preprocessor(X, np.ones(n), (t, None, None)).feature_log_density(test)[:, 0].mean()
        for t in (best[0], 0.1)
    ]
    assert behind[0] < 0.12
    assert behind[1] > 2 * behind[0]


def test_smooth_features_have_no_narrower_maps_and_take_no_random_numbers():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, folds = np.exp(rng.standard_normal((800, 4))), np.array_split(rng.permutation(800), 2)
        X[:, 0] = rng.choice([-5.0, 5.0], 800) + rng.standard_normal(800)  # two modes, far apart
        streams, found = [], []
        for narrower in (NARROWER_TRANSFORMS, (1.0,)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("skdiffusion.densities._feature_transforms.NARROWER_TRANSFORMS", narrower)
                streams.append(np.random.default_rng(seed))
                found.append(transform_scores(X, folds, streams[-1]))
        assert found[0] == found[1]
        assert streams[0].random() == streams[1].random()


@pytest.mark.parametrize("n", [300, 6000])
@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_the_gaussianizing_map_is_that_of_its_kernel_density(n, factor):
    """Sums within reach are the sums over all samples, even where a heavy tail isolates the outermost samples."""
    x = np.sort(np.random.default_rng(0).standard_t(1.5, n))
    x /= x.std()
    w = np.full(n, 1 / n)
    knots, bandwidth = np.concatenate([x[:: n // 50], [x[-1], x[-1] + 3]]), 0.05 * factor
    below, above, density = kernel_masses(knots, x, w, bandwidth)
    u = (knots[:, None] - x) / bandwidth
    assert below == pytest.approx(ndtr(u) @ w, rel=1e-12, abs=1e-17)
    assert above == pytest.approx(ndtr(-u) @ w, rel=1e-12, abs=1e-17)
    assert density == pytest.approx(np.exp(-0.5 * u**2) @ w / (bandwidth * np.sqrt(2 * np.pi)), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("n", [300, 6000, 20_000])
def test_the_gaussianizing_map_is_finite_however_far_the_samples(n):
    for seed in range(3):
        x = np.sort(np.random.default_rng(seed).standard_t(0.7, n))
        x = (x - x.mean()) / x.std()
        for factor in (1.0, 0.1):
            m = GaussianizeMap.fit(x, np.ones(n), factor)
            z = m.forward(x)
            assert (np.diff(z) >= 0).all()
            assert np.isfinite(m.log_slope(x)).all()
            assert np.isfinite(m.left_out(x, np.full(n, 1 / n))).all()


def test_kernel_masses_are_those_of_all_kernels_at_every_knot():
    rng = np.random.default_rng(0)
    centers, knots = np.sort(rng.standard_normal(300)), np.sort(rng.uniform(-9, 9, 70))
    masses = rng.dirichlet(np.ones(300))
    below, above, density = kernel_masses(knots, centers, masses, 0.05)
    u = (knots[:, None] - centers) / 0.05
    assert_allclose(below, ndtr(u) @ masses, rtol=1e-12, atol=1e-16)
    assert_allclose(above, ndtr(-u) @ masses, rtol=1e-12, atol=1e-16)
    assert_allclose(density, norm.pdf(u) @ masses / 0.05, rtol=1e-12, atol=1e-14)
