"""Mixtures of products, tables and chains of states against closed forms and sums over all states."""

import itertools
import time

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import (
    ProductMixture,
    ProductSamples,
    ProductSetting,
    StateChain,
    StateNoise,
    StudentTables,
    StudentTDensity,
    TableDensity,
    best_of_restarts,
    choose_product_setting,
    choose_step_settings,
    fit_state_chain,
)
from skdiffusion.densities._product_patterns import pattern_blocks
from skdiffusion.densities._state_chain import ChainStep, StepSetting, affordable_chain_samples
from skdiffusion.preprocessing import Columns, fit_present_maps

N_STATES = np.array([3, 2, 4])


def mixture(k=3, d=2, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(d)
    tables = [rng.dirichlet(np.ones(n), k) for n in N_STATES]
    return ProductMixture(
        rng.dirichlet(np.ones(k)), 2 * rng.normal(size=(k, d)), covariances, tables, np.zeros(3, bool)
    )


def noise(n, d=2, seed=1):
    rng = np.random.default_rng(seed)
    return StateNoise(rng.normal(size=(n, d)), rng.random((n, len(N_STATES))), rng.random(n), rng.chisquare(4.0, n))


def by_hand(density, state, x):
    """Log-density of one sample, by scipy and a loop; negative states and NaN are left out."""
    known = np.flatnonzero(~np.isnan(x))
    terms = []
    for k, weight in enumerate(density.weights):
        term = np.log(weight)
        if len(known):
            covariance = density.covariances[k][np.ix_(known, known)]
            term += multivariate_normal(density.means[k, known], covariance).logpdf(x[known])
        term += sum(np.log(table[k, c]) for table, c in zip(density.tables, state) if c >= 0)
        terms.append(term)
    return logsumexp(terms)


def test_log_densities_of_complete_and_incomplete_samples():
    density = mixture()
    states, x = density.sample(noise(60))
    rng = np.random.default_rng(2)
    states = np.where(rng.random(states.shape) < 0.3, -1, states)
    x = np.where(rng.random(x.shape) < 0.3, np.nan, x)
    expected = [by_hand(density, c, values) for c, values in zip(states, x)]
    np.testing.assert_allclose(density.log_prob(states, x), expected, atol=1e-10)


def test_a_sample_has_the_same_bits_alone_and_among_others():
    density = mixture(k=5)
    states, x = density.sample(noise(400))
    x[::3, 0] = np.nan
    together = density.log_prob(states, x)
    for some in (slice(0, 1), slice(3, 50), slice(7, 400, 11)):
        np.testing.assert_array_equal(density.log_prob(states[some], x[some]), together[some])


def test_the_sum_over_states_and_the_integral_over_a_value_are_the_marginal():
    density = mixture()
    x = np.array([0.3, -1.0])
    every = np.array(list(itertools.product(*map(range, N_STATES))))
    given_x = logsumexp(density.log_prob(every, np.repeat(x[None], len(every), axis=0)))
    unknown = np.full((1, 3), -1)
    assert given_x == pytest.approx(density.log_prob(unknown, x[None])[0], abs=1e-10)
    grid = np.linspace(-40, 40, 40001)
    states = np.repeat(every[5:6], len(grid), axis=0)
    joint = density.log_prob(states, np.column_stack([grid, np.full(len(grid), -1.0)]))
    alone = density.log_prob(every[5:6], np.array([[np.nan, -1.0]]))[0]
    assert np.log(np.trapezoid(np.exp(joint), grid)) == pytest.approx(alone, abs=1e-8)


@pytest.mark.parametrize("absent", [False, True])
def test_em_recovers_a_mixture(absent):
    true = mixture(k=2, seed=4)
    n = 20_000
    states, x = true.sample(noise(n))
    if absent:  # the first feature is absent in a state of the second column
        x[states[:, 1] == 0, 0] = np.nan
    samples = ProductSamples(states, x, np.ones(n), N_STATES, np.zeros(3, bool))
    fitted = best_of_restarts(samples, ProductSetting(2, 4.0), 5, np.random.default_rng(0))
    fresh, y = true.sample(noise(n, seed=9))
    if absent:
        y[fresh[:, 1] == 0, 0] = np.nan
    loss = true.log_prob(fresh, y).mean() - fitted.log_prob(fresh, y).mean()
    assert loss < (0.005 if absent else 25 / n)  # parameters over twice the samples; EM is slow where much is absent


class Steps:
    """A clock that goes on by a second at every step of EM."""

    def __init__(self, monkeypatch):
        self.now, step = 0.0, ProductSamples._step

        def counted(*args, **given):
            self.now += 1.0
            return step(*args, **given)

        monkeypatch.setattr(ProductSamples, "_step", counted)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


def halves(n=600):
    """Samples to fit, and others to choose by."""
    states, x = mixture(k=6, seed=3).sample(noise(2 * n))
    return [
        ProductSamples(states[rows], x[rows], np.ones(n), N_STATES, np.zeros(3, bool))
        for rows in (slice(0, n), slice(n, 2 * n))
    ]


@pytest.mark.parametrize("deadline", [5.0, 12.0, 40.0])
def test_a_search_and_its_fits_end_at_their_deadline(monkeypatch, deadline):
    """Whatever they are doing then: they are over by no more than the two steps that a mixture has at least."""
    samples, left_out = halves()
    clock, rng = Steps(monkeypatch), np.random.default_rng(0)
    setting = choose_product_setting(samples, left_out, np.zeros(600), rng, deadline=deadline)
    assert clock.now <= deadline + 2
    assert setting.n_components > 1
    clock.now, rng = 0.0, np.random.default_rng(0)
    fitted = best_of_restarts(samples, ProductSetting(6, 4.0), 5, rng, deadline)
    assert clock.now <= deadline + 2
    single, _ = samples.fit(ProductSetting(1, 4.0), rng)
    better = fitted.log_prob(left_out.states, left_out.z) - single.log_prob(left_out.states, left_out.z)
    assert better.mean() > 0.1


def test_a_deadline_that_does_not_bind_changes_nothing():
    samples, left_out = halves()
    one, two = (
        choose_product_setting(samples, left_out, np.zeros(600), np.random.default_rng(0), deadline=end)
        for end in (np.inf, time.perf_counter() + 1e6)
    )
    assert one == two
    one, two = (
        best_of_restarts(samples, one, 3, np.random.default_rng(0), end) for end in (np.inf, time.perf_counter() + 1e6)
    )
    np.testing.assert_array_equal(one.means, two.means)


def test_some_of_many_samples_choose_a_size_first(monkeypatch):
    """The sizes that all samples try begin at the one that suits a part of them."""
    monkeypatch.setattr("skdiffusion.densities._products_search.MIN_ROUND_SAMPLES", 150)
    samples, left_out = halves()
    fits, fit = [], ProductSamples.fit

    def noted(self, setting, *given):
        fits.append((len(self.z), setting.n_components))
        return fit(self, setting, *given)

    monkeypatch.setattr(ProductSamples, "fit", noted)
    choose_product_setting(samples, left_out, np.zeros(600), np.random.default_rng(0))
    few, many = ([k for n, k in fits if n == size] for size in (150, 600))
    assert few[:3] == [1, 2, 4]
    assert 1 < many[0] <= max(few)


def step_by_hand(density, samples, strength):
    """A step of EM by a loop over samples and components: the weights and the Gaussians."""
    k, d = density.means.shape
    first, second = np.zeros((k, d)), np.zeros((k, d, d))
    log_joint = density.log_joint(samples.states, samples.z)
    share = samples.w[:, None] * np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    for x, weights in zip(samples.z, share):
        o, u = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
        for c, weight in enumerate(weights):
            mean, C, left = density.means[c].copy(), density.covariances[c], np.zeros((d, d))
            gain = C[np.ix_(u, o)] @ np.linalg.inv(C[np.ix_(o, o)])
            mean[u] += gain @ (x[o] - mean[o])
            mean[o] = x[o]
            left[np.ix_(u, u)] = C[np.ix_(u, u)] - gain @ C[np.ix_(o, u)]
            first[c] += weight * mean
            second[c] += weight * (np.outer(mean, mean) + left)
    mass = share.sum(0)
    means = first / mass[:, None]
    scatter = second - mass[:, None, None] * means[:, :, None] * means[:, None]
    within = scatter.sum(0) / mass.sum()
    return mass, means, (scatter + strength * within) / (mass + strength)[:, None, None] + 1e-6 * np.eye(d)


@pytest.mark.parametrize("block_numbers", [1, 200, 2**16])
@pytest.mark.parametrize("share_absent", [0.0, 0.4])
def test_a_step_of_em_is_that_of_a_loop_over_samples(monkeypatch, block_numbers, share_absent):
    """Blocks of one pattern, of some and of all of them."""
    monkeypatch.setattr("skdiffusion.densities._product_patterns.BLOCK_NUMBERS", block_numbers)
    density, rng = mixture(k=3, d=4, seed=6), np.random.default_rng(3)
    states, x = density.sample(noise(150, d=4))
    states = np.where(rng.random(states.shape) < 0.2, -1, states)
    x[rng.random(x.shape) < share_absent] = np.nan
    samples = ProductSamples(states, x, rng.random(150), N_STATES, np.zeros(3, bool))
    following, log_prob = samples._step(density, pattern_blocks(samples.patterns, 3), 4.0)
    assert log_prob == pytest.approx(np.average(density.log_prob(states, x), weights=samples.w), abs=1e-12)
    mass, means, covariances = step_by_hand(density, samples, 4.0)
    np.testing.assert_allclose(following.weights, mass / mass.sum(), rtol=1e-12)
    np.testing.assert_allclose(following.means, means, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(following.covariances, covariances, rtol=1e-10, atol=1e-10)


def test_em_of_states_alone():
    """Without features, and where no feature is ever present, a single component has the tables of all samples."""
    states = np.random.default_rng(0).integers(0, N_STATES, size=(50, 3))
    for x in (np.empty((50, 0)), np.full((50, 2), np.nan)):
        samples = ProductSamples(states, x, np.ones(50), N_STATES, np.zeros(3, bool))
        fitted, log_prob = samples.fit(ProductSetting(1, 4.0), np.random.default_rng(0))
        for table, shared, state in zip(fitted.tables, samples.shared, states.T):
            counts = np.bincount(state, minlength=len(shared))
            np.testing.assert_allclose(table[0], (counts + 2.0 * shared) / 52.0, rtol=1e-12)
        assert log_prob == pytest.approx(fitted.log_prob(states, x).mean(), abs=1e-12)


def test_conditional_draws_follow_the_density():
    density, n = mixture(), 40_000
    states = np.repeat(np.array([[1, -1, 2]]), n, axis=0)
    x = np.repeat(np.array([[0.5, np.nan]]), n, axis=0)
    drawn, y = density.completed(states, x, noise(n))
    np.testing.assert_array_equal(drawn[:, [0, 2]], states[:, [0, 2]])
    np.testing.assert_array_equal(y[:, 0], x[:, 0])
    both = np.array([[1, c, 2] for c in range(2)])
    given = density.log_prob(both, x[:2]) - density.log_prob(states[:1], x[:1])
    share = np.exp(given[1])
    assert (drawn[:, 1] == 1).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))
    grid = np.linspace(-40, 40, 20001)
    joint = density.log_prob(np.repeat(states[:1], len(grid), axis=0), np.column_stack([0 * grid + 0.5, grid]))
    weights = np.exp(joint - logsumexp(joint))
    mean, spread = weights @ grid, np.sqrt(weights @ grid**2 - (weights @ grid) ** 2)
    assert y[:, 1].mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(n))


