"""DiffusionRegressor: what its distributions say agrees with itself and with known ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdiffusion
from skdiffusion import DiffusionRegressor, Options
from skdiffusion.exceptions import DegenerateDataWarning

SMALL = {"hidden_layer_sizes": (16, 16), "max_iter": 20, "n_estimators": 2, "options": Options(n_folds=2)}
LEVELS = np.array([0.02, 0.1, 0.5, 0.8, 0.99])


def small(**parameters):
    return DiffusionRegressor(**{**SMALL, "random_state": 0, **parameters})


def two_modes(n, seed):
    """y is x or -x, with noise that grows with x."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(0.5, 2.0, (n, 2))
    return X, rng.choice([-1.0, 1.0], n) * X[:, 0] + 0.1 * X[:, 1] * rng.standard_normal(n)


@pytest.fixture(scope="module")
def fitted():
    return small(max_iter=80).fit(*two_modes(400, 0))


@pytest.fixture(scope="module")
def several():
    X, y = two_modes(200, 1)
    Y = np.column_stack([y, y**2 + 0.1 * np.random.default_rng(2).standard_normal(200)])
    return small().fit(X, Y), X, Y


def test_the_density_integrates_to_one_and_to_its_distribution_function(fitted):
    X, grid = two_modes(3, 5)[0], np.linspace(-8, 8, 3201)
    for x in X:
        rows = np.repeat(x[None], len(grid), axis=0)
        density = np.exp(fitted.log_prob(rows, grid))
        below = np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))
        assert below[-1] == pytest.approx(1.0, abs=1e-3)
        assert_allclose(fitted.cdf(rows, grid)[1:], below, atol=1e-3)
        assert fitted.predict(x[None])[0] == pytest.approx((density * grid).sum() * np.diff(grid)[0], abs=0.01)


def test_quantiles_invert_the_distribution_function(fitted):
    X = two_modes(40, 6)[0]
    quantiles = fitted.predict_quantiles(X, LEVELS)
    assert (np.diff(quantiles, axis=1) > 0).all()
    back = np.stack([fitted.cdf(X, q) for q in quantiles.T], axis=1)
    assert np.abs(back - LEVELS).max() < 0.03
    assert np.abs(back - LEVELS).mean() < 0.003
    assert_array_equal(fitted.predict_quantiles(X, 0.5), quantiles[:, [2]])


def test_far_targets_have_finite_log_densities_and_no_probability_beyond(fitted):
    X = two_modes(3, 21)[0]
    for far in (1e3, 1e8, 1e30):
        assert_allclose(fitted.cdf(X, [-far, far, far]), [0.0, 1.0, 1.0], atol=1e-4)
        assert np.isfinite(fitted.log_prob(X, [-far, far, far])).all()


def test_intervals_hold_what_they_say(fitted):
    X, y = two_modes(400, 7)
    central = fitted.predict_interval(X, 0.8)
    assert_array_equal(central, fitted.predict_quantiles(X, [(1 - 0.8) / 2, (1 + 0.8) / 2]))
    shortest = fitted.predict_interval(X, 0.8, kind="highest_density")
    assert (np.diff(shortest) <= np.diff(central) + 1e-9).all()
    for interval in (central, shortest):
        held = fitted.cdf(X, interval[:, 1]) - fitted.cdf(X, interval[:, 0])
        assert np.abs(held - 0.8).mean() < 0.01
        inside = (interval[:, 0] <= y) & (y <= interval[:, 1])
        assert abs(inside.mean() - 0.8) < 0.1


def test_draws_follow_the_distribution_and_fewer_are_a_prefix(fitted):
    X = two_modes(5, 8)[0]
    draws = fitted.sample_y(X, 2000, random_state=3)
    assert_array_equal(fitted.sample_y(X, 7, random_state=3), draws[:, :7])
    assert_array_equal(fitted.sample_y(X, 7), fitted.sample_y(X, 7))
    assert not np.array_equal(fitted.sample_y(X, 7), draws[:, :7])
    for x, own in zip(X, draws):
        levels = np.sort(fitted.cdf(np.repeat(x[None], len(own), axis=0), own))
        assert np.abs(levels - (np.arange(2000) + 0.5) / 2000).max() < 1.95 / np.sqrt(2000)  # one in a thousand


