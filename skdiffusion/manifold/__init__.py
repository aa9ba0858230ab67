"""Low-dimensional supports: their dimension, projection onto them, and the density on them.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.manifold import linear_dimension
>>> rng = np.random.default_rng(0)
>>> X = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(1000, 6))
>>> variances = np.linalg.eigvalsh(np.cov(X.T))[::-1]
>>> n_directions, noise_variance = linear_dimension(variances, len(X))
>>> n_directions, round(noise_variance, 3)
(2, 0.01)
"""

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
