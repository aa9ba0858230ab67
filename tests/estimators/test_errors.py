"""Every bad input gets an error that names the argument and the mend, and an earlier fit stays whole."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from skdiffusion import DiffusionDensityEstimator, Options, StackedDensityEstimator

TINY = {"hidden_layer_sizes": (8, 8), "max_iter": 2, "n_estimators": 2, "n_steps": 4, "random_state": 0}
X = np.random.default_rng(0).standard_normal((40, 2))
CONSTANT_SAMPLE = np.array([[1.0, 2.0]])

BAD_DATA = {
    "nan alone": (np.full((40, 2), np.nan), "with a known value"),
    "infinity": (np.where(np.arange(80).reshape(40, 2) == 7, np.inf, X), "infinity"),
    "one dimension": (X[:, 0], "Reshape your data"),
    "three dimensions": (X[:, :, None], "dim 3"),
    "one row": (CONSTANT_SAMPLE, "minimum of 2"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "complex": (X + 1j, "Complex data not supported"),
    "words": (np.array([["a", "b"], ["c", "d"]], dtype=object), "could not convert string"),
    "sparse": (csr_array(X), "[Ss]parse"),
}


@pytest.mark.parametrize(("data", "message"), BAD_DATA.values(), ids=list(BAD_DATA))
def test_bad_samples_in_fit(data, message):
    est = DiffusionDensityEstimator(**TINY).fit(X)
    before = est.score_samples(X)
    with pytest.raises((ValueError, TypeError), match=message):
        est.fit(data)
    assert est.n_features_in_ == 2
    np.testing.assert_array_equal(est.score_samples(X), before)


BAD_PARAMETERS = {
    "hidden_layer_sizes": [(0, 4), (), (2.5,), "wide", [(4, 4), (4, 4)], [(4,), 3], 4.5],
    "feature_transform": ["rank", 0.3],
    "bounds": [(0.0,), (1.0, 0.0), ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])],
    "components": ["all", 2, np.False_, ["mixture", "copula"]],
    "n_estimators": [0, 1.5],
    "max_iter": [0, "many"],
    "early_stopping": ["yes"],
    "n_steps": [1, "few"],
    "warm_start": [3],
    "device": ["tpu9", 4],
    "categorical_features": ["all", 3, [7], [True], ["x"]],
    "fit_conditionals": ["yes", 2],
    "atoms": ["all", 3, {9: [0.0]}, {0: ["a"]}, {0: [np.inf]}],
    "n_jobs": ["two", 1.5],
    "random_state": ["seed"],
    "verbose": [-1],
    "max_fit_seconds": [0, -1.0, "soon"],
    "options": [{"learning_rate": 0.1}, "fast"],
}
BAD_OPTIONS = {
    "activation": ["swish", None],
    "learning_rate": [0.0, -1.0],
    "weight_decay": [-1e-3],
    "batch_size": [0, 2.5],
    "n_training_steps": [0, "many"],
    "patience": [0],
    "decay_fraction": [0.0, 1.5],
    "n_target_samples": [-1, "few"],
    "n_pilot_steps": [0],
    "min_correlation_gain": [-1.0],
    "min_trial_weight": [-0.1, 1.5],
    "min_trial_gain": [-1.0],
    "n_folds": [1, 2.5],
    "fine_tune": ["yes", 2, None],
    "sigma_min": [0.0, -1, 30.0],
    "sigma_max": [0.0, "auto"],
    "noise_intervals": [0, 1.5, [0.5, 0.2], [0.0, 0.5], [30.0], [1e-6], [[0.5]], "dyadic"],
    "score_clip": [0.0, -1.0, "two"],
    "n_nonzero_weights": [0, 0.5],
    "weight_bound": [0.0, -1.0],
    "solver": ["dopri5"],
    "min_total_gain": [-1.0],
    "min_improved_weight": [1.5],
    "min_run_gain": [-0.1],
    "score_beside_others": ["no"],
    "em_restarts": [0],
    "max_restart_cost": [-1.0],
    "max_search_cost": [-1.0],
    "weak_prior": [0.0],
    "weakest_prior": [0.0],
    "max_regression_orders": [0],
    "adaptive_kernels": ["no"],
    "reservoir_size": [1, 2.5, "all"],
    "checkpoint": [1.5],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in BAD_PARAMETERS.items() for v in values])
def test_bad_parameters_are_named(name, value):
    est = DiffusionDensityEstimator(**TINY | {name: value})
    with pytest.raises((ValueError, InvalidParameterError), match=f"'{name}'"):
        est.fit(X)
    assert not hasattr(est, "blend_")
    assert not hasattr(est, "n_features_in_")


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in BAD_OPTIONS.items() for v in values])
def test_bad_options_are_named(name, value):
    est = DiffusionDensityEstimator(**TINY, options=Options(**{name: value}))
    with pytest.raises((ValueError, InvalidParameterError), match=f"'{name}'"):
        est.fit(X)
    assert not hasattr(est, "blend_")


def test_every_parameter_and_option_has_a_bad_value_here():
    assert set(BAD_PARAMETERS) == set(DiffusionDensityEstimator().get_params())
    assert set(BAD_OPTIONS) == set(Options().get_params())


def test_samples_out_of_bounds_are_counted():
    with pytest.raises(ValueError, match=r"samples of X lie outside 'bounds' .*widen 'bounds'"):
        DiffusionDensityEstimator(**TINY, bounds=(-0.5, 0.5)).fit(X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.ones(3), "weight"), (np.zeros(40), "zero"), (-np.ones(40), "[Nn]egative"), (np.full(40, np.nan), "NaN")],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        DiffusionDensityEstimator(**TINY).fit(X, sample_weight=weights)


def test_one_sample_of_positive_weight_is_too_few():
    with pytest.raises(ValueError, match="positive 'sample_weight'"):
        DiffusionDensityEstimator(**TINY).fit(X, sample_weight=np.eye(40)[0])


@pytest.mark.parametrize(
    "method", ["score_samples", "score", "score_function", "log_density_error", "to_latent", "from_latent", "sample"]
)
def test_unfitted_use(method):
    argument = 3 if method == "sample" else X
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(DiffusionDensityEstimator(), method)(argument)


@pytest.mark.parametrize(
    "method", ["score_samples", "score", "score_function", "log_density_error", "to_latent", "from_latent"]
)
def test_wrong_number_of_features(method):
    est = DiffusionDensityEstimator(**TINY).fit(X)
    with pytest.raises(ValueError, match="X has 3 features, but DiffusionDensityEstimator is expecting 2"):
        getattr(est, method)(np.ones((4, 3)))


@pytest.mark.parametrize("n_samples", [-1, 2.5, "3", True])
def test_bad_number_of_samples(n_samples):
    with pytest.raises(ValueError, match="'n_samples'"):
        DiffusionDensityEstimator(**TINY).fit(X).sample(n_samples)


def test_partial_fit_refuses_other_features_and_keeps_the_fit():
    est = DiffusionDensityEstimator(**TINY).fit(X)
    before = est.score_samples(X)
    with pytest.raises(ValueError, match="expecting 2 features"):
        est.partial_fit(np.ones((4, 3)))
    np.testing.assert_array_equal(est.score_samples(X), before)


@pytest.mark.parametrize(
    ("estimators", "message"),
    [([], "'estimators'"), ([("a", 1)], "'score_samples'"), ([("a", None), ("a", None)], "distinct")],
)
def test_stacked_estimators_are_checked(estimators, message):
    with pytest.raises(ValueError, match=message):
        StackedDensityEstimator(estimators).fit(X)


def test_a_failed_stack_keeps_the_earlier_fit():
    est = StackedDensityEstimator(random_state=0).fit(X)
    before = est.score_samples(X)
    est.set_params(estimators=[("a", 1)])
    with pytest.raises(ValueError, match="'score_samples'"):
        est.fit(np.ones((10, 3)))
    assert est.n_features_in_ == 2
    np.testing.assert_array_equal(est.score_samples(X), before)


@pytest.mark.parametrize("feature_transform", [None, "yeo-johnson", "gaussianize"])
@pytest.mark.parametrize("distance", [1e5, 1e100, 1e300, -1e300])
def test_no_sample_is_too_far(feature_transform, distance):
    """The Student-t component gives every finite sample a finite density, without warnings."""
    est = DiffusionDensityEstimator(**TINY, feature_transform=feature_transform).fit(X)
    assert np.isfinite(est.score_samples([[distance, 0.0], [0.0, distance]])).all()
