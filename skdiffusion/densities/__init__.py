"""Densities in closed form, the density behind a preprocessor, and the blend of several with its weights.

The noised density and score of the mixtures and kernels are known at every noise level: they are components of the
blend and the oracle of every test. All arithmetic is float64. The folder `components` fits them for a blend.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.densities import Blend, GaussianMixtureDensity
>>> narrow = GaussianMixtureDensity([0.5, 0.5], [[-1.0], [1.0]], [[[0.01]], [[0.01]]])
>>> wide = GaussianMixtureDensity([1.0], [[0.0]], [[[4.0]]])
>>> blend = Blend({"narrow": narrow, "wide": wide}, {"narrow": 0.9, "wide": 0.1})
>>> x = np.linspace(-20, 20, 20001)[:, None]
>>> float(np.round(np.exp(blend.log_prob(x)).sum() * 0.002, 6))  # the integral
1.0
"""

from skdiffusion.densities._bandwidth import BandwidthSearch, KernelSamples
from skdiffusion.densities._blend import (
    Blend,
    Component,
    Gain,
    blend_weights,
    improved,
    out_of_fold_log_prob,
    validation_score,
    worthwhile_runs,
)
from skdiffusion.densities._chained_mixture import ChainedMixture
from skdiffusion.densities._completion import Completion, completed_samples, incomplete_originals
from skdiffusion.densities._em import ExpectationMaximization, KMeansStart, MixtureSetting
from skdiffusion.densities._feature_transforms import (
    FEATURE_TRANSFORMS,
    feature_transform_candidates,
    select_feature_transforms,
)
from skdiffusion.densities._given import BlendMarginal, GivenBlend, completed_together, given_together
from skdiffusion.densities._incomplete import IncompleteSamples, fit_incomplete_student_t
from skdiffusion.densities._kernel import GaussianKernelDensity, Spacing, kernel_density
from skdiffusion.densities._kernel_sources import KernelSources
from skdiffusion.densities._mixture import GaussianMixtureDensity, gaussian_flow_map
from skdiffusion.densities._mixture_bic import mixture_by_bic
from skdiffusion.densities._mixture_search import MixtureChoice, MixtureSearch
from skdiffusion.densities._nodes import Nodes, distribution_curve
from skdiffusion.densities._options import ComponentOptions
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._products_em import FOLD_EFFORT, ProductSamples, ProductSetting, one_hot
from skdiffusion.densities._products_search import best_of_restarts, choose_product_setting
from skdiffusion.densities._regression import AutoregressiveRegression, RegressionDensity
from skdiffusion.densities._regression_fit import fit_regression, informative_order
from skdiffusion.densities._regression_head import LeftOut, choose_head, fit_head
from skdiffusion.densities._residuals import ResidualDistribution, fit_residuals
from skdiffusion.densities._split import SplitDensity
from skdiffusion.densities._stacking import (
    blend_log_density,
    choose_and_rescale,
    choose_component,
    stacking_weights,
)
from skdiffusion.densities._state_chain import (
    StateChain,
    affordable_chain_samples,
    choose_step_settings,
    fit_state_chain,
)
from skdiffusion.densities._state_diffusion import StateDiffusion, fit_state_regression
from skdiffusion.densities._state_tables import StudentTables, smoothed_table
from skdiffusion.densities._steps import StepDensity, fit_steps
from skdiffusion.densities._student import StudentTDensity, fit_student_t
from skdiffusion.densities._table_density import StateDensity, StateNoise, TableDensity
from skdiffusion.densities._transformed import TransformedDensity

__all__ = [
    "FEATURE_TRANSFORMS",
    "FOLD_EFFORT",
    "AutoregressiveRegression",
    "BandwidthSearch",
    "Blend",
    "BlendMarginal",
    "ChainedMixture",
    "Completion",
    "Component",
    "ComponentOptions",
    "ExpectationMaximization",
    "Gain",
    "GaussianKernelDensity",
    "GaussianMixtureDensity",
    "GivenBlend",
    "IncompleteSamples",
    "KMeansStart",
    "KernelSamples",
    "KernelSources",
    "LeftOut",
    "MixtureChoice",
    "MixtureSearch",
    "MixtureSetting",
    "Nodes",
    "ProductMixture",
    "ProductSamples",
    "ProductSetting",
    "RegressionDensity",
    "ResidualDistribution",
    "Spacing",
    "SplitDensity",
    "StateChain",
    "StateDensity",
    "StateDiffusion",
    "StateNoise",
    "StepDensity",
    "StudentTDensity",
    "StudentTables",
    "TableDensity",
    "TransformedDensity",
    "best_of_restarts",
    "blend_log_density",
    "blend_weights",
    "choose_and_rescale",
    "choose_component",
    "choose_head",
    "choose_product_setting",
    "choose_step_settings",
    "completed_samples",
    "completed_together",
    "distribution_curve",
    "feature_transform_candidates",
    "fit_head",
    "fit_incomplete_student_t",
    "fit_regression",
    "fit_residuals",
    "fit_state_chain",
    "affordable_chain_samples",
    "fit_state_regression",
    "fit_steps",
    "fit_student_t",
    "gaussian_flow_map",
    "given_together",
    "improved",
    "incomplete_originals",
    "informative_order",
    "kernel_density",
    "mixture_by_bic",
    "one_hot",
    "out_of_fold_log_prob",
    "select_feature_transforms",
    "smoothed_table",
    "stacking_weights",
    "validation_score",
    "worthwhile_runs",
]
