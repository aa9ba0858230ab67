"""Density estimators joined with scikit-learn's transformers, and samples drawn from any of them."""

from skdiffusion.compose._fitted import (
    at_last_step,
    chosen_estimator,
    draw_samples,
    log_density_of,
    names_at_last_step,
    training_scale,
)
from skdiffusion.compose._jacobians import log_abs_det_jacobian
from skdiffusion.compose._pipeline import DensityPipeline, make_density_pipeline
from skdiffusion.compose._score import mean_log_density
from skdiffusion.compose._transformers import inverse_samples

__all__ = [
    "DensityPipeline", "at_last_step", "chosen_estimator", "draw_samples", "inverse_samples", "log_abs_det_jacobian",
    "log_density_of", "make_density_pipeline", "mean_log_density", "names_at_last_step", "training_scale",
]  # fmt: skip