# -- states alone --------------------------------------------------------------------------------


def network():
    """The probabilities of all states of a network of three nodes, c <- a -> b, and its chain."""
    rng = np.random.default_rng(3)
    a, b, c = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2), 3), rng.dirichlet(np.ones(4), 3)
    with np.errstate(divide="ignore"):
        first = ChainStep(a, 1.0, np.zeros((0, 3)), np.zeros(3))
        second = ChainStep(np.full(2, 0.5), 0.0, np.log(b), np.zeros(2))
        third = ChainStep(np.full(4, 0.25), 0.0, np.vstack([np.log(c), np.zeros((2, 4))]), np.zeros(4))
    return a[:, None, None] * b[:, :, None] * c[:, None], StateChain(
        [first, second, third], N_STATES, np.zeros(3, bool)
    )


def test_a_chain_of_a_network_of_three_nodes():
    table, chain = network()
    every = np.array(list(itertools.product(*map(range, N_STATES))))
    np.testing.assert_allclose(chain.log_prob(every), np.log(table.ravel()), atol=1e-10)
    drawn = chain.sample(np.random.default_rng(0).random((50_000, 3)))
    counts = np.bincount(np.ravel_multi_index(drawn.T, N_STATES), minlength=table.size) / len(drawn)
    assert np.abs(counts - table.ravel()).max() < 4 * np.sqrt(0.25 / len(drawn))


