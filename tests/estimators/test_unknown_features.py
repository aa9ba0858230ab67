"""NaN means unknown: marginal densities, conditionals and completed samples of a fitted joint density."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.densities import GaussianMixtureDensity
from tests.conftest import draw

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 1, "max_iter": 20, "random_state": 0}
NAMES = ["age", "income", "height", "weight"]


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(3)
    roots = rng.standard_normal((3, 4, 4)) * 0.5
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(4)
    return GaussianMixtureDensity([0.4, 0.35, 0.25], 2 * rng.standard_normal((3, 4)), covariances)


@pytest.fixture(scope="module")
def fitted(truth):
    """A fit in which the diffusion, of which nothing is known in closed form, has most of the weight."""
    return DiffusionDensityEstimator(components=["student"], **SMALL).fit(draw(truth, 800, 0))


@pytest.fixture(scope="module")
def closed(truth):
    """A fit of the same samples that consists of closed forms, but for next to nothing."""
    est = DiffusionDensityEstimator(**SMALL).fit(draw(truth, 800, 0))
    share = dict.fromkeys(est.component_weights_, 0.0) | {"mixture": 0.99, "student": 0.01}
    est.blend_ = type(est.blend_)(est.blend_.densities, share)
    return est


@pytest.fixture
def samples(truth):
    return draw(truth, 12, 1)


def hidden(X, features):
    out = X.copy()
    out[:, features] = np.nan
    return out


@pytest.mark.parametrize("unknown", [[0], [3], [1, 2], [0, 1, 3]])
def test_log_densities_of_incomplete_samples_are_marginal_ones(fitted, samples, unknown):
    found = fitted.score_samples(hidden(samples, unknown))
    # By plain Monte Carlo over a wide normal distribution.
    rng, n = np.random.default_rng(5), 40_000
    for x, log_prob in zip(samples[:3], found):
        center, scale = fitted.sample(2000, 0)[:, unknown].mean(0), 1.5 * fitted.sample(2000, 0)[:, unknown].std(0)
        complete, u = np.tile(x, (n, 1)), rng.standard_normal((n, len(unknown)))
        complete[:, unknown] = center + scale * u
        log_proposal = -0.5 * (u**2).sum(1) - np.log(scale).sum() - len(unknown) * 0.5 * np.log(2 * np.pi)
        terms = np.exp(fitted.score_samples(complete) - log_proposal)
        error = terms.std() / np.sqrt(n) / terms.mean()
        own_error = fitted.conditional(hidden(x[None], unknown)).error_.standard_error[0]
        assert abs(log_prob - np.log(terms.mean())) < 4 * (error + own_error) + 1e-3


@pytest.mark.parametrize("unknown", [[2], [0, 3], [1, 2, 3]])
def test_closed_forms_answer_exactly(closed, samples, unknown):
    known = np.setdiff1d(range(4), unknown)
    incomplete = hidden(samples, unknown)
    parts = [
        closed.blend_.densities[name].marginal(known).log_prob(samples[:, known]) for name in ("mixture", "student")
    ]
    expected = np.logaddexp(np.log(0.99) + parts[0], np.log(0.01) + parts[1])
    assert_allclose(closed.score_samples(incomplete), expected, atol=1e-8)
    conditional = closed.conditional(incomplete)
    assert_allclose(conditional.score_samples(samples[:, unknown]), closed.score_samples(samples) - expected, atol=1e-8)
    assert (conditional.error_.standard_error == 0).all()
    assert np.isinf(conditional.error_.effective_sample_size).all()


def test_a_conditional_density_of_one_feature_integrates_to_one_and_agrees_with_its_summaries(fitted, samples):
    for weights in ("joint", "fixed"):
        conditional = fitted.conditional(hidden(samples[:1], [2]), weights=weights)
        values = np.linspace(-15, 15, 20_001)
        density, step = np.exp(conditional.score_samples(values)), values[1] - values[0]
        assert density.sum() * step == pytest.approx(1, abs=1e-3)
        mean = (values * density).sum() * step
        assert conditional.mean[0, 0] == pytest.approx(mean, abs=2e-3)
        assert conditional.cov[0, 0, 0] == pytest.approx(((values - mean) ** 2 * density).sum() * step, rel=5e-3)
        levels = np.cumsum(density) * step
        assert_allclose(conditional.cdf(values[::500]), levels[::500], atol=0.01)
        quantiles = conditional.quantile([0.1, 0.5, 0.9])[0]
        assert_allclose(np.interp(quantiles, values, levels), [0.1, 0.5, 0.9], atol=0.01)
        drawn = np.sort(conditional.sample(2000, random_state=1)[0, :, 0])
        statistic = np.abs(np.interp(drawn, values, levels) - (np.arange(2000) + 0.5) / 2000).max()
        assert statistic < 1.95 / np.sqrt(2000) + 0.005  # Kolmogorov and Smirnov, 0.1 %


def test_the_mean_of_several_unknown_features_is_that_of_their_samples(fitted, samples):
    conditional = fitted.conditional(hidden(samples[:2], [0, 2]))
    drawn = conditional.sample(4000, random_state=0)
    assert drawn.shape == (2, 4000, 2)
    error = drawn.std(1) / np.sqrt(4000) + drawn.std(1) / np.sqrt(conditional.error_.effective_sample_size)[:, None]
    assert (np.abs(conditional.mean - drawn.mean(1)) < 4 * error).all()
    assert conditional.cov.shape == (2, 2, 2)


def test_completed_samples_keep_what_is_known_to_the_bit(fitted, samples):
    mask = np.random.default_rng(0).random(samples.shape) < 0.4
    mask[0], mask[1] = True, False
    incomplete = np.where(mask, np.nan, samples)
    once = fitted.impute(incomplete)
    assert_array_equal(once[~mask], samples[~mask])
    assert np.isfinite(once).all()
    several = fitted.impute(incomplete, n_draws=3)
    assert several.shape == (3, *samples.shape)
    assert (several[0][mask] != several[1][mask]).all()
    x = np.array([np.nan, 0.25, np.nan, -0.5])
    drawn = fitted.sample(300, given=x)
    assert (drawn[:, [1, 3]] == [0.25, -0.5]).all()
    assert_array_equal(fitted.sample(7, given=x), drawn[:7])
    everything = fitted.sample(2, given={1: 0.25, 3: -0.5, 0: 1.0, 2: 2.0})
    assert_array_equal(everything, np.tile([1.0, 0.25, 2.0, -0.5], (2, 1)))


@settings(max_examples=15, deadline=None)
@given(mask=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_a_sample_does_not_depend_on_the_others(closed, mask, seed):
    X = np.where(mask, np.nan, np.random.default_rng(seed).standard_normal((3, 4)))
    together = closed.score_samples(X)
    assert_array_equal(together, np.concatenate([closed.score_samples(x[None]) for x in X]))
    assert (together[np.isnan(X).all(1)] == 0).all()
    X = X[np.isnan(X).sum(1) < 4]  # equal samples, as those without any value, have draws of their own
    if len(X):
        completed = closed.impute(X, random_state=seed)
        assert_array_equal(completed, np.concatenate([closed.impute(x[None], random_state=seed) for x in X]))


def test_the_diffusion_answers_every_sample_alone(fitted, samples):
    incomplete = np.where(np.random.default_rng(2).random(samples.shape) < 0.5, np.nan, samples)
    together = fitted.score_samples(incomplete)
    assert_array_equal(together, np.concatenate([fitted.score_samples(x[None]) for x in incomplete]))
    assert_array_equal(fitted.score_samples(samples), fitted.score_samples(np.vstack([samples, incomplete]))[:12])


def test_frames_name_the_features(truth):
    table = pd.DataFrame(draw(truth, 300, 0), columns=NAMES)
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 2}).fit(table)
    row = table.iloc[0].copy()
    row["income"] = None
    by_mapping, by_row = est.conditional(row.drop("income").to_dict()), est.conditional(row)
    assert_array_equal(by_mapping.quantile(0.5), by_row.quantile(0.5))
    assert by_row.unknown_features_.tolist() == [1]
    drawn = est.sample(4, given={"age": 1.5})
    assert list(drawn.columns) == NAMES
    assert (drawn["age"] == 1.5).all()
    nothing = est.conditional({"age": 1.0, "height": pd.NA, "income": None})
    assert nothing.unknown_features_.tolist() == [1, 2, 3]
    pair, some = est.marginal(["age", "weight"]), table.iloc[:3]
    assert_array_equal(pair.score_samples(some[["weight", "age"]]), pair.score_samples(some[["age", "weight"]]))
    with pytest.raises(ValueError, match="names a feature twice"):
        est.conditional({"age": 1.0, 0: 5.0})
    with pytest.raises(ValueError, match="lacks the columns"):
        pair.score_samples(table[["age", "height"]])
    gaps = table.astype("Float64").iloc[:5]
    gaps.loc[2, "weight"] = pd.NA
    found = est.score_samples(gaps)
    assert_allclose(found[2], est.marginal(["age", "income", "height"]).score_samples(table.iloc[[2], :3])[0])
    with pytest.raises(ValueError, match="'given' names the feature 'wage'"):
        est.conditional({"wage": 1.0})


def test_marginals_are_those_of_generated_samples(closed):
    marginal = closed.marginal([2])
    values = np.linspace(-15, 15, 4001)
    density, step = np.exp(marginal.score_samples(values)), values[1] - values[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    levels = np.cumsum(density) * step
    assert_allclose(np.interp(marginal.quantile([0.1, 0.5, 0.9]), values, levels), [0.1, 0.5, 0.9], atol=0.02)
    assert_allclose(marginal.cdf(values[::400]), levels[::400], atol=0.02)
    assert closed.marginal([2, 0]).sample(5).shape == (5, 2)
    assert closed.marginal([2, 0]).cov.shape == (2, 2)


def test_tail_levels_rise_with_the_density(fitted, samples):
    levels = fitted.tail_level(np.vstack([samples, np.full((1, 4), 40.0)]))
    order = np.argsort(fitted.score_samples(samples))
    assert (np.diff(levels[:12][order]) >= 0).all()
    assert levels[-1] == 0
    uniform = np.sort(fitted.tail_level(fitted.sample(500, random_state=9)))
    assert np.abs(uniform - (np.arange(500) + 0.5) / 500).max() < 1.95 * np.sqrt(1 / 500 + 1 / 4000)


def test_bad_questions_are_refused_in_words(fitted, samples):
    with pytest.raises(ValueError, match="Every feature of 'given' is known"):
        fitted.conditional(samples)
    with pytest.raises(ValueError, match=r"Every feature of 'given' is unknown \(NaN\)"):
        fitted.conditional({})
    with pytest.raises(ValueError, match="differ in which features are unknown"):
        fitted.conditional(np.vstack([hidden(samples[:1], [0]), hidden(samples[:1], [1])]))
    with pytest.raises(ValueError, match="'weights' argument"):
        fitted.conditional({0: 1.0}, weights="equal")
    with pytest.raises(ValueError, match="not a number"):
        fitted.conditional({0: "tall"})
    with pytest.raises(ValueError, match="infinite"):
        fitted.sample(given={0: np.inf})
    infinite = np.where(np.eye(12, 4) > 0, -np.inf, samples)
    for ask in (fitted.score_samples, fitted.impute, fitted.conditional, DiffusionDensityEstimator(**SMALL).fit):
        with pytest.raises(ValueError, match="X contains infinity"):
            ask(infinite)
    with pytest.raises(ValueError, match="one unknown feature"):
        fitted.conditional({0: 1.0}).quantile(0.5)
    with pytest.raises(ValueError, match="probabilities"):
        fitted.marginal([0]).quantile(1.5)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            fitted.marginal([0]).score_samples([value])
        with pytest.raises(ValueError, match="NaN or infinite"):
            fitted.conditional({0: 1.0}).score_samples([[value, 0.0, 0.0]])
    with pytest.raises(ValueError, match="squares overflow"):
        fitted.conditional({0: 1e300})
    with pytest.raises(ValueError, match="'features' argument"):
        fitted.marginal([0, 0])
    with pytest.raises(ValueError, match="'n_draws'"):
        fitted.impute(samples, n_draws=0)
    with pytest.raises(ValueError, match="'sample' takes one"):
        fitted.sample(given=hidden(samples, [0]))


def test_what_lies_outside_bounds_is_said(truth):
    X = np.exp(draw(truth, 200, 0))
    est = DiffusionDensityEstimator(bounds=(0, np.inf), **SMALL | {"max_iter": 2}).fit(X)
    incomplete = np.array([[1.0, np.nan, -1.0, 2.0], [1.0, np.nan, 1.0, 2.0]])
    assert np.isneginf(est.score_samples(incomplete)).tolist() == [True, False]
    with pytest.raises(ValueError, match="outside 'bounds' in feature 2"):
        est.sample(given=incomplete[0])
    with pytest.raises(ValueError, match="outside 'bounds'"):
        est.impute(incomplete)
    with pytest.raises(ValueError, match="outside 'bounds'"):
        est.conditional(incomplete)
    assert (est.sample(50, given={0: 1.0}) >= 0).all()
    assert np.isneginf(est.conditional(incomplete[1:]).score_samples([-1.0, 1.0])).tolist() == [True, False]


def test_too_many_unknown_features_are_refused():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 14))
    est = DiffusionDensityEstimator(components=["student"], **SMALL | {"max_iter": 2}).fit(X)
    with pytest.raises(ValueError, match="7 of 14 features are unknown"):
        est.score_samples(hidden(X[:1], np.arange(7)))
    assert np.isfinite(est.impute(hidden(X[:2], np.arange(7)))).all()


def test_estimators_without_marginals_say_what_to_do(samples):
    est = ManifoldDiffusionEstimator(n_components=2, support="linear", **SMALL | {"max_iter": 2}).fit(samples)
    with pytest.raises(ValueError, match="DiffusionDensityEstimator"):
        est.score_samples(hidden(samples, [0]))


def test_equal_samples_are_completed_by_different_draws(closed):
    X = np.tile([0.5, np.nan, np.nan, 1.0], (6, 1))
    completed = closed.impute(X, random_state=0)
    assert len(np.unique(completed[:, 1])) == 6
    assert_array_equal(completed[:1], closed.impute(X[:1], random_state=0))
    assert_array_equal(closed.score_samples(X), np.repeat(closed.score_samples(X[:1]), 6))
    nothing = closed.impute(np.full((3, 4), np.nan), random_state=0)
    assert len(np.unique(nothing[:, 0])) == 3


def test_means_of_closed_forms_have_no_limit_of_unknown_features():
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 2}).fit(np.random.default_rng(0).standard_normal((300, 14)))
    share = dict.fromkeys(est.component_weights_, 0.0) | {"student": 1.0}
    est.blend_ = type(est.blend_)(est.blend_.densities, share)
    assert est.conditional({0: 1.0}).mean.shape == (1, 13)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(4)), n_known=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_order_in_which_features_are_named_changes_nothing(closed, order, n_known, seed):
    X, known = np.random.default_rng(seed).standard_normal((3, 4)), list(order[:n_known])
    incomplete = hidden(X, [j for j in range(4) if j not in known])
    expected = closed.score_samples(incomplete)
    assert_array_equal(closed.marginal(known).score_samples(X[:, known]), expected)
    forward, backward = (closed.conditional({j: X[0, j] for j in names}) for names in (known, known[::-1]))
    rest = X[:1, forward.unknown_features_]
    assert_array_equal(forward.score_samples(rest), backward.score_samples(rest))
    assert_array_equal(
        closed.sample(3, 0, given={j: X[0, j] for j in known}),
        closed.sample(3, 0, given={j: X[0, j] for j in sorted(known)}),
    )


@settings(max_examples=15, deadline=None)
@given(mask=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=4, max_size=4), seed=st.integers(0, 99))
def test_log_densities_of_what_is_known_are_those_of_marginals_of_its_features(closed, mask, seed):
    X = np.random.default_rng(seed).standard_normal((4, 4))
    found = closed.score_samples(np.where(mask, np.nan, X))
    for x, unknown, value in zip(X, np.array(mask), found):
        known = np.flatnonzero(~unknown)
        expected = closed.marginal(known).score_samples(x[None, known])[0] if len(known) else 0.0
        assert value == expected


def test_every_way_to_say_unknown_is_the_same(truth):
    table = pd.DataFrame(draw(truth, 300, 0), columns=NAMES)
    est, some = DiffusionDensityEstimator(**SMALL | {"max_iter": 2}).fit(table), table.iloc[:4].copy()
    some.iloc[1, 2] = some.iloc[3, 0] = np.nan
    expected = est.score_samples(some)
    assert np.isfinite(expected).all()
    nullable = some.astype("Float64").mask(some.isna(), pd.NA)
    objects = some.astype(object).where(some.notna(), None)
    for same in (nullable, objects):
        assert_array_equal(est.score_samples(same), expected)
        assert_array_equal(est.impute(same, random_state=0), est.impute(some, random_state=0))
    row = {name: None if pd.isna(value) else value for name, value in some.iloc[1].items()}
    assert_array_equal(est.sample(3, 0, given=row), est.sample(3, 0, given=some.iloc[1]))
    assert_array_equal(
        est.sample(3, 0, given=row), est.sample(3, 0, given={k: v for k, v in row.items() if v is not None})
    )
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({name: [None if pd.isna(v) else v for v in some[name]] for name in NAMES})
    assert_array_equal(est.score_samples(frame), expected)
    assert_array_equal(est.impute(frame, random_state=0), est.impute(some, random_state=0))


def test_a_fit_learns_the_same_from_every_way_to_say_unknown(truth):
    pl = pytest.importorskip("polars")
    table = pd.DataFrame(draw(truth, 80, 0), columns=NAMES)
    gaps = table.mask(np.random.default_rng(0).random(table.shape) < 0.2)
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 1}, components=["student"])
    expected = est.fit(gaps).score_samples(gaps)
    objects = gaps.astype(object).where(gaps.notna(), None)
    nulls = pl.DataFrame({name: [None if pd.isna(v) else v for v in gaps[name]] for name in NAMES})
    for same in (gaps.to_numpy(), gaps.astype("Float64").mask(gaps.isna(), pd.NA), objects, nulls):
        assert_array_equal(est.fit(same).score_samples(same), expected)


def test_what_is_drawn_given_nothing_are_samples_of_the_density(closed):
    nothing = np.full(4, np.nan)
    drawn, free = closed.sample(2000, 0, given=nothing), closed.sample(2000, 1)
    assert_array_equal(closed.sample(2000, 0, given={}), drawn)
    for a, b in zip(np.sort(drawn, axis=0).T, np.sort(free, axis=0).T):
        assert np.abs(np.searchsorted(a, b) / 2000 - np.arange(2000) / 2000).max() < 1.95 * np.sqrt(2 / 2000)
