"""Tables with categories and atoms: one exact density, samples of the same kinds, unknown values."""

import pickle
import time
import warnings

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, Options, find_atoms, load
from skdiffusion.densities._products_em import ProductSamples
from skdiffusion.estimators._numbers_of_categories import numbers_of_categories
from skdiffusion.estimators._table_data import TableData
from skdiffusion.estimators._table_fit import TableFit
from skdiffusion.exceptions import DegenerateDataWarning, InaccurateDensityWarning
from skdiffusion.preprocessing import TRANSFORMS, Columns, CompletedSamples, WeightedSamples, fit_present_maps

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 40, "random_state": 0}


def table(n=300, seed=0):
    """A group of three, a number that follows it, rain that is zero for many and follows the group, a count."""
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    rain = np.where(rng.random(n) < 0.7 - 0.2 * group, 0.0, (1 + group) * rng.gamma(2.0, size=n))
    return np.column_stack([group, 2 * group + rng.normal(size=n), rain, rng.poisson(3, n)])


@pytest.fixture(scope="module")
def fitted():
    X = table()
    return DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={2: [0.0]}).fit(X), X


def test_all_components_are_of_some_weight_or_none_at_all(fitted):
    est, _ = fitted
    assert set(est.component_weights_) == {"diffusion", "mixture", "student"}
    assert est.component_weights_["student"] >= 0.002
    assert sum(est.component_weights_.values()) == pytest.approx(1)
    assert est.atoms_ == {2: [0.0]}


def test_mixtures_leave_the_network_its_share_of_the_time(monkeypatch):
    """By a clock that goes on by a second at every step of EM: with gaps, the mixture that completes samples has a
    fifth of the time, both together have less than half, but for the step that every mixture has at least."""
    now, step, mixture, ends = [0.0], ProductSamples._step, TableFit.mixture, []

    def counted(*given):
        now[0] += 1.0
        return step(*given)

    def noted(fit):
        out = mixture(fit)
        ends.append(now[0])
        return out

    monkeypatch.setattr(ProductSamples, "_step", counted)
    monkeypatch.setattr(TableFit, "mixture", noted)
    X, kinds = table(600), {"categorical_features": [0], "atoms": {2: [0.0]}}
    X[::7, 1] = np.nan
    DiffusionDensityEstimator(**SMALL, **kinds).fit(X)
    now[0] = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    est = DiffusionDensityEstimator(**SMALL, **kinds, max_fit_seconds=100.0).fit(X)
    assert ends[0] > 100
    assert ends[1] <= 45 + 6
    assert est.n_iter_ > 20


def test_samples_are_of_the_same_kinds(fitted):
    est, X = fitted
    drawn = est.sample(3000, random_state=1)
    assert set(drawn[:, 0]) == {0.0, 1.0, 2.0}
    n = len(X) * len(drawn) / (len(X) + len(drawn))
    for share, of_data in (((drawn[:, 2] == 0).mean(), (X[:, 2] == 0).mean()),
                           ((drawn[:, 0] == 1).mean(), (X[:, 0] == 1).mean())):  # fmt: skip
        assert abs(share - of_data) < 4 * np.sqrt(0.25 / n)
    np.testing.assert_array_equal(est.sample(50, random_state=1), drawn[:50])


def test_a_sample_has_the_same_bits_alone_and_among_others(fitted):
    est, X = fitted
    together = est.score_samples(X)
    assert np.isfinite(together).all()
    for some in (slice(0, 1), slice(4, 50, 3), slice(100, 300)):
        np.testing.assert_array_equal(est.score_samples(X[some]), together[some])


def test_the_total_mass_is_one():
    """Sums over the states, the category that was never seen among them, and the integral over the rest."""
    X = table(400)[:, [0, 2]]
    est = DiffusionDensityEstimator(
        **SMALL, categorical_features=[0], atoms={1: [0.0]}, bounds=([-np.inf, 0.0], np.inf)
    ).fit(X)
    grid = np.concatenate([np.linspace(1e-9, 1, 2001)[:-1], np.linspace(1, 60, 6001), np.geomspace(60.1, 1e6, 500)])
    total = 0.0
    for group in (0, 1, 2, 77):
        total += np.exp(est.score_samples([[group, 0.0]]))[0]
        density = np.exp(est.score_samples(np.column_stack([np.full(len(grid), group), grid])))
        total += np.trapezoid(density, grid)
    assert total == pytest.approx(1, abs=1e-3)
    assert est.sample(500).min() >= 0


