"""Where they have no meaning, NaN and infinity are refused by an error that says where they are and what helps."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    DistilledDensityEstimator,
    ManifoldDiffusionEstimator,
    StackedDensityEstimator,
)
from skdiffusion._utils.validation import validate_data
from skdiffusion.compose import make_density_pipeline

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 2, "n_estimators": 1, "random_state": 0}
DENSITY = DiffusionDensityEstimator(n_steps=4, components=None, **SMALL)
FLOW = ["score_samples", "score", "score_function", "to_latent"]
SUPPORT = ["project", "distance", "tangent_space", "local_dimension", "intrinsic_log_density", "transform"]
OWN = [  # estimators, with the methods that look at samples
    (DENSITY, ["log_density_error", "score_function", "to_latent", "tail_level"]),
    (
        DistilledDensityEstimator(DENSITY, hidden_layer_sizes=(8, 8), n_draws=50, n_training_steps=1, random_state=0),
        ["fit", *FLOW],
    ),
    (StackedDensityEstimator(random_state=0), ["fit", "score_samples", "score"]),
    (
        ManifoldDiffusionEstimator(n_components=1, support="linear", **SMALL),
        ["fit", "score_samples", "score", *SUPPORT],
    ),
    (DiffusionTransformer(DENSITY), ["fit", "transform", "fit_transform"]),
    (
        DiffusionOutlierDetector(KernelDensity(), contamination=0.1),
        ["fit", "score_samples", "decision_function", "predict", "fit_predict"],
    ),
    (make_density_pipeline(PCA(), DENSITY), ["fit", "score_samples", "score"]),
    (make_density_pipeline(StandardScaler(), GaussianMixture()), ["fit", "score_samples", "score"]),
]
WHOLE = pd.DataFrame(np.random.default_rng(0).standard_normal((40, 3)), columns=["age", "income", "height"])


def with_value(value, **places):
    frame = WHOLE.copy()
    for name, samples in places.items():
        frame.loc[samples, name] = value
    return frame


@pytest.mark.parametrize(("estimator", "methods"), OWN, ids=[type(e).__name__ for e, _ in OWN])
def test_every_method_says_which_features_hold_nan_and_what_helps(estimator, methods):
    est, broken = estimator.fit(WHOLE), with_value(np.nan, age=[3, 4, 5], height=[5])
    for name in methods:
        with pytest.raises(ValueError, match="NaN") as caught:
            getattr(est, name)(broken)
        message = str(caught.value)
        assert "Input X contains NaN in 3 of 40 samples, in features 'age' (3), 'height' (1)." in message
        assert "drop these samples" in message
        assert "DiffusionImputer" in message
        assert "GradientBoosting" not in message


def test_codes_with_nan_do_not_advise_gradient_boosting():
    est = DENSITY.fit(WHOLE.to_numpy())
    with pytest.raises(ValueError, match=r"NaN in 2 of 40 samples, in feature 0 \(2\)") as caught:
        est.from_latent(with_value(np.nan, age=[0, 1]).to_numpy())
    assert "GradientBoosting" not in str(caught.value)


def test_infinity_says_where_it_is():
    with pytest.raises(ValueError, match=r"infinity .* in 2 of 40 samples, in feature 'income' \(2\): drop .* or clip"):
        DENSITY.fit(with_value(-np.inf, income=[1, 7]))


def test_features_without_names_are_numbered_and_no_more_than_five_are_listed():
    X = np.where(np.eye(9, dtype=bool), np.nan, 0.0)
    with pytest.raises(ValueError, match=r"NaN in 9 of 9 samples, in features 0 \(1\), .* 4 \(1\) and 4 more\."):
        DiffusionTransformer(DENSITY).fit(X)


def test_numbers_whose_sum_overflows_are_finite():
    X = np.full((4, 2), 1e308)
    np.testing.assert_array_equal(validate_data(DENSITY, X), X)


def test_missing_values_of_pandas_are_found():
    frame = WHOLE.assign(age=pd.array([None, *range(39)], dtype="Int64"))
    with pytest.raises(ValueError, match=r"NaN in 1 of 40 samples, in feature 'age' \(1\)"):
        DiffusionTransformer(DENSITY).fit(frame)


def test_whoever_promises_finite_samples_is_believed():
    with config_context(assume_finite=True):
        assert np.isnan(validate_data(DENSITY, with_value(np.nan, age=[0]))).sum() == 1
