"""Networks for all splits of the features, trained beside the joint density by `fit_conditionals`."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, DiffusionImputer, load
from skdiffusion.densities import SplitDensity

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 1, "max_iter": 20, "random_state": 0}


def curved(n, seed=0):
    """Four features, of which the second and the third bend with the first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    bent = x**2 + 0.3 * rng.standard_normal(n)
    return np.column_stack([x, bent, np.sin(2 * x) + 0.3 * rng.standard_normal(n), rng.standard_normal(n) + 0.5 * bent])


def hidden(X, features):
    out = X.copy()
    out[:, features] = np.nan
    return out


@pytest.fixture(scope="module")
def fitted():
    return DiffusionDensityEstimator(**SMALL | {"fit_conditionals": True, "n_estimators": 2}).fit(curved(600))


@pytest.fixture(scope="module")
def alone():
    """The networks without any other component, trained longer."""
    given = SMALL | {"max_iter": 150, "fit_conditionals": True, "components": None}
    return DiffusionDensityEstimator(**given).fit(curved(600))


def test_the_density_of_complete_samples_is_the_same_to_the_bit(fitted):
    without = DiffusionDensityEstimator(**SMALL | {"n_estimators": 2}).fit(curved(600))
    X = curved(20, 1)
    assert without.conditional_blend_ is None
    assert isinstance(fitted.conditional_blend_.densities["diffusion"], SplitDensity)
    assert without.component_weights_ == fitted.component_weights_
    assert_array_equal(without.score_samples(X), fitted.score_samples(X))
    assert_array_equal(without.sample(5), fitted.sample(5))
    assert not np.array_equal(without.score_samples(hidden(X, [1])), fitted.score_samples(hidden(X, [1])))


def test_a_fit_repeats(fitted):
    again = DiffusionDensityEstimator(**SMALL | {"fit_conditionals": True, "n_estimators": 2}).fit(curved(600))
    X = hidden(curved(10, 1), [0, 2])
    assert again.conditional_blend_.weights == fitted.conditional_blend_.weights
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert_array_equal(again.impute(X), fitted.impute(X))


def test_auto_trains_where_values_are_missing():
    X = curved(200)
    X[::5, 1] = np.nan
    few = SMALL | {"max_iter": 2}
    assert DiffusionDensityEstimator(**few).fit(X).conditional_blend_ is not None
    assert DiffusionDensityEstimator(**few, fit_conditionals=False).fit(X).conditional_blend_ is None
    single = DiffusionDensityEstimator(**few, fit_conditionals=True).fit(curved(200)[:, :1])
    assert single.conditional_blend_ is None
    imputed = DiffusionImputer(DiffusionDensityEstimator(**few), random_state=0).fit_transform(X)
    assert np.isfinite(imputed).all()
    with pytest.raises(ValueError, match="fit_conditionals"):
        DiffusionDensityEstimator(**few, fit_conditionals="always").fit(X)


def test_fewer_networks_of_splits_are_weighed_on_the_folds_that_they_have_not_seen():
    X = curved(300)
    given = SMALL | {"fit_conditionals": True, "n_estimators": "auto", "components": ["student"], "max_iter": 60}
    est = DiffusionDensityEstimator(**given).fit(X)
    assert est.blend_.densities["diffusion"].density.field.network.n_members == 8
    assert est.conditional_blend_.densities["diffusion"].density.field.network.n_members == 4
    assert sum(est.conditional_blend_.weights.values()) == pytest.approx(1)
    assert est.conditional_blend_.weights["diffusion"] > 0.5
    values = np.linspace(-12, 30, 4001)
    density = np.exp(est.conditional(hidden(X[:1], [1])).score_samples(values))
    assert density.sum() * (values[1] - values[0]) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("weights", ["joint", "fixed"])
