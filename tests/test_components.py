"""The closed-form components of the blend: how much work goes into each, and what each must gain."""

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import logsumexp

from skdiffusion._utils.protocols import Density, NoiseStream, SampleNoise
from skdiffusion.densities import (
    BandwidthSearch,
    Blend,
    Component,
    ComponentOptions,
    GaussianMixtureDensity,
    KernelSamples,
    MixtureChoice,
    MixtureSetting,
    Spacing,
    TransformedDensity,
    blend_weights,
    fit_regression,
    improved,
    stacking_weights,
    worthwhile_runs,
)
from skdiffusion.densities.components import COMPONENTS, ComponentFamily, ComponentFit, Spaces, fit_components
from skdiffusion.densities.components._family import join_folds
from skdiffusion.densities.components._kernel import fit_kernel
from skdiffusion.densities.components._mixture import MixtureRuns, choose_mixture, growing
from skdiffusion.densities.components._regression import RegressionOrders, fit_regressions
from skdiffusion.preprocessing import (
    MappedData,
    Preprocessor,
    Resolution,
    TrainingData,
    first_maps_candidates,
    ranges_beyond,
)
from tests.conftest import gradient_of

OPTIONS = ComponentOptions()


def component_fit(X, folds, rng=None, n_validated=None, **options):
    """The state of a fit of components to samples of equal weight, without a feature transform."""
    n_validated = len(folds) if n_validated is None else n_validated
    data = TrainingData(X, np.ones(len(X)), tuple(folds), n_validated, None, rng, Resolution.of(X))
    return ComponentFit(data, Spaces(Preprocessor(X, np.ones(len(X)))), ComponentOptions(**options), rng)


# -- mixtures ------------------------------------------------------------------------------------


def circle(rng):
    angle = rng.uniform(0, 2 * np.pi, 600)
    return np.column_stack([np.cos(angle), np.sin(angle)]) + 0.1 * rng.standard_normal((600, 2))


def mixture_runs(fit, choice=None):
    """Mixtures without a feature transform, of a given choice or of the one that the fit makes."""
    mapped = fit.data.mapped(fit.spaces.plain)
    return MixtureRuns(fit, mapped, choose_mixture(fit, mapped) if choice is None else choice)


def chosen(n_components):
    """A choice that no search has made: there are no densities to go on from."""
    return MixtureChoice(MixtureSetting(n_components, 4.0), 0.0, [])


def test_an_improved_mixture_is_the_mean_of_more_runs_of_em(rng):
    X = circle(rng)
    fit = component_fit(X, np.array_split(rng.permutation(600), 4), rng)
    runs = mixture_runs(fit)
    one = runs.component("mixture")
    several = one.improve(lambda later, earlier: 1.0)
    k, n_runs = len(one.density.density.weights), OPTIONS.em_restarts
    assert k > 1
    assert several.improve is None
    assert [len(of_fold) for of_fold in runs.runs] == [n_runs] * 4
    log_probs = [
        [run.log_prob(runs.mapped.z_left_out[fold]) for run in of_fold] for fold, of_fold in zip(runs.folds, runs.runs)
    ]
    expected = np.concatenate([logsumexp(each, axis=0) - np.log(len(each)) for each in log_probs])
    log_det = runs.mapped.log_det_left_out[fit.data.validated]
    assert_allclose(several.held_out_log_prob, expected + log_det, rtol=1e-10)
    # Of all samples it has the better half of the runs, which fit all samples at least as well as without a fold.
    z, density = runs.mapped.z, several.density.density
    place = OPTIONS.component_grid.index(k)
    assert len(density.weights) == 2 * sum(OPTIONS.component_grid[place : place + n_runs])
    starts = [run for of_run in zip(*runs.runs) for run in sorted(of_run, key=lambda run: run.log_prob(z).mean())[-2:]]
    assert density.log_prob(z).mean() > GaussianMixtureDensity.mean(starts).log_prob(z).mean() - 1e-3  # tol of EM


