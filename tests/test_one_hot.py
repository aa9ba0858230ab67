"""One-hot groups: which columns are found to be the levels of one category, and what the density says of them."""

import itertools
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from skdiffusion import (
    DiffusionClassifier,
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    load,
)
from skdiffusion.densities import Blend, ProductMixture, TableDensity
from skdiffusion.estimators._tables import UnknownValues
from skdiffusion.preprocessing import Columns, OneHotGroup, alternatives, fit_present_maps, one_hot_groups

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 10, "random_state": 0}
COVERS, AT_MOST_ONE = OneHotGroup((0, 1, 2), True), OneHotGroup((3, 5), False)
COLUMNS = Columns(6, {}, {}, (((0, 1, 2), True), ((3, 5), False)))  # column 4 is a number


def encoded(n, seed=0):
    """Samples of a category of three levels, a number that depends on it, and another category without its first."""
    rng = np.random.default_rng(seed)
    first, second = rng.choice(3, n, p=[0.5, 0.3, 0.2]), rng.choice(3, n, p=[0.4, 0.4, 0.2])
    number = first + rng.normal(size=n)
    return np.column_stack([np.eye(3)[first], np.eye(3)[second][:, 1], number, np.eye(3)[second][:, 2]])


@pytest.fixture(scope="module")
def est():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return DiffusionDensityEstimator(**SMALL).fit(encoded(300))


def is_encoded(X):
    """Whether samples have exactly one of the first three columns at one, and at most one of the other two."""
    assert np.isin(np.delete(X, 4, axis=1), (0.0, 1.0)).all()
    return (X[:, :3].sum(1) == 1) & (X[:, [3, 5]].sum(1) <= 1)


# -- which columns are a group --------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.permutations(range(9)))
@settings(max_examples=25, deadline=None)
def test_groups_are_found_in_any_order_of_the_columns(seed, order):
    rng, n = np.random.default_rng(seed), 400
    three, four = np.eye(3)[rng.integers(0, 3, n)], np.eye(4)[rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])]
    X = np.column_stack([three, four[:, 1:], rng.random(n) < 0.5, rng.random(n) < 0.4, rng.normal(size=n)])
    place = {j: order.index(j) for j in range(9)}
    found = one_hot_groups(X[:, order], list(range(9)))
    assert OneHotGroup(tuple(sorted(place[j] for j in range(3))), True) in found
    # The level of one sample in twenty may exclude the others by chance, as far as 400 samples tell.
    (other,) = (group.features for group in found if not group.covers)
    assert {place[3], place[4]} <= set(other) <= {place[3], place[4], place[5]}


def test_complements_are_a_group_and_independent_columns_are_none():
    rng = np.random.default_rng(0)
    flag, other = rng.random(200) < 0.3, rng.random(200) < 0.02
    assert one_hot_groups(np.column_stack([flag, ~flag, other]).astype(float), [0, 1, 2]) == (
        OneHotGroup((0, 1), True),
    )
    assert one_hot_groups(np.column_stack([flag, other]).astype(float), [0, 1]) == ()


def test_columns_that_exclude_each_other_by_chance_are_seldom_a_group():
    """Of 200 tables of six rare flags, no more than one or two by the chance that is allowed, a thousandth each."""
    rng = np.random.default_rng(1)
    tables = ((rng.random((60, 6)) < 0.06).astype(float) for _ in range(200))
    assert sum(bool(one_hot_groups(X, list(range(6)))) for X in tables) <= 2


def test_few_samples_are_no_evidence():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert one_hot_groups(X, [0, 1]) == ()
    assert one_hot_groups(np.tile(X, (10, 1)), [0, 1]) == (OneHotGroup((0, 1), True),)


def test_a_sample_that_breaks_a_group_leaves_none():
    X = encoded(300)
    X[7, :3] = [1.0, 1.0, 0.0]
    assert all(set(group.features) != {0, 1, 2} for group in one_hot_groups(X, list(range(6))))


def test_unknown_values_speak_neither_for_nor_against_a_group():
    X, rng = encoded(400), np.random.default_rng(0)
    X[rng.random(X.shape) < 0.1] = np.nan
    assert one_hot_groups(X, list(range(6))) == (COVERS, AT_MOST_ONE)


def test_the_search_ends_among_many_columns_that_exclude_each_other():
    rare = np.eye(60)[np.arange(300) % 60]
    X = np.hstack([rare[:, :58], rare[:, :58][:, ::-1]])  # all but covers, in many ways
    assert all(not group.covers for group in one_hot_groups(X, list(range(X.shape[1]))))


# -- states, and what follows from some columns ----------------------------------------------------

KNOWN = st.sampled_from([0.0, 1.0, np.nan])


