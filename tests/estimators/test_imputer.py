"""Fits to incomplete samples, and DiffusionImputer."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skdiffusion import DiffusionDensityEstimator, DiffusionImputer
from skdiffusion.densities import Completion

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 1, "max_iter": 5, "random_state": 0}
NAMES = ["age", "income", "height"]


def table(n=400, seed=0):
    """Correlated features; the last has two groups, the second is skewed."""
    rng = np.random.default_rng(seed)
    group, x = rng.integers(2, size=n), rng.standard_normal((n, 3))
    return np.column_stack([x[:, 0], np.exp(0.5 * x[:, 0] + 0.3 * x[:, 1]), 4 * group + x[:, 0] + 0.3 * x[:, 2]])


def with_gaps(X, share=0.3, seed=1):
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


@pytest.fixture(scope="module")
def gaps():
    return with_gaps(table())


@pytest.fixture(scope="module")
def fitted(gaps):
    return DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0).fit(gaps)


def test_a_fit_with_gaps_is_near_one_without_and_ahead_of_complete_samples_alone():
    gaps = with_gaps(table(), 0.5)
    fresh, est = table(1000, 9), DiffusionDensityEstimator(**SMALL | {"max_iter": 40})
    whole, incomplete = est.fit(table()).score(fresh), est.fit(gaps).score(fresh)
    dropped = est.fit(gaps[~np.isnan(gaps).any(1)]).score(fresh)
    assert dropped < incomplete < whole + 0.02
    assert whole - incomplete < 0.8


def test_values_missing_in_dependence_on_known_ones_are_not_lost():
    X = table(1000)
    incomplete = X.copy()
    incomplete[X[:, 0] > 0, 2] = np.nan  # half of the values, the larger ones
    est = DiffusionDensityEstimator(**SMALL).fit(incomplete)
    generated = est.sample(4000, random_state=0)
    assert np.nanmean(incomplete[:, 2]) < X[:, 2].mean() - 0.5
    assert generated[:, 2].mean() == pytest.approx(X[:, 2].mean(), abs=0.25)
    assert generated[:, 2].std() == pytest.approx(X[:, 2].std(), rel=0.15)


def test_a_complete_table_has_the_fit_that_it_had():
    X = table()
    first = DiffusionDensityEstimator(**SMALL).fit(X)
    again = DiffusionDensityEstimator(**SMALL).fit(np.vstack([X, np.full((3, 3), np.nan)]))
    assert_array_equal(first.score_samples(X), again.score_samples(X))


def test_draws_share_the_weight_of_their_sample_and_stay_together(gaps):
    drawn = Completion(gaps, np.ones(len(gaps)), None, np.random.default_rng(0)).drawn()
    weight = np.bincount(drawn.groups, drawn.weight)
    np.testing.assert_allclose(weight, weight[0])
    for sample in (0, 5, 9):
        known = ~np.isnan(gaps[sample])
        assert (drawn.X[drawn.groups == sample][:, known] == gaps[sample, known]).all()
    effective = drawn.weight.sum() ** 2 / (drawn.weight @ drawn.weight)
    assert drawn.completed.information(drawn.weight) * effective == pytest.approx(len(gaps))


def test_samples_of_few_known_values_are_completed_by_different_draws():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 400).astype(float)
    X = np.column_stack([group, 3 * group + rng.standard_normal(400)])
    X[rng.random(400) < 0.5, 1] = np.nan
    missing = np.isnan(X[:, 1])
    drawn = Completion(X, np.ones(400), None, rng).drawn()
    assert len(np.unique(drawn.X[missing[drawn.groups], 1])) == 3 * missing.sum()
    out = DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0).fit_transform(X)
    for value in (0, 1):
        mine = missing & (group == value)
        assert out[mine, 1].mean() == pytest.approx(3 * value, abs=0.5)
        assert out[mine, 1].std() == pytest.approx(1, abs=0.3)


def test_the_number_of_samples_is_that_of_the_table(gaps):
    est = DiffusionDensityEstimator(**SMALL).fit(gaps)
    assert est.n_samples_seen_ == np.count_nonzero(~np.isnan(gaps).all(1))


def test_completed_values_keep_grids_and_bounds():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 5, 300), rng.exponential(size=300), rng.standard_normal(300)]).astype(float)
    X = with_gaps(X, 0.2)
    bounds = np.array([-np.inf, 0.0, -np.inf]), np.full(3, np.inf)
    drawn = Completion(X, np.ones(300), bounds, rng).drawn()
    assert set(np.unique(drawn.X[:, 0])) <= set(range(5))
    assert (drawn.X[:, 1] >= 0).all()


def test_known_values_are_kept_and_unknown_ones_drawn(fitted, gaps):
    out = fitted.transform(gaps)
    assert np.isfinite(out).all()
    assert_array_equal(out[~np.isnan(gaps)], gaps[~np.isnan(gaps)])
    assert_array_equal(out, fitted.transform(gaps))
    assert_array_equal(fitted.transform(gaps[7:8]), out[7:8])
    assert_array_equal(fitted.transform(table()[:5]), table()[:5])
    # Drawn values have the spread of the data; means are narrower, and nearer to the truth.
    missing, truth = np.isnan(gaps[:, 2]), table()[:, 2]
    assert out[missing, 2].std() == pytest.approx(truth.std(), rel=0.2)
    means = fitted.set_params(strategy="mean").transform(gaps)
    medians = fitted.set_params(strategy="median").transform(gaps)
    fitted.set_params(strategy="draw")
    errors = [np.sqrt(np.mean((part[missing, 2] - truth[missing]) ** 2)) for part in (out, means)]
    assert errors[1] < 0.85 * errors[0]
    assert (means[missing, 2] != medians[missing, 2]).any()


def test_frames_indicators_and_names(gaps):
    frame = pd.DataFrame(gaps, columns=NAMES).assign(age=table()[:, 0])
    imputer = DiffusionImputer(DiffusionDensityEstimator(**SMALL), add_indicator=True, random_state=0)
    out = imputer.set_output(transform="pandas").fit_transform(frame)
    assert list(out.columns) == [*NAMES, "missingindicator_income", "missingindicator_height"]
    assert_array_equal(out["missingindicator_income"] == 1, frame["income"].isna())


def test_features_without_values_are_left_out(gaps):
    X = np.column_stack([gaps, np.full(len(gaps), np.nan)])
    imputer = DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0)
    with pytest.warns(UserWarning, match=r"Features \[3\] have no known value"):
        assert imputer.fit_transform(X).shape == gaps.shape
    with pytest.raises(ValueError, match=r"No value of the features \[3\] is known"):
        DiffusionDensityEstimator(**SMALL).fit(X)


def test_pipelines_and_cross_validation_take_it(gaps):
    y = table()[:, 2]
    model = make_pipeline(DiffusionImputer(DiffusionDensityEstimator(**SMALL), strategy="mean"), LinearRegression())
    assert cross_val_score(model, gaps[:, :2], y, cv=2).mean() > 0.02  # of the variance, by two features
    density = DiffusionDensityEstimator(**SMALL)
    assert np.isfinite(cross_val_score(density, gaps, cv=2)).all()


def test_the_density_has_the_names_and_the_bounds_of_the_features_that_are_known(gaps):
    frame = pd.DataFrame(gaps, columns=NAMES)
    frame.insert(1, "nothing", np.nan)
    bounds = (np.array([-50.0, 7.0, 0.0, -np.inf]), np.array([50.0, 8.0, np.inf, np.inf]))
    imputer = DiffusionImputer(DiffusionDensityEstimator(bounds=bounds, **SMALL), random_state=0)
    with pytest.warns(UserWarning, match="'nothing'"):
        out = imputer.fit_transform(frame)
    assert imputer.estimator_.feature_names_in_.tolist() == NAMES
    assert_array_equal(imputer.estimator_.bounds[0], [-50, 0, -np.inf])
    assert (out[:, 1] >= 0).all()
    given = imputer.estimator_.conditional({"age": 0.5, "height": 1.0})
    assert given.quantile(0.5).shape == (1, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="X does not have valid feature names, but DiffusionDensity")
        warnings.filterwarnings("ignore", message="X does not have valid feature names, but DiffusionImputer")
        assert_array_equal(imputer.transform(frame.to_numpy()), out)


def test_medians_and_quantiles_of_rounded_features_are_rounded():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(300)
    X = np.column_stack([x, np.round(2 * x + rng.standard_normal(300))])
    gaps = X.copy()
    gaps[::3, 1] = np.nan
    imputer = DiffusionImputer(DiffusionDensityEstimator(**SMALL), strategy="median", random_state=0).fit(gaps)
    out = imputer.transform(gaps)
    assert_array_equal(out[:, 1], np.round(out[:, 1]))
    quantiles = imputer.estimator_.conditional({0: 0.5}).quantile([0.1, 0.5, 0.9])
    assert_array_equal(quantiles, np.round(quantiles))
