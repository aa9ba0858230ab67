"""Low-dimensional supports: their dimension, projection onto them, and the density on them."""

from skdiffusion.manifold._dimension import (
    PLATEAU,
    TANGENT,
    anisotropic_dimension,
    denoiser_jacobian,
    dimension_spectrum,
    flipd,
    linear_dimension,
    local_dimension,
    plateau_dimension,
    principal_directions,
    support_dimension,
)
from skdiffusion.manifold._intrinsic_density import IntrinsicDensity
from skdiffusion.manifold._local_polynomials import (
    LocalPolynomials,
    coarse_samples,
    fit_local_polynomials,
    sample_spacing,
)

__all__ = [
    "PLATEAU", "TANGENT", "IntrinsicDensity", "LocalPolynomials", "anisotropic_dimension", "coarse_samples",
    "denoiser_jacobian", "dimension_spectrum", "fit_local_polynomials", "flipd", "linear_dimension", "local_dimension",
    "plateau_dimension", "principal_directions", "sample_spacing", "support_dimension",
]  # fmt: skip
