"""Marginals and conditionals in closed form, against scipy and against integrals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal, multivariate_t

from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import (
    Blend,
    BlendMarginal,
    GaussianMixtureDensity,
    StudentTDensity,
    TransformedDensity,
    kernel_density,
)
from skdiffusion.estimators._unknown import N_DRAWS, UnknownFeatures
from skdiffusion.exceptions import InaccurateDensityWarning
from skdiffusion.preprocessing import BoundaryRegion, Preprocessor


def noise_of(rng, n, d):
    return SampleNoise(rng.standard_normal((n, d)), rng.random(n), None, rng.random(n), rng.random((n, d)))


def random_mixture(rng, d, k=3):
    roots = rng.standard_normal((k, d, d))
    return GaussianMixtureDensity(
        rng.dirichlet(np.ones(k) * 3),
        2 * rng.standard_normal((k, d)),
        roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d),
    )


def random_student(rng, d):
    root = rng.standard_normal((d, d))
    return StudentTDensity(rng.standard_normal(d), root @ root.T + 0.1 * np.eye(d), 3.0)


def random_kernel(rng, d):
    return kernel_density(rng.standard_normal((40, d)), 0.3, rng.uniform(0.5, 1, 40))


DENSITIES = [random_mixture, random_student, random_kernel]


def skewed(rng, n, d):
    """Correlated samples with skewed and bounded features."""
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    X[:, 0] = np.exp(X[:, 0] / 2)
    return X


def transformed(rng, d, make, transform=None):
    X = skewed(rng, 300, d)
    bounds = np.full(d, -np.inf), np.full(d, np.inf)
    if make is not random_student:  # whose tails reach into the margin of a bound, where densities are not read
        bounds[0][0] = 0.0
    return TransformedDensity(Preprocessor(X, np.ones(len(X)), transform, bounds), make(rng, d)), X


@pytest.mark.parametrize("make", DENSITIES)
@pytest.mark.parametrize("transform", [None, "yeo-johnson", 1.0])
def test_a_marginal_is_the_integral_of_the_joint_density(make, transform, rng):
    density, X = transformed(rng, 3, make, transform)
    for features, unknown in (([0, 2], 1), ([1, 2], 0), ([2, 0], 1)):
        marginal = density.marginal(np.array(features))
        feature, places = density.preprocessor.maps[unknown], np.linspace(-14, 14, 60_001)
        mapped = feature.forward(X[:1, unknown]) + np.sinh(places)  # where the rule of trapezoids converges fast
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values = feature.inverse(mapped)
            log_weight = np.log(np.cosh(places) * (places[1] - places[0])) - feature.log_slope(values)
        usable = np.isfinite(values) & np.isfinite(log_weight)
        for x in X[:3]:
            complete = np.tile(x, (np.count_nonzero(usable), 1))
            complete[:, unknown] = values[usable]
            total = np.exp(density.log_prob(complete) + log_weight[usable]).sum()
            assert_allclose(marginal.log_prob(x[None, features]), np.log(total), atol=1e-8)


def test_a_marginal_of_a_mixture_and_of_a_student_t_are_those_of_scipy(rng):
    mixture, student, x = random_mixture(rng, 4), random_student(rng, 4), rng.standard_normal((10, 2))
    which, axes = [0, 2], np.eye(4)[:, [0, 2]]
    expected = sum(
        w * multivariate_normal(m[which], c[np.ix_(which, which)]).pdf(x)
        for w, m, c in zip(mixture.weights, mixture.means, mixture.covariances)
    )
    assert_allclose(mixture.marginal(axes).log_prob(x), np.log(expected), rtol=1e-10)
    expected = multivariate_t(student.location[which], student.scale[np.ix_(which, which)], 3.0).logpdf(x)
    assert_allclose(student.marginal(axes).log_prob(x), expected, rtol=1e-10)


@pytest.mark.parametrize("make", DENSITIES)
def test_completed_samples_of_marginal_ones_have_the_joint_density(make, rng):
    density, _ = transformed(rng, 3, make, "yeo-johnson")
    n, features = 4000, np.array([0, 2])
    first = noise_of(rng, n, 3)._replace(chi2=rng.chisquare(3.0, n))
    joint = density.sample(first)
    again = density.completed(joint, features, noise_of(rng, n, 3))
    assert_allclose(again[:, features], joint[:, features], rtol=0, atol=0)
    fresh = density.sample(noise_of(rng, n, 3)._replace(chi2=rng.chisquare(3.0, n)))
    # In whitened coordinates, along random directions: the same quantiles as joint samples.
    z, other = density.preprocessor.transform(again)[0], density.preprocessor.transform(fresh)[0]
    for direction in rng.standard_normal((6, 3)):
        a, b = np.sort(np.arctan(z @ direction)), np.sort(np.arctan(other @ direction))
        statistic = np.abs(np.searchsorted(a, b) / n - np.arange(n) / n).max()
        assert statistic < 1.95 * np.sqrt(2 / n)  # Kolmogorov and Smirnov, 0.1 %


@pytest.mark.parametrize("features", [[1], [0, 2], [3, 0, 1]])
def test_marginals_of_a_blend_of_closed_forms_are_exact(features, rng):
    X = skewed(rng, 300, 4)
    plain, power = (Preprocessor(X, np.ones(300), transform) for transform in (None, "yeo-johnson"))
    densities = {
        "mixture": TransformedDensity(plain, random_mixture(rng, 4)),
        "student": TransformedDensity(power, random_student(rng, 4)),
    }
    blend, features = Blend(densities, {"mixture": 0.7, "student": 0.3}), np.array(features)
    given = BlendMarginal(blend, features, 4).given(X[:20], noise_of(rng, 20 * 8, 4))
    parts = [densities[name].marginal(features).log_prob(X[:20, features]) for name in densities]
    assert_allclose(given.log_prob, np.logaddexp(np.log(0.7) + parts[0], np.log(0.3) + parts[1]), rtol=1e-10)
    assert_allclose(
        given.conditional_log_prob(X[:20], np.arange(20)), blend.log_prob(X[:20]) - given.log_prob, atol=1e-8
    )
    assert (given.standard_error == 0).all()


@pytest.mark.parametrize("make", DENSITIES)
@pytest.mark.parametrize("near_bound", [False, True])
def test_many_patterns_at_once_are_each_alone(make, near_bound, rng):
    """What is known of samples has the marginal density of its pattern, and bits that no other sample changes."""
    density, X = transformed(rng, 5, make, "yeo-johnson")
    if near_bound:
        density.preprocessor.regions = (BoundaryRegion(1, float(X[:, 1].min()) - 1, 1.0, 3.0, 0.01, 2.0, 0.5),)
        assert (density.preprocessor.regions[0].depth(X[:200, 1]) < 1).any()
    known = rng.random((200, 5)) < 0.5
    known |= ~known.any(1)[:, None]
    samples = np.where(known, X[:200], np.nan)
    found = density.known_log_prob(samples)
    for pattern in np.unique(known, axis=0):
        mine, features = (known == pattern).all(1), np.flatnonzero(pattern)
        expected = density.marginal(features).log_prob(X[:200][mine][:, features])
        assert_allclose(found[mine], expected, rtol=0, atol=1e-9)
    noise = noise_of(rng, 200, 5)
    drawn = density.known_completed(samples, noise)
    assert_array_equal(drawn[known], samples[known])
    assert_array_equal(density.completed(X[:200], np.flatnonzero(known[0]), noise)[0], drawn[0])
    for rows in ([3], [7, 120], np.arange(50, 199)):
        assert_array_equal(density.known_log_prob(samples[rows]), found[rows])
        assert_array_equal(density.known_completed(samples[rows], noise.take(np.array(rows))), drawn[rows])


class Opaque(TransformedDensity):
    """A density that is not known to be in closed form."""

    in_closed_form = False


@pytest.mark.parametrize(("d", "tolerance"), [(2, 1e-3), (3, 1e-3), (6, 1e-3)])
def test_a_quadrature_over_one_unknown_feature_finds_the_marginal(d, tolerance, rng):
    X = skewed(rng, 500, d)
    preprocessor = Preprocessor(X, np.ones(500), "yeo-johnson")
    narrow = GaussianMixtureDensity(
        [0.5, 0.5], 2 * rng.standard_normal((2, d)), np.stack([1e-2 * np.eye(d), np.eye(d)])
    )
    hidden, shown = Opaque(preprocessor, narrow), TransformedDensity(preprocessor, random_mixture(rng, d))
    blend = Blend({"diffusion": hidden, "mixture": shown}, {"diffusion": 0.6, "mixture": 0.4})
    samples = blend.sample(noise_of(rng, 30, d))
    for unknown in range(d):
        features = np.delete(np.arange(d), unknown)
        given = BlendMarginal(blend, features, d).given(samples, noise_of(rng, 30 * 8, d))
        exact = TransformedDensity(preprocessor, narrow).marginal(features).log_prob(samples[:, features])
        share = given.shares()[:, 0]
        error = np.abs(given.component_log_prob[:, 0] - exact)
        assert error[share > 0.01].max() < tolerance
        assert given.standard_error.max() < tolerance


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1e-3), (0.0, 1e-4), (20.0, 1.0), (40.0, 3.0)])
def test_a_quadrature_finds_narrow_and_far_conditionals(mean, scale, rng):
    X = rng.standard_normal((400, 2))
    preprocessor = Preprocessor(X, np.ones(400))
    gaussian = GaussianMixtureDensity(np.ones(1), np.array([[0.0, mean]]), np.diag([1.0, scale**2])[None])
    hidden = TransformedDensity(preprocessor, gaussian)
    wide = GaussianMixtureDensity(np.ones(1), np.array([[0.0, mean]]), np.diag([1.0, 4 * scale**2])[None])
    densities = {"diffusion": Opaque(preprocessor, gaussian), "mixture": TransformedDensity(preprocessor, wide)}
    blend = Blend(densities, {"diffusion": 0.5, "mixture": 0.5})
    samples = hidden.sample(noise_of(rng, 40, 2))
    samples[:, 1] = np.nan
    given = BlendMarginal(blend, np.array([0]), 2).given(samples, noise_of(rng, 80, 2))
    exact = hidden.marginal(np.array([0])).log_prob(samples[:, :1])
    assert_allclose(given.component_log_prob[:, 0], exact, atol=5e-3)


def test_importance_sampling_finds_the_marginal_within_its_error_and_warns_where_it_cannot(rng):
    d, X = 6, rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6))
    preprocessor = Preprocessor(X, np.ones(500))
    truth = GaussianMixtureDensity(np.ones(2), rng.standard_normal((2, d)), np.stack([0.5 * np.eye(d), np.eye(d)]))
    blend = Blend({"diffusion": Opaque(preprocessor, truth)}, {"diffusion": 1.0})
    features, samples = np.array([1, 4, 5]), blend.sample(noise_of(rng, 200, d))
    samples[:, [0, 2, 3]] = np.nan
    exact = TransformedDensity(preprocessor, truth).marginal(features).log_prob(samples[:, features])
    found = UnknownFeatures(blend, d).log_prob(samples)
    given = BlendMarginal(blend, features, d).given(samples, noise_of(rng, 200 * 128, d))
    assert np.sqrt(np.mean((found - exact) ** 2)) < 1.3 * np.sqrt(np.mean(given.standard_error**2))
    enough = given.effective_number > 30
    assert enough.mean() > 0.3
    assert np.mean(np.abs(given.log_prob - exact)[enough] > 3 * given.standard_error[enough]) < 0.08
    narrow = GaussianMixtureDensity(np.ones(1), np.full((1, d), 1.0), 0.001 * np.eye(d)[None])
    blend = Blend({"diffusion": Opaque(preprocessor, narrow)}, {"diffusion": 1.0})
    samples = blend.sample(noise_of(rng, 3, d))
    samples[:, :5] = np.nan
    unknown = UnknownFeatures(blend, d)
    for ask in (unknown.log_prob, lambda X: unknown.completed(X, 0, 2, 128)):
        with pytest.warns(InaccurateDensityWarning, match="effective draws"):
            ask(samples)
    given = BlendMarginal(blend, np.array([5]), d).given(samples, noise_of(rng, 3 * 128, d))
    assert np.isinf(given.standard_error[given.effective_number < 5]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("d", [2, 4])
@pytest.mark.parametrize("value", [1e8, -1e12, 1e160])
def test_a_given_value_far_out_has_an_error_that_is_a_number(d, value, rng):
    """What no component but the Student-t can explain is its part alone, which is known."""
    preprocessor = Preprocessor(rng.standard_normal((300, d)), np.ones(300))
    hidden, student = (
        Opaque(preprocessor, random_mixture(rng, d)),
        TransformedDensity(preprocessor, random_student(rng, d)),
    )
    blend, features = (
        Blend({"diffusion": hidden, "student": student}, {"diffusion": 0.6, "student": 0.4}),
        np.array([0]),
    )
    samples, noise = np.full((3, d), value), noise_of(rng, 3 * 64, d)
    given = BlendMarginal(blend, features, d).given(samples, noise)
    assert_allclose(given.log_prob, np.log(0.4) + student.marginal(features).log_prob(samples[:, :1]), rtol=1e-9)
    assert_array_equal(given.standard_error, 0)
    assert not np.isnan(given.effective_number).any()
    assert_allclose(given.shares()[:, 1], 1)


class Counting(Opaque):
    """A density in no closed form that counts its calls and the samples of these."""

    calls, asked = 0, 0

    def log_prob(self, X):
        Counting.calls, Counting.asked = Counting.calls + 1, Counting.asked + len(X)
        return super().log_prob(X)


@pytest.fixture
def counted(rng):
    """A blend of a density in no closed form with a mixture that is near to it, and samples of many patterns."""
    d, X = 5, rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5))
    preprocessor = Preprocessor(X, np.ones(400))
    truth = GaussianMixtureDensity(np.ones(1), np.zeros((1, d)), np.eye(d)[None])
    near = GaussianMixtureDensity(np.ones(1), np.full((1, d), 0.1), 1.1 * np.eye(d)[None])
    densities = {"diffusion": Counting(preprocessor, truth), "mixture": TransformedDensity(preprocessor, near)}
    samples = TransformedDensity(preprocessor, truth).sample(noise_of(rng, 120, d))
    samples[rng.random(samples.shape) < 0.4] = np.nan
    samples = samples[~np.isnan(samples).all(1) & (np.isnan(samples).sum(1) > 1)]
    Counting.calls = Counting.asked = 0
    return densities, samples


def exact_marginals(density, samples):
    out = np.empty(len(samples))
    for rows, features in Patterns.of(samples).parts():
        out[rows] = TransformedDensity.marginal(density, features).log_prob(samples[np.ix_(rows, features)])
    return out


def test_draws_of_all_patterns_are_evaluated_together(counted):
    densities, samples = counted
    blend = Blend(densities, {"diffusion": 1.0, "mixture": 0.0})
    found = UnknownFeatures(blend, 5).log_prob(samples)
    assert len(Patterns.of(samples).known) > 15
    assert Counting.calls <= 2
    assert Counting.asked < 1.1 * N_DRAWS * len(samples)  # the mixture of no weight proposes: hardly more are needed
    assert np.sqrt(np.mean((found - exact_marginals(densities["diffusion"], samples)) ** 2)) < 0.06


def test_samples_of_a_call_have_the_bits_that_they_have_alone(counted):
    densities, samples = counted
    unknown = UnknownFeatures(Blend(densities, {"diffusion": 0.7, "mixture": 0.3}), 5)
    some = samples[:12]
    assert_array_equal(unknown.log_prob(some), np.concatenate([unknown.log_prob(x[None]) for x in some]))


def test_closed_forms_take_no_draws_at_all(counted):
    densities, samples = counted
    unknown = UnknownFeatures(Blend(densities, {"diffusion": 0.0, "mixture": 1.0}), 5)
    assert_allclose(unknown.log_prob(samples), exact_marginals(densities["mixture"], samples), atol=1e-8)
    unknown.completed(samples, 0, 3, 32)
    assert Counting.calls == 0


def test_a_component_of_little_share_needs_few_draws(rng):
    X = rng.standard_normal((300, 4))
    preprocessor = Preprocessor(X, np.ones(300))
    wide = GaussianMixtureDensity(np.ones(1), np.zeros((1, 4)), np.eye(4)[None])
    odd = GaussianMixtureDensity(np.ones(1), np.full((1, 4), 0.5), 0.3 * np.eye(4)[None])
    densities = {"diffusion": Opaque(preprocessor, odd), "mixture": TransformedDensity(preprocessor, wide)}
    features, noise = np.array([0, 1]), noise_of(rng, 40 * 64, 4)
    for weight in (0.05, 0.5):
        blend = Blend(densities, {"diffusion": weight, "mixture": 1 - weight})
        given = BlendMarginal(blend, features, 4).given(X[:40], noise)
        parts = [TransformedDensity.marginal(d, features).log_prob(X[:40, features]) for d in densities.values()]
        exact = np.logaddexp(np.log(weight) + parts[0], np.log(1 - weight) + parts[1])
        known = np.isfinite(given.standard_error)
        error, expected = given.log_prob[known] - exact[known], given.standard_error[known]
        assert np.sqrt(np.mean(error**2)) < 1.5 * np.sqrt(np.mean(expected**2)) + 1e-3
        assert (given.standard_error[known & (given.effective_number > 30)] < 0.2).all()
