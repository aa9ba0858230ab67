"""Training of score networks by denoising score matching."""

from skdiffusion.training._intervals import most_checks, train_intervals
from skdiffusion.training._loop import CHECK_EVERY, TrainingPlan, TrainingResult, train

__all__ = ["CHECK_EVERY", "TrainingPlan", "TrainingResult", "most_checks", "train", "train_intervals"]
