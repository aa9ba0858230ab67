"""Training of score networks by denoising score matching, their fine-tuning by the exact likelihood, distillation."""

from skdiffusion.diffusion.training._distillation import distill
from skdiffusion.diffusion.training._intervals import max_checks, train_intervals
from skdiffusion.diffusion.training._likelihood import FINE_TUNING_CHECK_EVERY, fine_tune
from skdiffusion.diffusion.training._loop import CHECK_EVERY, TrainingPlan, TrainingResult, train

__all__ = [
    "CHECK_EVERY", "FINE_TUNING_CHECK_EVERY", "TrainingPlan", "TrainingResult", "distill", "fine_tune", "max_checks",
    "train", "train_intervals",
]  # fmt: skip
