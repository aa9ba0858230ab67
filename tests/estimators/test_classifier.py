"""DiffusionClassifier: probabilities of classes against Bayes' rule, kinds of columns, and errors."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.metrics import log_loss

from skdiffusion import DiffusionClassifier, DiffusionDensityEstimator, load

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 1, "max_iter": 5, "random_state": 0}
CENTERS = np.array([[0.0, 0.0], [2.0, 0.5], [0.5, 2.5]])


def groups(n=600, seed=0):
    """Three Gaussian groups of known shares."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return CENTERS[y] + rng.normal(size=(n, 2)), np.array(["b", "a", "c"])[y]


def truth(X):
    """Probabilities of "a", "b", "c" given the known features of samples, one pattern of NaN for all."""
    known = ~np.isnan(X[0])
    terms = [
        share * multivariate_normal(center[known], np.eye(int(known.sum()))).pdf(X[:, known])
        for share, center in zip([0.3, 0.5, 0.2], CENTERS[[1, 0, 2]])
    ]
    return np.stack(terms, axis=1) / np.sum(terms, axis=0)[:, None]


def visits(n=500, seed=0):
    """A table of labels, zeros and numbers, whose class depends on all of them."""
    rng = np.random.default_rng(seed)
    place = rng.choice(["north", "south"], n)
    spent = np.where(rng.random(n) < 0.6, 0.0, rng.gamma(2.0, size=n))
    x = rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(1.5 - 2 * (place == "south") - 2 * (spent > 0) + x))
    return pd.DataFrame({"place": pd.Categorical(place), "spent": spent, "x": x}), y


@pytest.fixture(scope="module")
def fitted():
    return DiffusionClassifier(DiffusionDensityEstimator(**SMALL)).fit(*groups())


@pytest.fixture(scope="module")
def of_visits():
    return DiffusionClassifier(DiffusionDensityEstimator(**SMALL, atoms="auto")).fit(*visits())


def test_probabilities_are_near_those_of_the_truth(fitted):
    X, y = groups(2000, 1)
    found = fitted.predict_proba(X)
    assert fitted.classes_.tolist() == ["a", "b", "c"]
    assert_allclose(found.sum(1), 1.0, atol=1e-12)
    assert np.abs(found - truth(X)).mean() < 0.05
    assert log_loss(y, found) < log_loss(y, truth(X)) + 0.03
    assert fitted.score(X, y) == (fitted.predict(X) == y).mean() > 0.7
    assert_allclose(np.exp(fitted.predict_log_proba(X)), found)


@pytest.mark.parametrize("known", [0, 1])
def test_an_unknown_number_is_integrated_over(fitted, known):
    X = groups(60, 2)[0]
    X[:, 1 - known] = np.nan
    found = fitted.predict_proba(X)
    assert np.abs(found - truth(X)).mean() < 0.06
    assert np.abs(found - truth(X)).max() < 0.2
    assert_array_equal(fitted.predict_proba(X[:7]), found[:7])


def test_where_nothing_is_known_the_classes_have_their_shares(fitted):
    _, y = groups()
    shares = [(y == c).mean() for c in "abc"]
    nothing, beyond = fitted.predict_proba([[np.nan, np.nan], [1e140, -1e140]])
    assert_allclose(nothing, shares, atol=0.01)
    assert_allclose(beyond.sum(), 1.0)


def test_samples_outside_the_bounds_have_the_shares_of_the_classes():
    X, y = groups(200)
    model = DiffusionClassifier(DiffusionDensityEstimator(**SMALL, bounds=([-9, -9], 9))).fit(X, y)
    inside, outside, nothing = model.predict_proba([[0.0, 0.0], [10.0, 0.0], [np.nan, np.nan]])
    assert_array_equal(outside, nothing)
    assert inside[1] > nothing[1]


def test_a_frame_of_labels_zeros_and_numbers(of_visits, tmp_path):
    X, y = visits(1000, 1)
    assert of_visits.classes_.tolist() == [False, True]
    assert of_visits.estimator_.atoms_ == {1: [0.0]}
    found = of_visits.predict_proba(X)
    assert log_loss(y, found) < log_loss(y, np.tile([1 - y.mean(), y.mean()], (len(y), 1))) - 0.15
    of_visits.save(tmp_path / "file")
    again = load(tmp_path / "file")
    assert_array_equal(again.predict_proba(X), found)
    assert again.classes_.tolist() == [False, True]
    codes = X.assign(place=X["place"].cat.codes).to_numpy(dtype=float)
    with pytest.warns(UserWarning, match="feature names"):
        assert_array_equal(of_visits.predict_proba(codes), found)


def test_unknown_categories_are_summed_over(of_visits):
    X, _ = visits(30, 2)
    both = [
        of_visits.predict_proba(X.assign(place=pd.Categorical([c] * 30, ["north", "south"])))
        for c in X["place"].cat.categories
    ]
    found = of_visits.predict_proba(X.assign(place=pd.Categorical([None] * 30, ["north", "south"])))
    low, high = np.minimum(*both), np.maximum(*both)
    assert (found > low - 1e-6).all()
    assert (found < high + 1e-6).all()
    assert (high - low).max() > 0.2
    unseen = of_visits.predict_proba(X.assign(place=pd.Categorical(["west"] * 30)))
    assert_allclose(unseen.sum(1), 1.0)


def test_weights_of_samples():
    X, y = groups(300)
    model = DiffusionClassifier(DiffusionDensityEstimator(**SMALL))
    weighted = model.fit(X, y, sample_weight=np.where(y == "a", 4.0, 1.0)).predict_proba([[np.nan, np.nan]])[0]
    share = 4 * (y == "a").sum() / (4 * (y == "a").sum() + (y != "a").sum())
    assert weighted[0] == pytest.approx(share, abs=0.02)
    assert model.fit(X, y, sample_weight=(y != "a") * 1.0).classes_.tolist() == ["b", "c"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 20, "one class"),
        (np.arange(20) + 0.5, "Unknown label type"),
        (["a"] * 19 + [None], "missing labels"),
        ([0.0] * 19 + [np.nan], "NaN"),
        (["a", "b"], "inconsistent numbers of samples"),
        (None, "requires y"),
    ],
)
def test_bad_classes_are_refused_and_an_earlier_fit_stays(y, message):
    X, good = groups(20)
    model = DiffusionClassifier(DiffusionDensityEstimator(**SMALL)).fit(X, good)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert_array_equal(model.predict_proba(X), before)


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="300 classes"):
        DiffusionClassifier().fit(np.zeros((600, 1)), np.arange(600) % 300)
