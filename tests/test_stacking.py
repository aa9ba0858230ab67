"""Stacking weights, blends of log-densities, and what averaging an ensemble gains."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from skdiffusion._utils.numerics import best_blend
from skdiffusion._utils.protocols import Density
from skdiffusion.densities import (
    Blend,
    Component,
    ComponentOptions,
    GaussianMixtureDensity,
    TransformedDensity,
    blend_log_density,
    blend_weights,
    stacking_weights,
)
from skdiffusion.diffusion.ensemble import averaging_gain
from skdiffusion.preprocessing import Preprocessor


def test_weights_maximize_the_out_of_fold_log_density(rng):
    L = rng.standard_normal((200, 3))
    ours = stacking_weights(L)
    objective = lambda v: -blend_log_density(L, np.exp(v) / np.exp(v).sum()).mean()  # noqa: E731
    best = minimize(
        objective, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000}
    )
    assert_allclose(blend_log_density(L, ours).mean(), -best.fun, atol=1e-6)


def test_a_min_weight_is_kept_and_the_rest_stays_optimal(rng):
    L = np.column_stack([np.zeros(100), np.full(100, -50.0), -1 + rng.standard_normal(100)])
    free = stacking_weights(L)
    bound = stacking_weights(L, min_weights=np.array([0.0, 0.01, 0.0]))
    assert free[1] < 1e-6
    assert bound[1] == pytest.approx(0.01)
    assert_allclose(bound[[0, 2]] / bound[[0, 2]].sum(), free[[0, 2]] / free[[0, 2]].sum(), atol=1e-4)


def test_the_min_weight_bounds_the_cost_of_any_sample(rng):
    L = rng.standard_normal((50, 2))
    L[0, 0] = -1e4
    w = stacking_weights(L, min_weights=np.array([0.0, 0.002]))
    blend = blend_log_density(L, w)
    assert (blend >= L[:, 1] + np.log(0.002) - 1e-12).all()


def test_weights_of_samples_are_repetitions(rng):
    L = rng.standard_normal((40, 2))
    counts = rng.integers(1, 4, 40)
    assert_allclose(stacking_weights(L, counts), stacking_weights(np.repeat(L, counts, 0)), atol=1e-6)


def test_samples_that_no_component_explains_are_left_out():
    L = np.array([[0.0, -1.0], [-np.inf, -np.inf], [-1.0, 0.0]])
    assert_allclose(stacking_weights(L), [0.5, 0.5], atol=1e-6)


def test_min_weights_beyond_one_are_refused():
    with pytest.raises(ValueError, match="sum to less than 1"):
        stacking_weights(np.zeros((3, 2)), min_weights=np.array([0.6, 0.5]))


def test_blend_of_impossible_samples_is_minus_infinity():
    assert blend_log_density(np.full((1, 2), -np.inf), np.array([0.5, 0.5]))[0] == -np.inf


def test_averaging_gain_predicts_the_gain_of_an_average(rng):
    """Members = truth + independent errors; the mean of densities beats a single one by the predicted gain."""
    errors = 0.5 * rng.standard_normal((4000, 5))
    truth = rng.standard_normal((4000, 1))
    all_members = truth + errors
    mixed = np.log(np.exp(all_members[:, :4]).mean(1))
    actual = (mixed - all_members[:, :4].mean(1)).mean()
    table = all_members[:, :4].copy()
    own = rng.integers(0, 4, 4000)
    table[np.arange(4000), own] = np.nan
    assert averaging_gain(table).mean() == pytest.approx(actual, rel=0.1)
    assert averaging_gain(table[:, :2]).sum() == 0


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), reach=st.sampled_from([0.1, 3.0, 300.0, 1e5]))
def test_the_best_blend_is_the_best_of_all_shares(seed, n, reach):
    rng = np.random.default_rng(seed)
    density, others, weights = *rng.normal(0, reach, (2, n)), rng.dirichlet(np.ones(n))
    shares = np.r_[0, np.geomspace(1e-6, 0.5, 60), 1 - np.geomspace(0.5, 1e-6, 60), 1][:, None]
    with np.errstate(divide="ignore"):
        every = np.logaddexp(np.log(shares) + density, np.log1p(-shares) + others) @ weights
    best = weights @ best_blend(density, others, weights)
    assert best >= every.max() - 1e-6 * (1 + abs(every.max()))


def test_negligible_weights_are_zero(rng):
    held_out, min_weight = rng.standard_normal(500), ComponentOptions().min_student_weight
    components = [
        Component("good", Density(), held_out, "good"),
        Component("bad", Density(), held_out - 20, "bad"),
        Component("student", Density(), held_out - 5, "student", min_weight=min_weight),
    ]
    weights = blend_weights(components, np.ones(500))
    assert weights[1] == 0
    assert weights[2] == pytest.approx(min_weight, rel=1e-3)
    assert weights.sum() == pytest.approx(1, abs=1e-15)


def test_a_blend_maps_its_samples_once_for_every_preprocessor(rng, monkeypatch):
    X, seen = rng.standard_normal((50, 2)), []
    transform = Preprocessor.transform
    monkeypatch.setattr(Preprocessor, "transform", lambda self, X: seen.append(self) or transform(self, X))
    first, second = (Preprocessor(X, np.ones(50), kind) for kind in ("yeo-johnson", 1.0))
    normals = [GaussianMixtureDensity([1.0], [np.zeros(2)], [s * np.eye(2)]) for s in (0.5, 1.0, 2.0)]
    densities = [TransformedDensity(p, normal) for p, normal in zip((first, first, second), normals)]
    blend = Blend({str(k): d for k, d in enumerate(densities)}, {"0": 0.2, "1": 0.3, "2": 0.5})
    expected = np.stack([density.log_prob(X) for density in densities], axis=1)
    seen.clear()
    np.testing.assert_array_equal(blend.component_log_prob(X), expected)
    assert seen == [first, second]
    share = blend_log_density(expected, np.array([0.2, 0.3, 0.5]))[:, None]
    scores = sum(
        w * np.exp(expected[:, [k]] - share) * density.score(X)
        for k, (w, density) in enumerate(zip((0.2, 0.3, 0.5), densities))
    )
    seen.clear()
    assert_allclose(blend.score(X), scores, rtol=1e-10, atol=1e-12)
    assert seen == [first, second]
