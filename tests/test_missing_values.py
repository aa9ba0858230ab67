"""Where they have no meaning, NaN and infinity are refused by an error that says where they are and what helps."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    DistilledDensityEstimator,
    ManifoldDiffusionEstimator,
    StackedDensityEstimator,
)
from skdiffusion._utils.validation import validate_data
from skdiffusion.compose import log_abs_det_jacobian, make_density_pipeline

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


def test_incomplete_samples_of_a_stream_are_learned_from():
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.9, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.0]])
    first, later = rng.standard_normal((150, 3)) @ root, rng.standard_normal((200, 3)) @ root
    gaps = np.where(rng.random(later.shape) < 0.3, np.nan, later)
    est = DiffusionDensityEstimator(**SMALL).partial_fit(first)
    est.partial_fit(gaps)
    known = (~np.isnan(gaps)).any(1)
    assert est.n_samples_seen_ == 150 + known.sum()
    kept = est._replay.X[-int(known.sum()) :]
    assert np.isfinite(kept).all()
    assert np.corrcoef(kept[:, 0], kept[:, 1])[0, 1] > 0.8  # completed given what is known, not at random
    again = DiffusionDensityEstimator(**SMALL).partial_fit(first).partial_fit(gaps)
    np.testing.assert_array_equal(again.score_samples(first), est.score_samples(first))
    before = est.score_samples(first)
    np.testing.assert_array_equal(est.partial_fit(np.full((2, 3), np.nan)).score_samples(first), before)


def scaled_pipelines():
    steps = [StandardScaler(), MinMaxScaler(), RobustScaler(), PowerTransformer(), FunctionTransformer(np.arcsinh)]
    parts = ColumnTransformer([("a", StandardScaler(), [2, 0]), ("b", MaxAbsScaler(), [1])])
    return [*steps, parts, QuantileTransformer(n_quantiles=20, output_distribution="normal")]


@pytest.mark.parametrize("step", scaled_pipelines(), ids=lambda step: type(step).__name__)
def test_nan_passes_through_pipelines_as_unknown(step):
    """The marginal density in the units of the input: that of the last step, times the slopes of what is known."""
    X = WHOLE.to_numpy() * [1.0, 3.0, 0.5] + 1
    model = make_density_pipeline(step, DiffusionDensityEstimator(**SMALL)).fit(np.vstack([X, [[np.nan, 0.5, 1.2]]]))
    incomplete = X[:5].copy()
    incomplete[:, 1] = np.nan
    found = model.score_samples(incomplete)
    complete = np.repeat(X[:5], 2, axis=0)
    complete[1::2, 1] += 0.01
    slope = model[0].transform(complete)
    unknown = [j for j in range(3) if np.isnan(model[0].transform(incomplete)[0, j])]
    total = log_abs_det_jacobian(model[0], X[:5])
    by_unknown = np.log(np.abs(np.diff(slope[:, unknown[0]].reshape(5, 2), axis=1)[:, 0]) / 0.01)
    inside = np.isfinite(total) & np.isfinite(by_unknown)
    expected = model[-1].score_samples(model[0].transform(incomplete)) + total - by_unknown
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.05)
    assert inside.sum() >= 3
    np.testing.assert_allclose(model.feature_scale_, np.nanstd(np.vstack([X, [[np.nan, 0.5, 1.2]]]), axis=0))