@given(st.lists(KNOWN, min_size=5, max_size=5))
def test_the_cases_of_a_sample_are_the_levels_that_agree_with_it(values):
    x = np.insert(values, 4, 0.3)[None]
    owner, cases = alternatives(COLUMNS, x)
    assert (owner == 0).all()
    for group in COLUMNS.one_hot:
        given_, own = x[:, group.features], cases[:, group.features]
        agree = [v for v in group.values if (np.isnan(given_) | (given_ == v)).all()]
        if np.isnan(given_).all():
            assert np.isnan(own).all()
        elif agree:
            assert {tuple(v) for v in own} == {tuple(v) for v in agree}
        else:  # what no level agrees with is known to be something else
            assert (group.states(cases) == len(group.values)).all()
    known = ~np.isnan(x[0])
    np.testing.assert_array_equal(cases[:, known], np.repeat(x[:, known], len(cases), axis=0))
    assert len(np.unique(cases, axis=0)) == len(cases)


def test_a_split_into_states_loses_nothing():
    X = encoded(50)
    X[::7, :3], X[3::7, [3, 5]] = np.nan, np.nan
    states, x = COLUMNS.split(X)
    np.testing.assert_array_equal(COLUMNS.joined(states, x), X)
    assert COLUMNS.n_states.tolist() == [4, 4]  # three levels and others; two, none of them, and others


# -- the density ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle():
    """A mixture of products of both groups and the number, and the same as a sum by hand."""
    rng = np.random.default_rng(0)
    tables = [rng.dirichlet(np.ones(n), 3) for n in COLUMNS.n_states]
    mixture = ProductMixture(
        np.array([0.5, 0.3, 0.2]), rng.normal(size=(3, 1)), np.ones((3, 1, 1)), tables, np.ones(2, dtype=bool)
    )
    maps = fit_present_maps(
        rng.normal(size=(50, 1)), np.ones(50), (np.full(1, -np.inf), np.full(1, np.inf)), (None,), rng
    )
    return UnknownValues(Blend({"mixture": TableDensity(COLUMNS, maps, mixture)}, {"mixture": 1.0}), 6)


@given(st.lists(KNOWN, min_size=5, max_size=5))
def test_the_density_of_some_columns_is_the_sum_over_the_levels_that_agree(oracle, values):
    x = np.insert(values, 4, 0.3)[None]
    _, cases = alternatives(COLUMNS, x)
    terms = oracle.blend.log_prob(cases)
    np.testing.assert_allclose(oracle.log_prob(x), np.logaddexp.reduce(terms), rtol=1e-12)


def test_densities_sum_to_one_over_the_levels_and_others(est):
    number = est.marginal([4]).score_samples([[0.7]])
    levels = np.vstack([COVERS.values, np.ones(3)]), np.vstack([AT_MOST_ONE.values, np.ones(2)])
    every = np.array([[*a, b[0], 0.7, b[1]] for a, b in itertools.product(*levels)])
    total = np.logaddexp.reduce(est.score_samples(every))
    np.testing.assert_allclose(total, number[0], atol=1e-10)
    others = (COLUMNS.split(every)[0] == [3, 3]).any(1)
    assert np.exp(np.logaddexp.reduce(est.score_samples(every[others])) - total) < 0.02  # half a sample in each


