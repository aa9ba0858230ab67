"""Training of score networks by denoising score matching, and their fine-tuning by the exact likelihood."""

from skdiffusion.training._intervals import most_checks, train_intervals
from skdiffusion.training._likelihood import FINE_TUNING_CHECK_EVERY, fine_tune
from skdiffusion.training._loop import CHECK_EVERY, TrainingPlan, TrainingResult, train

__all__ = [
    "CHECK_EVERY", "FINE_TUNING_CHECK_EVERY", "TrainingPlan", "TrainingResult", "fine_tune", "most_checks", "train",
    "train_intervals",
]  # fmt: skip
