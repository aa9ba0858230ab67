"""Densities in closed form, the density behind a preprocessor, and the blend of several with its weights.

The noised density and score of the mixtures and kernels are known at every noise level: they are the components of the
blend and the oracle of every test. All arithmetic is float64.
"""

from skdiffusion.densities._blend import Blend
from skdiffusion.densities._component import Component
from skdiffusion.densities._components import Member, blend_weights, fit_components, improved, narrowest_scale
from skdiffusion.densities._em import fit_mixture, select_mixture
from skdiffusion.densities._feature_transforms import FEATURE_TRANSFORMS, select_feature_transforms
from skdiffusion.densities._kernel import BandwidthSearch, GaussianKernelDensity, kernel_density
from skdiffusion.densities._mixture import GaussianMixtureDensity, gaussian_flow_map
from skdiffusion.densities._regression import RegressionDensity, fit_regression, informative_order
from skdiffusion.densities._stacking import averaging_gain, blend_log_density, stacking_weights
from skdiffusion.densities._student import StudentTDensity, fit_student_t
from skdiffusion.densities._transformed import TransformedDensity

__all__ = [
    "FEATURE_TRANSFORMS",
    "BandwidthSearch",
    "Blend",
    "Component",
    "GaussianMixtureDensity",
    "GaussianKernelDensity",
    "Member",
    "TransformedDensity",
    "RegressionDensity",
    "StudentTDensity",
    "averaging_gain",
    "blend_log_density",
    "blend_weights",
    "kernel_density",
    "fit_regression",
    "fit_components",
    "fit_mixture",
    "fit_student_t",
    "gaussian_flow_map",
    "improved",
    "narrowest_scale",
    "select_feature_transforms",
    "select_mixture",
    "stacking_weights",
    "informative_order",
]