@pytest.mark.parametrize(("n", "expected"), [(600, [48, 64, 96]), (500, [48, 64, 64]), (200, [48, 48, 48])])
def test_runs_grow_while_there_are_samples_for_their_gaussians(n, expected, rng):
    fit = component_fit(rng.standard_normal((n, 2)), np.array_split(np.arange(n), 4), rng)
    assert [setting.n_components for setting in growing(MixtureSetting(48, 4.0), 3, fit)] == expected
    assert {setting.strength for setting in growing(MixtureSetting(48, 4.0), 3, fit)} == {4.0}


def test_runs_end_where_the_others_promise_too_little(rng):
    X = circle(rng)
    fit = component_fit(X, np.array_split(rng.permutation(600), 4), rng, em_restarts=5)
    runs = mixture_runs(fit)
    component = runs.component("mixture").improve(lambda later, earlier: 0.0)
    assert [len(of_fold) for of_fold in runs.runs] == [2] * 4
    assert_array_equal(component.held_out_log_prob, runs.held_out(2))


@pytest.mark.parametrize(("whole_gain", "expected"), [(0.2, 8), (0.01, 4), (0.001, 2)])
def test_the_gain_by_further_runs_is_foreseen(whole_gain, expected):
    """Of the mean of k runs, whose gain is in proportion to 1 - 1/k, those left of 8 promise 1/k - 1/8 of the whole."""
    asked = []

    def held_out(k):
        asked.append(k)
        return np.array([whole_gain * (1 - 1 / k)])

    assert worthwhile_runs(held_out, 8, lambda later, earlier: later[0] - earlier[0], 0.002) == expected
    assert asked == list(range(1, min(expected, 7) + 1))
    left = whole_gain * (1 / np.arange(1, 8) - 1 / 8)
    assert expected == 8 or left[expected - 1] < 0.002 <= (left[expected - 2] if expected > 2 else np.inf)


def test_a_run_that_gains_nothing_by_chance_does_not_end_those_that_gained():
    by_runs = np.array([0.0, 0.1, 0.1, 0.12, 0.14])
    runs = worthwhile_runs(lambda k: by_runs[k - 1 : k], 5, lambda later, earlier: later[0] - earlier[0], 0.002)
    assert runs == 5


def test_the_gain_of_what_is_improved_is_that_of_the_blend_and_a_standard_error_more():
    rng, w = np.random.default_rng(0), np.random.default_rng(1).uniform(0.5, 2, 300)
    table, seen = rng.normal(0, 1, (300, 3)), []
    later = table[:, 0] + rng.normal(0.2, 0.5, 300)

    def improve(gain):
        seen.append(gain(later, table[:, 0]))
        return components[0]

    components = [Component(str(k), "density", table[:, k], "mixture") for k in range(3)]
    components[0] = replace(components[0], improve=improve)
    improved(components, w)
    weights = blend_weights(components, w)
    others = logsumexp(table[:, 1:] + np.log(weights[1:] / weights[1:].sum()), axis=1)
    shares = np.linspace(0, 1, 20_001)[1:-1, None]

    def best(log_prob):
        blends = np.logaddexp(np.log(shares) + log_prob, np.log1p(-shares) + others)
        return blends[(blends @ w).argmax()]

    by_sample, share = best(later) - best(table[:, 0]), w / w.sum()
    error = np.sqrt(np.sum(share**2 * (by_sample - share @ by_sample) ** 2))
    assert_allclose(seen, [share @ by_sample + error], atol=2e-5)


