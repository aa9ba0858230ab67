"""Maps of features that end where their values are dense."""

import numpy as np
import pytest
from scipy import stats

from skdiffusion.preprocessing import TRANSFORMS, fit_present_maps
from skdiffusion.preprocessing._range_map import RangeMap, ranges_beyond

ENDS = np.full(1, -np.inf), np.full(1, np.inf)


def values(n=2000, seed=0):
    return np.random.default_rng(seed).beta(0.5, 0.5, n)


def test_the_map_is_smooth_invertible_and_onto_the_real_line():
    x = values()
    m = RangeMap.fit(x)
    places = np.concatenate([np.linspace(-0.5, 1.5, 401), x[:50], [-1e6, 1e6]])
    z, log_slope = m.forward_and_log_slope(places)
    np.testing.assert_allclose(m.inverse(z), places, rtol=1e-12, atol=1e-12)
    assert np.isfinite(z).all()
    assert np.isfinite(log_slope).all()
    inner = np.linspace(0.01, 0.99, 50)
    for function, slope in ((m.forward, lambda x: np.exp(m.log_slope(x))), (m.log_slope, m.curvature)):
        measured = (function(inner + 1e-6) - function(inner - 1e-6)) / 2e-6
        np.testing.assert_allclose(measured, slope(inner), rtol=1e-5, atol=1e-6)
    low, high = ranges_beyond(x[:, None])[:, 0]
    np.testing.assert_allclose(m.forward(inner), stats.norm.ppf((inner - low) / (high - low)), rtol=1e-10)


def test_equal_outermost_values_have_no_range():
    assert RangeMap.fit(np.concatenate([np.zeros(50), np.arange(50.0)])) is None
    assert RangeMap.fit(np.ones(30)) is None


@pytest.mark.parametrize("together", [False, True])
def test_an_outermost_sample_is_left_out_of_the_range(together):
    """It is mapped as by the map of the others, and with it what is left out together with it."""
    x, share = values(300), np.full(300, 1 / 300)
    outermost = np.argmax(x)
    group = np.array([0, 1, outermost]) if together else np.array([outermost])
    z, log_slope = RangeMap.fit(x).left_out(x, share, [group] if together else [])
    others = RangeMap.fit(np.delete(x, group))
    np.testing.assert_array_equal(z[group], others.forward(x[group]))
    np.testing.assert_array_equal(log_slope[group], others.log_slope(x[group]))
    rest = np.setdiff1d(np.arange(300), [*group, np.argmin(x)])
    np.testing.assert_array_equal(z[rest], RangeMap.fit(x).forward(x[rest]))


@pytest.mark.parametrize(
    "truth", [stats.uniform(), stats.beta(0.5, 0.5), stats.expon()], ids=["uniform", "arcsine", "exponential"]
)
def test_draws_of_features_that_end_stay_near_their_ends(truth):
    x, rng = truth.rvs(5000, random_state=0), np.random.default_rng(0)
    maps = fit_present_maps(x[:, None], np.ones(len(x)), ENDS, TRANSFORMS, rng)
    drawn = maps.inverse_transform(rng.normal(size=(20_000, 1)))[:, 0]
    assert drawn.min() > x.min() - 0.1 * x.std()
    assert np.mean((drawn < x.min()) | (drawn > x.max())) < 0.006
    fresh = truth.rvs(5000, random_state=1)
    log_prob = maps.maps[0].feature_log_density(fresh[:, None])[:, 0]
    assert (truth.logpdf(fresh) - log_prob).mean() < 0.03


def test_a_feature_without_ends_has_no_range():
    x, rng = np.random.default_rng(0).normal(size=(3000, 1)), np.random.default_rng(1)
    maps = fit_present_maps(x, np.ones(len(x)), ENDS, TRANSFORMS, rng)
    assert not any(isinstance(m, RangeMap) for m in maps.maps[0].maps[0].maps)


def test_the_density_behind_the_map_integrates_to_one():
    x, rng = values(), np.random.default_rng(0)
    maps = fit_present_maps(x[:, None], np.ones(len(x)), ENDS, TRANSFORMS, rng)
    edges = maps.maps[0].inverse_transform(np.linspace(-9, 9, 20_001)[:, None])[:, 0]
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    mass = np.exp(maps.maps[0].feature_log_density(middle[:, None])[:, 0]) @ width
    assert mass == pytest.approx(1.0, abs=1e-3)
