"""Ordered categories: few are categories, of many the places in their order are rounded numbers."""

import warnings

import numpy as np
import pytest

from skdiffusion import DiffusionClassifier, DiffusionDensityEstimator, DiffusionRegressor, find_atoms, load
from skdiffusion.estimators._table_kinds import MIN_ORDERED, kinds_of

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 20, "random_state": 0}
LABELS = [f"grade {name}" for name in "zyxwvutsrqponm"]  # whose order is not that of the alphabet


def graded(n, labels=LABELS, seed=0):
    """Places of labels that follow a number, cut at thresholds, and the number."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n)
    thresholds = np.linspace(-2, 2, len(labels) - 1)
    return np.searchsorted(thresholds, number + 0.3 * rng.normal(size=n)), number


def pandas_frame(n, labels=LABELS, ordered=True, seed=0):
    pd = pytest.importorskip("pandas")
    places, number = graded(n, labels, seed)
    return pd.DataFrame({"grade": pd.Categorical.from_codes(places, labels, ordered=ordered), "number": number})


def polars_frame(n):
    pl = pytest.importorskip("polars")
    places, number = graded(n)
    return pl.DataFrame({"grade": pl.Series([LABELS[i] for i in places], dtype=pl.Enum(LABELS)), "number": number})


def arrow_table(n):
    pa = pytest.importorskip("pyarrow")
    places, number = graded(n)
    grade = pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), pa.array(LABELS), ordered=True)
    return pa.table({"grade": grade, "number": number})


def fitted(X, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return DiffusionDensityEstimator(**SMALL | parameters).fit(X)


@pytest.fixture(scope="module")
def est():
    return fitted(pandas_frame(300))


def test_many_ordered_labels_are_numbers_and_few_or_named_ones_categories():
    assert kinds_of(pandas_frame(20), "from_dtype").categories == []
    assert kinds_of(pandas_frame(20, LABELS[: MIN_ORDERED - 1]), "from_dtype").categories == [0]
    assert kinds_of(pandas_frame(20, ordered=False), "from_dtype").categories == [0]
    assert kinds_of(pandas_frame(20), ["grade"]).categories == [0]
    assert find_atoms(pandas_frame(200)) == {}


@pytest.mark.parametrize("make", [pandas_frame, polars_frame, arrow_table])
def test_labels_come_back_in_the_frame_that_they_came_in(make):
    X = make(120)
    drawn = fitted(X).sample(50, random_state=0)
    assert type(drawn) is type(X)
    kinds = [str(frame.schema if hasattr(frame, "schema") else frame.dtypes) for frame in (drawn, X)]
    assert kinds[0] == kinds[1]
    names = drawn["grade"].to_pylist() if hasattr(drawn, "column_names") else list(drawn["grade"])
    assert set(names) <= set(LABELS)
    assert len(set(names)) > 4


def test_the_order_is_learned_where_there_are_many_labels():
    """Grades cut from a number: as categories, each of which is learned apart, they cost a tenth of a nat and more."""
    labels = [f"{i:02d}" for i in range(20)]
    train, test = pandas_frame(250, labels, seed=1), pandas_frame(1000, labels, seed=2)
    ordered = fitted(train).score_samples(test, measure="counting").mean()
    nominal = fitted(train, categorical_features=["grade"]).score_samples(test, measure="counting").mean()
    assert ordered > nominal + 0.1


def test_conditionals_of_ordered_labels(est):
    model = est.conditional({"number": 0.5})
    probabilities = np.exp(est.score_samples(pandas_frame(300)[:1], measure="counting"))
    assert 0 < probabilities[0] < 1
    cdf = model.cdf(LABELS)
    assert (np.diff(cdf) >= 0).all()
    assert cdf[-1] > 0.99
    (quantiles,) = model.quantile([0.1, 0.5, 0.9])
    np.testing.assert_array_equal(quantiles, np.round(quantiles))  # places of labels
    higher = est.conditional({"number": 1.5}).quantile([0.5])[0, 0]
    assert quantiles[1] < higher
    given = est.sample(20, given={"grade": LABELS[5]}, random_state=0)
    assert set(given["grade"]) == {LABELS[5]}
    with pytest.raises(ValueError, match="Probabilities are of an unknown category"):
        model.predict_proba()


def test_unknown_labels_are_completed_by_places(est):
    X = pandas_frame(30, seed=3)
    X.loc[::3, "grade"] = None
    completed = est.impute(X, random_state=0)
    known = X["grade"].notna().to_numpy()
    np.testing.assert_array_equal(completed[known, 0], X["grade"].cat.codes[known])
    assert np.isin(completed[:, 0], np.arange(len(LABELS))).all()
    assert np.isfinite(est.score_samples(X)).all()
    with_gaps = pandas_frame(100)
    with_gaps.loc[::4, "grade"] = None
    assert fitted(with_gaps).sample(20, random_state=0)["grade"].notna().all()


def test_a_file_holds_the_labels(est, tmp_path):
    est.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert list(again.sample(20, random_state=0)["grade"]) == list(est.sample(20, random_state=0)["grade"])


def test_other_estimators_take_ordered_labels():
    X = pandas_frame(150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        classifier = DiffusionClassifier(DiffusionDensityEstimator(**SMALL)).fit(X[["grade"]], X["number"] > 0)
        regressor = DiffusionRegressor(max_iter=5, random_state=0).fit(X[["grade"]], X["number"])
    assert classifier.predict_proba(X[["grade"]])[X["grade"] >= LABELS[-4], 1].min() > 0.5
    assert np.isfinite(regressor.predict(X[["grade"]])).all()
    with pytest.raises(ValueError, match="'atoms' names 'grade'"):
        fitted(X, atoms={"grade": [0.0]})
    with pytest.raises(ValueError, match="'partial_fit' is not defined for a table"):
        DiffusionDensityEstimator(**SMALL).partial_fit(X)
