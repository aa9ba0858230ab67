"""Conditional and marginal densities of tables, against closed forms, sums over states and integrals."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionImputer,
    DiffusionOutlierDetector,
    StackedDensityEstimator,
)
from skdiffusion.compose import make_density_pipeline
from skdiffusion.densities import Blend, ProductMixture, StateChain, StateDensity, TableDensity
from skdiffusion.densities._state_chain import ChainStep
from skdiffusion.estimators._table_conditional import TableConditionalDensity
from skdiffusion.estimators._table_kinds import Table
from skdiffusion.exceptions import InaccurateDensityWarning
from skdiffusion.preprocessing import Columns

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 40, "random_state": 0}
N_STATES = (3, 2, 4)


class Hidden(StateDensity):
    """A density as those are that know complete samples alone."""

    def __init__(self, density):
        self.density = density

    def log_prob(self, states, z):
        assert (states >= 0).all()
        return self.density.log_prob(states, z)


class ChainAlone(StateDensity):
    """A chain of states as a density of tables without numbers."""

    def __init__(self, chain):
        self.chain = chain

    def log_prob(self, states, z):
        return self.chain.log_prob(states)


def products(k, n_states, d, seed):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, d, d))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(d)
    tables = [rng.dirichlet(np.ones(n), k) for n in n_states]
    with_other = np.ones(len(n_states), dtype=bool)
    return ProductMixture(rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), covariances, tables, with_other)


def by_hand(density, state, x):
    """Log-density of one sample by scipy; None and NaN are left out."""
    known, terms = np.flatnonzero(~np.isnan(x)), []
    for k, weight in enumerate(density.weights):
        term = np.log(weight)
        if len(known):
            covariance = density.covariances[k][np.ix_(known, known)]
            term += multivariate_normal(density.means[k, known], covariance).logpdf(x[known])
        term += sum(np.log(table[k, c]) for table, c in zip(density.tables, state) if c is not None)
        terms.append(term)
    return logsumexp(terms)


def estimator_of(blend, columns):
    """What a conditional density reads of a fitted estimator."""
    est = DiffusionDensityEstimator()
    est.blend_, est.n_features_in_ = blend, columns.n_features
    est.preprocessor_ = SimpleNamespace(inside=lambda X: np.ones(len(X), dtype=bool))
    est._table = Table(columns, None, {})
    return est


class Identity:
    """Maps that leave values as they are."""

    def transform(self, x):
        return x, np.zeros(len(x))

    def inverse_transform(self, z):
        return z


COLUMNS = Columns(4, {0: np.arange(2.0), 1: np.arange(3.0)}, {})  # and a category beside these in each column
FIRST, SECOND = products(3, (3, 4), 2, 1), products(2, (3, 4), 2, 2)


def blend_of(second=SECOND, weights=(0.3, 0.7), columns=COLUMNS, first=FIRST):
    densities = [TableDensity(columns, Identity(), density) for density in (first, second)]
    return Blend(dict(zip(("first", "second"), densities)), dict(zip(("first", "second"), weights)))


def samples(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, 2, n), rng.integers(0, 3, n), rng.normal(size=(n, 2))])


def log_prob_by_hand(x, weights=(0.3, 0.7)):
    """Of the blend, and of its components, at one sample with NaN in what is unknown."""
    state = [None if np.isnan(c) else int(c) for c in x[:2]]
    parts = [by_hand(density, state, x[2:]) for density in (FIRST, SECOND)]
    return logsumexp(np.log(weights) + parts), np.array(parts)


def without(x, features):
    out = np.array(x, dtype=float)
    out[..., features] = np.nan
    return out


@pytest.mark.parametrize("second", [SECOND, Hidden(SECOND)], ids=["closed", "hidden"])
@pytest.mark.parametrize("weights", ["joint", "fixed"])
def test_probabilities_of_a_category_are_those_of_bayes_rule(second, weights):
    """Whether or not a component knows sums over unknown values itself."""
    X = samples()
    conditional = estimator_of(blend_of(second), COLUMNS).conditional(without(X, [1]), weights=weights)
    found = conditional.predict_proba()
    for x, row in zip(X, found):
        complete = np.repeat(x[None], 3, axis=0)
        complete[:, 1] = range(3)
        _, given = log_prob_by_hand(without(x, [1]))
        terms = [log_prob_by_hand(c)[1] - (given if weights == "fixed" else 0.0) for c in complete]
        expected = np.exp(terms) @ [0.3, 0.7]
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-8)
    assert conditional.categories_ == [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(conditional.error_.standard_error, 0.0)
    assert np.isinf(conditional.error_.effective_sample_size).all()
    assert (
        conditional.predict_proba()[:1].tobytes()
        == estimator_of(blend_of(second), COLUMNS)
        .conditional(without(X[:1], [1]), weights=weights)
        .predict_proba()
        .tobytes()
    )


@pytest.mark.parametrize("weights", ["joint", "fixed"])
@pytest.mark.parametrize("others", [[], [0], [2], [0, 3], [2, 3]])
def test_a_category_with_other_features_unknown(others, weights):
    """These are summed and integrated over: exactly by closed forms, by draws where a component has none."""
    X, fixed = without(samples(), [1, *others]), weights == "fixed"
    expected = np.empty((len(X), 3))
    for i, x in enumerate(X):
        terms = [log_prob_by_hand(np.where(np.arange(4) == 1, value, x))[1] for value in range(3)]
        given = log_prob_by_hand(x)[1] if fixed else 0.0
        expected[i] = np.exp(np.array(terms) - given) @ [0.3, 0.7]
    expected /= expected.sum(1, keepdims=True)
    exact = estimator_of(blend_of(), COLUMNS).conditional(X, weights=weights)
    np.testing.assert_allclose(exact.predict_proba(1), expected, atol=1e-8)
    assert exact.categories_of(1) == [0.0, 1.0, 2.0]
    near = ProductMixture(FIRST.weights, FIRST.means + 0.3, FIRST.covariances, FIRST.tables, [True] * 2)
    drawn, few, exact = (
        estimator_of(blend_of(density), COLUMNS).conditional(some, weights=weights).predict_proba(1)
        for density, some in [(Hidden(near), X), (Hidden(near), X[:3]), (near, X)]
    )
    assert np.abs(drawn - exact).max() < (0.05 if {2, 3} & set(others) else 1e-8)
    np.testing.assert_array_equal(few, drawn[:3])


def test_few_effective_draws_of_a_category_are_told():
    conditional = estimator_of(blend_of(Hidden(SECOND)), COLUMNS).conditional(without(samples(), [1, 2]))
    with pytest.warns(InaccurateDensityWarning, match="probabilities of some samples"):
        conditional.predict_proba(1)


class Nowhere(StateDensity):
    """A density that has underflowed, but for the tables of its states."""

    def log_prob(self, states, z):
        return np.full(len(states), -np.inf)

    def state_table(self, k):
        return FIRST.state_table(k)


@pytest.mark.parametrize("unknown", [[1], [0, 1], [1, 2]])
def test_where_there_is_no_density_a_category_has_its_share(unknown):
    blend = Blend({"nowhere": TableDensity(COLUMNS, Identity(), Nowhere())}, {"nowhere": 1.0})
    found = estimator_of(blend, COLUMNS)._unknown._normalized(np.full((2, 3), -np.inf), np.array([1]))
    share = FIRST.weights @ FIRST.tables[1]
    np.testing.assert_allclose(found, np.tile(share[:3] / share[:3].sum(), (2, 1)), rtol=1e-12)
    if 2 not in unknown:  # which takes a closed form
        X = without(samples(2), unknown)
        conditional = estimator_of(blend, COLUMNS).conditional(X)
        np.testing.assert_allclose(conditional.predict_proba(1), found, rtol=1e-12)


@pytest.mark.parametrize("unknown", [[0], [1], [0, 1], [2], [2, 3], [1, 3], [0, 1, 3], [0, 2, 3]])
def test_conditionals_of_either_kind_given_the_other(unknown):
    X = samples()
    est = estimator_of(blend_of(), COLUMNS)
    found = est.conditional(without(X, unknown)).score_samples(X[:, unknown])
    expected = [log_prob_by_hand(x)[0] - log_prob_by_hand(without(x, unknown))[0] for x in X]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    fixed = est.conditional(without(X, unknown), weights="fixed").score_samples(X[:, unknown])
    parts = [log_prob_by_hand(x)[1] - log_prob_by_hand(without(x, unknown))[1] for x in X]
    np.testing.assert_allclose(fixed, logsumexp(np.log([0.3, 0.7]) + parts, axis=1), atol=1e-8)


@pytest.mark.parametrize("features", [[0], [3], [0, 1], [1, 2]])
def test_marginals_leave_the_others_out(features):
    X = samples()
    found = estimator_of(blend_of(), COLUMNS).marginal(features).score_samples(X[:, features])
    others = np.setdiff1d(range(4), features)
    np.testing.assert_allclose(found, [log_prob_by_hand(without(x, others))[0] for x in X], atol=1e-8)


def test_the_error_of_draws_is_told():
    """Beside the truth: a component that knows complete samples alone, where a number is unknown."""
    X, near = samples(60), ProductMixture(FIRST.weights, FIRST.means + 0.3, FIRST.covariances, FIRST.tables, [True] * 2)
    drawn, exact = (
        estimator_of(blend_of(density), COLUMNS).conditional(without(X, [2])) for density in (Hidden(near), near)
    )
    assert np.isfinite(drawn.error_.effective_sample_size).all()
    z = (drawn.score_samples(X[:, 2]) - exact.score_samples(X[:, 2])) / drawn.error_.standard_error
    assert 0.3 < np.median(np.abs(z)) < 1.5
    assert np.abs(z).max() < 6


def test_the_tables_of_a_network_of_three_nodes():
    """Every conditional and marginal of c <- a -> b, the last state of each standing for what fit never saw."""
    rng = np.random.default_rng(3)
    a, b, c = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(2), 3), rng.dirichlet(np.ones(4), 3)
    steps = [
        ChainStep(a, 1.0, np.zeros((0, 3)), np.zeros(3)),
        ChainStep(np.full(2, 0.5), 0.0, np.log(b), np.zeros(2)),
        ChainStep(np.full(4, 0.25), 0.0, np.vstack([np.log(c), np.zeros((2, 4))]), np.zeros(4)),
    ]
    table = a[:, None, None] * b[:, :, None] * c[:, None]
    columns = Columns(3, {j: np.arange(n - 1.0) for j, n in enumerate(N_STATES)}, {})
    chain = ChainAlone(StateChain(steps, np.array(N_STATES), np.ones(3, bool)))
    est = estimator_of(Blend({"diffusion": TableDensity(columns, Identity(), chain)}, {"diffusion": 1.0}), columns)
    every = np.array(list(itertools.product(*map(range, N_STATES))), dtype=float)
    for n_known in (1, 2):
        for known in itertools.combinations(range(3), n_known):
            unknown = np.setdiff1d(range(3), known)
            marginal = np.broadcast_to(table.sum(tuple(unknown), keepdims=True), table.shape).ravel()
            found = np.exp(est.marginal(list(known)).score_samples(every[:, known]))
            np.testing.assert_allclose(found, marginal, atol=1e-10)
            conditional = est.conditional(without(every, unknown))
            found = np.exp(conditional.score_samples(every[:, unknown]))
            np.testing.assert_allclose(found, table.ravel() / marginal, atol=1e-10)
            if n_known == 2:
                joint = np.moveaxis(table, unknown[0], -1)[..., :-1]
                shares = joint / joint.sum(-1, keepdims=True)
                places = [every[:, j].astype(int) for j in known]
                np.testing.assert_allclose(conditional.predict_proba(), shares[tuple(places)], atol=1e-10)


def test_a_conditional_with_an_atom_has_the_mass_one():
    columns = Columns(4, {0: np.arange(2.0)}, {2: np.array([0.0, 1.0, 5.0])})  # stated: the category, the atoms
    blend = Blend({"mixture": TableDensity(columns, Identity(), products(3, (3, 4), 3, 1))}, {"mixture": 1.0})
    grid = np.linspace(-40, 40, 80_000)  # which holds no atom
    conditional = estimator_of(blend, columns).conditional({0: 1.0, 1: 0.3, 3: -0.2})
    atoms = np.exp(conditional.score_samples([0.0, 1.0, 5.0]))
    assert (atoms > 1e-3).all()
    total = atoms.sum() + np.trapezoid(np.exp(conditional.score_samples(grid)), grid)
    assert total == pytest.approx(1, abs=1e-3)


def test_draws_of_categories_follow_their_probabilities():
    X, n = samples(3), 20_000
    conditional = estimator_of(blend_of(Hidden(SECOND)), COLUMNS).conditional(without(X, [1]))
    conditional.estimator._resolution = SimpleNamespace(requantized=lambda drawn: drawn)
    drawn, shares = conditional.sample(n, random_state=0), conditional.predict_proba()
    assert drawn.shape == (3, n, 1)
    for values, share in zip(drawn[:, :, 0], shares):
        counts = np.bincount(values.astype(int), minlength=3) / n
        assert np.abs(counts - share).max() < 4 * np.sqrt(0.25 / n)
    np.testing.assert_array_equal(conditional.sample(50, random_state=0), drawn[:, :50])


@pytest.mark.parametrize("weights", ["joint", "fixed"])
def test_draws_of_numbers_follow_their_density(weights):
    """Of a component, too, that knows complete samples alone: it chooses among draws from the other."""
    n, near = (
        20_000,
        ProductMixture(FIRST.weights[::-1], FIRST.means + 0.5, FIRST.covariances, FIRST.tables, [True] * 2),
    )
    conditional = estimator_of(blend_of(Hidden(near)), COLUMNS).conditional({0: 1.0, 1: 0.0, 3: 0.2}, weights=weights)
    conditional.estimator._resolution = SimpleNamespace(requantized=lambda drawn: drawn)
    exact = estimator_of(blend_of(near), COLUMNS).conditional({0: 1.0, 1: 0.0, 3: 0.2}, weights=weights)
    drawn, grid = conditional.sample(n, random_state=0)[0, :, 0], np.linspace(-30, 30, 20_001)
    density = np.exp(exact.score_samples(grid))
    cdf = np.cumsum(density) * (grid[1] - grid[0])
    assert cdf[-1] == pytest.approx(1, abs=1e-6)
    # Blocks of draws have 1024 nodes each.
    gap = np.abs(np.searchsorted(np.sort(drawn), grid) / n - cdf).max()
    assert gap < 1.95 * np.sqrt(1 / n + 1 / (1024 * n / 256))
    first = estimator_of(Blend({"first": blend_of().densities["first"]}, {"first": 1.0}), COLUMNS)
    of_first = np.cumsum(np.exp(first.conditional({0: 1.0, 1: 0.0, 3: 0.2}).score_samples(grid))) * (grid[1] - grid[0])
    assert np.abs(of_first - cdf).max() > 4 * gap  # draws from the closed form alone would be far off
    np.testing.assert_array_equal(conditional.sample(50, random_state=0)[0, :, 0], drawn[:50])


# -- of fits -------------------------------------------------------------------------------------


def weather(n=200):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    season = rng.choice(["dry", "wet"], n, p=[0.6, 0.4])
    rains = rng.random(n) < np.where(season == "wet", 0.7, 0.2)
    return pd.DataFrame({
        "season": pd.Categorical(season),
        "rain": np.where(rains, rng.gamma(2.0, 4.0, n), 0.0),
        "heat": rng.normal(size=n) - (season == "wet"),
        "windy": rng.random(n) < 0.3,
    })  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    frame = weather()
    return DiffusionDensityEstimator(**SMALL, atoms={"rain": [0.0]}).fit(frame), frame


def test_labels_of_frames(fitted):
    est, frame = fitted
    unknown = frame.iloc[:30].assign(season=None)
    conditional = est.conditional(unknown)
    assert isinstance(conditional, TableConditionalDensity)
    assert conditional.categories_ == ["dry", "wet"]
    shares = conditional.predict_proba()
    assert shares[frame["rain"][:30] > 8, 1].mean() > shares[frame["rain"][:30] == 0, 1].mean() + 0.2
    for label, share in zip(("dry", "wet"), shares[0]):
        one = est.conditional(unknown.iloc[:1])
        assert np.exp(one.score_samples([label]))[0] == pytest.approx(share, rel=0.02)  # the mass of others beside it
    by_frame = conditional.score_samples(frame.iloc[:30][["season"]])
    np.testing.assert_array_equal(by_frame, conditional.score_samples(frame["season"][:30].to_numpy()))
    np.testing.assert_array_equal(by_frame, conditional.score_samples((frame["season"][:30] == "wet").to_numpy(float)))
    given = est.conditional({"season": "wet", "windy": True})
    assert given.sample(5, random_state=0).shape == (1, 5, 2)
    np.testing.assert_allclose(given.consistency_gap([[0.0, 0.3], [3.0, 0.1]]), 0, atol=1e-10)
    marginal = est.marginal(["season"])
    assert np.exp(marginal.score_samples(["dry", "wet"])).sum() == pytest.approx(1, abs=0.05)
    assert est.marginal("rain").cdf([0.0])[0] == pytest.approx((frame["rain"] == 0).mean(), abs=0.1)
    assert est.marginal("rain").cdf([-1e-9])[0] < 0.05


def test_lists_of_numbers_beside_labels(fitted):
    est, _ = fitted
    marginal = est.marginal(["season", "windy"])
    as_lists = marginal.score_samples([["wet", True], ["dry", False]])
    of_array = marginal.score_samples(np.array([["wet", True], ["dry", False]], dtype=object))
    np.testing.assert_array_equal(as_lists, of_array)
    assert np.all(np.isfinite(as_lists))


WITH_ATOM = Columns(3, {0: np.arange(2.0)}, {1: np.array([0.0])})
ZEROS, NEAR = products(3, (3, 2), 2, 5), products(2, (3, 2), 2, 6)


def of_zeros(second):
    """A number with an atom at zero beside a category and another number."""
    return estimator_of(blend_of(second, (0.4, 0.6), WITH_ATOM, ZEROS), WITH_ATOM)


def on_a_grid(given, fixed):
    """Of the second feature given the others, by a fine grid: nodes, their probabilities, and that of zero."""
    grid = np.linspace(-12, 12, 24_001) + 1e-9
    rows, at = np.repeat(given[None], len(grid), axis=0), np.where(np.arange(3) == 1, 0.0, given)[None]
    rows[:, 1] = grid
    parts = []
    for density in (ZEROS, NEAR):
        table = TableDensity(WITH_ATOM, Identity(), density)
        density_there, mass = np.exp(table.log_prob(rows)) * (grid[1] - grid[0]), np.exp(table.log_prob(at)[0])
        parts.append((density_there, mass, density_there.sum() + mass))
    weights = [w / (total if fixed else 1.0) for w, (*_, total) in zip((0.4, 0.6), parts)]
    whole = sum(w * total for w, (*_, total) in zip(weights, parts))
    share = sum(w * there for w, (there, *_) in zip(weights, parts)) / whole
    mass = sum(w * mass for w, (_, mass, _) in zip(weights, parts)) / whole
    return grid, share, mass


@pytest.mark.parametrize("second", [NEAR, Hidden(NEAR)], ids=["closed", "hidden"])
@pytest.mark.parametrize("weights", ["joint", "fixed"])
def test_a_number_given_categories_and_numbers(second, weights):
    given = np.array([[0.0, np.nan, 0.3], [1.0, np.nan, -1.0], [2.0, np.nan, 4.0]])
    conditional = of_zeros(second).conditional(given, weights=weights)
    conditional.estimator._resolution = SimpleNamespace(requantized=lambda X: X)
    q = np.array([0.02, 0.2, 0.5, 0.8, 0.98])
    for i, x in enumerate(given):
        grid, share, mass = on_a_grid(x, weights == "fixed")
        before = np.interp(0.0, grid, np.cumsum(share))
        alone = of_zeros(second).conditional(x, weights=weights)
        at = np.array([-2.0, -0.5, -1e-12, 0.0, 0.7, 2.0])
        expected = np.interp(at, grid, np.cumsum(share)) + mass * (at >= 0)
        np.testing.assert_allclose(alone.cdf(at), expected, atol=2e-3)
        assert alone.cdf([0.0])[0] - alone.cdf([-1e-12])[0] == pytest.approx(mass, abs=2e-3)
        mean = (share * grid).sum()
        assert conditional.mean[i, 0] == pytest.approx(mean, abs=0.01)
        spread = (share * (grid - mean) ** 2).sum() + mass * mean**2
        assert conditional.cov[i, 0, 0] == pytest.approx(spread, rel=0.03)
        found = conditional.quantile(q)[i]
        level = np.interp(found, grid, np.cumsum(share)) + mass * (found >= 0)
        assert (np.abs(level - q) < 5e-3)[found != 0].all()
        jump = (q > before + 5e-3) & (q < before + mass - 5e-3)
        assert jump.any()
        np.testing.assert_array_equal(found[jump], 0.0)
    np.testing.assert_array_equal(conditional.mean[:1], of_zeros(second).conditional(given[0], weights=weights).mean)


@pytest.mark.parametrize("second", [SECOND, Hidden(SECOND)], ids=["closed", "hidden"])
def test_moments_of_several_unknown_numbers(second):
    near = ProductMixture(FIRST.weights, FIRST.means + 0.3, FIRST.covariances, FIRST.tables, [True] * 2)
    X = without(samples(3), [2, 3])
    conditional = estimator_of(blend_of(near if second is SECOND else Hidden(near)), COLUMNS).conditional(X)
    grid = np.linspace(-9, 9, 181)
    pairs = np.stack([v.ravel() for v in np.meshgrid(grid, grid, indexing="ij")], axis=1)
    for i, x in enumerate(X):
        rows = np.repeat(x[None], len(pairs), axis=0)
        rows[:, 2:] = pairs
        share = np.exp(blend_of(near).log_prob(rows))
        share /= share.sum()
        np.testing.assert_allclose(conditional.mean[i], share @ pairs, atol=0.25)  # 512 draws
        centered = pairs - share @ pairs
        np.testing.assert_allclose(conditional.cov[i], (share * centered.T) @ centered, rtol=0.25, atol=0.2)


def test_bad_questions_say_what_to_do(fitted):
    est, frame = fitted
    numbers, category = est.conditional({"season": "wet"}), est.conditional(frame.iloc[:2].assign(season=None))
    with pytest.raises(ValueError, match="name it by 'feature'"):
        numbers.predict_proba()
    with pytest.raises(ValueError, match="name it by 'feature'"):
        numbers.categories_  # noqa: B018
    with pytest.raises(ValueError, match="which feature 0 is not"):
        numbers.predict_proba("season")
    with pytest.raises(ValueError, match="no such label; labels are"):
        category.score_samples(["wet", "foggy"])
    with pytest.raises(ValueError, match="NaN or infinite"):
        category.score_samples(["wet", None])
    for call in (lambda: numbers.mean, lambda: numbers.cov, lambda: numbers.quantile(0.5), lambda: numbers.cdf([0.0])):
        with pytest.raises(ValueError, match="predict_proba"):
            call()
    for call in (lambda m: m.mean, lambda m: m.cov, lambda m: m.quantile(0.5), lambda m: m.cdf([0.0])):
        with pytest.raises(ValueError, match="are categories"):
            call(est.marginal(["season"]))
    with pytest.raises(ValueError, match="'weights' argument"):
        est.conditional({"season": "wet"}, weights="equal")


@pytest.mark.parametrize("wrap", [DiffusionImputer, DiffusionOutlierDetector, make_density_pipeline,
                                  lambda est: StackedDensityEstimator([("table", est)], cv=2)])  # fmt: skip
def test_estimators_around_it_say_how_they_take_labels(wrap):
    """And take them so: numbers in place of labels, and the place of their column."""
    frame = weather(100)[["season", "heat"]]
    remedy = r"give each label a number, and the place of the column to its parameter 'categorical_features'"
    with pytest.raises(ValueError, match=remedy):
        wrap(DiffusionDensityEstimator(**SMALL)).fit(frame)
    numbers = frame.assign(season=frame["season"].cat.codes.astype(float))
    inner = DiffusionDensityEstimator(**SMALL | {"max_iter": 3}, categorical_features=[0])
    outer = wrap(inner).fit(numbers)
    if hasattr(outer, "score_samples"):
        assert np.isfinite(outer.score_samples(numbers)).all()
    else:
        assert set(outer.transform(numbers.assign(season=np.nan))[:, 0]) == {0.0, 1.0}
