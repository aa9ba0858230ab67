"""Samples that repeat, values that repeat, and the folds that keep what belongs together on one side."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator, StackedDensityEstimator
from skdiffusion._utils.numerics import effective_number
from skdiffusion.densities import KernelSamples
from skdiffusion.exceptions import DegenerateDataWarning
from skdiffusion.preprocessing import Resolution, _gaussianize_map, originals, random_folds, without_round_off
from skdiffusion.preprocessing._copies import WeightedSamples, joined_groups, merged_copies
from skdiffusion.preprocessing._folds import MAX_VALIDATION, members_of
from skdiffusion.preprocessing._gaussianize_map import GaussianizeMap, group_masses, kernel_masses

EPSILON = np.finfo(float).eps


def quick(**given):
    return DiffusionDensityEstimator(**{"max_iter": 3, "hidden_layer_sizes": (8, 8), "random_state": 0} | given)


def normal(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def n_distinct(X):
    return len(np.unique(originals(np.asarray(X, dtype=float))))


# -- round-off -----------------------------------------------------------------------------------


def test_values_computed_in_several_ways_are_one_value():
    k = np.arange(1, 200)
    X = np.column_stack([np.concatenate([k / 10, k * 0.1, (k / 10 + 1) - 1])])
    assert len(np.unique(X)) > 199
    assert len(np.unique(without_round_off(X, EPSILON))) == 199


def walk(rng, n, step):
    return np.cumsum(step * rng.integers(-1, 2, n))


SUMS = {
    "beside products": lambda rng: np.concatenate([np.cumsum(np.full(5000, 0.1)), 0.1 * np.arange(1, 5001)]),
    "beside quotients, from an offset": lambda rng: np.concatenate(
        [np.cumsum(np.append(7.3, np.full(4000, 0.01))), 7.3 + np.arange(4001) / 100]
    ),
    "downwards": lambda rng: np.concatenate([100 - np.cumsum(np.full(3000, 0.3)), 100 - 0.3 * np.arange(1, 3001)]),
    "of a walk": lambda rng: walk(rng, 20_000, 0.1),
    "of single precision": lambda rng: np.concatenate(
        [np.cumsum(np.full(300, 0.1, np.float32)), np.float32(0.1) * np.arange(1, 301, dtype=np.float32)]
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_values_of_sums_that_drift_from_their_grid_are_on_it(name, rng):
    x = SUMS[name](rng)
    step = {"beside quotients, from an offset": 0.01, "downwards": 0.3}.get(name, 0.1)
    n_true = len(np.unique(np.round((x - x[0]) / step)))
    precision = np.finfo(x.dtype).eps
    merged = without_round_off(x.astype(float)[:, None], precision)
    assert len(np.unique(x)) > n_true
    assert len(np.unique(merged)) == n_true
    assert np.abs(merged[:, 0] - x).max() < 1e-3 * step


def test_values_near_a_grid_by_more_than_the_drift_of_a_sum_stay(rng):
    x = np.repeat(0.1 * np.arange(500), 4)
    X = (x + 1e-10 * rng.standard_normal(len(x)))[:, None]
    assert without_round_off(X, EPSILON) is X


def test_values_that_went_through_single_precision_are_those_that_did_not():
    x = np.repeat(np.arange(-300, 300) / 10, 3)
    mixed = np.where(np.arange(len(x)) % 3 == 1, x.astype(np.float32), x)[:, None]
    assert len(np.unique(mixed)) > 1000
    assert_array_equal(without_round_off(mixed, EPSILON)[:, 0], x)


DENSE_BESIDE_SINGLE_PRECISION = {
    "times": lambda rng: 1.7e9 + np.round(1e5 * rng.random(2000), rng.integers(2) * 3),
    "whole times among others": lambda rng: 1.7e9 + np.append(rng.integers(10**5, size=900), 1e5 * rng.random(900)),
    "numbers of things": lambda rng: 3.4e7 + rng.permutation(4000),
    "shares near one": lambda rng: np.append(1 - 1e-9 * rng.random(500), np.ones(50)),
    "bursts of times": lambda rng: (1.7e9 + 86400 * np.arange(400)[:, None] + rng.integers(60, size=(400, 10))).ravel(),
    "bursts of fractions": lambda rng: (
        1e4 + 500 * np.arange(40)[:, None] + np.append(0.25, 0.25 + 1e-4 * np.arange(1, 5))
    ).ravel(),
    "large numbers of one decimal": lambda rng: 1e9 + rng.integers(-300, 300, 2000) * 0.1,
}


@pytest.mark.parametrize("name", DENSE_BESIDE_SINGLE_PRECISION)
def test_values_that_single_precision_holds_by_chance_stay(name, rng):
    X = DENSE_BESIDE_SINGLE_PRECISION[name](rng)[:, None]
    assert_allclose(without_round_off(X, EPSILON), X, rtol=8 * EPSILON)


def test_values_further_apart_than_round_off_stay_to_the_bit(rng):
    X = np.column_stack([rng.standard_normal(5000), np.exp(4 * rng.standard_normal(5000)), rng.integers(9, size=5000)])
    assert without_round_off(X, EPSILON) is X


def test_round_off_of_single_precision_is_coarser():
    X = np.array([[0.3], [0.3 * (1 + 1e-7)], [0.4]])
    assert len(np.unique(without_round_off(X, EPSILON))) == 3
    assert len(np.unique(without_round_off(X, np.finfo(np.float32).eps))) == 2


DENSE_IN_SINGLE_PRECISION = {
    "an offset": lambda rng: 1e4 + rng.standard_normal(1000),
    "years": lambda rng: 2020 + 5 * rng.random(2000),
    "latitudes": lambda rng: 48.85 + 0.05 * rng.standard_normal(2000),
    "many decades": lambda rng: np.exp(8 * rng.standard_normal(2000)),
    "far clusters": lambda rng: np.concatenate([rng.standard_normal(300), 1e6 + rng.standard_normal(300)]),
}


@pytest.mark.parametrize("name", DENSE_IN_SINGLE_PRECISION)
def test_values_as_dense_as_their_precision_are_not_merged(name, rng):
    X = DENSE_IN_SINGLE_PRECISION[name](rng).astype(np.float32).astype(float)[:, None]
    merged = without_round_off(X, np.finfo(np.float32).eps)
    assert len(np.unique(merged)) > 0.98 * len(np.unique(X))
    assert np.abs(merged - X).max() <= 8 * np.finfo(np.float32).eps * np.abs(X).max()


def test_a_huge_code_merges_no_other_values(rng):
    X = np.concatenate([np.full(600, 1e15), rng.standard_normal(400)])[:, None]
    assert without_round_off(X, EPSILON) is X


def test_a_fit_does_not_see_how_its_values_were_computed():
    k = np.random.default_rng(0).integers(-20, 20, (300, 1))
    rest = normal(300, 1)
    X, Y = (np.column_stack([a, rest]) for a in (k / 10, np.where(rest > 0, k / 10, k * 0.1)))
    assert not np.array_equal(X, Y)
    places = np.column_stack([k[:50] / 10 + 0.05, rest[:50]])  # half a step away
    one, other = (quick().fit(Z).score_samples(places) for Z in (X, Y))
    assert_allclose(one, other, rtol=1e-9)


# -- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.filterwarnings("ignore")
def test_copies_of_all_samples_change_nothing(copies, n_features):
    X = normal(120, n_features)
    fit = quick().fit(X)
    assert_array_equal(quick().fit(np.repeat(X, copies, axis=0)).score_samples(X), fit.score_samples(X))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("categories", [None, [0]])
def test_copies_of_incomplete_samples_change_nothing(categories):
    X, rng = normal(150, 3), np.random.default_rng(1)
    X[:, 0] = X[:, 0] if categories is None else rng.integers(3, size=150)
    gaps = np.where(rng.random(X.shape) < 0.1, np.nan, X)
    gaps[:, 1] = X[:, 1]  # samples of which a category alone is known are no copies of each other
    fit, of_copies = (
        quick(categorical_features=categories, fit_conditionals=False).fit(np.repeat(gaps, times, axis=0))
        for times in (1, 4)
    )
    assert_array_equal(of_copies.score_samples(X), fit.score_samples(X))


def test_copies_are_weights():
    X, rng = normal(150, 2), np.random.default_rng(1)
    counts = rng.geometric(0.4, size=150)
    chain = np.repeat(X, counts, axis=0)
    fit = quick().fit(X, sample_weight=counts)
    assert_array_equal(quick().fit(chain).score_samples(X), fit.score_samples(X))


def heaped(X, rng):
    """Whole numbers, of which some samples have multiples of five."""
    return np.where(rng.random((len(X), 1)) < 0.4, 5 * np.round(X / 5), np.round(X))


def cents(rng, n, d):
    """Amounts, a third of which are zero."""
    return np.where(rng.random((n, d)) < 0.3, 0.0, np.round(rng.gamma(2.0, 10.0, (n, d)), 2))


def amounts(rng, share_of_none):
    """Two whole amounts, of a share of samples both zero."""
    return np.where(rng.random((4000, 1)) < share_of_none, 0.0, np.round(rng.gamma(2.0, 50.0, (4000, 2))))


def of_classes(rng, n, shape, concentration):
    """Categories of some features, which are independent within each of some classes; the shape is of all tables."""
    tables, of = rng.dirichlet(np.full(shape[-1], concentration), shape[:2]), rng.integers(shape[0], size=n)
    return (rng.random((n, shape[1], 1)) > tables.cumsum(axis=-1)[of]).sum(axis=-1)


def rounded_by_each(rng, n, d):
    """Incomes, of which people round some to thousands and some to hundreds."""
    step = rng.choice([1, 100, 500, 1000], (n, 1), p=[0.1, 0.2, 0.2, 0.5])
    return step * np.round(rng.lognormal(10.5, 0.6, (n, d)) / step)


def answers(rng, n, d):
    """From 1 to 5, correlated by a half."""
    return np.clip(np.round(3 + 0.8 * rng.standard_normal((n, 1)) + 0.8 * rng.standard_normal((n, d))), 1, 5)


def bought(rng, n, n_items):
    """The numbers of the items of a shop that are bought, most of them one of the first, by a law of Zipf."""
    share = 1 / np.arange(1, n_items + 1)
    return rng.choice(n_items, n, p=share / share.sum())


def prices(rng, n_items):
    return np.round(rng.gamma(2.0, 10.0, n_items), 2)


TABLES_OF_TIES = {
    "counts": lambda rng: rng.poisson(3.0, (2000, 1)),
    "two features of 0 to 9": lambda rng: rng.integers(10, size=(2000, 2)),
    "a constant and counts": lambda rng: np.column_stack([np.full(500, 2024), rng.poisson(3.0, 500)]),
    "booleans": lambda rng: rng.integers(2, size=(3000, 12)),
    "heavy-tailed counts": lambda rng: rng.zipf(1.5, size=(5000, 2)).clip(max=1000),
    "rounded values": lambda rng: np.round(rng.standard_normal((3000, 2)), 1),
    "one rounded value": lambda rng: np.round(rng.standard_normal((3000, 1)), 2),
    "shares of two": lambda rng: rng.integers(101, size=(3000, 2)),
    "people": lambda rng: np.round(rng.normal([50, 170, 75], [15, 9, 12], size=(3000, 3))),
    "answers that agree": lambda rng: np.clip(
        np.round(rng.normal(3, 1, (2000, 1)) + rng.normal(0, 0.5, (2000, 8))), 1, 5
    ),
    "rounded twice": lambda rng: np.round(rng.standard_normal((3000, 1)) @ np.array([[1.0, 2.0]]), 2),
    "rounded by some to fives": lambda rng: heaped(rng.normal([50, 170, 75], [15, 9, 12], size=(3000, 3)), rng),
    "products and prices": lambda rng: np.column_stack(
        [np.round(rng.gamma(2.0, scale, 60), 2)[rng.integers(60, size=2000)] for scale in (10.0, 3.0)]
    ),
    "places and regions": lambda rng: np.column_stack([x := rng.integers(70, size=2000), rng.integers(40, size=70)[x]]),
    "a code of two features": lambda rng: np.column_stack(
        [x := rng.integers(40, size=(2000, 2)), rng.integers(50, size=(40, 40))[x[:, 0], x[:, 1]]]
    ),
    "narrow clusters": lambda rng: np.round(
        10 * rng.standard_normal((40, 2))[rng.integers(40, size=2000)] + 0.2 * rng.standard_normal((2000, 2)), 1
    ),
    "nearly equal features": lambda rng: np.round(
        rng.standard_normal((3000, 1)) + 0.1 * rng.standard_normal((3000, 2)), 1
    ),
    "zero-inflated cents": lambda rng: cents(rng, 2000, 2),
    "amounts of some": lambda rng: amounts(rng, 0.8),
    "amounts of most": lambda rng: amounts(rng, 0.05),
    "a design": lambda rng: np.repeat(np.argwhere(np.ones((40, 50))), 2, axis=0),
    "a design with gaps": lambda rng: np.repeat(np.argwhere(rng.random((40, 50)) < 0.8), 3, axis=0),
    "a design of one feature": lambda rng: np.repeat(0.1 * np.arange(60), 10)[:, None],
    "straight answers": lambda rng: np.where(
        rng.random((2000, 1)) < 0.2, rng.integers(1, 6, (2000, 1)), rng.integers(1, 6, (2000, 8))
    ),
    "categories of classes": lambda rng: of_classes(rng, 2000, (5, 6, 5), 0.3),
    "incomes rounded by each": lambda rng: rounded_by_each(rng, 2000, 1),
    "incomes and ages": lambda rng: np.column_stack(
        [rounded_by_each(rng, 1500, 1), np.round(rng.normal(45, 12, 1500))]
    ),
    "counts of overdispersion": lambda rng: rng.poisson(rng.gamma(0.5, 2.0, (2000, 3))),
    "prices and quantities": lambda rng: np.column_stack(
        [prices(rng, 200)[bought(rng, 2000, 200)], 1 + rng.poisson(1.0, 2000)]
    ),
    "prices, quantities and totals": lambda rng: np.column_stack(
        [x := prices(rng, 40)[bought(rng, 20_000, 40)], q := 1 + rng.poisson(1.0, 20_000), x * q]
    ),
}


@pytest.mark.parametrize("name", TABLES_OF_TIES)
def test_equal_samples_of_values_that_repeat_are_no_copies(name, rng):
    X = TABLES_OF_TIES[name](rng)
    assert n_distinct(X) == len(X)


TABLES_WITH_COPIES = {
    "continuous": lambda rng: rng.standard_normal((300, 3)),
    "one feature": lambda rng: rng.standard_normal((300, 1)),
    "rounded": lambda rng: np.round(rng.standard_normal((300, 3)), 2),
    "with categories": lambda rng: np.column_stack([rng.standard_normal(300), rng.integers(3, size=(300, 2))]),
    "rounded coarsely": lambda rng: np.round(rng.standard_normal((300, 5)), 1),
    "rounded finely": lambda rng: np.round(rng.standard_normal((300, 5)), 3),
    "two features rounded coarsely": lambda rng: np.round(rng.standard_normal((300, 2)), 1),
    "halves": lambda rng: np.round(2 * rng.standard_normal((500, 3))) / 2,
    "one rounded feature": lambda rng: np.round(rng.standard_normal((500, 1)), 1),
    "zero-inflated cents": lambda rng: cents(rng, 500, 1),
    "answers and ages": lambda rng: np.column_stack([rng.integers(1, 6, (300, 4)), rng.integers(18, 90, 300)]),
}


@pytest.mark.parametrize("name", TABLES_WITH_COPIES)
@pytest.mark.parametrize("copies", [2, 4])
def test_copies_are_found(name, copies, rng):
    X = TABLES_WITH_COPIES[name](rng)
    repeated = rng.permutation(np.repeat(X, copies, axis=0))
    kept = repeated[np.unique(originals(repeated))]
    assert_array_equal(kept[np.lexsort(kept.T)], X[np.lexsort(X.T)])


RESAMPLED = {
    "two features rounded coarsely": lambda rng: np.round(rng.standard_normal((300, 2)), 1),
    "three features rounded coarsely": lambda rng: np.round(rng.standard_normal((1000, 3)), 1),
    "correlated": lambda rng: np.round(rng.standard_normal((500, 1)) + 0.5 * rng.standard_normal((500, 3)), 1),
    "people": lambda rng: np.round(rng.normal([50, 170, 75], [15, 9, 12], size=(400, 3))),
    "coarse and fine": lambda rng: np.column_stack([np.round(rng.standard_normal(400), k) for k in (1, 2)]),
    "zero-inflated cents": lambda rng: cents(rng, 500, 3),
    "cents and tenths": lambda rng: np.column_stack([cents(rng, 500, 1), np.round(rng.standard_normal(500), 1)]),
    "answers": lambda rng: answers(rng, 500, 6),
    "many answers": lambda rng: answers(rng, 500, 12),
    "cents and a code": lambda rng: np.column_stack([np.round(rng.gamma(2, 10, 500), 2), rng.integers(5, size=500)]),
    "tenths and codes": lambda rng: np.column_stack(
        [np.round(rng.gamma(2, 10, 500), 1), rng.integers(5, size=(500, 2))]
    ),
}
RESAMPLINGS = {
    "bootstrap": lambda n, rng: np.bincount(rng.integers(n, size=2 * n), minlength=n),
    "five times as many": lambda n, rng: np.bincount(rng.integers(n, size=5 * n), minlength=n),
    "fold of threefold samples": lambda n, rng: rng.binomial(3, 0.8, size=n),
}


@pytest.mark.parametrize("name", RESAMPLED)
@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_uneven_copies_of_rounded_samples_are_found(name, resampling, rng):
    X = RESAMPLED[name](rng)
    number = RESAMPLINGS[resampling](len(X), rng)
    # Originals may be equal by chance, and of many copies of one some count as those of another.
    assert n_distinct(np.repeat(X, number, axis=0)) == pytest.approx((number > 0).sum(), rel=0.15)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_bootstrap_of_halves_has_its_effective_number_of_samples(times, rng):
    """Where many originals are equal by chance, so many samples remain as vary as much."""
    X = np.round(2 * rng.standard_normal((500, 3))) / 2
    number = np.bincount(rng.integers(500, size=500 * times), minlength=500)
    effective = number.sum() ** 2 / (number @ number)
    assert effective < n_distinct(np.repeat(X, number, axis=0)) < (number > 0).sum()


@pytest.mark.filterwarnings("ignore")
def test_copies_of_coarse_samples_change_nothing():
    X = np.round(normal(150, 2), 1)
    fit = quick().fit(X)
    assert_array_equal(quick().fit(np.repeat(X, 3, axis=0)).score_samples(X), fit.score_samples(X))


def test_near_copies_of_zero_inflated_samples_are_found_in_linear_time(rng):
    X = np.where(rng.random((20_000, 3)) < 0.3, 0.0, rng.exponential(size=(20_000, 3)))
    X = np.concatenate([X, X[:500] * (1 + 1e-7)])
    n_zero = (X == 0).all(1).sum()
    # In samples of two zeros a few are neighbors by chance.
    assert n_distinct(X) == pytest.approx(20_000, abs=30)
    assert n_zero > 100


def test_samples_at_a_spike_are_no_copies(rng):
    x = np.where(rng.random(400) < 0.4, 0.0, rng.exponential(size=400))
    assert n_distinct(np.repeat(x, 3)[:, None]) == (x > 0).sum() + 3 * (x == 0).sum()


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e7])
def test_near_copies_are_copies(rng, scale):
    X = np.repeat(rng.standard_normal((200, 3)), 5, axis=0)
    assert n_distinct(scale * (X + 1e-6 * rng.standard_normal(X.shape))) == 200


@pytest.mark.parametrize("n_features", [1, 2])
def test_neighbors_by_chance_are_no_copies(rng, n_features):
    base = rng.standard_normal((5000, 1))
    for X in (base, np.exp(4 * base), rng.standard_cauchy((5000, 1))):
        assert n_distinct(np.hstack([X, 2 * X])[:, :n_features]) == 5000


def test_near_copies_among_far_groups_are_told_from_their_neighbors(rng):
    X = rng.standard_normal((400, 2))
    X[200:] += 1e7
    assert n_distinct(X) == 400


# -- resolution ----------------------------------------------------------------------------------


def test_resolution_is_the_grid_step_of_tied_features_only(rng):
    X = np.column_stack(
        [rng.standard_normal(500), rng.integers(0, 10, 500), 0.25 * rng.integers(0, 40, 500), np.full(500, 7.0)]
    )
    resolution = Resolution.of(X)
    assert_allclose(resolution.step[:3], [0.0, 1.0, 0.25])
    assert 0 < resolution.step[3] < 0.01
    assert_array_equal(resolution.constant, [3])
    spread = resolution.dequantized(X, rng)
    assert_array_equal(spread[:, 0], X[:, 0])
    assert np.abs(spread - X).max() <= 0.5
    assert len(np.unique(spread[:, 1])) == 500


@pytest.mark.parametrize("code", [-999.0, 0.0, 1.5])
def test_a_spike_has_a_cell_of_its_own(rng, code):
    x = 1.5 * rng.standard_normal((2000, 1))
    coded = rng.random(2000) < 0.1
    x[coded] = code
    resolution = Resolution.of(np.hstack([x, rng.standard_normal((2000, 1))]))
    assert_array_equal(resolution.step, 0.0)
    assert_array_equal(resolution.spikes[0], [code])
    assert 0 < resolution.widths[0][0] <= 0.05 * x[~coded].std() * (1 + 1e-9)
    spread = resolution.dequantized(np.hstack([x, x]), rng)[:, 0]
    assert_array_equal(spread[~coded], x[~coded, 0])
    assert len(np.unique(spread[coded])) == coded.sum()
    assert_array_equal(resolution.requantized(spread[coded, None].repeat(2, 1))[:, 0], code)


def test_the_cell_of_a_spike_holds_little_of_a_skewed_rest(rng):
    x = np.where(rng.random(3000) < 0.5, 0.0, np.exp(2 * rng.standard_normal(3000)))
    resolution = Resolution.of(x[:, None])
    back = resolution.requantized(x[:, None])[:, 0]
    assert (back != x).mean() <= 0.02


def test_a_code_among_values_of_a_grid_has_a_cell_of_its_own(rng):
    ages = rng.integers(18, 80, 2000).astype(float)
    ages[:200] = 999.0
    resolution = Resolution.of(np.column_stack([ages, rng.standard_normal(2000)]))
    assert resolution.step[0] == 1.0
    assert_array_equal(resolution.spikes[0], [999.0])
    few = np.column_stack([rng.choice([0.0, 1.0, -999.0], 500), rng.standard_normal(500)])
    assert Resolution.of(few).step[0] == 1.0


def test_counts_have_no_spikes(rng):
    for X in (rng.poisson(3.0, (2000, 1)), rng.integers(10, size=(2000, 2))):
        resolution = Resolution.of(X.astype(float))
        assert_array_equal(resolution.step, 1.0)
        assert not any(map(len, resolution.spikes))


@pytest.mark.parametrize("distribution", ["counts", "half as many zeros"])
def test_a_single_feature_has_ties_too(rng, distribution):
    counts = distribution == "counts"
    x = rng.poisson(2.0, 500).astype(float) if counts else np.maximum(rng.standard_normal(500), 0)
    resolution = Resolution.of(x[:, None])
    assert resolution.step[0] == (1.0 if counts else 0.0)
    assert_array_equal(resolution.spikes[0], [] if counts else [0.0])


def test_dequantized_ties_stay_within_bounds(rng):
    X = rng.integers(0, 3, (300, 1)).astype(float)
    bounds = (np.array([0.0]), np.array([2.0]))
    spread = Resolution.of(X, bounds).dequantized(X, rng, bounds)
    assert spread.min() >= 0
    assert spread.max() <= 2


CONSTANTS = (2024.0, 1.6e9, 1e-9, -7e120)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_constant_in_constant_out(constant):
    X = normal(80, 3)
    X[:, 1] = constant
    with pytest.warns(DegenerateDataWarning, match=r"Features \[1\] are constant"):
        fit = quick().fit(X)
    assert_array_equal(fit.sample(30)[:, 1], constant)
    assert_array_equal(fit.from_latent(fit.to_latent(X))[:, 1], constant)
    assert_array_equal(fit.distill(n_draws=200, n_training_steps=5).sample(10)[:, 1], constant)


@pytest.mark.filterwarnings("ignore")
def test_constant_in_constant_out_on_a_linear_support():
    X = normal(100, 4)
    X[:, 3], X[:, 1] = X[:, 0] - X[:, 2], 0.1
    fit = ManifoldDiffusionEstimator(support="linear", max_iter=2, random_state=0).fit(X)
    assert_array_equal(fit.sample(30)[:, 1], 0.1)


def test_a_constant_up_to_round_off_is_constant():
    X = np.column_stack([normal(60, 1), np.where(np.arange(60) % 2, 0.3, 3 * 0.1)])
    with pytest.warns(DegenerateDataWarning, match=r"Features \[1\] are constant"):
        fit = quick().fit(X)
    assert len(np.unique(fit.sample(20)[:, 1])) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_code_comes_back_as_the_code():
    X = normal(400, 2)
    X[:120, 1] = -999.0
    drawn = quick(max_iter=30).fit(X).sample(500)[:, 1]
    assert 0.15 < (drawn == -999.0).mean() < 0.45
    assert np.median(drawn[drawn > -500]) == pytest.approx(0.0, abs=0.5)


# -- folds, weights and groups ---------------------------------------------------------------------


def test_the_effective_number_of_samples():
    assert effective_number(np.ones(40)) == 40
    assert effective_number(np.array([1.0, 0.0, 0.0])) == 1
    assert effective_number(np.array([2.0, 1.0, 1.0])) == pytest.approx(16 / 6)


def test_folds_hold_whole_groups_of_much_the_same_weight(rng):
    groups = np.sort(rng.integers(60, size=1500))
    groups = np.unique(groups, return_inverse=True)[1]
    weight = rng.exponential(size=1500)
    folds = random_folds(weight, groups, 5, rng)
    assert_array_equal(np.sort(np.concatenate(folds)), np.arange(1500))
    assert not any(set(groups[a]) & set(groups[b]) for i, a in enumerate(folds) for b in folds[:i])
    assert np.ptp([weight[fold].sum() for fold in folds]) < 0.15 * weight.sum() / 5


def test_heavy_samples_are_shared_out(rng):
    weight = np.full(800, 1e-6)
    weight[:16] = 1.0
    folds = random_folds(weight, None, 8, rng)
    assert [int((fold < 16).sum()) for fold in folds] == [2] * 8


def test_no_more_folds_than_groups_and_cuts_between_groups(rng):
    groups = np.repeat([0, 1, 2], 7)
    folds = random_folds(np.ones(21), groups, 8, rng)
    assert sorted(len(fold) for fold in folds) == [7, 7, 7]
    many = np.repeat(np.arange(40), 1000)
    for fold in random_folds(np.ones(40_000), many, 4, rng):
        assert len(fold) == MAX_VALIDATION // 1000 * 1000
        assert_array_equal(np.bincount(many[fold])[np.unique(many[fold])], 1000)


def test_groups_that_share_a_copy_are_one():
    X = normal(6, 2)[[0, 1, 2, 3, 4, 5, 0]]
    groups = np.array([0, 0, 1, 1, 2, 2, 1])
    merged = merged_copies(WeightedSamples(X, np.ones(7), groups))
    assert_allclose(merged.weight, np.array([2, 1, 1, 1, 1, 1]) / 2)
    assert len(set(merged.groups[:4])) == 1
    assert merged.groups[4] == merged.groups[5] != merged.groups[0]
    assert_array_equal(joined_groups(np.array([5, 7, 9]), np.array([0, 0, 1])), [0, 0, 1])


def test_a_group_is_left_out_of_its_gaussianizing_map_as_by_a_refit(rng):
    x = rng.standard_normal(300)
    x /= x.std()
    groups = np.repeat(np.arange(30), 10)
    members = members_of(groups)
    whole = GaussianizeMap.fit(x, np.ones(300), 0.3)
    z, _ = whole.left_out(x, np.full(300, 1 / 300), members)
    # The knots and the bandwidth stay: the distribution there is that of the others.
    others = np.flatnonzero(groups != 4)
    from_others = GaussianizeMap.fit(x[others], np.ones(290), 0.3)
    assert_allclose(z[members[4]], from_others.forward(x[members[4]]), atol=0.05)
    assert_allclose(whole.left_out(x, np.full(300, 1 / 300))[0], z, atol=0.5)


@pytest.mark.parametrize("pairs", [7, 10**6])
def test_many_groups_have_the_kernels_of_each_alone(pairs, rng, monkeypatch):
    monkeypatch.setattr(_gaussianize_map, "GROUP_PAIRS", pairs)
    sizes = np.array([1, 2, 3, 3, 11, 40])
    x, share, bandwidth = np.round(rng.standard_normal(60), 1), rng.uniform(0.5, 1.5, 60) / 60, 0.2
    knots = np.linspace(-4, 4, 20)
    k = np.clip(np.searchsorted(knots, x) + rng.integers(-1, 2, 60), 0, 19)
    together = group_masses(knots, (x, share), k, sizes, bandwidth)
    ends = np.cumsum(sizes)
    for group in np.split(np.arange(60), ends[:-1]):
        ranked = group[np.argsort(x[group])]
        at = np.unique(k[group])
        alone = np.stack(kernel_masses(knots[at], x[ranked], share[ranked], bandwidth))
        expected = alone[:, np.searchsorted(at, k[group])]
        assert_allclose(together[:, group], expected, rtol=1e-12, atol=1e-16)


def test_the_kernels_of_a_group_are_left_out_together(rng):
    samples = rng.standard_normal((60, 2))
    samples -= samples.mean(0)
    groups = np.repeat(np.arange(12), 5)
    kernels = KernelSamples(samples, np.ones(60), groups=groups)
    log_prob = kernels.leave_one_out([0.02], np.arange(60))[0]
    for i in (0, 17, 59):
        others = groups != groups[i]
        # At a bandwidth this small the mean to which kernels are shrunk does not count.
        squared = ((samples[others] - samples[i]) ** 2).sum(1)
        expected = np.logaddexp.reduce(-squared / 2 / 0.02**2) - np.log(others.sum()) - np.log(2 * np.pi * 0.02**2)
        assert log_prob[i] == pytest.approx(expected, rel=0.02)


def test_groups_of_panels_are_not_learned_by_heart():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((60, 1, 2)) + 0.01 * rng.standard_normal((60, 8, 2))).reshape(-1, 2)
    fresh = rng.standard_normal((1000, 2))
    groups = np.repeat([f"patient {i}" for i in range(60)], 8)
    with_groups, without = (DiffusionDensityEstimator(random_state=0).fit(X, groups=g) for g in (groups, None))
    assert with_groups.score(fresh) > max(-3.2, without.score(fresh) + 1)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2, 3], "inconsistent numbers of samples"),
        ([1] * 40, "'groups' holds the one label 1"),
        ([1.0, np.nan] * 20, "'groups' has missing labels"),
        (["a", None] * 20, "'groups' has missing labels"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(normal(40, 2), groups=groups)


@pytest.mark.filterwarnings("ignore")
def test_two_groups_are_enough():
    X = normal(200, 3)
    for estimator in (quick(), StackedDensityEstimator(random_state=0)):
        assert np.isfinite(estimator.fit(X, groups=np.arange(200) % 2).score(X))


@pytest.mark.parametrize("estimator", [quick(), StackedDensityEstimator()])
def test_groups_that_copies_join_are_refused(estimator):
    with pytest.raises(ValueError, match="copies of samples join all groups into one"):
        estimator.fit(np.tile(normal(50, 2), (3, 1)), groups=np.repeat([0, 1, 2], 50))


def test_groups_without_weight_do_not_count():
    with pytest.raises(ValueError, match="of one group of 'groups'"):
        quick().fit(normal(60, 2), sample_weight=np.arange(60) % 2, groups=np.arange(60) % 2)


@pytest.mark.filterwarnings("ignore")
def test_weights_over_hundreds_of_nats(recwarn):
    X = 15 * normal(2000, 2)
    log_weight = -0.5 * (X**2).sum(1)
    assert log_weight.min() < -700
    fit = quick().fit(X, sample_weight=np.exp(log_weight - log_weight.max()))
    assert np.isfinite(fit.score(normal(50, 2)))
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_networks_are_sized_by_the_effective_number():
    X, weight = normal(3000, 3), np.full(3000, 1e-9)
    weight[:100] = 1.0
    assert quick(hidden_layer_sizes="auto").fit(X, sample_weight=weight)._flow.field.network.hidden_layer_sizes == (
        quick(hidden_layer_sizes="auto").fit(X[:100])._flow.field.network.hidden_layer_sizes
    )


def test_stacking_keeps_copies_and_groups_together():
    X = normal(200, 2)
    one, copied = (StackedDensityEstimator(random_state=0).fit(Z) for Z in (X, np.repeat(X, 3, axis=0)))
    assert copied.component_weights_["kernel"] == pytest.approx(one.component_weights_["kernel"], abs=0.1)
    panel = np.repeat(X, 3, axis=0) + 0.01 * normal(600, 2, seed=1)
    grouped = StackedDensityEstimator(random_state=0).fit(panel, groups=np.repeat(np.arange(200), 3))
    assert grouped.score(normal(2000, 2, seed=2)) > StackedDensityEstimator(random_state=0).fit(panel).score(
        normal(2000, 2, seed=2)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_generated_values_of_rounded_features_are_on_their_grid(dtype):
    rng = np.random.default_rng(0)
    counts, tenths = rng.poisson(4.0, 300), np.round(rng.normal(20.0, 1.0, 300), 1)
    halves = 2.5 * np.round(rng.normal(0.0, 3.0, 300))
    X = np.column_stack([counts, tenths, halves, rng.normal(size=300)]).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        est = DiffusionDensityEstimator(max_iter=5, random_state=0).fit(X)
    for drawn in (est.sample(500, random_state=0), est.sample(200, given={3: 0.1}, random_state=0)):
        for j, step in enumerate([1.0, 0.1, 2.5]):
            np.testing.assert_allclose(drawn[:, j] / step, np.round(drawn[:, j] / step), atol=1e-4)
            assert X[:, j].min() <= drawn[:, j].min() <= drawn[:, j].max() <= X[:, j].max()
        assert len(np.unique(drawn[:, 3])) in (1, 500)  # given, or no feature of a grid
    known = np.isin(drawn[:, :3], X[:, :3])
    assert known.mean() > 0.9  # known values come back to the bit
    quantiles = est.conditional({1: 20.0, 2: 0.0, 3: 0.1}).quantile([0.1, 0.5, 0.9])
    np.testing.assert_array_equal(quantiles, np.round(quantiles))


@pytest.mark.parametrize("kind", ["some twice", "pairs", "few values"])
def test_generated_values_are_known_ones_only_where_each_of_these_has_many_samples(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    if kind == "some twice":
        x[:60] = x[60:120]
    elif kind == "pairs":
        x = np.repeat(x[:300], 2)
    else:
        x = rng.choice(x[:20], 600)
    X = np.column_stack([x, rng.normal(size=600)])
    drawn = DiffusionDensityEstimator(max_iter=2, random_state=0).fit(X).sample(1000, random_state=0)
    assert np.isin(drawn[:, 0], x).mean() == (1.0 if kind == "few values" else 0.0)


def test_values_that_later_samples_of_a_stream_have_are_on_the_grid_too():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.poisson(4.0, 300), rng.normal(size=300)]).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        est = DiffusionDensityEstimator(max_iter=5, random_state=0).partial_fit(X).partial_fit(X + [20.0, 0.0])
    counts = est.sample(1000, random_state=0)[:, 0]
    np.testing.assert_array_equal(counts, np.round(counts))
    assert counts.min() >= X[:, 0].min()
    assert X[:, 0].max() < counts.max() <= X[:, 0].max() + 20


@pytest.mark.parametrize("later", ["between", "beyond", "irregular"])
def test_values_off_the_grid_of_earlier_samples_end_it(later):
    """Generated values follow the density of all samples, and are not moved to the values of the first ones."""
    rng = np.random.default_rng(0)
    first = rng.integers(11, size=(300, 1)).astype(float)
    if later == "irregular":
        first = first**1.5
    further = rng.integers(31, size=(300, 1)) + {"between": 0.0, "beyond": 0.3, "irregular": 0.0}[later]
    further[0] = 3.7
    resolution = Resolution.of(np.hstack([first, first])).with_values(np.hstack([further, first]))
    drawn = np.column_stack([rng.uniform(0, 40, 50), rng.uniform(0, 10, 50)])
    out = resolution.requantized(drawn)
    far = drawn[:, 0] > first.max() + 1
    assert_array_equal(out[far, 0], drawn[far, 0])
    assert np.isin(out[:, 1], first).all()


def test_round_off_between_earlier_and_later_samples_keeps_their_grid():
    first = np.repeat(np.arange(10) / 10, 30)[:, None]
    later = np.append(np.arange(10) * 0.1, [1.1, 11 * 0.1])[:, None]  # 3 * 0.1 is not 3/10, 11 * 0.1 not 1.1
    (values,) = Resolution.of(first).with_values(later).grids
    assert_allclose(values, np.append(np.arange(10) / 10, 1.1), rtol=1e-12)
    assert len(values) == 11
