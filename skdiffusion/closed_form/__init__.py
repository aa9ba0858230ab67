"""Laws whose noised density and score are known in closed form, and how to fit them.

They are the skip, the stacking companions and the oracle of every test. All arithmetic is float64.
"""

from skdiffusion.closed_form._em import fit_mixture, select_mixture
from skdiffusion.closed_form._kernel import BandwidthSearch, KernelLaw, empirical_law
from skdiffusion.closed_form._mixture import GaussianMixtureLaw, gaussian_flow_map
from skdiffusion.closed_form._regression import RegressionLaw, fit_chain, telling_order
from skdiffusion.closed_form._student import StudentLaw, fit_student

__all__ = [
    "BandwidthSearch",
    "GaussianMixtureLaw",
    "KernelLaw",
    "RegressionLaw",
    "StudentLaw",
    "empirical_law",
    "fit_chain",
    "fit_mixture",
    "fit_student",
    "gaussian_flow_map",
    "select_mixture",
    "telling_order",
]