def test_a_category_that_was_never_seen_has_little_mass(fitted):
    est, X = fitted
    new = X[:5].copy()
    new[:, 0] = 9.0
    assert np.isfinite(est.score_samples(new)).all()
    assert (est.score_samples(new) < est.score_samples(X[:5]) - 1).all()


def test_unknown_categories_are_summed_over(fitted):
    est, X = fitted
    for samples in (X[:40], table(40, 5)):
        every = np.stack([est.score_samples(np.column_stack([np.full(40, g), samples[:, 1:]])) for g in (0, 1, 2, 9)])
        expected = np.log(np.exp(every).sum(0))
        unknown = samples.copy()
        unknown[:, 0] = np.nan
        np.testing.assert_allclose(est.score_samples(unknown), expected, atol=1e-10)
    np.testing.assert_array_equal(est.score_samples(np.full((2, 4), np.nan)), [0, 0])


def test_an_unknown_number_with_an_atom_is_summed_and_integrated_over(fitted):
    est, X = fitted
    grid = np.linspace(-10, 60, 4001)
    for x in X[:4]:
        places = np.repeat(x[None], len(grid), axis=0)
        places[:, 2] = grid
        at_zero, places[grid == 0, 2] = np.array([[x[0], x[1], 0.0, x[3]]]), 1e-9
        total = np.trapezoid(np.exp(est.score_samples(places)), grid) + np.exp(est.score_samples(at_zero)[0])
        unknown = x.copy()
        unknown[2] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InaccurateDensityWarning)
            assert est.score_samples(unknown[None])[0] == pytest.approx(np.log(total), abs=0.15)


def test_closed_forms_alone_know_marginals_exactly(fitted):
    est, X = fitted
    closed, _ = est.blend_.restricted(["mixture", "student"])
    x = np.repeat(X[:1], 4, axis=0)
    x[:, 0] = [0, 1, 2, 9]
    unknown = X[:1].copy()
    unknown[:, 0] = np.nan
    expected = np.log(np.exp(closed.log_prob(x)).sum())
    assert closed.log_prob(unknown)[0] == pytest.approx(expected, abs=1e-8)


def test_unknown_values_are_drawn_and_known_ones_come_back(fitted):
    est, X = fitted
    gaps = X[:60].copy()
    gaps[::3, 0], gaps[1::3, 2], gaps[::4, 1] = np.nan, np.nan, np.nan
    complete = est.impute(gaps, random_state=0)
    known = ~np.isnan(gaps)
    np.testing.assert_array_equal(complete[known], gaps[known])
    assert np.isfinite(complete).all()
    assert set(complete[:, 0]) <= {0.0, 1.0, 2.0}
    draws = est.impute(np.repeat([[np.nan, 4.5, 0.0, 3.0]], 400, axis=0), random_state=1)
    assert (draws[:, 0] == 2).mean() > 0.5
    given = est.sample(200, given={2: 0.0}, random_state=0)
    assert (given[:, 2] == 0).all()
    assert given[:, 0].mean() < est.sample(2000, random_state=0)[:, 0].mean()


def test_incomplete_samples_are_learned_from():
    X = table(400)
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.15, np.nan, X)
    kinds = {"categorical_features": [0], "atoms": {2: [0.0]}}
    complete, incomplete = (DiffusionDensityEstimator(**SMALL, **kinds).fit(data) for data in (X, gaps))
    test = table(500, 9)
    assert complete.score(test) - incomplete.score(test) < 0.25
    drawn = incomplete.sample(2000, random_state=0)
    assert (drawn[:, 2] == 0).mean() == pytest.approx((X[:, 2] == 0).mean(), abs=0.1)


def test_permuted_codes_change_nothing_beyond_chance(fitted):
    est, X = fitted
    codes = np.array([7.0, -1.0, 3.0])
    permuted = X.copy()
    permuted[:, 0] = codes[X[:, 0].astype(int)]
    other = DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={2: [0.0]}).fit(permuted)
    gap = est.score_samples(X) - other.score_samples(permuted)
    assert abs(gap.mean()) < 0.05
    assert set(other.sample(50)[:, 0]) <= set(codes)


