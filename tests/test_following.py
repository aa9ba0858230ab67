"""Components in closed form on a stream: they follow it, nothing of a fold is left in them, and old samples go."""

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, Options
from skdiffusion.densities import (
    Blend,
    Component,
    ExpectationMaximization,
    GaussianMixtureDensity,
    StudentTDensity,
    TransformedDensity,
)
from skdiffusion.estimators._following import best_window, following
from skdiffusion.preprocessing import Preprocessor, Resolution, TrainingData

MAP = Preprocessor(np.random.default_rng(0).standard_normal((500, 2)), np.ones(500))
OLD = GaussianMixtureDensity([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [np.eye(2), np.eye(2)])
DENSITIES = {"mixture": OLD, "student": StudentTDensity(np.zeros(2), np.eye(2), 4.0)}


def data_of(X, seed=0):
    data = TrainingData(X, np.ones(len(X)), (), 0, None, np.random.default_rng(seed), Resolution.of(X))
    return data.split(8, 4)


def component(name, n_validated):
    return Component(name, TransformedDensity(MAP, DENSITIES[name]), np.zeros(n_validated), name)


def clusters(n, rng, apart=3.0):
    X = rng.standard_normal((n, 2))
    X[:, 0] += np.where(rng.random(n) < 0.5, -apart, apart)
    return X


@pytest.mark.parametrize("name", DENSITIES)
def test_a_component_moves_to_where_the_samples_are(name, rng):
    data, fresh = data_of(clusters(1000, rng)), clusters(4000, rng)
    before = component(name, len(data.validated))
    after = following(before, data, np.inf)
    gain = after.density.log_prob(fresh).mean() - before.density.log_prob(fresh).mean()
    assert gain > (1.0 if name == "mixture" else 0.5)
    if name == "mixture":  # the entropy of two clusters that hardly overlap
        assert after.density.log_prob(fresh).mean() == pytest.approx(-np.log(2 * np.pi * np.e) - np.log(2), abs=0.03)
        np.testing.assert_allclose(after.density.density.weights, 0.5, atol=0.1)
    assert after.held_out_log_prob.mean() == pytest.approx(after.density.log_prob(fresh).mean(), abs=0.15)


@pytest.mark.parametrize("name", DENSITIES)
def test_out_of_fold_values_know_nothing_of_the_other_samples_of_their_fold(name, rng):
    X = clusters(300, rng)
    data = data_of(X)
    fold = data.validation_folds[0]
    first = following(component(name, len(data.validated)), data, np.inf).held_out_log_prob
    changed = X.copy()
    changed[fold[1:]] += 5.0
    second = following(component(name, len(data.validated)), data_of(changed), np.inf).held_out_log_prob
    assert second[0] == first[0]
    assert (second[1 : len(fold)] != first[1 : len(fold)]).all()
    assert not np.isclose(second[len(fold) :], first[len(fold) :]).any()


def test_other_components_stay(rng):
    data, other = data_of(clusters(100, rng)), Component("own", StudentTDensity(np.zeros(2), np.eye(2), 3.0), 0, "own")
    assert following(other, data, np.inf) is other
    costly = component("mixture", len(data.validated))
    assert following(costly, data, 2 * 100 * 4) is costly
    assert following(costly, data, 2 * 100 * 4 + 1) is not costly


def blend_of(*names):
    """A blend of a diffusion, which is not asked, and these components."""
    own = TransformedDensity(MAP, DENSITIES["student"])
    densities = {"diffusion": own} | {name: component(name, 1).density for name in names}
    return Blend(densities, dict.fromkeys(densities, 1 / len(densities)))


@pytest.mark.parametrize("blend", [blend_of("student"), blend_of("student", "mixture")], ids=["no mixture", "mixture"])
def test_samples_are_forgotten_where_fewer_say_more_of_the_latest(blend):
    kept = {"stays": [], "jumps": [], "drifts": []}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((2000, 2))
        for name, moved in {
            "stays": 0.0,
            "jumps": 2.0 * (np.arange(2000) > 1400),
            "drifts": np.arange(2000) / 500,
        }.items():
            kept[name].append(
                best_window(data_of(X + np.outer(moved + np.zeros(2000), [1.0, 0.0]), seed), blend, np.inf)
            )
    assert np.mean(np.array(kept["stays"]) == 2000) >= 0.8
    assert np.max(kept["jumps"]) <= 1000
    assert np.max(kept["drifts"]) <= 1000
    assert np.min(kept["drifts"]) >= 60


def test_few_samples_are_never_forgotten(rng):
    X = np.concatenate([rng.standard_normal((80, 2)), 9 + rng.standard_normal((30, 2))])
    assert best_window(data_of(X), blend_of("mixture"), np.inf) == 110


def refit(X):
    options = Options(n_training_steps=200, n_pilot_steps=20, fine_tune=False, max_search_cost=0, em_restarts=1)
    return DiffusionDensityEstimator(
        (16, 16), n_estimators=4, n_steps=16, components=["mixture", "student"], random_state=0, options=options
    ).fit(X)


def test_a_slow_drift_is_followed_as_far_as_a_fit_to_the_last_window():
    """Two clusters come apart, and their shares change, over 1500 samples; then they stay for 500."""
    rng = np.random.default_rng(0)

    def drawn(n, t):
        X = rng.standard_normal((n, 2)) * 0.7
        X[:, 0] += np.where(left := rng.random(n) < 0.3 + 0.4 * t, -2, 2)
        X[:, 1] += np.where(left, 2 * t, -2 * t)
        return X

    est = refit(drawn(500, 0.0))
    chunks = [drawn(100, min(1.0, k / 15)) for k in range(1, 21)]
    for X in chunks:
        est.partial_fit(X)
    fresh = drawn(4000, 1.0)
    assert est.score(fresh) > refit(np.concatenate(chunks[-5:])).score(fresh) - 0.05
    weights = [est.component_weights_[name] for name in est.component_weights_]
    assert sum(weights) == pytest.approx(1.0)


def test_expectation_maximization_that_goes_on_is_that_of_all_its_steps(rng):
    """Rounds of some steps on the same samples are one long run."""
    z, w = clusters(400, rng), np.ones(400)
    short, long = ExpectationMaximization(max_iter=5, tol=-1.0), ExpectationMaximization(max_iter=15, tol=-1.0)
    mixture = OLD
    for _ in range(3):
        mixture = short.fit(z, w, (2, 4.0), start=mixture)
    np.testing.assert_allclose(mixture.means, long.fit(z, w, (2, 4.0), start=OLD).means, atol=1e-8)