def test_no_work_is_begun_after_the_deadline_and_what_has_begun_gains_nothing():
    w, log_prob, seen = np.ones(300), np.random.default_rng(0).normal(0, 1, 300), []

    def improve(gain):
        seen.append(gain(log_prob + 1.0, log_prob))
        return component

    component = Component("mixture", "density", log_prob, "mixture", improve=improve)
    assert improved([component], w, deadline=time.perf_counter() - 1.0) == [component]
    assert not seen
    deadline = time.perf_counter() + 0.2

    def slow(gain):
        time.sleep(0.3)
        return improve(gain)

    improved([replace(component, improve=slow)], w, deadline=deadline)
    assert seen == [-np.inf]
    assert worthwhile_runs(lambda k: log_prob, 5, lambda later, earlier: -np.inf, 0.0) == 2


def test_one_gaussian_is_fitted_once(rng):
    X = rng.standard_normal((300, 2))
    component = mixture_runs(component_fit(X, np.array_split(np.arange(300), 4), rng), chosen(1)).component("mixture")
    assert len(component.density.density.weights) == 1
    assert component.improve is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 1), (2.0, OPTIONS.em_restarts)])
def test_a_costly_mixture_is_fitted_once(share, expected, rng):
    X, k = rng.standard_normal((600, 2)), 6
    fit = component_fit(X, np.array_split(np.arange(600), 4), rng, max_restart_cost=share * k * 600 * 2**2)
    runs = mixture_runs(fit, chosen(k))
    assert runs.max_runs == expected
    assert (runs.component("mixture").improve is None) == (expected == 1)


@pytest.mark.parametrize("lead", [0.0, 5.0, 12.0])
def test_mixtures_of_some_weight_together_are_improved(lead):
    rng, w = np.random.default_rng(0), np.ones(400)
    one, other = rng.normal(0, 0.1, (2, 400))

    def better(name, log_prob):
        return Component(name, "better", log_prob, "mixture")

    mixtures = [
        Component(
            "mixture", "density", one - lead, "mixture", improve=lambda gain: better("mixture", one - lead + 0.1)
        ),
        Component(
            "mapped_mixture",
            "density",
            other - lead - 2,
            "mixture",
            improve=lambda gain: better("mapped_mixture", other),
        ),
    ]
    components = [*mixtures, Component("kernel", "density", np.zeros(400), "kernel")]
    share = sum(blend_weights(components, w)[:2])
    assert (share > OPTIONS.min_improved_weight) == (lead == 0.0)
    found = [c.density for c in improved(components, w)]
    assert found == (["better", "better", "density"] if lead == 0.0 else ["density"] * 3)
    always = ComponentOptions(min_improved_weight=-1.0)
    assert [c.density for c in improved(components, w, always)] == ["better", "better", "density"]


def test_a_light_kind_is_not_improved_by_the_weight_of_another():
    w, log_prob = np.ones(400), np.random.default_rng(0).normal(0, 0.1, 400)
    mixture = Component(
        "mapped_mixture", "density", log_prob, "mixture",
        improve=lambda gain: Component("mapped_mixture", "better", log_prob, "mixture"),
    )  # fmt: skip
    light = Component(
        "power_regression", "density", log_prob - 9, "regression", improve=lambda gain: pytest.fail("of no weight")
    )
    assert [c.density for c in improved([mixture, light], w)] == ["better", "density"]


# -- regressions ---------------------------------------------------------------------------------


class RecordedOrders(RegressionOrders):
    """Remembers the number of samples and the order of every regression that it fits."""

    def __init__(self, *args):
        self.fitted = []
        super().__init__(*args)

    def fit_order(self, samples, k):
        self.fitted.append((len(samples), tuple(self.orders[k])))
        return super().fit_order(samples, k)


def parabola(rng, n, d):
    x = rng.standard_normal((n, 1))
    return np.column_stack([x, x**2 + 0.1 * rng.standard_normal((n, 1)), rng.standard_normal((n, d - 2))])


def regression_orders(X, folds, rng, kind=RegressionOrders, **options):
    fit = component_fit(X, folds, rng, **options)
    return kind(fit, fit.spaces.plain, rng)


