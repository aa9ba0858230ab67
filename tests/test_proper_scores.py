"""Proper scores against closed forms, and scorers of predicted distributions in cross-validation."""

import pickle

import numpy as np
import pytest
import sklearn
from scipy import stats
from scipy.integrate import quad
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdiffusion import DiffusionRegressor
from skdiffusion.exceptions import ZeroDensityWarning
from skdiffusion.metrics import (
    conditional_log_likelihood,
    crps_of_quantiles,
    crps_of_samples,
    interval_score,
    make_interval_scorer,
    make_pinball_scorer,
    neg_crps,
    neg_interval_score,
    neg_pinball_loss,
)
from tests.linear_gaussian import LinearGaussianRegressor

LEVELS = np.arange(1, 100) / 100
SCORERS = {
    "likelihood": conditional_log_likelihood,
    "crps": neg_crps,
    "pinball": neg_pinball_loss,
    "interval": neg_interval_score,
}


def gaussian_crps(y, mean=0.0, scale=1.0):
    z = (np.asarray(y) - mean) / scale
    return scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def crps_by_definition(cdf, y, low, high):
    """The integral of the squared difference between a distribution function and the step at y."""
    below = quad(lambda z: cdf(z) ** 2, low, y, limit=500)[0]
    return below + quad(lambda z: (1 - cdf(z)) ** 2, y, high, limit=500)[0]


@pytest.mark.parametrize("y", [-2.0, 0.3, 0.9, 4.0])
def test_crps_of_samples_is_that_of_their_step_function(y, rng):
    samples = rng.normal(size=7)
    edges = np.sort([*samples, y])
    exact = sum((b - a) * ((samples <= a).mean() - (y <= a)) ** 2 for a, b in zip(edges[:-1], edges[1:]))
    assert crps_of_samples([y], samples[None]) == pytest.approx(exact, rel=1e-12)
    pairs = np.abs(samples[:, None] - samples)
    fair = np.abs(samples - y).mean() - pairs.sum() / (2 * 7 * 6)
    assert crps_of_samples([y], samples[None], fair=True) == pytest.approx(fair, rel=1e-12)


def test_fair_samples_have_no_bias(rng):
    y = rng.normal(size=4000)
    samples = rng.normal(size=(4000, 4))
    exact = gaussian_crps(y).mean()
    assert crps_of_samples(y, samples, fair=True) == pytest.approx(exact, abs=0.03)
    # E|Z - Z'| = 2 / sqrt(pi) of a standard normal.
    assert crps_of_samples(y, samples) - exact == pytest.approx(1 / np.sqrt(np.pi) / 4, abs=0.03)


@pytest.mark.parametrize("y", [-3.0, -1.0, -0.2, 0.5, 2.5])
def test_crps_of_quantiles_is_that_of_the_linear_quantile_function(y):
    levels, quantiles = np.array([0.1, 0.2, 0.6, 0.9]), np.array([-2.0, -1.0, 0.0, 2.0])

    def cdf(z):
        return float(np.interp(z, quantiles, levels, left=0.0, right=1.0))

    exact = crps_by_definition(cdf, y, -4.0, 4.0)
    assert crps_of_quantiles([y], quantiles[None], levels) == pytest.approx(exact, rel=1e-6)


def test_crps_of_midpoint_quantiles_is_that_of_an_ensemble_in_the_limit(rng):
    y, scale = rng.normal(size=200) * 2, 1.7
    many = (np.arange(2000) + 0.5) / 2000
    exact = gaussian_crps(y, 0.5, scale).mean()
    quantiles = np.tile(stats.norm.ppf(many, 0.5, scale), (200, 1))
    assert crps_of_quantiles(y, quantiles, many) == pytest.approx(exact, rel=1e-5)
    assert crps_of_samples(y, quantiles) == pytest.approx(exact, rel=1e-4)
    # What the percentiles of the scorer lose.
    percents = np.tile(stats.norm.ppf(LEVELS, 0.5, scale), (200, 1))
    assert crps_of_quantiles(y, percents, LEVELS) == pytest.approx(exact, rel=2e-3)


def test_scores_of_single_values_are_absolute_errors(rng):
    y, point = rng.normal(size=(2, 20))
    error = mean_absolute_error(y, point)
    assert crps_of_samples(y, point[:, None]) == pytest.approx(error)
    assert crps_of_quantiles(y, np.tile(point[:, None], (1, 3)), [0.2, 0.5, 0.7]) == pytest.approx(error)


