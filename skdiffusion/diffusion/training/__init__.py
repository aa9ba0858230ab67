"""Training of networks: denoising score matching, of one density or of all splits of the features, fine-tuning by the
exact likelihood, distillation; in one loop.

Examples
--------
>>> import numpy as np
>>> import torch
>>> from skdiffusion.diffusion.networks import FilmEnsemble
>>> from skdiffusion.diffusion.training import TrainingPlan, TrainingSets, train
>>> rng = np.random.default_rng(0)
>>> z = torch.as_tensor(rng.choice([-1.0, 1.0], (400, 1)) + 0.1 * rng.normal(size=(400, 1)), dtype=torch.float32)
>>> network = FilmEnsemble(1, (16, 16))
>>> network.initialize(rng, 1.0, 1.0)
>>> sets = TrainingSets(z, np.ones(400), [np.arange(300)], [np.arange(300, 400)])
>>> result = train(network, sets, TrainingPlan(n_steps=200), rng)
>>> result.validation_curve[-1][1] < 1  # the loss of the Gaussian
True
"""

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