@pytest.mark.parametrize(
    ("available", "expected"), [(np.inf, 10_000), (8.0, 10_000), (4.0, 5000), (1e-9, 500), (-1.0, 500)]
)
def test_chains_are_fitted_to_the_samples_that_there_is_time_for(available, expected):
    n = affordable_chain_samples(8.0, available)
    assert n == expected
    assert affordable_chain_samples(0.0, -1.0) == 10_000
    states = np.random.default_rng(0).integers(0, N_STATES, size=(600, 3))
    settings = [StepSetting(1.0, 1.0), *[StepSetting(0.1, 1.0)] * 2]
    columns = Columns(3, {j: np.arange(float(k)) for j, k in enumerate(N_STATES)}, {})
    rng = np.random.default_rng(1)
    one = fit_state_chain(states, np.ones(600), columns, settings, rng, n)
    some = np.random.default_rng(1).permutation(600)[:n]
    two = fit_state_chain(states[some], np.ones(len(some)), columns, settings, rng)
    probe = states[:20]
    for of_all, of_some in zip(one.steps, two.steps):
        np.testing.assert_allclose(of_all.intercept, of_some.intercept, atol=1e-4)
    assert np.isfinite(one.log_prob(probe)).all()


def test_components_of_a_network_of_three_nodes():
    """Given its parent every child is independent: a mixture over the states of the parent is the network."""
    table, _ = network()
    parent, eye = table.sum((1, 2)), np.eye(3)
    tables = [eye * (1 - 3e-14) + 1e-14, table.sum(2) / parent[:, None], table.sum(1) / parent[:, None]]
    density = ProductMixture(parent, np.zeros((3, 0)), np.zeros((3, 0, 0)), tables, np.zeros(3, bool))
    every = np.array(list(itertools.product(*map(range, N_STATES))))
    log_prob = density.log_prob(every, np.empty((len(every), 0)))
    np.testing.assert_allclose(np.exp(log_prob), table.ravel(), atol=1e-10)