def test_it_is_better_than_its_pieces_apart(fitted):
    """The group says much of the others: independent columns lose nats."""
    est, X = fitted
    test = table(1000, 3)
    apart = 0.0
    for j in range(4):
        kinds = {"categorical_features": [0] if j == 0 else None, "atoms": {0: [0.0]} if j == 2 else None}
        apart += DiffusionDensityEstimator(**SMALL, **kinds).fit(X[:, [j]]).score(test[:, [j]])
    assert est.score(test) > apart + 0.3


def test_categories_alone():
    X = table(300)[:, [0, 3]]
    est = DiffusionDensityEstimator(**SMALL, categorical_features=[True, True]).fit(X)
    every = np.array([[g, c] for g in (0, 1, 2, 9) for c in (*np.unique(X[:, 1]), 99)])
    assert np.exp(est.score_samples(every)).sum() == pytest.approx(1, abs=1e-8)
    assert set(est.sample(100)[:, 1]) <= set(X[:, 1])


def test_files_and_pickles_give_the_same(fitted, tmp_path):
    est, X = fitted
    est.save(tmp_path / "table.skd")
    for again in (load(tmp_path / "table.skd"), pickle.loads(pickle.dumps(est))):
        np.testing.assert_array_equal(again.score_samples(X), est.score_samples(X))
        np.testing.assert_array_equal(again.sample(40, random_state=2), est.sample(40, random_state=2))


def test_weights_are_copies_that_are_absent_or_there():
    X = table(200)
    kinds = {"categorical_features": [0], "atoms": {2: [0.0]}}
    weight = np.where(np.arange(200) < 150, 1.0, 0.0)
    weighted = DiffusionDensityEstimator(**SMALL, **kinds).fit(X, sample_weight=weight)
    fewer = DiffusionDensityEstimator(**SMALL, **kinds).fit(X[:150])
    np.testing.assert_array_equal(weighted.score_samples(X), fewer.score_samples(X))


def test_few_groups_make_few_networks():
    X = table(120)
    est = DiffusionDensityEstimator(**SMALL | {"n_estimators": 4}, categorical_features=[0], atoms={2: [0.0]})
    est.fit(X, groups=np.arange(120) % 3)
    assert est.blend_.densities["diffusion"].density.flow.flow.network_field.network.n_members == 3
    assert np.isfinite(est.score_samples(X)).all()


def test_constant_numbers_are_told():
    X = table(60)
    X[:, 1] = 3.0
    with pytest.warns(DegenerateDataWarning, match=r"Features \[1\] are constant"):
        est = DiffusionDensityEstimator(**SMALL, categorical_features=[0]).fit(X)
    assert np.isfinite(est.score_samples(X)).all()


def test_what_training_tells(fitted):
    est, X = fitted
    assert est.n_iter_ > 0
    assert np.isfinite([est.network_gain_, est.best_validation_score_]).all()
    np.testing.assert_allclose(est.feature_scale_[1:], X[:, 1:].std(0), rtol=0.2)
    assert np.isnan(est.feature_scale_[0])
    assert est.n_samples_seen_ == len(X)


@pytest.mark.parametrize("n", [2, 5])
def test_few_samples(n):
    X = np.array([[0, 1.0], [1, 2.0], [1, 2.5], [0, 0.7], [0, 9.0]])[:n]
    est = DiffusionDensityEstimator(**SMALL, categorical_features=[0]).fit(X)
    assert np.isfinite(est.score_samples(X)).all()
    assert np.isfinite(est.sample(20)).all()


@pytest.mark.parametrize("n_present", [1, 2])
def test_few_present_values(n_present):
    X = table(60)
    X[:, 2] = np.where(np.arange(60) < n_present, X[:, 1], 0.0)
    est = DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={2: [0.0]}).fit(X)
    assert np.isfinite(est.score_samples(X)).all()
    assert (est.sample(500)[:, 2] == 0).mean() > 0.9


def test_generated_values_are_on_the_grid():
    """Counts, fifths, and values that repeat without a step between them."""
    rng, n = np.random.default_rng(0), 300
    irregular = np.array([0.01, 0.013, 0.2, 0.31, 0.37, 0.9])
    X = np.column_stack([rng.integers(0, 2, n), rng.poisson(9, n), rng.integers(0, 6, n) / 5, rng.choice(irregular, n)])
    est = DiffusionDensityEstimator(**SMALL, categorical_features=[0]).fit(X)
    drawn = est.sample(1000, random_state=0)
    np.testing.assert_array_equal(drawn[:, 1], np.round(drawn[:, 1]))
    assert set(drawn[:, 2]) == set(X[:, 2])
    assert set(drawn[:, 3]) == set(irregular)


