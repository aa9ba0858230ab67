"""Densities in closed form, the density behind a preprocessor, and the blend of several with its weights.

The noised density and score of the mixtures and kernels are known at every noise level: they are the components of the
blend and the oracle of every test. All arithmetic is float64.
"""

from skdiffusion.densities._blend import Blend, in_blocks, validation_score
from skdiffusion.densities._component import Component
from skdiffusion.densities._components import COMPONENTS, blend_weights, fit_components, improved
from skdiffusion.densities._em import fit_mixture, select_mixture
from skdiffusion.densities._feature_transforms import (
    FEATURE_TRANSFORMS,
    feature_transform_candidates,
    select_feature_transforms,
)
from skdiffusion.densities._kernel import BandwidthSearch, GaussianKernelDensity, kernel_density
from skdiffusion.densities._mixture import GaussianMixtureDensity, gaussian_flow_map
from skdiffusion.densities._regression import RegressionDensity, fit_regression, informative_order
from skdiffusion.densities._stacking import blend_log_density, stacking_weights
from skdiffusion.densities._student import StudentTDensity, fit_student_t
from skdiffusion.densities._transformed import TransformedDensity

__all__ = [
    "COMPONENTS",
    "FEATURE_TRANSFORMS",
    "BandwidthSearch",
    "Blend",
    "Component",
    "GaussianMixtureDensity",
    "GaussianKernelDensity",
    "TransformedDensity",
    "RegressionDensity",
    "StudentTDensity",
    "blend_log_density",
    "blend_weights",
    "kernel_density",
    "fit_regression",
    "feature_transform_candidates",
    "fit_components",
    "fit_mixture",
    "fit_student_t",
    "gaussian_flow_map",
    "improved",
    "in_blocks",
    "select_feature_transforms",
    "select_mixture",
    "stacking_weights",
    "validation_score",
    "informative_order",
]