def test_an_improved_regression_has_more_orders(rng):
    X = parabola(rng, 400, 4)
    orders = regression_orders(X, np.array_split(rng.permutation(400), 4), rng)
    tried, n_orders = orders.held_out(0, 150), OPTIONS.max_regression_orders
    assert len(tried) == 200  # two folds at a time
    others = np.full(400, orders.held_out(0).mean() - 0.5)
    one = orders.component("regression", others)
    assert len(one.density.density.regressions) == 1
    assert_allclose(one.held_out_log_prob[:200], tried)
    several = one.improve(lambda later, earlier: 1.0)
    assert several.improve is None
    assert len(orders.orders) == n_orders
    table = np.stack([orders.held_out(k) for k in range(n_orders)], axis=1)
    weights = stacking_weights(np.column_stack([others, table]), np.ones(400))[1:]
    kept = weights > OPTIONS.negligible_weight
    assert kept.any()
    assert [list(regression.order) for regression in several.density.density.regressions] == [
        list(order) for order, k in zip(orders.orders, kept) if k
    ]
    expected = logsumexp(table[:, kept], b=weights[kept] / weights[kept].sum(), axis=1)
    assert_allclose(several.held_out_log_prob, expected, rtol=1e-10)


@pytest.mark.parametrize(("n_features", "expected"), [(2, 2), (3, 4)])
def test_orders_differ_and_each_is_fitted_once(n_features, expected, rng):
    X = parabola(rng, 200, n_features)
    orders = regression_orders(X, np.array_split(rng.permutation(200), 4), rng, RecordedOrders)
    others = orders.held_out(0) - 1.0
    better = orders.component("regression", others).improve(lambda later, earlier: 1.0)
    assert better.improve is None
    assert len({tuple(order) for order in orders.orders}) == len(orders.orders) == expected
    of_all_samples = [order for n, order in orders.fitted if n == 200]
    assert len(set(of_all_samples)) == len(of_all_samples)
    assert {tuple(regression.order) for regression in better.density.density.regressions} <= set(of_all_samples)


def test_what_adds_nothing_keeps_one_order(rng):
    X = rng.standard_normal((200, 3))
    orders = regression_orders(X, np.array_split(np.arange(200), 4), rng)
    component = orders.component("regression", np.full(200, 100.0)).improve(lambda later, earlier: 1.0)
    assert len(component.density.density.regressions) == 1
    assert_allclose(component.held_out_log_prob, orders.held_out(0))


@pytest.mark.parametrize("known", [True, False])
def test_regressions_that_add_nothing_are_left_out(known):
    rng = np.random.default_rng(0)
    X = 4.0 * rng.integers(0, 2, size=(400, 2)) - 2.0 + 0.3 * rng.standard_normal((400, 2))
    X = X @ np.array([[0.8, 0.6], [-0.6, 0.8]])  # four clusters that no order of the features takes apart
    centers = 2.0 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    log_p = np.log(np.mean([stats.multivariate_normal(c, 0.09).pdf(X) for c in centers], axis=0))
    wide = stats.multivariate_normal(np.zeros(2), 4.09).logpdf(X)
    fit = component_fit(X, np.split(np.arange(400), 8), rng, n_validated=4)
    others = (log_p if known else wide)[: 4 * 50]
    found = fit_regressions(fit, {"regression": fit.spaces.plain}, others, rng)
    assert bool(found) != known


def test_regression_behind_a_map_ends_by_the_samples_in_their_own_units():
    # Behind a map that makes a heavy tail normal, a step beyond the last sample is a leap.
    rng = np.random.default_rng(0)
    t = rng.standard_t(1.5, 400)
    X = np.column_stack([t, t + 0.1 * rng.standard_normal(400), rng.standard_normal(400)])
    fit = component_fit(X, np.array_split(np.arange(400), 8), rng)
    preprocessor = Preprocessor(X, np.ones(400), 0.3)
    orders = RegressionOrders(fit, preprocessor, rng)
    regression = orders.fit_order(np.arange(400), 0)
    free = regression.limits[:, np.isfinite(regression.limits).all(0)]
    assert free.size
    low, high = ranges_beyond(X)
    ends = np.where(np.isfinite(regression.limits), regression.limits, 0.0)
    X_ends = preprocessor.unwhitened().inverse_transform(ends)
    assert (X_ends[0] >= low - 1e-6 * (high - low)).all()
    assert (X_ends[1] <= high + 1e-6 * (high - low)).all()
    assert (preprocessor.unwhitened().inverse_transform(ranges_beyond(orders.mapped.z))[1] > high).any()