def test_an_atom_near_a_spike_stays():
    """Half of the other values are 10, and the next ones are far: what lies near 10 comes back as 10, but zero."""
    rng = np.random.default_rng(0)
    x = np.where(np.arange(400) < 200, 0.0, np.where(np.arange(400) < 300, 10.0, rng.uniform(100, 200, 400)))
    X = np.column_stack([x, rng.normal(size=400)])
    est = DiffusionDensityEstimator(**SMALL, atoms={0: [0.0]}).fit(X)
    drawn = est.sample(2000)[:, 0]
    assert (drawn == 0).mean() == pytest.approx(0.5, abs=0.12)
    assert (drawn == 10).mean() > 0.15


def test_the_diffusion_alone():
    X = table(200)
    est = DiffusionDensityEstimator(**SMALL, components=None, categorical_features=[0]).fit(X)
    assert est.component_weights_ == {"diffusion": 1.0}
    assert np.isfinite(est.score_samples(X)).all()
    gap = X[:2].copy()
    gap[:, 0] = np.nan
    assert (est.score_samples(gap) > est.score_samples(X[:2])).all()  # a sum over three groups
    gap[:, 1] = np.nan
    for call in (est.score_samples, est.impute):
        with pytest.raises(ValueError, match="components='auto'"):
            call(gap)


def test_a_table_without_any_is_what_it_was():
    X = table(150)[:, [1, 3]]
    plain = DiffusionDensityEstimator(**SMALL).fit(X)
    asked = DiffusionDensityEstimator(**SMALL, categorical_features=[], atoms="auto").fit(X)
    np.testing.assert_array_equal(plain.score_samples(X), asked.score_samples(X))
    np.testing.assert_array_equal(plain.sample(20), asked.sample(20))
    assert asked.atoms_ == {}


# -- atoms ---------------------------------------------------------------------------------------


def test_atoms_are_found_beyond_chance():
    rng, n = np.random.default_rng(0), 1000
    gamma = rng.gamma(2.0, size=n)
    age = rng.integers(18, 90, n).astype(float)
    X = np.column_stack([
        np.where(rng.random(n) < 0.6, 0.0, gamma),  # zero inflation
        np.where(rng.random(n) < 0.03, 999.0, age),  # a code
        np.minimum(gamma, 3.0),  # censoring
        np.where(rng.random(n) < 0.9, 0.0, np.round(1000 * gamma)),  # amounts, mostly none
        np.where(rng.random(n) < 0.02, -1.0, np.where(rng.random(n) < 0.3, 0.0, gamma)),  # two of them
        rng.poisson(0.05, n),  # a count, mostly zero
        rng.poisson(4, n),
        np.round(gamma, 1),
        rng.normal(size=n),
        rng.geometric(0.5, n),
        age,
    ])  # fmt: skip
    assert find_atoms(X) == {0: [0.0], 1: [999.0], 2: [3.0], 3: [0.0], 4: [-1.0, 0.0]}
    assert find_atoms(X[:, [8]][:30]) == {}


def test_a_value_of_a_small_share_is_an_atom_where_it_stands_out():
    """Half a percent of zeros among values that hardly repeat is beyond any chance; round numbers are not so rare."""
    rng, n = np.random.default_rng(0), 10_000
    x = np.round(rng.gamma(2.0, size=n), 5)
    x[:50] = 0.0
    assert find_atoms(x[:, None]) == {0: [0.0]}
    x[50:110] = 99.0
    assert find_atoms(x[:, None]) == {0: [0.0, 99.0]}
    x[:38] = rng.gamma(2.0, size=38)
    x[50:98] = rng.gamma(2.0, size=48)
    assert find_atoms(x[:, None]) == {}  # twelve samples each
    heaped = np.where(rng.random(n) < 0.05, np.round(rng.gamma(2.0, size=n), 1), rng.gamma(2.0, size=n))
    assert find_atoms(heaped[:, None]) == {}


def test_atoms_of_frames_have_names():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"group": list("ab") * 50, "rain": [0.0] * 60 + list(np.linspace(1, 2, 40)), "flag": [True, False] * 50}
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns)):
        assert find_atoms(frame) == {"rain": [0.0]}
        est = DiffusionDensityEstimator(**SMALL, atoms=find_atoms(frame)).fit(frame)
        assert est.atoms_ == {1: [0.0]}


