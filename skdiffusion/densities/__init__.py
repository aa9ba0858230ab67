"""Densities in closed form, the density behind a preprocessor, and the blend of several with its weights.

The noised density and score of the mixtures and kernels are known at every noise level: they are the components of the
blend and the oracle of every test. All arithmetic is float64.
"""

from skdiffusion.densities._components import Member, blend_weights, fit_companions, improved, narrowest_scale
from skdiffusion.densities._em import fit_mixture, select_mixture
from skdiffusion.densities._feature_transforms import MARGINAL_CANDIDATES, select_marginals
from skdiffusion.densities._kernel import BandwidthSearch, KernelLaw, empirical_law
from skdiffusion.densities._mixture import GaussianMixtureLaw, gaussian_flow_map
from skdiffusion.densities._regression import RegressionLaw, fit_chain, telling_order
from skdiffusion.densities._stacking import averaging_gain, blend_log_density, stacking_weights
from skdiffusion.densities._student import StudentLaw, fit_student
from skdiffusion.densities._transformed import PlacedLaw, student_chi2

__all__ = [
    "MARGINAL_CANDIDATES",
    "BandwidthSearch",
    "GaussianMixtureLaw",
    "KernelLaw",
    "Member",
    "PlacedLaw",
    "RegressionLaw",
    "StudentLaw",
    "averaging_gain",
    "blend_log_density",
    "blend_weights",
    "empirical_law",
    "fit_chain",
    "fit_companions",
    "fit_mixture",
    "fit_student",
    "gaussian_flow_map",
    "improved",
    "narrowest_scale",
    "select_marginals",
    "select_mixture",
    "stacking_weights",
    "student_chi2",
    "telling_order",
]