def test_crossing_quantiles_are_sorted():
    levels = [0.25, 0.5, 0.75]
    crossed, sorted_ = (
        crps_of_quantiles([0.3], [[1.0, 0.0, 2.0]], levels),
        crps_of_quantiles([0.3], [[0, 1, 2]], levels),
    )
    assert crossed == sorted_


def test_the_interval_score_is_the_pinball_loss_of_both_ends(rng):
    y, ends = rng.normal(size=50), np.sort(rng.normal(size=(50, 2)), axis=1)
    alpha = 0.2
    pinball = [mean_pinball_loss(y, ends[:, k], alpha=a) for k, a in enumerate((alpha / 2, 1 - alpha / 2))]
    assert interval_score(y, ends, 1 - alpha) == pytest.approx(2 / alpha * sum(pinball))
    # The least expected score of a standard normal: 4 pdf(u) / alpha at its own quantiles.
    z = stats.norm.ppf(1 - alpha / 2)
    draws = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    own, wide = (interval_score(draws, np.tile([-b, b], (100_000, 1)), 1 - alpha) for b in (z, 1.2 * z))
    assert own == pytest.approx(4 / alpha * stats.norm.pdf(z), rel=1e-3)
    assert own < wide


@pytest.mark.parametrize(
    "score",
    [
        lambda y, p, **k: crps_of_samples(y, p, **k),
        lambda y, p, **k: crps_of_quantiles(y, p, [0.3, 0.6], **k),
        lambda y, p, **k: interval_score(y, np.sort(p, axis=1), 0.8, **k),
    ],
)
def test_outputs_and_weights(score, rng):
    y, predicted = rng.normal(size=(30, 3)), rng.normal(size=(30, 2, 3))
    each = [score(y[:, j], predicted[:, :, j]) for j in range(3)]
    np.testing.assert_allclose(score(y, predicted, multioutput="raw_values"), each)
    assert score(y, predicted) == pytest.approx(np.mean(each))
    assert score(y[:, :1], predicted[:, :, 0]) == pytest.approx(each[0])
    w = rng.integers(0, 4, 30)
    repeated = score(np.repeat(y, w, axis=0), np.repeat(predicted, w, axis=0))
    assert score(y, predicted, sample_weight=w) == pytest.approx(repeated)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: crps_of_samples([0.0], [[np.nan]]), "samples contains NaN"),
        (lambda: crps_of_samples([np.inf], [[0.0]]), "y_true contains infinity"),
        (lambda: crps_of_samples([0.0, 1.0], [[0.0]]), "inconsistent numbers of samples"),
        (lambda: crps_of_samples([[0.0, 1.0]], [[0.0, 1.0]]), "'samples' argument must have the shape"),
        (lambda: crps_of_samples([0.0], [[0.0]], fair=True), "at least 2"),
        (lambda: crps_of_quantiles([0.0], [[0.0, 1.0]], [0.5]), r"shape \(n_samples, 1\)"),
        (lambda: crps_of_quantiles([0.0], [[0.0, 1.0]], [0.5, 0.2]), "'levels' argument"),
        (lambda: crps_of_quantiles([0.0], [[0.0]], [1.0]), "'levels' argument"),
        (lambda: interval_score([0.0], [[1.0, 0.0]]), "sort the two"),
        (lambda: interval_score([0.0], [[0.0, 1.0, 2.0]]), r"shape \(n_samples, 2\)"),
        (lambda: interval_score([0.0], [[0.0, 1.0]], 1.0), "'coverage' parameter"),
        (lambda: interval_score([0.0], [[0.0, 1.0]], multioutput="sum"), "'multioutput' parameter"),
        (lambda: make_pinball_scorer([0.0, 0.5]), "'quantiles' argument"),
        (lambda: make_interval_scorer(90), "'coverage' parameter"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.fixture
def data(rng):
    X = rng.normal(size=(120, 2)) * [1.0, 50.0]
    return X, X @ [1.0, 0.02] + rng.normal(size=120)


def expected(name, regressor, X, y):
    mean, scale = regressor.predict(X), regressor.scale_
    if name == "likelihood":
        return stats.norm.logpdf(y, mean, scale).mean()
    if name == "crps":
        return -gaussian_crps(y, mean, scale).mean()
    if name == "pinball":
        levels = [0.05, 0.25, 0.5, 0.75, 0.95]
        return -np.mean([mean_pinball_loss(y, mean + scale * stats.norm.ppf(a), alpha=a) for a in levels])
    half = scale * stats.norm.ppf(0.95)
    return -interval_score(y, np.column_stack([mean - half, mean + half]), 0.9)


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_in_cross_validation(name, data):
    X, y = data
    scores = cross_val_score(LinearGaussianRegressor(), X, y, cv=KFold(3), scoring=SCORERS[name])
    for score, (train, test) in zip(scores, KFold(3).split(X)):
        fitted = LinearGaussianRegressor().fit(X[train], y[train])
        assert score == pytest.approx(expected(name, fitted, X[test], y[test]), rel=2e-3 if name == "crps" else 1e-12)


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_prefer_the_true_width_through_a_search_and_a_pipeline(name, data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), LinearGaussianRegressor())
    grid = {"lineargaussianregressor__widening": [0.3, 1.0, 3.0]}
    search = GridSearchCV(pipeline, grid, scoring=SCORERS[name]).fit(X, y)
    assert search.best_params_ == {"lineargaussianregressor__widening": 1.0}
    plain = LinearGaussianRegressor().fit(X, y)
    assert SCORERS[name](search, X, y) == pytest.approx(SCORERS[name](plain, X, y))
    assert pickle.loads(pickle.dumps(SCORERS[name]))(plain, X, y) == SCORERS[name](plain, X, y)


