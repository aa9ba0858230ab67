"""The scikit-learn estimators: the only place that speaks the scikit-learn protocol."""

from skdiffusion.estimators._classifier import DiffusionClassifier
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._distilled import DistilledDensityEstimator
from skdiffusion.estimators._imputer import DiffusionImputer
from skdiffusion.estimators._manifold import ManifoldDiffusionEstimator
from skdiffusion.estimators._options import Options
from skdiffusion.estimators._outliers import DiffusionOutlierDetector
from skdiffusion.estimators._regressor import DiffusionRegressor
from skdiffusion.estimators._stacked import StackedDensityEstimator
from skdiffusion.estimators._transformer import DiffusionTransformer

__all__ = [
    "DiffusionClassifier",
    "DiffusionDensityEstimator",
    "DiffusionImputer",
    "DiffusionOutlierDetector",
    "DiffusionRegressor",
    "DiffusionTransformer",
    "DistilledDensityEstimator",
    "ManifoldDiffusionEstimator",
    "Options",
    "StackedDensityEstimator",
]