def test_a_fitted_chain_sums_to_one_and_learns_the_network():
    table, true = network()
    columns = Columns(3, {j: np.arange(n - 1.0) for j, n in enumerate(N_STATES)}, {})
    states = true.sample(np.random.default_rng(0).random((60_000, 3)))
    states = states[(states < N_STATES - 1).all(1)]  # the last state of each is never seen
    weights, rng = np.ones(len(states)), np.random.default_rng(0)
    settings = choose_step_settings(states, weights, columns, rng)
    chain = fit_state_chain(states, weights, columns, settings, rng)
    every = np.array(list(itertools.product(*map(range, N_STATES))))
    log_prob = chain.log_prob(every)
    assert np.exp(logsumexp(log_prob)) == pytest.approx(1, abs=1e-12)
    assert np.isfinite(log_prob).all()
    seen = (every < N_STATES - 1).all(1)
    conditional = table.ravel()[seen] / table.ravel()[seen].sum()
    assert conditional @ (np.log(conditional) - log_prob[seen]) < 0.01
    assert (chain.sample(rng.random((500, 3))) < N_STATES - 1).all()


# -- tables of numbers and states ----------------------------------------------------------------


def test_the_split_of_a_table_is_inverted():
    columns = Columns(4, {1: np.array([2.0, 5.0, 7.0])}, {2: np.array([0.0, 9.0]), 3: np.array([1.5])})
    X = np.array([[0.1, 5.0, 0.0, 1.5], [0.2, 2.0, 9.0, 3.0], [np.nan, np.nan, np.nan, 0.0], [1.0, 7.0, 4.0, 1.5]])
    states, x = columns.split(X)
    np.testing.assert_array_equal(states, [[1, 1, 1], [0, 2, 0], [-1, -1, 0], [2, 0, 1]])
    np.testing.assert_array_equal(x[:, 1:], [[np.nan, np.nan], [np.nan, 3.0], [np.nan, 0.0], [4.0, np.nan]])
    np.testing.assert_array_equal(columns.joined(states, x), X)
    np.testing.assert_array_equal(columns.split(np.array([[0.0, 6.0, 1.0, 1.0]]))[0], [[3, 0, 0]])


