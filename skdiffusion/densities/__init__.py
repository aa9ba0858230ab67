"""Densities in closed form, the density behind a preprocessor, and the blend of several with its weights.

The noised density and score of the mixtures and kernels are known at every noise level: they are components of the
blend and the oracle of every test. All arithmetic is float64. The folder `components` fits them for a blend.
"""

from skdiffusion.densities._bandwidth import BandwidthSearch, KernelSamples
from skdiffusion.densities._blend import (
    Blend,
    Component,
    blend_weights,
    improved,
    out_of_fold_log_prob,
    validation_score,
)
from skdiffusion.densities._chained_mixture import ChainedMixture
from skdiffusion.densities._completion import Completion
from skdiffusion.densities._em import ExpectationMaximization, KMeansStart, MixtureSetting
from skdiffusion.densities._feature_transforms import (
    FEATURE_TRANSFORMS,
    feature_transform_candidates,
    select_feature_transforms,
)
from skdiffusion.densities._given import BlendMarginal, GivenBlend, given_together
from skdiffusion.densities._incomplete import IncompleteSamples, fit_incomplete_student_t
from skdiffusion.densities._kernel import GaussianKernelDensity, Spacing, kernel_density
from skdiffusion.densities._mixture import GaussianMixtureDensity, gaussian_flow_map
from skdiffusion.densities._mixture_bic import mixture_by_bic
from skdiffusion.densities._mixture_search import MixtureChoice, MixtureSearch
from skdiffusion.densities._nodes import Nodes
from skdiffusion.densities._options import ComponentOptions
from skdiffusion.densities._regression import AutoregressiveRegression, RegressionDensity
from skdiffusion.densities._regression_fit import fit_regression, informative_order, ranges_beyond
from skdiffusion.densities._regression_head import LeftOut, choose_head, fit_head
from skdiffusion.densities._split import SplitDensity
from skdiffusion.densities._stacking import blend_log_density, stacking_weights
from skdiffusion.densities._steps import StepDensity, fit_steps
from skdiffusion.densities._student import StudentTDensity, fit_student_t
from skdiffusion.densities._transformed import TransformedDensity

__all__ = [
    "FEATURE_TRANSFORMS",
    "AutoregressiveRegression",
    "BandwidthSearch",
    "Blend",
    "BlendMarginal",
    "ChainedMixture",
    "Completion",
    "Component",
    "ComponentOptions",
    "ExpectationMaximization",
    "GaussianKernelDensity",
    "GaussianMixtureDensity",
    "GivenBlend",
    "IncompleteSamples",
    "KMeansStart",
    "KernelSamples",
    "LeftOut",
    "MixtureChoice",
    "MixtureSearch",
    "MixtureSetting",
    "Nodes",
    "RegressionDensity",
    "Spacing",
    "SplitDensity",
    "StepDensity",
    "StudentTDensity",
    "TransformedDensity",
    "blend_log_density",
    "blend_weights",
    "choose_head",
    "feature_transform_candidates",
    "fit_head",
    "fit_incomplete_student_t",
    "fit_regression",
    "fit_steps",
    "fit_student_t",
    "gaussian_flow_map",
    "given_together",
    "improved",
    "informative_order",
    "kernel_density",
    "mixture_by_bic",
    "out_of_fold_log_prob",
    "ranges_beyond",
    "select_feature_transforms",
    "stacking_weights",
    "validation_score",
]
