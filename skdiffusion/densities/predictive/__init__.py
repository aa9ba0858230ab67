"""Densities of one number, the target, given inputs of any kind: components, their fit and their blend.

Every component says of a sample's inputs a distribution of the mapped target. The blend weighs these, by weights that
do not depend on the inputs, so that its distribution function is their weighted sum.

Examples
--------
>>> import numpy as np
>>> from skdiffusion import DiffusionRegressor
>>> rng = np.random.default_rng(0)
>>> X = rng.normal(size=(120, 2))
>>> model = DiffusionRegressor(components=["student", "trees"], random_state=0).fit(X, X[:, 0] + rng.normal(size=120))
>>> sorted(model.models_[0].blend.components)
['student', 'trees']
"""

from skdiffusion.densities.predictive._atoms import AtomProbabilities, fit_atoms
from skdiffusion.densities.predictive._blend import PredictiveBlend
from skdiffusion.densities.predictive._data import FoldedInputs, RegressionData, distinct_samples
from skdiffusion.densities.predictive._distributions import NormalMixtures, StudentTs, TargetNoise
from skdiffusion.densities.predictive._fit import (
    COMPONENTS,
    PredictiveFit,
    PredictivePlan,
    fit_predictive,
    network_shape,
)
from skdiffusion.densities.predictive._target import TargetDistributions, TargetModel

__all__ = [
    "COMPONENTS",
    "AtomProbabilities",
    "FoldedInputs",
    "NormalMixtures",
    "PredictiveBlend",
    "PredictiveFit",
    "PredictivePlan",
    "RegressionData",
    "StudentTs",
    "TargetDistributions",
    "TargetModel",
    "TargetNoise",
    "distinct_samples",
    "fit_atoms",
    "fit_predictive",
    "network_shape",
]