def test_a_fold_without_an_atom_gives_it_some_mass():
    """Scores of two fits compare with the same atoms alone."""
    X = table(300)
    X[5, 2] = 50.0  # an atom by the mapping, of one sample
    kinds = {"categorical_features": [0], "atoms": {2: [0.0, 50.0]}}
    fold = np.delete(X, 5, axis=0)
    est = DiffusionDensityEstimator(**SMALL, **kinds).fit(fold)
    bound = np.log(0.002) + est.blend_.densities["student"].log_prob(X[5:6])[0]  # which its smoothed tables give
    assert -18 < bound < est.score_samples(X[5:6])[0] < est.score_samples(fold).mean()


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_continuous_part_keeps_its_support(share):
    """Next to nothing between the atom and the smallest value, where one in n values is expected."""
    rng, n = np.random.default_rng(0), 600
    x = np.where(rng.random(n) < share, 0.0, rng.lognormal(1.0, 0.7, size=n))
    X = np.column_stack([x, rng.normal(size=n)])
    est = DiffusionDensityEstimator(**SMALL, atoms="auto", bounds=([0.0, -np.inf], np.inf)).fit(X)
    drawn = est.sample(4000, random_state=0)[:, 0]
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / 4000))
    assert (drawn == 0).mean() == pytest.approx((x == 0).mean(), abs=3 * error)
    positive = drawn[drawn != 0]
    assert (positive < x[x > 0].min()).mean() < 5 / (x > 0).sum()
    assert positive.min() > 0


# -- what is refused, and how --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda est, X: est.score_function(X), "score_samples"),
        (lambda est, X: est.to_latent(X), "score_samples"),
        (lambda est, X: est.distill(), "numeric features"),
        (lambda est, X: est.partial_fit(X), "call fit"),
        (lambda est, X: est.score_model(), "score_samples"),
        (lambda est, X: est.set_params(warm_start=True).fit(X), "warm_start"),
    ],
)
def test_what_is_not_defined_says_what_is(fitted, call, remedy):
    est, X = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match=f"(?s)table with categories or atoms.*{remedy}|{remedy}.*table with"):
        call(est, X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"categorical_features": [9]}, "'categorical_features' names the feature 9"),
        ({"categorical_features": ["a"]}, "'categorical_features' names the feature 'a'"),
        ({"categorical_features": [True]}, "mask 'categorical_features' has 1 values for 4"),
        ({"categorical_features": [1], "max_iter": 3}, "feature 1|Feature 1 has 300 categories"),
        ({"atoms": {7: [0.0]}}, "'atoms' names the feature 7"),
        ({"atoms": {2: ["a"]}}, "'atoms' holds"),
        ({"atoms": {2: [np.inf]}}, "not finite"),
        ({"atoms": {0: [0.0]}, "categorical_features": [0]}, "a feature of categories"),
        ({"atoms": {0: [0.0, 1.0, 2.0]}}, "Every known value"),
        ({"categorical_features": [0], "components": ["kernel"]}, "'kernel'"),
        ({"categorical_features": [0], "options": Options(noise_intervals=2)}, "noise_intervals"),
        ({"categorical_features": [0], "options": Options(fine_tune=True)}, "fine_tune"),
        ({"atoms": 3}, "atoms"),
        ({"categorical_features": "all"}, "categorical_features"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        DiffusionDensityEstimator(**SMALL | parameters).fit(table())


# -- frames --------------------------------------------------------------------------------------


def pandas_table(n=150):
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, n)
    text = np.array(["red", "green", "blue"], dtype=object)[group]
    return pd.DataFrame({
        "x": group + rng.normal(size=n),
        "color": pd.Categorical(text, categories=["red", "never", "blue", "green"], ordered=True),
        "text": pd.Series(text).astype("str"),
        "object": pd.Series(text, dtype=object),
        "grade": pd.Categorical(group + 1, categories=[3, 1, 2]),
        "flag": group > 1,
        "nullable": pd.Series(group > 0).astype("boolean"),
        "arrow": pd.Series(text, dtype=pd.ArrowDtype(pa.string())),
        "range": pd.cut(group + 0.5, [0, 1, 2, 3]),
        "count": rng.poisson(3, n),
    })  # fmt: skip


