"""Density estimators joined with scikit-learn's transformers, and samples drawn from any of them."""

from skdiffusion.compose._drawing import draw_rows, draw_through, score_rows
from skdiffusion.compose._jacobians import inverse_rows, log_abs_det_jacobian
from skdiffusion.compose._pipeline import DensityPipeline, make_density_pipeline

__all__ = [
    "DensityPipeline",
    "draw_rows",
    "draw_through",
    "inverse_rows",
    "log_abs_det_jacobian",
    "make_density_pipeline",
    "score_rows",
]