def test_student_takes_no_logarithms_behind_which_its_samples_have_no_mean():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.exp(2.5 * rng.standard_normal(400)), rng.standard_t(2, 400)])
    gaps, logs = first_maps_candidates(X, np.ones(400))
    fit = component_fit(X, np.array_split(np.arange(400), 8), rng)
    fit.spaces = Spaces(Preprocessor(X, np.ones(400), first=logs))
    (student,) = COMPONENTS["student"]().fit(fit)
    assert student.density.preprocessor.first == gaps != logs
    generated = student.density.sample(NoiseStream(0, 2, student.density.degrees).take(20_000))
    spread = np.abs(generated - np.median(X, axis=0)).mean(0) / np.abs(X - np.median(X, axis=0)).mean(0)
    assert (spread < 3).all()


def test_few_samples_and_costly_regressions_go_without():
    X = parabola(np.random.default_rng(0), 80, 4)
    X[:, 2] *= np.exp(X[:, 0])

    def kinds(X, **options):
        fit = component_fit(X, np.array_split(np.arange(len(X)), 8), n_validated=2, **options)
        names, rng = ("student", "regression"), np.random.default_rng(0)
        return {c.kind for c in fit_components(fit.data, fit.spaces, names, fit.options, rng)}

    assert kinds(X) == {"student", "regression"}
    assert kinds(X[:39]) == {"student"}
    assert kinds(X, max_regression_cost=80 * 4**3) == {"student"}


def test_many_samples_are_represented_by_some_of_them(rng):
    X = parabola(rng, 600, 3)
    folds = np.split(np.arange(600), 8)[:4]
    orders = regression_orders(X, folds, rng, max_regression_samples=200)
    state = rng.bit_generator.state
    regression = orders.component("regression", np.full(300, -50.0)).density.density.regressions[0]
    # The same draws by hand: two parts of two folds each, then all samples.
    rng.bit_generator.state, z = state, orders.mapped.z
    for part in (np.arange(150), np.arange(150, 300)):
        rng.choice(np.setdiff1d(np.arange(600), part), 200, replace=False)
    some = np.sort(rng.choice(600, 200, replace=False))
    expected = fit_regression(z[some], np.ones(200), orders.orders[0])
    assert_array_equal(regression.log_prob(z), expected.log_prob(z))


# -- kernels -------------------------------------------------------------------------------------


def kernel_of(X, others, rng, n_validated=300):
    """The kernel component beside log-densities of the first samples."""
    fit = component_fit(X, [np.arange(n_validated)], rng)
    return fit_kernel(fit, [fit.spaces.plain], others)


def correlated_samples(rng, n, d):
    return rng.standard_normal((n, d)) @ np.linalg.cholesky(0.95 * np.ones((d, d)) + 0.05 * np.eye(d)).T