@pytest.mark.parametrize("name", SCORERS)
def test_weights_are_routed(name, data, rng):
    X, y = data
    w = rng.integers(0, 3, len(y)).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = SCORERS[name].set_score_request(sample_weight=True)
        assert SCORERS[name].get_metadata_routing().score.requests == {"sample_weight": None}
        regressor = LinearGaussianRegressor().set_fit_request(sample_weight=True)
        options = {"cv": KFold(3), "scoring": {"it": scorer}, "params": {"sample_weight": w}, "return_estimator": True}
        result = cross_validate(regressor, X, y, **options)
        with pytest.raises(ValueError, match="sample_weight"):
            cross_validate(regressor, X, y, **(options | {"scoring": SCORERS[name]}))
    for score, fitted, (_, test) in zip(result["test_it"], result["estimator"], KFold(3).split(X)):
        counts = w[test].astype(int)
        assert score == pytest.approx(scorer(fitted, np.repeat(X[test], counts, axis=0), np.repeat(y[test], counts)))


def test_weights_are_routed_in_a_search(data, rng):
    X, y = data
    w = rng.uniform(size=len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        regressor = LinearGaussianRegressor().set_fit_request(sample_weight=True)
        scorer = neg_interval_score.set_score_request(sample_weight="sample_weight")
        search = GridSearchCV(regressor, {"widening": [1.0]}, scoring=scorer, cv=KFold(3)).fit(X, y, sample_weight=w)
    folds = [(LinearGaussianRegressor().fit(X[a], y[a], w[a]), b) for a, b in KFold(3).split(X)]
    by_hand = [interval_score(y[b], m.predict_interval(X[b]), sample_weight=w[b]) for m, b in folds]
    assert search.best_score_ == pytest.approx(-np.mean(by_hand))


def test_scorers_name_what_is_missing(data):
    line = LinearRegression().fit(*data)
    for scorer in SCORERS.values():
        with pytest.raises(TypeError, match="LinearRegression has no '(log_prob|predict_quantiles|predict_interval)'"):
            scorer(line, *data)


def test_density_zero_is_told(data):
    class Never(LinearGaussianRegressor):
        def log_prob(self, X, y):
            return np.full(len(X), -np.inf)

    with pytest.warns(ZeroDensityWarning):
        assert conditional_log_likelihood(Never().fit(*data), *data) == -np.inf


def test_scorers_say_their_settings():
    assert repr(neg_crps) == "CRPSScorer()"
    assert repr(neg_interval_score) == "IntervalScorer(coverage=0.9)"


def test_scorers_of_our_regressor_agree_with_its_draws(rng):
    X = rng.uniform(-2, 2, (150, 1))
    y = np.sign(rng.random(150) - 0.5) * (1 + X[:, 0] ** 2) + 0.2 * rng.normal(size=150)
    reg = DiffusionRegressor(components=["trees"], random_state=0).fit(X, y)
    draws = reg.sample_y(X, n_samples=400, random_state=1)
    assert neg_crps(reg, X, y) == pytest.approx(-crps_of_samples(y, draws, fair=True), rel=0.03)
    assert conditional_log_likelihood(reg, X, y) == reg.log_prob(X, y).mean()
    levels = np.quantile(draws, [0.05, 0.95], axis=1).T
    assert neg_interval_score(reg, X, y) == pytest.approx(-interval_score(y, levels), rel=0.05)