@pytest.mark.parametrize("feature", [0, 3])
def test_conditionals_integrate_to_one_and_are_what_is_drawn(fitted, weights, feature):
    conditional = fitted.conditional(hidden(curved(1, 2), [feature]), weights=weights)
    values = np.linspace(-25, 35, 20_001)
    density, step = np.exp(conditional.score_samples(values)), values[1] - values[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    levels = np.cumsum(density) * step
    drawn = np.sort(conditional.sample(2000)[0, :, 0])
    assert np.abs(np.interp(drawn, values, levels) - (np.arange(2000) + 0.5) / 2000).max() < 1.95 / np.sqrt(2000)
    assert conditional.mean[0, 0] == pytest.approx((values * density).sum() * step, abs=0.02)
    assert (conditional.error_.standard_error == 0).all()


def test_marginals_integrate_to_one_and_are_those_of_the_samples(fitted):
    marginal = fitted.marginal([1])
    values = np.linspace(-25, 60, 20_001)
    density, step = np.exp(marginal.score_samples(values)), values[1] - values[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    levels = np.interp(np.sort(curved(2000, 3)[:, 1]), values, np.cumsum(density) * step)
    assert np.abs(levels - (np.arange(2000) + 0.5) / 2000).max() < 0.08


def test_conditionals_tell_more_than_the_gaussian(alone):
    """On the first feature: what bends with it is known from it far better than a Gaussian knows."""
    X, u = curved(400, 4), [1]
    gain = alone.conditional(hidden(X, u)).score_samples(X[:, u])
    truth = -0.5 * ((X[:, 1] - X[:, 0] ** 2) / 0.3) ** 2 - np.log(0.3 * np.sqrt(2 * np.pi))
    residual = (
        X[:, 1]
        - np.linalg.lstsq(np.c_[X[:, [0, 2, 3]], np.ones(400)], X[:, 1], rcond=None)[0]
        @ np.c_[X[:, [0, 2, 3]], np.ones(400)].T
    )
    gaussian = -0.5 * (residual / residual.std()) ** 2 - np.log(residual.std() * np.sqrt(2 * np.pi))
    assert gaussian.mean() + 0.3 < gain.mean() < truth.mean() + 0.1


def test_any_number_of_unknown_features_is_answered():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 14)) @ rng.standard_normal((14, 14))
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 4}, fit_conditionals=True).fit(X)
    for unknown in (np.arange(7), np.arange(1, 14)):
        incomplete = hidden(X[:4], unknown)
        assert np.isfinite(est.score_samples(incomplete)).all()
        assert np.isfinite(est.conditional(incomplete).score_samples(X[:4, unknown])).all()
        completed = est.impute(incomplete)
        assert_array_equal(np.delete(completed, unknown, 1), np.delete(X[:4], unknown, 1))
        assert np.isfinite(completed).all()


def test_a_sample_does_not_depend_on_the_others(fitted):
    X = np.where(np.random.default_rng(2).random((12, 4)) < 0.5, np.nan, curved(12, 5))
    together = fitted.score_samples(X)
    assert_array_equal(together, np.concatenate([fitted.score_samples(x[None]) for x in X]))
    assert (together[np.isnan(X).all(1)] == 0).all()
    X = X[~np.isnan(X).all(1)]
    assert_array_equal(fitted.impute(X), np.concatenate([fitted.impute(x[None]) for x in X]))
    drawn = fitted.sample(300, given={1: 0.5, 3: -0.25})
    assert (drawn[:, [1, 3]] == [0.5, -0.25]).all()
    assert_array_equal(fitted.sample(7, given={1: 0.5, 3: -0.25}), drawn[:7])


def test_the_consistency_gap_is_that_of_the_three_densities(fitted):
    X, u = curved(10, 6), [0, 2]
    conditional = fitted.conditional(hidden(X, u))
    direct = conditional.score_samples(X[:, u])
    gap = direct - (fitted.score_samples(X) - fitted.score_samples(hidden(X, u)))
    assert_allclose(conditional.consistency_gap(X[:, u]), gap, atol=1e-10)
    assert np.abs(gap).max() > 1e-3
    without = DiffusionDensityEstimator(**SMALL).fit(curved(300))
    assert_allclose(without.conditional(hidden(X, u)).consistency_gap(X[:, u]), 0, atol=1e-8)


def test_files_keep_the_networks(fitted, tmp_path):
    fitted.save(tmp_path / "density.skd")
    again, X = load(tmp_path / "density.skd"), hidden(curved(8, 7), [3])
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert_array_equal(again.impute(X), fitted.impute(X))


def test_after_a_round_of_a_stream_the_joint_density_answers():
    est = DiffusionDensityEstimator(**SMALL | {"max_iter": 2}, fit_conditionals=True).partial_fit(curved(200))
    assert est.conditional_blend_ is not None
    assert est.partial_fit(curved(200, 1)).conditional_blend_ is None


def test_what_lies_outside_bounds_has_no_density():
    X = np.exp(curved(300)[:, [0, 2, 3]])
    est = DiffusionDensityEstimator(bounds=(0, np.inf), **SMALL | {"max_iter": 4}, fit_conditionals=True).fit(X)
    conditional = est.conditional(hidden(X[:1], [1]))
    assert np.isneginf(conditional.score_samples([-1.0, 1.0])).tolist() == [True, False]
    assert np.isnan(conditional.consistency_gap([-1.0, 1.0])).tolist() == [True, False]
    assert (est.sample(50, given={0: 1.0}) >= 0).all()
    # The density may be infinite at the bound itself.
    values = np.concatenate([np.geomspace(1e-9, 1e-3, 2000), np.geomspace(1e-3, 200, 20_000)[1:]])
    assert np.trapezoid(np.exp(conditional.score_samples(values)), values) == pytest.approx(1, abs=5e-3)


@pytest.mark.filterwarnings("ignore:There was no time")
def test_a_short_time_is_kept():
    start = time.process_time()
    est = DiffusionDensityEstimator(random_state=0, max_fit_seconds=2, fit_conditionals=True).fit(curved(400))
    assert est.conditional_blend_ is not None
    assert time.process_time() - start < 20  # closed forms and short runs are not cut