def test_inputs_far_outside_the_fit_count_as_its_ends(fitted):
    X = two_modes(2, 22)[0]
    for sign in (-1.0, 1.0):
        far = np.stack([np.full((2, 2), sign * size) for size in (1e2, 1e6, 1e30)])
        means, quantiles = (
            np.stack([f(x) for x in far]) for f in (fitted.predict, lambda x: fitted.predict_quantiles(x, LEVELS))
        )
        assert_array_equal(means, means[[0, 0, 0]])
        assert_array_equal(quantiles, quantiles[[0, 0, 0]])
        assert np.abs(quantiles).max() < 10
        assert np.isfinite(fitted.log_prob(far[2], X[:, 0])).all()


def test_the_flow_learns_what_trees_leave_only_where_they_lead():
    rng = np.random.default_rng(23)
    X, noise = rng.uniform(-2, 2, (600, 2)), rng.standard_normal(600)
    smooth = small(max_iter=60).fit(X, X @ [3.0, -2.0] + 0.2 * noise)
    levels = rng.standard_normal(20)[np.digitize(X[:, 0], np.linspace(-2, 2, 19))]
    steps = small(max_iter=60).fit(X, levels + 0.05 * noise)
    followed = [reg.models_[0].blend.components["diffusion"].of_residuals for reg in (smooth, steps)]
    assert followed == [False, True]


def test_mixture_networks_alone_are_a_fit():
    X, y = two_modes(600, 24)
    reg = small(components=["network"], hidden_layer_sizes=(64, 64), max_iter=150).fit(X[:500], y[:500])
    assert reg.component_weights_ == {"network": 1.0}
    trees = small(components=["trees"]).fit(X[:500], y[:500])
    assert reg.log_prob(X[500:], y[500:]).mean() > trees.log_prob(X[500:], y[500:]).mean() + 0.3


def test_atoms_are_found_by_weights_as_by_copies():
    rng, n = np.random.default_rng(25), 100
    X, y = rng.uniform(size=(n, 1)), rng.gamma(3.0, size=n)
    y[:6] = 0.0
    reg = small(atoms="auto", components=["trees"])
    assert_array_equal(reg.fit(X, y).atoms_[0], [0.0])
    light = np.where(y == 0, 1e-3, 1.0)
    assert reg.fit(X, y, light).atoms_ == {}
    copies = np.repeat(np.arange(n), np.where(y == 0, 2, 3))
    by_copies = reg.fit(X[copies], y[copies]).log_prob(X, y)
    assert_array_equal(reg.fit(X, y, np.where(y == 0, 2.0, 3.0)).log_prob(X, y), by_copies)


