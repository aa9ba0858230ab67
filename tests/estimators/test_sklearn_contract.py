"""scikit-learn's own checks, with no expected failures."""

import pytest
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdiffusion import (
    DiffusionClassifier,
    DiffusionDensityEstimator,
    DiffusionImputer,
    DiffusionOutlierDetector,
    DiffusionRegressor,
    DiffusionTransformer,
    DistilledDensityEstimator,
    ManifoldDiffusionEstimator,
    Options,
    StackedDensityEstimator,
)

SMALL = {"hidden_layer_sizes": (16, 16), "max_iter": 3, "n_estimators": 2, "n_steps": 4}


MANIFOLD = {"hidden_layer_sizes": (8, 8), "max_iter": 2, "n_estimators": 1, "random_state": 0}


@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
@parametrize_with_checks(
    [
        DiffusionDensityEstimator(**SMALL, random_state=0),
        StackedDensityEstimator(random_state=0),
        DistilledDensityEstimator(
            DiffusionDensityEstimator(**SMALL, random_state=0, components=None),
            hidden_layer_sizes=(8, 8),
            n_draws=200,
            n_training_steps=2,
            random_state=0,
        ),
        ManifoldDiffusionEstimator(**MANIFOLD),
        ManifoldDiffusionEstimator(support="linear", **MANIFOLD),
        DiffusionTransformer(DiffusionDensityEstimator(**SMALL, random_state=0, components=None), random_state=0),
        DiffusionOutlierDetector(DiffusionDensityEstimator(**SMALL, random_state=0), random_state=0),
        DiffusionClassifier(DiffusionDensityEstimator(**SMALL, random_state=0), random_state=0),
        DiffusionImputer(DiffusionDensityEstimator(**SMALL, random_state=0), random_state=0),
        DiffusionImputer(DiffusionDensityEstimator(**SMALL, random_state=0), strategy="mean", add_indicator=True),
        DiffusionRegressor(
            hidden_layer_sizes=(8, 8), max_iter=2, n_estimators=1, options=Options(n_folds=2), random_state=0
        ),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
@parametrize_with_checks([DiffusionDensityEstimator(), ManifoldDiffusionEstimator()])
def test_scikit_learn_checks_with_true_defaults(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_dataframe_column_names_consistency,
        checks.check_param_validation,
        checks.check_set_output_transform,
        checks.check_inplace_ensure_writeable,
        checks.check_estimators_partial_fit_n_features,
        checks.check_non_transformer_estimators_n_iter,
    ],
    ids=lambda c: c.__name__,
)
def test_checks_that_scikit_learn_keeps_for_itself(check):
    """Of the eleven, the five others are for `get_feature_names_out`, which a density has no use for."""
    check("DiffusionDensityEstimator", DiffusionDensityEstimator(**SMALL, random_state=0))
