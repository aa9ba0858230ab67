"""Components of p(y | x) against closed forms and against what they are made from."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import PchipInterpolator
from scipy.stats import multivariate_t, norm, t
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor

from skdiffusion import DiffusionRegressor
from skdiffusion.densities import GaussianMixtureDensity, StudentTDensity
from skdiffusion.densities.predictive import (
    FoldedInputs,
    NormalMixtures,
    StudentTs,
    TargetNoise,
    distinct_samples,
    fit_atoms,
)
from skdiffusion.densities.predictive._bins import Bins
from skdiffusion.densities.predictive._boosting import Outputs
from skdiffusion.densities.predictive._curves import RisingCurves, refined_curves
from skdiffusion.densities.predictive._flow import TargetFlow
from skdiffusion.densities.predictive._forest import Forest
from skdiffusion.densities.predictive._joint import JointMixture, JointStudentT
from skdiffusion.densities.predictive._network import MixtureNetworks
from skdiffusion.densities.predictive._network_fit import MixtureLikelihood
from skdiffusion.densities.predictive._pool import BlendedDistributions
from skdiffusion.densities.predictive._sharpening import SharpenedDistributions, Sharpening, l_skewness
from skdiffusion.densities.predictive._trees import Categories, Trees
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import SplitField, split_network
from skdiffusion.diffusion.split import SplitFlow
from skdiffusion.diffusion.training import TrainingPlan, TrainingSets

PROBABILITIES = np.array([0.001, 0.05, 0.3, 0.5, 0.9, 0.999])


def random_mixtures(rng, n=7, k=4):
    weights = rng.dirichlet(np.ones(k), n)
    return NormalMixtures(weights, 2 * rng.standard_normal((n, k)), rng.uniform(0.1, 1.0, (n, k)))


def random_covariance(rng, d):
    root = rng.standard_normal((d, d))
    return root @ root.T + 0.1 * np.eye(d)


def test_mixtures_are_sums_of_normal_distributions():
    rng = np.random.default_rng(0)
    mixtures, z = random_mixtures(rng), rng.standard_normal(7)
    parts = norm(mixtures.means, mixtures.scales)
    assert_allclose(mixtures.log_prob(z), np.log((mixtures.weights * parts.pdf(z[:, None])).sum(1)), atol=1e-12)
    assert_allclose(mixtures.cdf(z[:, None])[:, 0], (mixtures.weights * parts.cdf(z[:, None])).sum(1), atol=1e-14)
    nodes, shares = mixtures.nodes()
    assert_allclose((shares * nodes).sum(1), (mixtures.weights * mixtures.means).sum(1), atol=1e-12)
    second = (mixtures.weights * (mixtures.means**2 + mixtures.scales**2)).sum(1)
    assert_allclose((shares * nodes**2).sum(1), second, atol=1e-12)


def test_student_t_distributions_are_those_of_scipy():
    rng = np.random.default_rng(0)
    locations, scales, z = rng.standard_normal(5), rng.uniform(0.5, 2.0, 5), 30 * rng.standard_normal(5)
    ours, theirs = StudentTs(locations, scales, 3.5), t(3.5, locations, scales)
    assert_allclose(ours.log_prob(z), theirs.logpdf(z), atol=1e-12)
    assert_allclose(ours.cdf(z[:, None])[:, 0], theirs.cdf(z), atol=1e-12)
    nodes, shares = ours.nodes()
    assert_allclose((shares * nodes).sum(1), locations, atol=1e-12)
    assert np.isfinite(ours.log_prob(np.full(5, 1e200))).all()


def test_the_conditional_of_a_mixture_is_the_ratio_of_its_densities():
    rng = np.random.default_rng(1)
    covariances = np.stack([random_covariance(rng, 4) for _ in range(3)])
    joint = GaussianMixtureDensity(rng.dirichlet(np.ones(3)), rng.standard_normal((3, 4)), covariances)
    design, z = rng.standard_normal((20, 5)), rng.standard_normal(20)
    columns = np.array([0, 2, 4])
    both = np.column_stack([z, design[:, columns]])
    ratio = joint.log_prob(both) - joint.marginal(np.eye(4)[:, 1:]).log_prob(both[:, 1:])
    assert_allclose(JointMixture(joint, columns).given(design).log_prob(z), ratio, atol=1e-8)


def test_the_conditional_of_a_student_t_is_the_ratio_of_its_densities():
    rng = np.random.default_rng(2)
    scale, location = random_covariance(rng, 3), rng.standard_normal(3)
    both = 5 * rng.standard_normal((20, 3))
    ratio = multivariate_t(location, scale, 4.0).logpdf(both)
    ratio -= multivariate_t(location[1:], scale[1:, 1:], 4.0).logpdf(both[:, 1:])
    given = JointStudentT(StudentTDensity(location, scale, 4.0), np.arange(2)).given(both[:, 1:])
    assert_allclose(given.log_prob(both[:, 0]), ratio, atol=1e-8)


def test_quantiles_of_a_blend_invert_its_distribution_function():
    rng = np.random.default_rng(3)
    narrow = NormalMixtures(np.full((7, 2), 0.5), np.tile([-5.0, 9.0], (7, 1)), np.full((7, 2), 1e-3))
    parts = [random_mixtures(rng), StudentTs(rng.standard_normal(7), rng.uniform(0.5, 2.0, 7), 4.0), narrow]
    blend = BlendedDistributions(7, np.array([0.5, 0.2, 0.3]), parts)
    levels = np.tile(PROBABILITIES, (7, 1))
    z = blend.quantiles(levels)
    assert_allclose(blend.cdf(z), levels, atol=1e-7)
    assert (np.diff(z, axis=1) > 0).all()
    assert_array_equal(blend.take(np.arange(2, 4)).quantiles(levels[:2]), z[2:4])


def test_draws_of_a_blend_have_its_distribution():
    rng, n = np.random.default_rng(4), 20_000
    one = BlendedDistributions(
        1, np.array([0.6, 0.4]), [random_mixtures(rng, 1), StudentTs(np.ones(1), np.full(1, 0.3), 5.0)]
    )
    noise = TargetNoise(rng.standard_normal(n), rng.random(n), rng.random(n))
    drawn = np.sort(one.take(np.zeros(n, dtype=int)).sample(noise))
    gap = one.cdf(drawn[None])[0] - (np.arange(n) + 0.5) / n
    assert np.abs(gap).max() < 1.95 / np.sqrt(n)  # Kolmogorov's, at one in a thousand


def draws_of(distributions, n, rng):
    """Rising draws of a single distribution."""
    first, *others = (TargetNoise(rng.standard_normal(n), rng.random(n), rng.random(n)) for _ in range(3))
    noise = first._replace(others=tuple(others))
    return np.sort(distributions.take(np.zeros(n, dtype=int)).sample(noise))


@pytest.mark.parametrize("shares", [(1e-6, 0.0), (0.4, 0.0), (0.999, 0.0), (0.6, 0.39), (0.6, -0.39), (0.5, 0.1)])
def test_sharper_draws_have_one_density_distribution_function_quantiles_mean_and_samples(shares):
    rng, n = np.random.default_rng(4), 20_000
    pool = BlendedDistributions(
        1, np.array([0.6, 0.4]), [random_mixtures(rng, 1), StudentTs(np.ones(1), np.ones(1), 5.0)]
    )
    ours = SharpenedDistributions(pool, Sharpening(*shares))
    z = np.linspace(-60, 60, 240_001)
    density = np.exp(ours.take(np.zeros(len(z), dtype=int)).log_prob(z))
    below = np.cumsum(density) * (z[1] - z[0])
    assert_allclose(ours.cdf(z[None])[0], below, atol=3e-4)
    assert_allclose((density * z).sum() * (z[1] - z[0]), (ours.nodes()[0] * ours.nodes()[1]).sum(), atol=0.01)
    levels = np.append(PROBABILITIES, 1e-7)[None]
    assert_allclose(ours.cdf(ours.quantiles(levels)), levels, atol=1e-7, rtol=1e-4)
    gap = ours.cdf(draws_of(ours, n, rng)[None])[0] - (np.arange(n) + 0.5) / n
    assert np.abs(gap).max() < 1.95 / np.sqrt(n)  # Kolmogorov's, at one in a thousand


def test_a_pool_of_two_that_know_one_part_each_is_too_broad_and_sharper_draws_mend_it():
    rng, n = np.random.default_rng(5), 4000
    a, b, weight = *rng.standard_normal((2, n)), np.ones(n)
    y = a + b + 0.5 * rng.standard_normal(n)
    ones = np.ones((n, 1))
    parts = [NormalMixtures(ones, mean[:, None], np.sqrt(1.25) * ones) for mean in (a, b)]  # both are calibrated
    pool = BlendedDistributions(n, np.array([0.5, 0.5]), parts)
    fit, new = np.arange(n // 2), np.arange(n // 2, n)
    sharpening = Sharpening.fit(pool.cdf(y[:, None])[fit, 0], weight[fit], 0.0)
    mended = SharpenedDistributions(pool, sharpening).take(new)
    assert mended.log_prob(y[new]).mean() > pool.take(new).log_prob(y[new]).mean() + 0.01
    covered = [((u > 0.05) & (u < 0.95)).mean() for u in (d.cdf(y[new, None])[:, 0] for d in (pool.take(new), mended))]
    assert covered[0] > 0.93
    assert abs(covered[1] - 0.9) < 0.02
    assert Sharpening.fit(rng.random(n), weight, 0.0).share < 0.1  # of a blend that is right
    assert Sharpening.fit(np.median(rng.random((3, n)), axis=0), weight, 0.0).medians > 0.9


@pytest.mark.parametrize("sign", [-1, 1])
def test_sharper_draws_keep_the_mean_of_skewed_distributions_whose_scales_differ(sign):
    rng, n = np.random.default_rng(6), 400
    scale, weight = np.exp(rng.standard_normal(n)), rng.random(n)
    levels = (np.arange(2000) + 0.5) / 2000
    y = np.sort(sign * scale[:, None] * -np.log(levels), axis=1)  # exponential, of L-skewness 1/3
    mass = np.full(y.shape, 1 / 2000)
    skewness = l_skewness(y, mass, weight)
    assert_allclose(skewness, sign / 3, atol=2e-3)
    sharpening = Sharpening.fit(np.median(rng.random((3, n)), axis=0), weight, skewness)
    assert sharpening.share > 0.5
    assert_allclose(sharpening.extremes, sharpening.medians * skewness)
    ends = sharpening.cdf(np.linspace(0, 1, 2001))
    assert_allclose(y @ np.diff(ends), y.mean(1), rtol=2e-3)
    of_medians = Sharpening(sharpening.medians, 0.0).cdf(np.linspace(0, 1, 2001))
    assert ((y @ np.diff(of_medians)) / y.mean(1) < 0.95).all()  # without the greater or lesser of two


def test_the_inverse_of_sharpening_keeps_the_digits_of_small_probabilities():
    levels = np.concatenate([10.0 ** np.arange(-300, 0, 20), np.linspace(0.001, 0.999, 400)])
    for medians, extremes in [(0.9, 0.0), (0.7, 0.29), (0.7, -0.29), (0.5, 0.4999), (1e-9, -1e-10)]:
        sharpening = Sharpening(medians, extremes)
        assert_allclose(sharpening.cdf(sharpening.inverse(levels)), levels, rtol=1e-10)


def test_rising_curves_are_pchip_within_their_points():
    rng = np.random.default_rng(5)
    x, heights = np.cumsum(rng.uniform(0.01, 1, (4, 9)), axis=1), np.cumsum(rng.uniform(0.01, 1, (4, 9)), axis=1)
    places = x[:, 1:2] + (x[:, -2:-1] - x[:, 1:2]) * np.linspace(0, 1, 50)
    expected = [PchipInterpolator(a, b)(c) for a, b, c in zip(x, heights, places)]
    assert_allclose(RisingCurves(x, heights)(places), expected, atol=1e-12)
    far = RisingCurves(x, heights)(np.column_stack([x[:, 0] - 2.0, x[:, -1] + 2.0]))
    slopes = np.diff(heights)[:, [0, -1]] / np.diff(x)[:, [0, -1]]
    assert_allclose(far, heights[:, [0, -1]] + slopes * [-2.0, 2.0], atol=1e-12)


def test_curves_are_refined_where_they_are_wrong_and_alone_as_among_others():
    def function(samples, places):
        return np.where(samples == 0, 2 * places, 2 * np.tanh(30 * places))

    x = np.tile(np.linspace(-1, 1, 7), (2, 1))
    heights = np.stack([2 * x[0], 2 * np.tanh(30 * x[1])])
    places = np.tile(np.linspace(-1, 1, 101), (2, 1))
    both = refined_curves(x, heights, function, (6, 6, 6), 0.02)
    assert_allclose(both(places)[0], 2 * places[0], atol=1e-9)
    assert np.abs(both(places)[1] - function(1, places[1])).max() < 0.2
    assert np.abs(RisingCurves(x, heights)(places)[1] - function(1, places[1])).max() > 0.8
    alone = refined_curves(x[1:], heights[1:], lambda _, places: function(1, places), (6, 6, 6), 0.02)
    assert_array_equal(alone(places[1:])[0], both(places)[1])


def test_flows_of_zero_networks_are_regressions_on_what_trees_say():
    rng, d = np.random.default_rng(6), 5
    covariance = random_covariance(rng, d)
    network = split_network(d, 1, (8, 8), "silu", 2)
    network.initialize(rng, 1.0, 1.2)
    flow = SplitFlow(ProbabilityFlow(SplitField(network, covariance), np.arctan(0.01), np.arctan(20.0)))
    shift, scale = rng.standard_normal(d), rng.uniform(0.5, 2.0, d)
    target = TargetFlow(flow, shift, scale, np.full(d, -50.0), np.full(d, 50.0), of_residuals=True)
    design, outputs = rng.standard_normal((6, 2)), Outputs(rng.standard_normal(6), rng.uniform(0.1, 3.0, 6))
    features = (np.column_stack([outputs.mean, np.log(outputs.scale), design]) - shift[1:]) / scale[1:]
    slope = np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    deviation = np.sqrt(covariance[0, 0] - covariance[0, 1:] @ slope)
    mean = outputs.mean + outputs.scale * (shift[0] + scale[0] * (features @ slope))
    expected = norm(mean, outputs.scale * scale[0] * deviation)
    given, z = target.given(design, outputs), mean + rng.standard_normal(6)
    assert_allclose(given.log_prob(z), expected.logpdf(z), atol=1e-8)
    assert_allclose(given.cdf(z[:, None])[:, 0], expected.cdf(z), atol=1e-8)
    assert_allclose(given.fast_cdf()(z[:, None], np.arange(6))[:, 0], expected.cdf(z), atol=1e-8)
    nodes, shares = given.nodes()
    assert (np.abs((nodes * shares).sum(1) - mean) < 2e-3 * expected.std()).all()
    codes = rng.standard_normal(6)
    drawn = given.sample(TargetNoise(codes, rng.random(6), rng.random(6)))
    assert_allclose(drawn, mean + expected.std() * codes, atol=1e-8)


@pytest.fixture
def likelihood():
    """Of two networks with weights that differ everywhere, in double precision."""
    rng = np.random.default_rng(9)
    samples = torch.as_tensor(rng.standard_normal((40, 4)))
    folds = np.arange(20), np.arange(20, 40)
    sets = TrainingSets(samples, rng.uniform(0.5, 1.0, 40), folds[::-1], folds)
    objective = MixtureLikelihood(sets, 12, (-2.0, 1.0), TrainingPlan(n_steps=1, batch_size=16), rng)
    objective.flat += 0.3 * torch.as_tensor(rng.standard_normal(tuple(objective.flat.shape)))
    return objective


def test_mixture_networks_say_what_was_trained(likelihood):
    layers = likelihood.network_of(likelihood.flat)
    networks = MixtureNetworks(tuple(layers[::2]), tuple(layers[1::2]), (-2.0, 1.0))
    samples = likelihood.sets.samples
    losses = likelihood.losses(likelihood.flat, samples.expand(2, -1, -1)).numpy()
    z, design = samples[:, 0].numpy(), samples[:, 1:].numpy()
    given = networks.given(design)
    assert_allclose(given.weights.sum(1), 1.0, atol=1e-12)
    assert_allclose(given.log_prob(z), np.logaddexp(*-losses) - np.log(2), atol=1e-10)
    assert_array_equal(given.take(np.arange(3, 5)).log_prob(z[3:5]), given.log_prob(z)[3:5])
    for m in range(2):
        assert_allclose(networks.alone(m).given(design).log_prob(z), -losses[m], atol=1e-10)


def test_the_gradient_of_mixture_networks_is_that_of_their_batches(likelihood):
    likelihood.average.copy_(likelihood.flat)
    weight = likelihood.sets.sample_weight
    losses = likelihood.losses(likelihood.flat, likelihood.sets.samples.expand(2, -1, -1)).numpy()
    expected = [np.average(losses[m, fold], weights=weight[fold]) for m, fold in enumerate(likelihood.sets.validation)]
    assert_allclose(likelihood.validation_losses(), expected, atol=1e-12)
    picks = likelihood._draw()
    likelihood._draw = lambda: picks
    batch = likelihood.sets.samples[torch.as_tensor(picks)]
    gradient, loss = likelihood.gradient(0, 1)
    assert loss == pytest.approx(float(likelihood.losses(likelihood.flat, batch).mean()))
    direction = torch.as_tensor(np.random.default_rng(0).standard_normal(tuple(gradient.shape)))
    ends = [likelihood.losses(likelihood.flat + step * direction, batch).mean(1).sum() for step in (1e-5, -1e-5)]
    assert float((gradient * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("loss", ["squared_error", "gamma", "log_loss"])
def test_trees_as_arrays_say_what_scikit_learn_says(loss):
    rng, n = np.random.default_rng(7), 400
    X = rng.standard_normal((n, 4))
    X[:, 1] = rng.integers(0, 6, n)
    X[rng.random(n) < 0.1, 1] = np.nan
    X[rng.random(n) < 0.1, 2] = np.nan
    y = np.exp(X[:, 0] + 0.3 * np.nan_to_num(X[:, 1] % 2) + 0.5 * np.isnan(X[:, 2]))
    categories = Categories.of(X, [1])
    make = HistGradientBoostingClassifier if loss == "log_loss" else HistGradientBoostingRegressor
    model = make(loss=loss, max_iter=30, categorical_features=[0])
    bins = Bins.of(X, np.ones(n), np.array([0, 2, 3]))
    model.fit(categories.encoded(bins.binned(X)), (y > 1).astype(float) if loss == "log_loss" else y)
    new = rng.standard_normal((300, 4))
    new[:, 1] = rng.integers(0, 9, 300)  # some of which no tree knows
    new[::3, 1] = np.nan
    new[::4, 2] = np.nan
    trees = Trees.of(model, categories, bins, 30)
    assert trees.bits.size  # some nodes are of categories
    seen = categories.encoded(bins.binned(new))
    if loss == "log_loss":
        expected = model.decision_function(seen)
    else:
        expected = np.log(model.predict(seen)) if loss == "gamma" else model.predict(seen)
    assert_allclose(trees.raw_predictions(new), expected, atol=1e-12)
    few = Trees.of(model, categories, bins, 0).raw_predictions(new)
    assert np.ptp(few) == 0
    assert_array_equal(trees.raw_predictions(new[5:6]), trees.raw_predictions(new)[5:6])


def test_copies_become_weights_in_an_order_of_their_own():
    X = np.array([[1.0, np.nan], [0.0, 2.0], [1.0, np.nan], [-0.0, 2.0]])
    y, w = np.array([[3.0], [1.0], [3.0], [1.0]]), np.array([1.0, 1.0, 2.0, 0.5])
    for order in ([0, 1, 2, 3], [3, 2, 0, 1]):
        distinct = distinct_samples(X[order], y[order], w[order])
        for found, expected in zip(distinct, ([[0.0, 2.0], [1.0, np.nan]], [[1.0], [3.0]], [0.5, 1.0])):
            assert_array_equal(found, expected)


def test_atoms_of_few_samples_have_a_small_probability():
    rng, n = np.random.default_rng(8), 60
    y = np.append(np.zeros(1), rng.uniform(1, 2, n - 1))
    folds = tuple(np.array_split(np.arange(n), 3))
    inputs = FoldedInputs(rng.standard_normal((n, 2)), np.ones(n), folds, ())
    fitted = fit_atoms(inputs, y, np.zeros(1), np.repeat(np.arange(3), 20))
    shares = fitted(rng.standard_normal((5, 2)))
    assert_allclose(shares.sum(1), 1.0, atol=1e-12)
    assert (shares[:, 0] > 1e-3).all()
    assert (shares[:, 0] < 0.1).all()
    assert_array_equal(fitted.of(np.array([0.0, 0.5])), [0, 1])


def test_bins_leave_the_sides_of_thresholds():
    rng = np.random.default_rng(11)
    X = np.column_stack([rng.standard_normal(1000), rng.integers(0, 5, 1000).astype(float)])
    X[::7, 1] = np.nan
    bins = Bins.of(X, np.ones(1000), np.array([0, 1]))
    assert [len(edges) for edges in bins.edges] == [254, 4]
    assert np.ptp(np.bincount(bins.binned(X)[:, 0].astype(int))) <= 1
    for column, of_bins in ((0, 17.0), (0, 100.5), (1, 2.5)):
        (threshold,) = bins.thresholds(np.array([column]), np.array([of_bins]))
        assert_array_equal(X[:, column] <= threshold, bins.binned(X)[:, column] <= of_bins)
    assert_array_equal(bins.thresholds(np.array([-1, 0]), np.array([3.0, np.inf])), [3.0, np.inf])
    halved = np.concatenate([X, X[:500]])
    twice = np.where(np.arange(1000) < 500, 2.0, 1.0)
    for of_copies, of_weights in zip(
        Bins.of(halved, np.ones(1500), bins.columns).edges, Bins.of(X, twice, bins.columns).edges
    ):
        assert_array_equal(of_copies, of_weights)


def test_a_coarse_grid_has_an_even_density_in_its_cells():
    rng = np.random.default_rng(12)
    X = rng.standard_normal((300, 2))
    y = np.clip(np.round(X[:, 0] + 0.2 * rng.standard_normal(300)), -3, 3) * 0.5
    reg = DiffusionRegressor(max_iter=5, random_state=0).fit(X, y)
    edges = reg.models_[0].edges
    assert_allclose(np.diff(edges), 0.5)
    new = X[:4]
    places = np.linspace(edges[0], edges[-1], 8 * (len(edges) - 1) + 1)[:-1]
    density = np.exp([reg.log_prob(new, np.full(4, place + 1e-9)) for place in places]).T
    assert_allclose(density, np.repeat(density[:, ::8], 8, axis=1), rtol=1e-9, atol=1e-8)
    beyond = 1 - (reg.cdf(new, np.full(4, edges[-1])) - reg.cdf(new, np.full(4, edges[0])))
    assert_allclose(density.sum(1) / 16 + beyond, 1, atol=1e-9)
    levels = np.array([0.03, 0.2, 0.5, 0.77, 0.99])
    for j, level in enumerate(levels):
        assert_allclose(reg.cdf(new, reg.predict_quantiles(new, levels)[:, j]), level, atol=0.006)
    draws = reg.sample_y(new, 1000)
    assert_allclose(draws.mean(1), reg.predict(new), atol=0.06)
    assert_allclose((draws < 0.25).mean(1), reg.cdf(new, np.full(4, 0.25)), atol=0.06)
    fine = DiffusionRegressor(max_iter=1, random_state=0).fit(X, X[:, 0])
    assert not len(fine.models_[0].edges)


def test_a_forest_says_what_its_trees_say():
    rng, n = np.random.default_rng(13), 240
    X = np.column_stack([rng.standard_normal(n), rng.integers(0, 4, n).astype(float), rng.standard_normal(n)])
    X[::9, 0], X[::11, 1] = np.nan, np.nan
    y = np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 1]) + 0.1 * rng.standard_normal(n)
    binned, categories = Bins.of(X, np.ones(n), np.array([0, 2])), Categories.of(X, [1])
    encoded = categories.encoded(binned.binned(X))
    model = ExtraTreesRegressor(10, min_samples_leaf=2, random_state=0).fit(encoded, y)
    trees = Trees.of_forest([tree.tree_ for tree in model.estimators_], categories, binned)
    expected = np.stack([tree.predict(encoded) for tree in model.estimators_], axis=1)
    assert_allclose(trees.leaf_values(X), expected, atol=1e-12)
    assert_allclose(Forest(trees, 0.3).given(X).means, expected, atol=1e-12)
    weight = np.where(np.arange(n) < 80, 2.0, 1.0)
    weighted = DiffusionRegressor(["forest"], categorical_features=[1], random_state=0).fit(X, y, weight)
    copied = DiffusionRegressor(["forest"], categorical_features=[1], random_state=0)
    copied.fit(np.concatenate([X, X[:80]]), np.concatenate([y, y[:80]]))
    assert_array_equal(weighted.log_prob(X, y), copied.log_prob(X, y))
    assert weighted.score(X, y) > 0.8