@pytest.mark.parametrize("unwhitened", [True, False])
def test_the_kernel_stands_where_samples_left_out_are_likeliest(rng, unwhitened):
    if unwhitened:
        # Tight clusters along a line: whitened, their widths would differ from one direction to another.
        X = np.arange(8)[rng.integers(8, size=(600, 1))] + 0.05 * rng.standard_normal((600, 6))
    else:
        X = correlated_samples(rng, 600, 6)
    validated, plain, w = np.arange(300), Preprocessor(X, np.ones(600)), np.ones(600)
    nothing_else = np.full(300, -200.0)

    def mean_density(space, spaced):
        z, log_det = space.transform(X)
        spacing = Spacing.of_samples(z, w) if spaced else None
        kernels = KernelSamples(z, w, whitened=1 - space.whitening.shrinkage, spacing=spacing)
        search = BandwidthSearch(kernels, validated, nothing_else)
        search.refine()
        return (kernels.leave_one_out([search.bandwidth], validated)[0] + log_det[validated]).mean()

    spaces = plain, plain.unwhitened()
    scores = [mean_density(space, False) for space in spaces]
    assert (np.argmax(scores) == 1) == unwhitened
    expected = max(*scores, mean_density(spaces[np.argmax(scores)], True))
    (component,) = kernel_of(X, nothing_else, rng)
    assert_allclose(component.held_out_log_prob.mean(), expected, rtol=1e-9)
    assert np.array_equal(component.density.preprocessor.whitening.correlation, np.eye(6)) == unwhitened


def test_a_kernel_must_gain_more_than_chance_gives(rng):
    X = rng.standard_normal((600, 3))
    truth = stats.multivariate_normal(np.zeros(3)).logpdf(X[:300])
    assert kernel_of(X, truth, rng) == []
    assert len(kernel_of(X, truth - 0.5, rng)) == 1


def test_kernels_follow_the_density_but_at_sharp_edges(rng):
    long_tailed, square = rng.standard_t(2, (600, 3)), rng.random((600, 2))
    for X, widths in ((long_tailed, 600), (square, 1)):
        (component,) = kernel_of(X, np.full(300, -200.0), rng)
        assert len(np.unique(component.density.density.bandwidth)) >= 0.9 * widths
        assert (len(np.unique(component.density.density.bandwidth)) == 1) == (widths == 1)


def test_kernels_may_be_kept_to_one_width(rng):
    X = rng.standard_t(2, (600, 3))
    fit = component_fit(X, [np.arange(300)], rng, adaptive_kernels=False)
    (component,) = fit_kernel(fit, [fit.spaces.plain], np.full(300, -200.0))
    assert len(np.unique(component.density.density.bandwidth)) == 1


# -- folds ---------------------------------------------------------------------------------------


def test_folds_of_many_samples_are_cut(rng):
    def make_folds(w):
        return (
            TrainingData(np.zeros((len(w), 1)), w, (), 0, None, rng, Resolution.of(np.zeros((len(w), 1))))
            .split(8, 2)
            .folds
        )

    folds = make_folds(np.ones(40_000))
    assert [len(fold) for fold in folds] == [2500] * 8
    assert len(np.unique(np.concatenate(folds))) == 20_000
    # Of samples half of which hardly count, twice as many are worth as much.
    uneven = np.where(np.arange(80_000) % 2, 1.0, 1e-9)
    assert [len(fold) for fold in make_folds(uneven)] == [5000] * 8
    assert sum(map(len, make_folds(np.ones(83)))) == 83


@pytest.mark.parametrize(("n_samples", "n_parts"), [(19, 4), (40, 2), (100, 1)])
def test_cut_folds_are_left_out_together(n_samples, n_parts):
    folds = np.array_split(np.arange(80), 4)
    parts = join_folds(tuple(folds), n_samples)
    assert len(parts) == n_parts
    assert_allclose(np.concatenate(parts), np.arange(80))