def log_normal(n, seed):
    """y whose logarithm bends with x, of which components say different things where n is small."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 4))
    return X, np.exp(X[:, 0] + np.sin(2 * X[:, 1]) + 0.7 * rng.standard_normal(n))


def test_sharper_draws_keep_the_mean_of_skewed_targets():
    X, y = log_normal(200, 0)
    regressor = small(components=["trees", "mixture", "student"]).fit(X, y)
    (model,) = regressor.models_
    assert model.blend.sharpening.extremes > 0.01
    sharper = regressor.predict(X)
    regressor.models_ = [replace(model, blend=replace(model.blend, sharpening=None))]
    assert sharper.mean() == pytest.approx(regressor.predict(X).mean(), rel=2e-3)


def test_means_of_heavy_tails_behind_a_map_of_powers_stay_near_the_values_of_the_fit():
    X, y = log_normal(200, 0)
    regressor = small(components=["student"]).fit(X, y)
    (model,) = regressor.models_
    assert (
        model.target_map.inverse_transform(np.array([[40.0]])) > 100 * y.max()
    )  # where a tail of three degrees does lie
    assert model.reach == pytest.approx((y.min() - np.ptp(y), y.max() + np.ptp(y)))
    means = regressor.predict(np.vstack([X, 30 * X]))
    assert means.max() < y.max()
    assert regressor.score(X, y) > 0


def test_values_do_not_depend_on_the_other_samples(fitted):
    X, y = two_modes(60, 9)
    some = np.array([41, 3, 17])
    for values, of_some in (
        (fitted.log_prob(X, y), fitted.log_prob(X[some], y[some])),
        (fitted.cdf(X, y), fitted.cdf(X[some], y[some])),
        (fitted.predict(X), fitted.predict(X[some])),
        (fitted.predict_quantiles(X, LEVELS), fitted.predict_quantiles(X[some], LEVELS)),
    ):
        assert_array_equal(values[some], of_some)


def test_a_linear_gaussian_target_is_learned():
    rng = np.random.default_rng(10)
    X = rng.standard_normal((900, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.5 * rng.standard_normal(900)
    reg = small(components=["mixture", "student"]).fit(X[:500], y[:500])
    error = y[500:] - X[500:] @ [1.0, -2.0, 0.5]
    truth = -0.5 * (error / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    assert np.mean(truth - reg.log_prob(X[500:], y[500:])) < 0.02
    assert_allclose(reg.predict(X[500:]), X[500:] @ [1.0, -2.0, 0.5], atol=0.25)
    assert set(reg.component_weights_) == {"mixture", "student"}


def test_two_modes_are_learned(fitted):
    X, y = two_modes(400, 11)
    scale = 0.1 * X[:, 1]
    parts = [-0.5 * ((y - s * X[:, 0]) / scale) ** 2 for s in (-1, 1)]
    truth = np.logaddexp(*parts) - np.log(2 * scale) - 0.5 * np.log(2 * np.pi)
    one_normal = -0.5 * np.log(2 * np.pi * np.e * (X[:, 0] ** 2 + scale**2))
    ours = fitted.log_prob(X, y).mean()
    assert truth.mean() - ours < 0.5 * (truth.mean() - one_normal.mean())


def test_several_outputs_have_a_joint_density(several):
    reg, X, Y = several
    assert reg.n_outputs_ == 2
    assert len(reg.component_weights_) == 2
    first, second = reg.models_
    expected = first.given(X).log_prob(Y[:, 0]) + second.given(np.column_stack([X, Y[:, 0]])).log_prob(Y[:, 1])
    assert_allclose(reg.log_prob(X, Y), expected, atol=1e-9)
    assert reg.predict(X[:4]).shape == (4, 2)
    assert reg.predict_quantiles(X[:4], LEVELS).shape == (4, 5, 2)
    assert reg.predict_interval(X[:4], kind="highest_density").shape == (4, 2, 2)
    draws = reg.sample_y(X[:3], 300)
    assert draws.shape == (3, 300, 2)
    # The second output is nearly the square of the first, which says nothing of its sign.
    assert np.corrcoef(draws[..., 0].ravel() ** 2, draws[..., 1].ravel())[0, 1] > 0.6
    assert reg.score(X[:20], Y[:20]) <= 1
    with pytest.raises(ValueError, match="one output"):
        reg.cdf(X, Y)
    with pytest.raises(ValueError, match="1 outputs, but DiffusionRegressor was fitted to 2"):
        reg.log_prob(X, Y[:, 0])


def test_atoms_have_probabilities():
    rng, n = np.random.default_rng(12), 400
    X = rng.uniform(size=(n, 1))
    y = np.where(rng.random(n) < 0.2 + 0.6 * X[:, 0], 0.0, 1 + rng.gamma(3.0, size=n))
    reg = small(atoms="auto", bounds=(0.0, np.inf)).fit(X, y)
    assert_array_equal(reg.atoms_[0], [0.0])
    new = np.array([[0.1], [0.9]])
    share = np.exp(reg.log_prob(new, np.zeros(2)))
    assert_allclose(share, [0.26, 0.74], atol=0.2)
    assert_allclose(reg.cdf(new, np.zeros(2)), share, atol=1e-3)
    grid = np.linspace(1e-6, 40, 4001)
    density = np.exp(reg.log_prob(np.repeat(new[:1], len(grid), axis=0), grid))
    assert share[0] + np.trapezoid(density, grid) == pytest.approx(1.0, abs=5e-3)
    assert_array_equal(reg.predict_quantiles(new, share.min() / 2)[:, 0], 0.0)
    assert (reg.predict_quantiles(new, 0.99) > 1).all()
    draws = reg.sample_y(new, 2000)
    assert_allclose((draws == 0).mean(1), share, atol=0.05)
    assert_allclose(draws.mean(1), reg.predict(new), rtol=0.15)
    assert_array_equal(reg.log_prob(new, np.full(2, -1.0)), -np.inf)


def test_bounds_hold():
    rng = np.random.default_rng(13)
    X = rng.standard_normal((200, 2))
    y = rng.beta(2.0, 0.7, 200)
    reg = small(bounds=(0.0, 1.0), components=["trees", "student"]).fit(X, y)
    draws = reg.sample_y(X[:20], 100)
    assert draws.min() >= 0
    assert draws.max() <= 1
    assert_array_equal(reg.log_prob(X[:2], [-0.1, 1.1]), -np.inf)
    assert_array_equal(reg.cdf(X[:2], [-0.1, 1.1]), [0.0, 1.0])
    with pytest.raises(ValueError, match="1 of 200 samples of y lie outside 'bounds'"):
        reg.fit(X, np.append(y[:-1], 2.0))


def test_targets_that_leave_bounds_by_round_off_are_at_the_bounds():
    rng = np.random.default_rng(13)
    X, y = rng.standard_normal((200, 2)), rng.random(200)
    y[:2] = 1.0, 0.0
    beyond = y.copy()
    beyond[:2] = np.nextafter(1.0, 2.0), -1e-17
    at, other = (small(bounds=(0.0, 1.0), components=["trees", "student"]).fit(X, target) for target in (y, beyond))
    assert_array_equal(other.log_prob(X, beyond), at.log_prob(X, y))


def test_missing_values_and_categories_in_a_frame():
    rng, n = np.random.default_rng(14), 300
    kind = rng.choice(["a", "b", "c"], n)
    number = rng.standard_normal(n)
    y = (kind == "b") * 3.0 + number + 0.2 * rng.standard_normal(n)
    number[::7] = np.nan
    frame = pd.DataFrame({"kind": kind, "number": number})
    reg = small().fit(frame, pd.Series(y))
    assert reg.score(frame, y) > 0.5
    assert list(reg.feature_names_in_) == ["kind", "number"]
    new = pd.DataFrame({"kind": ["b", "a", "unknown", None], "number": [0.0, 0.0, np.nan, 1.0]})
    predicted = reg.predict(new)
    assert np.isfinite(predicted).all()
    assert predicted[0] - predicted[1] > 1.5
    codes = np.column_stack([np.unique(kind, return_inverse=True)[1].astype(float), number])
    coded = small(categorical_features=[0]).fit(codes, y)
    assert_array_equal(coded.predict(codes[:20]), reg.predict(frame[:20]))


def test_what_is_saved_comes_back(fitted, several, tmp_path):
    X, y = two_modes(30, 15)
    fitted.save(tmp_path / "one.skd")
    again = skdiffusion.load(tmp_path / "one.skd")
    assert_array_equal(again.log_prob(X, y), fitted.log_prob(X, y))
    assert_array_equal(again.predict_quantiles(X, LEVELS), fitted.predict_quantiles(X, LEVELS))
    assert_array_equal(again.sample_y(X, 3), fitted.sample_y(X, 3))
    reg, X, Y = several
    reg.save(tmp_path / "two.skd")
    assert_array_equal(skdiffusion.load(tmp_path / "two.skd").log_prob(X, Y), reg.log_prob(X, Y))


def test_searches_pipelines_and_clones():
    X, y = two_modes(80, 16)
    pipeline = make_pipeline(StandardScaler(), small(max_iter=2))
    search = GridSearchCV(pipeline, {"diffusionregressor__options__learning_rate": [1e-3, 1e-2]}, cv=2).fit(X, y)
    assert search.best_estimator_[-1].options.learning_rate in (1e-3, 1e-2)
    assert clone(small(bounds=(0.0, 1.0))).get_params()["bounds"] == (0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        routed = small(max_iter=2).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weights = np.linspace(0.5, 1.0, 80)
        scores = cross_val_score(routed, X, y, cv=2, params={"sample_weight": weights})
    assert np.isfinite(scores).all()


def test_a_time_limit_is_kept_and_the_dtype_of_y_changes_nothing():
    X, y = two_modes(200, 17)
    y = np.round(4 * y)
    short = small(max_iter="auto", max_fit_seconds=1e-3)
    reg = short.fit(X, y)
    assert reg.n_iter_ < small(max_iter="auto").fit(X, y).n_iter_
    of_integers = small().fit(X, y.astype(int))
    assert_array_equal(of_integers.log_prob(X, y.astype(int)), small().fit(X, y.astype(np.float32)).log_prob(X, y))


def test_a_constant_target_is_said():
    X = np.arange(20.0)[:, None]
    with pytest.warns(DegenerateDataWarning, match="target is constant"):
        reg = small(max_iter=2).fit(X, np.full(20, 7.0))
    assert_allclose(reg.predict(X), 7.0, atol=0.01)


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({}, [1.0, np.nan, 2.0, 3.0], "y contains NaN in 1 of 4 samples: drop"),
        ({}, ["a", "b", "c", "d"], "not compatible with arrays of bytes/strings|could not convert"),
        ({}, [1.0, 2.0], "inconsistent numbers of samples"),
        ({"components": ["woods"]}, [1.0, 2.0, 3.0, 4.0], "'components' parameter must be .* Got 'woods'"),
        ({"components": []}, [1.0, 2.0, 3.0, 4.0], "'components' parameter must be .* Got none"),
        ({"bounds": (2.0, 1.0)}, [1.0, 2.0, 3.0, 4.0], "'bounds' parameter"),
        ({"atoms": [1.0, 2.0, 3.0]}, [1.0, 2.0, 3.0, 4.0], "no continuous part"),
        ({"atoms": {1: [0.0]}}, [1.0, 2.0, 3.0, 4.0], "'atoms' names the output 1"),
        ({"atoms": ["x"]}, [1.0, 2.0, 3.0, 4.0], "no numbers"),
        ({"atoms": [np.inf]}, [1.0, 2.0, 3.0, 4.0], "not finite"),
    ],
)
def test_bad_input_is_named_and_loses_nothing(fitted, parameters, y, message):
    reg, before = clone(fitted).set_params(**parameters), dict(vars(fitted))
    reg.__dict__.update({name: value for name, value in before.items() if name not in reg.get_params()})
    models = reg.models_
    with pytest.raises(ValueError, match=message):
        reg.fit(np.arange(8.0).reshape(4, 2), y)
    assert reg.models_ is models


def test_inputs_that_say_nothing_leave_the_distribution_of_y():
    rng = np.random.default_rng(19)
    X = np.column_stack([np.full(300, 3.0), np.full(300, np.nan)])
    reg = small(max_iter=5).fit(X, rng.standard_normal(300))
    y = rng.standard_normal(500)
    truth = -0.5 * y**2 - 0.5 * np.log(2 * np.pi)
    assert abs(np.mean(truth - reg.log_prob(np.repeat(X[:1], 500, axis=0), y))) < 0.05


def test_verbose_shows_a_bar(capsys):
    small(max_iter=2, verbose=1).fit(*two_modes(50, 20))
    assert "DiffusionRegressor, training" in capsys.readouterr().err


def test_equal_samples_only_are_refused():
    with pytest.raises(ValueError, match="1 distinct sample"):
        small().fit(np.ones((5, 2)), np.ones(5))


def test_too_many_categories_are_refused():
    with pytest.raises(ValueError, match="more than 255 categories"):
        small(categorical_features=[0]).fit(np.arange(256.0)[:, None], np.arange(256.0))


def test_bad_questions_are_named(fitted):
    X, y = two_modes(4, 18)
    for call, message in (
        (lambda: fitted.predict_quantiles(X, [0.5, 1.0]), "'quantiles' argument must hold probabilities"),
        (lambda: fitted.predict_interval(X, 1.5), "'coverage' argument"),
        (lambda: fitted.predict_interval(X, kind="widest"), "'kind' argument must be 'central' or"),
        (lambda: fitted.sample_y(X, -1), "'n_samples' argument"),
        (lambda: fitted.log_prob(X, y[:2]), "inconsistent numbers of samples"),
        (lambda: fitted.log_prob(X, [1.0, 2.0, np.inf, 0.0]), "y contains infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