def polars_table(n=150):
    pl = pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, n)
    text = np.array(["red", "green", "blue"])[group].tolist()
    return pl.DataFrame([
        pl.Series("x", group + rng.normal(size=n)),
        pl.Series("enum", text, dtype=pl.Enum(["never", "red", "blue", "green"])),
        pl.Series("category", text, dtype=pl.Categorical),
        pl.Series("text", text),
        pl.Series("flag", (group > 1).tolist()),
        pl.Series("count", rng.poisson(3, n)),
    ])  # fmt: skip


def arrow_table(n=150):
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, n)
    text = pa.array(np.array(["red", "green", "blue"])[group].tolist())
    halves = pa.chunked_array([text[:50].dictionary_encode(), text[50:].dictionary_encode()])
    whole = pa.table({"x": pa.array(group + rng.normal(size=n)), "text": text, "dictionary": halves, "flag": group > 1})
    return whole.cast(whole.schema.set(1, whole.schema.field(1).with_nullable(False)))


FRAMES = {"pandas": pandas_table, "polars": polars_table, "pyarrow": arrow_table}


def kinds(frame):
    return list(frame.schema) if type(frame).__module__.startswith("pyarrow") else list(frame.dtypes)


def values(frame, name):
    return frame[name].to_pylist() if hasattr(frame[name], "to_pylist") else list(frame[name])


@pytest.mark.parametrize("library", FRAMES)
def test_categories_of_frames_come_back(library, tmp_path):
    frame = FRAMES[library]()
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 3}).fit(frame)
    drawn = est.sample(40, random_state=1)
    assert type(drawn) is type(frame)
    assert kinds(drawn) == kinds(frame)
    for name in getattr(frame, "column_names", frame.columns):
        if name not in ("x", "count"):
            assert set(values(drawn, name)) <= set(values(frame, name)) | {"never"}
    assert np.isfinite(est.score_samples(drawn)).all()
    est.save(tmp_path / "frame.skd")
    again = load(tmp_path / "frame.skd")
    np.testing.assert_array_equal(again.score_samples(frame), est.score_samples(frame))
    for name in getattr(frame, "column_names", frame.columns):
        assert values(again.sample(40, random_state=1), name) == values(drawn, name)


def test_frames_of_two_libraries_are_one_table():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"x": np.random.default_rng(0).normal(size=90), "color": ["red", "green", "blue"] * 30}
    first, second = (DiffusionDensityEstimator(**SMALL).fit(m.DataFrame(columns)) for m in (pd, pl))
    np.testing.assert_array_equal(
        first.score_samples(pd.DataFrame(columns)), second.score_samples(pl.DataFrame(columns))
    )
    np.testing.assert_array_equal(
        first.score_samples(pl.DataFrame(columns)),
        first.score_samples(pd.DataFrame(columns).astype({"color": "category"})),
    )


def test_missing_and_unseen_labels():
    pd = pytest.importorskip("pandas")
    frame = pandas_table()[["x", "text", "nullable"]]
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    frame = frame.iloc[:4].copy()
    known = est.score_samples(frame)
    frame.loc[0, "text"], frame.loc[1, "text"], frame.loc[2, "nullable"] = None, "purple", pd.NA
    found = est.score_samples(frame)
    assert found[0] > known[0]  # a marginal
    assert found[1] < known[1] - 1
    assert found[2] > known[2]
    assert est.sample(5, given={"text": "red"})["text"].tolist() == ["red"] * 5
    completed = est.impute(frame)
    assert np.isfinite(completed).all()
    fitted = DiffusionDensityEstimator(**SMALL).fit(
        pandas_table()[["x", "text"]].where(np.random.default_rng(0).random((150, 2)) > 0.1)
    )
    assert set(fitted.sample(50)["text"]) <= {"red", "green", "blue"}