def test_cut_folds_give_much_the_same_blend(rng):
    X = np.column_stack([rng.standard_normal(1600), rng.gamma(2, size=1600), rng.standard_t(4, size=1600)])
    X[:, 1] += X[:, 0] ** 2
    folds, scores = np.array_split(rng.permutation(800), 8), []
    for size in (100, 40):
        fit = component_fit(X[:800], [fold[:size] for fold in folds], n_validated=2)
        components = fit_components(fit.data, fit.spaces, COMPONENTS, OPTIONS, np.random.default_rng(0))
        weights = blend_weights(components, fit.data.validation_weight)
        blend = Blend({c.name: c.density for c in components}, dict(zip((c.name for c in components), weights)))
        scores.append(blend.log_prob(X[800:]).mean())
        # Cut folds cost one density without both of them, whole ones a density for each.
        assert [len(part) for part in fit.left_out_together] == ([100, 100] if size == 100 else [80])
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_family_may_be_alone(name, rng):
    X = parabola(rng, 200, 3)[:, : 1 if name == "steps" else 3]
    fit = component_fit(X, np.array_split(rng.permutation(200), 4))
    components = fit_components(fit.data, fit.spaces, [name], OPTIONS, rng)
    assert {c.kind for c in components} == {name}
    for component in components:
        assert np.isfinite(component.density.log_prob(X)).all()
        assert np.isfinite(component.held_out_log_prob).all()
    assert blend_weights(components, np.ones(200)).sum() == pytest.approx(1)


# -- a family of its own -------------------------------------------------------------------------


class LaplaceDensity(Density):
    """A product of Laplace distributions."""

    def __init__(self, location, scale):
        self.location, self.scale = location, scale

    def log_prob(self, X):
        return stats.laplace(self.location, self.scale).logpdf(X).sum(1)

    def score(self, X):
        return -np.sign(X - self.location) / self.scale

    def sample(self, noise):
        return stats.laplace(self.location, self.scale).ppf(stats.norm.cdf(noise.normal))

    @classmethod
    def fit(cls, X):
        location = np.median(X, axis=0)
        return cls(location, np.abs(X - location).mean(0))


class LaplaceFamily(ComponentFamily):
    """One product of Laplace distributions of the features of unit variance."""

    def fit(self, fit):
        mapped = MappedData.of(fit.data, fit.spaces.plain.unwhitened())
        held_out = [
            LaplaceDensity.fit(mapped.z[fit.data.without(fold)]).log_prob(mapped.z_left_out[fold])
            + mapped.log_det_left_out[fold]
            for fold in fit.left_out_together
        ]
        density = TransformedDensity(mapped.preprocessor, LaplaceDensity.fit(mapped.z))
        return [Component("laplace", density, np.concatenate(held_out), "laplace")]


def test_a_new_component_is_a_class_and_a_line_of_the_table(rng):
    X = rng.laplace(size=(600, 4)) * [1, 2, 3, 4]
    fit = component_fit(X[:400], np.array_split(rng.permutation(400), 8), n_validated=4)

    def fitted(names):
        return fit_components(fit.data, fit.spaces, names, OPTIONS, np.random.default_rng(0))

    before = fitted(["mixture", "student"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMPONENTS, "laplace", LaplaceFamily)
        components = fitted(["mixture", "student", "laplace"])
    with pytest.raises(ValueError, match=r"must be among \['mixture', 'student', 'regression', 'steps', 'kernel'\]"):
        fitted(["mixture", "student", "laplace"])

    assert [c.name for c in components] == ["mixture", "student", "laplace"]
    for c, known in zip(components, before):
        assert_array_equal(c.held_out_log_prob, known.held_out_log_prob)
    weights = dict(zip((c.name for c in components), blend_weights(components, fit.data.validation_weight)))
    assert weights["laplace"] > 0.5
    assert weights["student"] >= OPTIONS.min_student_weight * (1 - 1e-9)
    blend, exact = Blend({c.name: c.density for c in components}, weights), LaplaceDensity(0, np.array([1, 2, 3, 4]))
    assert np.mean(exact.log_prob(X[400:]) - blend.log_prob(X[400:])) < 0.05
    assert_allclose(blend.score(X[400:410]), gradient_of(blend.log_prob, X[400:410]), rtol=1e-4, atol=1e-5)
    normal = rng.standard_normal((2000, 4))
    drawn = blend.sample(SampleNoise(normal, rng.random(2000), rng.chisquare(blend.degrees, 2000), rng.random(2000)))
    assert_allclose(np.abs(drawn).mean(0), [1, 2, 3, 4], rtol=0.15)
