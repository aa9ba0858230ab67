"""Training of score networks by denoising score matching."""

from skdiffusion.training._loop import TrainingPlan, TrainingResult, train

__all__ = ["TrainingPlan", "TrainingResult", "train"]