def test_columns_of_numbers_named_as_categories():
    pd = pytest.importorskip("pandas")
    frame = pandas_table()[["x", "count"]]
    est = DiffusionDensityEstimator(**SMALL, categorical_features=["count"]).fit(frame)
    drawn = est.sample(60, random_state=0)
    assert drawn["count"].dtype == frame["count"].dtype
    assert set(drawn["count"]) <= set(frame["count"])
    assert isinstance(drawn, pd.DataFrame)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_equal_states_are_no_copies(share):
    """However often a zero and a category come together, the pair keeps its mass."""
    rng = np.random.default_rng(5)
    group = (rng.random(300) < 0.9).astype(float)
    amount = np.where(rng.random(300) < share, 0.0, rng.gamma(2.0, size=300))
    X = np.column_stack([amount, group])
    est = DiffusionDensityEstimator(**{**SMALL, "max_iter": 5}, atoms={0: [0.0]}, categorical_features=[1]).fit(X)
    empirical = [((amount == 0) & (group == k)).mean() for k in (0, 1)]
    np.testing.assert_allclose(np.exp(est.score_samples([[0.0, 0.0], [0.0, 1.0]])), empirical, atol=0.02)


def test_copies_with_a_present_value_count_once():
    X = table(100)
    once = DiffusionDensityEstimator(**SMALL, categorical_features=[0]).fit(X)
    twice = DiffusionDensityEstimator(**SMALL, categorical_features=[0]).fit(np.repeat(X, 2, axis=0))
    np.testing.assert_allclose(twice.score_samples(X), once.score_samples(X))


def test_atoms_are_found_in_single_precision():
    rng = np.random.default_rng(0)
    X = np.where(rng.random(300) < 0.4, 0.1, rng.normal(size=300))[:, None]
    single = X.astype(np.float32)
    for atoms in ({0: [0.1]}, find_atoms(single)):
        est = DiffusionDensityEstimator(**SMALL, atoms=atoms).fit(single)
        mass = np.exp(est.score_samples(np.array([[0.1]], dtype=np.float32)))
        assert mass == pytest.approx((X == 0.1).mean(), abs=0.02)
    est = DiffusionDensityEstimator(**SMALL, atoms={0: [0.1]}).fit(X)
    np.testing.assert_array_equal(est.score_samples(single[X == 0.1][:1, None]), est.score_samples([[0.1]]))


def labeled(n=120):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, n)
    return pd.DataFrame({"a": rng.normal(size=n) + group, "c": pd.Categorical(np.array(["x", "y", "z"])[group])})


def test_an_unseen_label_may_stand_beside_an_unknown_value():
    pd, frame = pytest.importorskip("pandas"), labeled()
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    unseen = pd.DataFrame({"a": [np.nan], "c": ["q"]})
    assert est.score_samples(unseen) < np.log(0.1)
    assert np.isfinite(est.impute(unseen)).all()
    assert (est.sample(3, given={"a": 0.5, "c": None})["a"] == 0.5).all()
    with pytest.raises(ValueError, match="labels are"):
        est.sample(2, given={"c": "q"})
    with pytest.raises(ValueError, match="holds numbers"):
        est.score_samples(frame.assign(c=frame["c"].cat.codes))


def test_fits_of_tables_and_of_numbers_follow_each_other():
    frame = labeled()
    numbers = frame[["a"]].to_numpy()
    est = DiffusionDensityEstimator(**SMALL).fit(numbers)
    assert not hasattr(est.fit(frame), "_replay")
    expected = DiffusionDensityEstimator(**SMALL).fit(numbers).score_samples(numbers)
    np.testing.assert_array_equal(est.fit(numbers).score_samples(numbers), expected)
    with pytest.raises(ValueError, match="warm_start"):
        DiffusionDensityEstimator(**SMALL, warm_start=True).fit(frame).fit(numbers)
    with pytest.raises(ValueError, match="partial_fit"):
        DiffusionDensityEstimator(**SMALL).partial_fit(frame)


def test_components_are_weighed_by_what_is_known():
    """Log-densities of completed samples would favor the component that completed them."""
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(20), np.where(np.arange(20) < 10, 3, 1))
    X = np.column_stack([source % 2, rng.normal(size=len(source))])
    log_proposal, weight = np.where(source < 10, rng.normal(size=len(source)), 0.0), 1 / np.bincount(source)[source]
    completed = CompletedSamples(source, log_proposal, np.ones(X.shape, dtype=bool))
    columns = Columns(2, {0: np.arange(2.0)}, {})
    samples = WeightedSamples(X, weight, source, completed)
    data = TableData.of(samples, columns, None, rng).split(4, 3)
    log_prob = rng.normal(size=len(data.validated))
    observed, places = data.observed(log_prob), source[data.validated]
    first = list(dict.fromkeys(places))
    ratios = np.exp(log_prob - log_proposal[data.validated])
    np.testing.assert_allclose(np.exp(observed), [ratios[places == k].mean() for k in first])
    np.testing.assert_allclose(data.validation_weight, 1.0)