@pytest.mark.parametrize("kind", ["mixture", "student"])
def test_the_density_of_a_table_integrates_to_one(kind):
    """Over the atoms, the categories and the continuous part, behind the maps."""
    rng = np.random.default_rng(0)
    columns = Columns(2, {0: np.array([0.0, 1.0])}, {1: np.array([0.0])})
    x = rng.gamma(2.0, size=(300, 1))
    maps = fit_present_maps(x, np.ones(300), (np.zeros(1), np.full(1, np.inf)), ("yeo-johnson",), rng)
    tables = [np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1]]), np.array([[0.3, 0.7], [0.9, 0.1]])]
    other = np.array([True, False])
    if kind == "mixture":
        inner = ProductMixture(np.array([0.4, 0.6]), np.array([[-1.0], [0.5]]), np.ones((2, 1, 1)), tables, other)
    else:
        inner = StudentTables(StudentTDensity(np.zeros(1), np.eye(1), 4.0), [t[0] for t in tables], other)
    density = TableDensity(columns, maps, inner)
    grid = np.exp(np.linspace(np.log(1e-9), np.log(1e9), 40001))
    total = 0.0
    for category in (0.0, 1.0, 2.0):  # the last stands for those that are not known
        total += np.exp(density.log_prob(np.array([[category, 0.0]])))[0]
        total += np.trapezoid(np.exp(density.log_prob(np.column_stack([np.full(len(grid), category), grid]))), grid)
    assert total == pytest.approx(1, abs=1e-3)
    n = 2000
    numbers = SampleNoise(
        rng.normal(size=(n, 2)), rng.random(n), rng.chisquare(4.0, n), rng.random(n), rng.random((n, 2))
    )
    drawn = density.sample(numbers)
    assert set(drawn[:, 0]) == {0.0, 1.0}
    assert (drawn[:, 1] == 0).mean() == pytest.approx(0.34 if kind == "mixture" else 0.7, abs=0.05)
    assert drawn[:, 1].min() == 0