def test_a_group_is_one_category_of_the_same_fit():
    """The same samples with the place of the level in a column of categories have the same log-densities."""
    X = encoded(300)
    labels = np.column_stack([X[:, :3].argmax(1), X[:, 4]])
    options = SMALL | {"components": ["mixture", "student"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        grouped = DiffusionDensityEstimator(**options).fit(X[:, [0, 1, 2, 4]])
        category = DiffusionDensityEstimator(categorical_features=[0], **options).fit(labels)
    assert grouped.one_hot_groups_ == [[0, 1, 2]]
    np.testing.assert_array_equal(grouped.score_samples(X[:, [0, 1, 2, 4]]), category.score_samples(labels))


def test_generated_and_imputed_rows_keep_the_groups(est):
    assert est.one_hot_groups_ == [[0, 1, 2], [3, 5]]
    assert is_encoded(est.sample(500, random_state=1)).all()
    rng, X = np.random.default_rng(0), encoded(60, seed=1)
    gaps = np.where(rng.random(X.shape) < 0.5, np.nan, X)
    for completed in est.impute(gaps, n_draws=3, random_state=0):
        assert is_encoded(completed).all()
        np.testing.assert_array_equal(completed[~np.isnan(gaps)], X[~np.isnan(gaps)])
    assert is_encoded(est.sample(50, given={0: 0, 3: 0}, random_state=0)).all()
    (one,) = est.sample(1, given={1: 1}, random_state=0)
    assert one[:3].tolist() == [0, 1, 0]


def test_draws_of_a_sample_known_in_part_have_their_probabilities(est):
    drawn = est.sample(4000, given={0: 0, 3: 0, 4: 0.5, 5: 0}, random_state=0)
    expected = est.conditional({0: 0, 3: 0, 4: 0.5, 5: 0}).predict_proba(1)[0, 1]
    assert abs(drawn[:, 1].mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_given_values_that_no_level_has_are_refused(est):
    with pytest.raises(ValueError, match=r"no level of the one-hot columns \[0, 1, 2\].*exactly one"):
        est.sample(2, given={0: 1, 1: 1})
    with pytest.raises(ValueError, match=r"no level of the one-hot columns \[0, 1, 2\].*exactly one"):
        est.sample(2, given={0: 0, 1: 0, 2: 0})
    with pytest.raises(ValueError, match=r"no level of the one-hot columns \[3, 5\].*at most one"):
        est.sample(2, given={3: 1, 5: 1})
    assert est.sample(2, given={3: 0, 5: 0}, random_state=0).shape == (2, 6)


def test_conditionals_of_a_group(est):
    model = est.conditional({3: 0, 4: 0.5, 5: 1})
    shares = np.hstack([model.predict_proba(j)[:, 1:] for j in range(3)])
    np.testing.assert_allclose(shares.sum(), 1, atol=1e-12)
    assert model.categories_of(0) == [0.0, 1.0]
    levels = np.exp(model.score_samples(np.eye(3)))
    np.testing.assert_allclose(levels / levels.sum(), shares[0], atol=1e-12)
    assert 0.95 < levels.sum() < 1  # others have the mass of half a sample

    given_zero = est.conditional({0: 0, 3: 0, 4: 0.5, 5: 1})
    np.testing.assert_allclose(np.exp(given_zero.score_samples([[1, 0], [0, 1]])).sum(), 1, atol=1e-12)
    np.testing.assert_array_equal(given_zero.score_samples([[1, 1], [0, 0]]), -np.inf)  # no level of the group

    follows = est.conditional({0: 1, 3: 1})  # the rest of both groups is known, and the number alone unknown
    assert follows.unknown_features_.tolist() == [4]
    assert follows.quantile([0.5]).shape == (1, 1)


def test_what_is_known_of_a_group_is_scored_as_what_follows_from_it(est):
    X = encoded(20, seed=2)
    one = X.copy()
    one[:, :3] = np.where(X[:, :3] == 1, 1.0, np.nan)
    np.testing.assert_allclose(est.score_samples(one), est.score_samples(X), rtol=1e-12)


def test_frames_come_back_with_their_dtypes(tmp_path):
    pd = pytest.importorskip("pandas")
    X = encoded(200)
    frame = pd.DataFrame(X, columns=list("abcxyz")).astype({"a": bool, "b": "uint8", "c": "float32", "x": "int64"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = DiffusionDensityEstimator(**SMALL).fit(frame)
    assert model.one_hot_groups_ == [[0, 1, 2], [3, 5]]
    drawn = model.sample(100, random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert is_encoded(drawn.to_numpy(dtype=float)).all()
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(load(tmp_path / "model").sample(100, random_state=0), drawn)


def test_groups_are_left_to_numbers_where_that_is_asked_for():
    X = encoded(120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        numbers = DiffusionDensityEstimator(categorical_features=None, **SMALL).fit(X)
        named = DiffusionDensityEstimator(categorical_features=[0, 1], **SMALL).fit(X)
        other = DiffusionDensityEstimator(components=["mixture", "kernel"], **SMALL).fit(X)
        stream = DiffusionDensityEstimator(**SMALL).partial_fit(X)
    assert numbers.one_hot_groups_ == other.one_hot_groups_ == stream.one_hot_groups_ == []
    assert named.one_hot_groups_ == [[3, 5]]  # columns that are named are categories of their own
    assert numbers.score_function(X[:2]).shape == (2, 6)
    with pytest.raises(ValueError, match=r"one-hot groups \[\[3, 5\]\].*categorical_features=None"):
        named.score_function(X[:2])


def test_estimators_around_the_density_take_one_hot_columns():
    X = encoded(150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert DiffusionOutlierDetector(random_state=0).fit(X).predict(X[:3]).shape == (3,)
        assert DiffusionTransformer(DiffusionDensityEstimator(**SMALL)).fit(X).transform(X[:3]).shape == (3, 6)
        y = X[:, 2].astype(int)  # which is a column of a group itself
        classifier = DiffusionClassifier(DiffusionDensityEstimator(**SMALL)).fit(X[:, [0, 3, 4, 5]], y)
    assert classifier.estimator_.one_hot_groups_ == [[1, 3]]
    np.testing.assert_allclose(classifier.predict_proba(X[:5, [0, 3, 4, 5]]).sum(1), 1)