def test_an_imputer_refuses_what_it_cannot_fill_in():
    from skdiffusion import DiffusionImputer

    X = table(100)
    X[::4, 0] = np.nan
    density = DiffusionDensityEstimator(**SMALL, categorical_features=[0])
    with pytest.raises(ValueError, match="draw them"):
        DiffusionImputer(density, strategy="mean").fit(X)
    with pytest.warns(UserWarning, match="no known value"), pytest.raises(ValueError, match="leave these features out"):
        DiffusionImputer(density).fit(np.column_stack([X, np.full(100, np.nan)]))
    assert set(DiffusionImputer(density, random_state=0).fit_transform(X)[:, 0]) <= set(X[~np.isnan(X[:, 0]), 0])


def test_maps_of_present_values_follow_heaps_and_no_chance():
    """Round amounts hold their share of values drawn behind the map; a smooth feature keeps a smooth one."""
    rng, n = np.random.default_rng(0), 3000
    tens = 10.0 * rng.integers(0, 200, n)
    amounts = np.where(rng.random(n) < 0.6, 100.0 * np.round(tens / 100), tens) + 10 * (rng.random(n) - 0.5)
    smooth = rng.normal(size=n)
    ends, values = (np.full(2, -np.inf), np.full(2, np.inf)), np.column_stack([amounts, smooth])
    normal = rng.normal(size=(20_000, 2))

    def heaped(x):
        return np.mean(np.abs(x - 100 * np.round(x / 100)) < 5)

    maps = fit_present_maps(values, np.ones(n), ends, TRANSFORMS, rng)
    wide = fit_present_maps(values, np.ones(n), ends, (None, 1.0, 0.3), rng)
    missing, missing_wide = (heaped(amounts) - heaped(m.inverse_transform(normal)[:, 0]) for m in (maps, wide))
    assert abs(missing) < 0.1
    assert missing_wide > 0.2
    transform = maps.maps[1].feature_transform
    assert not isinstance(transform, float) or transform >= 0.3


def coded_pairs(n, rng):
    """A code of a label, with one label unknown and a code unknown, beside numbers that the label does not decide."""
    label = rng.choice(4, n).astype(float)
    code = np.array([7.0, 3.0, 5.0, 7.0])[label.astype(int)]
    label[0], code[1] = np.nan, np.nan
    return np.column_stack([code, label, 10 * label + rng.integers(0, 3, n), np.full(n, 2.0), rng.normal(size=n)])


def test_numbers_that_a_category_decides_are_found_and_others_are_not():
    X = coded_pairs(200, np.random.default_rng(0))
    categories = {1: np.arange(4.0)}
    numeric = np.array([0, 2, 3, 4])
    assert numbers_of_categories(X, categories, numeric) == {0: 1}
    assert numbers_of_categories(X[:20], categories, numeric) == {}  # it may be a coincidence
    own = np.column_stack([np.arange(200.0), X[:, 4]])  # a category of each sample decides nothing
    assert numbers_of_categories(own, {0: np.arange(200.0)}, np.array([1])) == {}
    unknown = np.column_stack([np.where(X[:, 1] < 2, X[:, 0], np.nan), X[:, 1], np.full(200, np.nan)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of features that are unknown in a whole category, or everywhere
        assert numbers_of_categories(unknown, categories, np.array([0, 2])) == {0: 1}
    X[5, 0] = 8.0  # one sample of another code
    assert numbers_of_categories(X, categories, numeric) == {}


def test_a_fit_warns_of_numbers_that_a_category_decides_and_as_a_category_they_keep_to_it():
    X = coded_pairs(300, np.random.default_rng(1))[2:, [0, 1, 4]]
    with pytest.warns(DegenerateDataWarning, match=r"0 in each category of 1.*categorical_features=\[0, 1\]"):
        DiffusionDensityEstimator(**SMALL, categorical_features=[1]).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateDataWarning)
        est = DiffusionDensityEstimator(**SMALL, categorical_features=[0, 1]).fit(X)
    code, label, _ = est.sample(4000, random_state=0).T
    assert (code != np.array([7.0, 3.0, 5.0, 7.0])[label.astype(int)]).mean() < 0.02
