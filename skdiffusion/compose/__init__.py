"""Density estimators joined with scikit-learn's transformers, and samples drawn from any of them."""

from skdiffusion.compose._drawing import draw_samples, draw_through, log_density_of
from skdiffusion.compose._jacobians import inverse_samples, log_abs_det_jacobian
from skdiffusion.compose._pipeline import DensityPipeline, make_density_pipeline

__all__ = [
    "DensityPipeline",
    "draw_samples",
    "draw_through",
    "inverse_samples",
    "log_abs_det_jacobian",
    "make_density_pipeline",
    "log_density_of",
]
