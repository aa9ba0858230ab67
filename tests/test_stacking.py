import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from skdiffusion.densities import averaging_gain, blend_log_density, stacking_weights


def test_weights_maximise_the_held_out_log_density(rng):
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
    held = stacking_weights(L, least=np.array([0.0, 0.01, 0.0]))
    assert free[1] < 1e-6
    assert held[1] == pytest.approx(0.01)
    assert_allclose(held[[0, 2]] / held[[0, 2]].sum(), free[[0, 2]] / free[[0, 2]].sum(), atol=1e-4)


def test_the_min_weight_bounds_the_cost_of_any_sample(rng):
    L = rng.standard_normal((50, 2))
    L[0, 0] = -1e4
    w = stacking_weights(L, least=np.array([0.0, 0.002]))
    blend = blend_log_density(L, w)
    assert (blend >= L[:, 1] + np.log(0.002) - 1e-12).all()


def test_weights_of_samples_are_repetitions(rng):
    L = rng.standard_normal((40, 2))
    counts = rng.integers(1, 4, 40)
    assert_allclose(stacking_weights(L, counts), stacking_weights(np.repeat(L, counts, 0)), atol=1e-6)


def test_samples_that_no_member_explains_are_left_out():
    L = np.array([[0.0, -1.0], [-np.inf, -np.inf], [-1.0, 0.0]])
    assert_allclose(stacking_weights(L), [0.5, 0.5], atol=1e-6)


def test_min_weights_beyond_one_are_refused():
    with pytest.raises(ValueError, match="sum to less than 1"):
        stacking_weights(np.zeros((3, 2)), least=np.array([0.6, 0.5]))


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
