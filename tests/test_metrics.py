"""Metrics against known answers, and their axioms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.mixture import GaussianMixture

from skdiffusion import metrics
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.metrics._transport import projected_distances

DISTANCES = [
    metrics.wasserstein_1,
    metrics.wasserstein_2,
    metrics.sliced_wasserstein_1,
    metrics.energy_distance,
    lambda X, Y, **w: metrics.maximum_mean_discrepancy(X, Y, bandwidth=1.0, **w),
]
NAMES = ["w1", "w2", "sliced", "energy", "mmd"]


@st.composite
def three_samples(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(1, 3))
    return [
        rng.standard_normal((draw(st.integers(1, 12)), d)) * rng.uniform(0.1, 3) + rng.normal(size=d) for _ in range(3)
    ]


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
@settings(max_examples=15)
@given(samples=three_samples())
def test_metric_axioms(distance, samples):
    A, B, C = samples
    assert distance(A, A) == pytest.approx(0.0, abs=1e-6)
    assert distance(A, B) == pytest.approx(distance(B, A), rel=1e-9, abs=1e-9)
    assert distance(A, B) > 0
    assert distance(A, C) <= distance(A, B) + distance(B, C) + 1e-9


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
def test_integer_weights_equal_repetition(distance, rng):
    A, B = rng.normal(size=(6, 2)), rng.normal(size=(9, 2))
    counts = np.array([1, 2, 0, 3, 1, 1])
    assert distance(A, B, x_weight=counts) == pytest.approx(distance(np.repeat(A, counts, axis=0), B), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_one_feature_agrees_with_scipy(rng, p):
    a, b = rng.normal(size=(40, 1)), rng.exponential(size=(23, 1))
    wa, wb = rng.random(40), rng.random(23)
    if p == 1:
        assert metrics.wasserstein_1(a, b) == pytest.approx(stats.wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-9)
        expected = stats.wasserstein_distance(a[:, 0], b[:, 0], wa, wb)
        assert metrics.wasserstein_1(a, b, x_weight=wa, y_weight=wb) == pytest.approx(expected, rel=1e-9)
        assert metrics.sliced_wasserstein_1(a, b) == pytest.approx(metrics.wasserstein_1(a, b), rel=1e-9)
        squared = metrics.energy_distance(a, b) ** 2
        assert squared == pytest.approx(stats.energy_distance(a[:, 0], b[:, 0]) ** 2, rel=1e-9)
    else:
        # The second feature is constant: the general solver must agree with sorting.
        wide = [np.column_stack([s, np.zeros(len(s))]) for s in (a, b)]
        assert metrics.wasserstein_2(*wide, x_weight=wa, y_weight=wb) == pytest.approx(
            metrics.wasserstein_2(a, b, x_weight=wa, y_weight=wb), rel=1e-9
        )


@pytest.mark.parametrize("d", [1, 3])
def test_shifted_copies(rng, d):
    A, shift = rng.normal(size=(50, d)), rng.normal(size=d)
    for distance in (metrics.wasserstein_1, metrics.wasserstein_2):
        assert distance(A, A + shift) == pytest.approx(np.linalg.norm(shift), rel=1e-9)


def test_gaussians(rng):
    """A positive definite map is optimal: whitened samples and their image are as far apart as the Gaussians."""
    A = rng.normal(size=(200, 3))
    A -= A.mean(0)
    A = A @ np.linalg.inv(np.linalg.cholesky(A.T @ A / len(A))).T
    root = rng.normal(size=(3, 3))
    root = root @ root.T / 3 + 0.2 * np.eye(3)
    shift = rng.normal(size=3)
    expected = metrics.gaussian_wasserstein_2(np.zeros(3), np.eye(3), shift, root @ root)
    assert metrics.wasserstein_2(A, A @ root + shift) == pytest.approx(expected, rel=1e-9)
    one = metrics.gaussian_wasserstein_2([1.0], [[4.0]], [3.0], [[9.0]])
    assert one == pytest.approx(np.sqrt(4 + 1), rel=1e-12)


def test_mmd_of_points():
    X, Y = [[0.0, 0.0]], [[3.0, 4.0]]
    expected = np.sqrt(2 - 2 * np.exp(-0.5 * 25 / 4))
    assert metrics.maximum_mean_discrepancy(X, Y, bandwidth=2.0) == pytest.approx(expected, rel=1e-12)
    assert metrics.maximum_mean_discrepancy(X, Y) == pytest.approx(np.sqrt(2 - 2 * np.exp(-0.5)), rel=1e-12)


@pytest.mark.parametrize("n", [20, 30])
def test_projected_distances_do_not_depend_on_their_blocks(rng, n):
    """Both for sets of equal and of unequal size."""
    A, B = rng.normal(size=(30, 3)), rng.normal(size=(n, 3))
    directions = rng.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sets = A, B, np.full(30, 1 / 30), np.full(n, 1 / n)
    whole = projected_distances(directions, *sets)
    assert sum(projected_distances(part, *sets) for part in np.split(directions, [7, 60])) == pytest.approx(
        whole, rel=1e-12
    )
    one = sum(metrics.wasserstein_1(A @ u[:, None], B @ u[:, None]) for u in directions)
    assert one == pytest.approx(whole, rel=1e-12)


def test_sliced_of_a_shift_is_the_mean_projection(rng):
    """E |<u, s>| over the circle is 2 |s| / pi."""
    A = rng.normal(size=(10, 2))
    value = metrics.sliced_wasserstein_1(A, A + [3.0, 4.0], n_projections=20_000)
    assert value == pytest.approx(2 * 5 / np.pi, rel=0.02)


def _normal(mean, scale):
    return lambda X: stats.norm(mean, scale).logpdf(X).sum(1)


@pytest.mark.parametrize("d", [1, 2])
def test_densities_by_quadrature(d):
    p, q = _normal(0.0, 1.0), _normal(0.5, 1.0)
    box = (np.full(d, -8.0), np.full(d, 8.5))
    tv = 2 * stats.norm.cdf(0.25 * np.sqrt(d)) - 1
    assert metrics.total_variation(p, q, bounds=box) == pytest.approx(tv, abs=2e-4 if d == 2 else 1e-7)
    assert metrics.kl_divergence(p, q, bounds=box) == pytest.approx(d * 0.125, abs=1e-9)


def test_densities_by_sampling(rng):
    d, samples = 6, rng.normal(size=(200_000, 6))
    p, q = _normal(0.0, 1.0), _normal(0.5, 1.0)
    tv = 2 * stats.norm.cdf(0.25 * np.sqrt(d)) - 1
    assert metrics.total_variation(p, q, samples=samples) == pytest.approx(tv, abs=5e-3)
    assert metrics.kl_divergence(p, q, samples=samples) == pytest.approx(d * 0.125, abs=2e-2)


def test_disjoint_densities():
    p = lambda X: stats.uniform(0, 1).logpdf(X[:, 0])  # noqa: E731
    q = lambda X: stats.uniform(2, 1).logpdf(X[:, 0])  # noqa: E731
    assert metrics.total_variation(p, q, bounds=([-1], [4])) == pytest.approx(1.0, abs=1e-3)
    assert metrics.kl_divergence(p, q, bounds=([-1], [4])) == np.inf


def test_importance_mass(rng):
    samples = 2 * rng.normal(size=(50_000, 3))
    mass, error = metrics.importance_mass(_normal(0.0, 1.0), samples, _normal(0.0, 2.0)(samples))
    assert error < 0.01
    assert abs(mass - 1) < 4 * error


def test_calibration_of_the_truth_and_of_a_narrow_model(rng):
    X = rng.normal(size=(4000, 2))
    model = GaussianMixture(1, random_state=0).fit(X)
    fresh = rng.normal(size=(4000, 2))
    levels, coverage = metrics.highest_density_coverage(model, fresh)
    assert np.abs(coverage - levels).max() < 4 * np.sqrt(0.25 * (1 / 4000 + 1 / 10_000)) + 0.01
    model.covariances_ = model.covariances_ / 4
    model.precisions_cholesky_ = model.precisions_cholesky_ * 2
    assert metrics.highest_density_coverage(model, fresh, levels=[0.9])[1][0] < 0.6


def test_c2st(rng):
    A, B = rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    accuracy, error = metrics.classifier_two_sample_test(A, B, return_error=True)
    assert abs(accuracy - 0.5) < 4 * error
    assert metrics.classifier_two_sample_test(A, B + 5) > 0.99
    assert metrics.classifier_two_sample_test(A, B) == metrics.classifier_two_sample_test(A, B)


def test_the_floor_is_the_distance_of_fresh_samples(rng):
    X = rng.normal(size=(1000, 2))
    floor, error = metrics.two_sample_floor(metrics.wasserstein_1, X, n_samples=200)
    fresh = np.mean([metrics.wasserstein_1(rng.normal(size=(200, 2)), rng.normal(size=(200, 2))) for _ in range(20)])
    assert floor == pytest.approx(fresh, rel=0.15)
    assert 0 < error < 0.1 * floor
    small = metrics.two_sample_floor(metrics.wasserstein_1, X, n_samples=25)[0]
    assert small > 2 * floor  # the bias falls with the number of samples


def test_novelty(rng):
    train, fresh = rng.normal(size=(500, 2)), rng.normal(size=(500, 2))
    assert metrics.novelty(train[:100], train, fresh) == 0.0
    assert metrics.novelty(rng.normal(size=(500, 2)), train, fresh) == pytest.approx(1.0, abs=0.25)
    assert metrics.novelty(fresh + 10, train, fresh) > 3


def test_sampling_and_quadrature_agree_on_the_kl_of_a_mixture(rng):
    density = GaussianMixtureDensity(
        [0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], np.stack([0.2 * np.eye(2), 0.4 * np.eye(2)])
    )
    samples = density.sample(SampleNoise(rng.standard_normal((100_000, 2)), rng.random(100_000)))
    q = _normal(0.0, 1.5)
    by_samples = metrics.kl_divergence(density.log_prob, q, samples=samples)
    by_nodes = metrics.kl_divergence(density.log_prob, q, bounds=([-7, -7], [7, 7]))
    assert by_samples == pytest.approx(by_nodes, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.wasserstein_1([[0.0]], [[0.0, 1.0]]), "features"),
        (lambda: metrics.wasserstein_1([[np.nan]], [[0.0]]), "NaN"),
        (lambda: metrics.wasserstein_1([[0.0]], [[1.0]], x_weight=[-1.0]), "x_weight"),
        (lambda: metrics.wasserstein_2([[0.0]], [[1.0]], y_weight=[1.0, 2.0]), "y_weight"),
        (lambda: metrics.sliced_wasserstein_1([[0.0]], [[1.0]], n_projections=0), "n_projections"),
        (lambda: metrics.maximum_mean_discrepancy([[0.0]], [[1.0]], bandwidth=-1), "bandwidth"),
        (lambda: metrics.classifier_two_sample_test([[0.0]] * 3, [[1.0]] * 9), "n_splits"),
        (lambda: metrics.two_sample_floor(metrics.wasserstein_1, [[0.0], [1.0]], n_samples=5), "n_samples"),
        (lambda: metrics.kl_divergence(_normal(0, 1), _normal(0, 1)), "bounds"),
        (lambda: metrics.kl_divergence(_normal(0, 1), _normal(0, 1), bounds=([0] * 3, [1] * 3)), "bounds"),
        (lambda: metrics.total_variation(_normal(0, 1), lambda X: X, samples=[[0.0]]), "log_q"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_memorized_fraction_of_copies_and_of_fresh_samples():
    """Fresh samples of a k-dimensional distribution have a fraction of about 3**-k, not 0."""
    angle = 2 * np.pi * np.random.default_rng(0).random((2, 3000))
    train, fresh = (np.column_stack([np.cos(a), np.sin(a)]) for a in angle)
    assert metrics.memorized_fraction(fresh, train) == pytest.approx(1 / 3, abs=0.04)
    assert metrics.memorized_fraction(train[:100], train) == 1.0
    assert metrics.memorized_excess(fresh, train, fresh) == 0.0
    assert metrics.memorized_excess(train[:100], train, fresh) == 1.0


def test_fidelity_is_a_median_distance():
    assert metrics.fidelity([[3.0, 0.0], [0.0, 2.0], [5.0, 0.0]], lambda X: np.abs(np.hypot(*X.T) - 1)) == 2.0


def test_coverage_of_many_samples_is_finer_than_that_of_few(rng):
    truth, centers = rng.uniform(size=(50_000, 1)), rng.uniform(0.1, 0.9, (100, 1))
    few, many = rng.uniform(size=(100, 1)), rng.uniform(size=(20_000, 1))
    assert metrics.delta_coverage(many, truth, centers) < metrics.delta_coverage(few, truth, centers) / 3
    assert metrics.delta_coverage(np.full((50, 1), 7.0), truth, centers) == np.inf
    assert metrics.delta_coverage(truth, truth, centers) < 0.01


def test_comparability(rng):
    truth = rng.uniform(size=(50_000, 2))
    low, high = metrics.density_comparability(rng.uniform(size=(50_000, 2)), truth)
    assert 0.8 < low < 1 < high < 1.2
    assert metrics.density_comparability(truth[truth[:, 0] < 0.5], truth)[0] < 0.1


def test_subspace_error():
    eye = np.eye(4)
    assert metrics.subspace_error(eye[:, :2], eye[:, :2] @ [[2.0, 1.0], [0.0, 3.0]]) < 1e-28
    assert metrics.subspace_error(eye[:, :2], eye[:, 2:]) == pytest.approx(4.0)
    angle = 1e-9
    turned = np.column_stack([eye[:, 0], np.cos(angle) * eye[:, 1] + np.sin(angle) * eye[:, 2]])
    assert metrics.subspace_error(eye[:, :2], turned) == pytest.approx(2 * angle**2, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.novelty([[0.0]], [[0.0, 1.0]], [[0.0]]), "same features"),
        (lambda: metrics.memorized_fraction([[0.0]], [[0.0]]), "2 training samples"),
        (lambda: metrics.subspace_error(np.eye(3)[:, :1], np.eye(4)[:, :1]), "same space"),
    ],
)
def test_bad_samples_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
