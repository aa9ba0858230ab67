"""Training of networks: denoising score matching, of one density or of all splits of the features, fine-tuning by the
exact likelihood, distillation; in one loop."""

from skdiffusion.diffusion.training._checkpoint import Checkpoint
from skdiffusion.diffusion.training._denoising import train
from skdiffusion.diffusion.training._distillation import distill
from skdiffusion.diffusion.training._intervals import max_checks, train_intervals
from skdiffusion.diffusion.training._likelihood import fine_tune
from skdiffusion.diffusion.training._loop import Objective, TrainingResult, run
from skdiffusion.diffusion.training._optimizer import AdamW
from skdiffusion.diffusion.training._plans import DistillationPlan, FineTuningPlan, Plan, SplitPlan, TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._split_batches import SplitSpace, random_splits
from skdiffusion.diffusion.training._splits import train_splits
from skdiffusion.diffusion.training._stream import SampleBlocks
from skdiffusion.diffusion.training._targets import add_noise, noise_angles, plain_target

__all__ = [
    "AdamW", "Checkpoint", "DistillationPlan", "FineTuningPlan", "Objective", "Plan", "SampleBlocks", "SplitPlan",
    "SplitSpace", "TrainingPlan", "TrainingResult", "TrainingSets", "add_noise", "distill", "fine_tune", "max_checks",
    "noise_angles", "plain_target", "random_splits", "run", "train", "train_intervals", "train_splits",
]  # fmt: skip
