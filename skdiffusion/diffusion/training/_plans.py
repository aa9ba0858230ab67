"""The numbers that steer a training run, one frozen value for each of the three objectives.

Steps are optimizer steps everywhere. The defaults are those that the package trains with; an ablation replaces a field.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skdiffusion.diffusion.networks import GaussianReference
from skdiffusion.diffusion.training._checkpoint import Checkpoint

# Called at every report with the step, the number of steps, the training loss and the validation loss or None. If it
# returns true, training ends.
Monitor = Callable[[int, int, float, float | None], bool | None]


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """What the loop needs to know of any training run."""

    n_steps: int
    batch_size: int  # samples that a member sees in a step
    learning_rate: float  # the largest
    weight_decay: float = 1e-4  # decoupled, of AdamW
    warmup_steps: int = 50  # over which the learning rate rises
    averaging_fraction: float = 0.1  # of the steps so far, over which the weights are averaged; 0 keeps the last ones
    check_every: int = 50  # steps between two reports of the loss
    deadline_every: int = 10  # steps between two looks at the clock
    patience: int = 0  # steps without a gain on the validation samples after which training ends; 0 trains to the end
    tol: float = 0.0  # fall of a member's validation loss that counts as a gain
    keep_best: bool = True  # the weights with the lowest validation loss, not the last ones
    deadline: float = math.inf  # moment of `Collective.clock` to which the schedule is shortened
    monitor: Monitor | None = None
    checkpoint: Checkpoint | None = None  # that keeps the state of the run at every validation
    trial_fraction: float = 0.25  # of the steps, after which the rest of them must be worthwhile
    is_worthwhile: Callable[[Any], bool] | None = None  # asked then, of the network so far; None asks nothing

    @abstractmethod
    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""

    def n_steps_if_ending(self, step: int) -> int:
        """Number of steps of a run that after this one is not worthwhile any more."""
        return step

    @property
    def n_checks(self) -> int:
        """Reports of a whole training run."""
        return -(-self.n_steps // self.check_every)

    @property
    def validate_every(self) -> int:
        """Steps between two validations, a multiple of `check_every`."""
        return self.check_every

    def averaging_weight(self, step: int) -> float:
        """Weight of the parameters after a step in the average of those so far."""
        if not self.averaging_fraction:
            return 1.0
        span = 1.0 / self.averaging_fraction
        return span / (step + span)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(Plan):
    """Plan of denoising score matching: the learning rate warms up, stays, and falls linearly to zero."""

    batch_size: int = 256
    learning_rate: float = 5e-3
    n_levels: int = 16  # noise levels of a batch, which share its samples equally
    noise_mean: float = -1.2  # of the log noise level
    noise_spread: float = 1.2  # its standard deviation
    sigma_range: tuple[float, float] = (0.01, 20.0)  # noise levels, relative to the signal
    decay_fraction: float = 0.3  # of the steps, the last ones, over which the learning rate falls
    n_target_samples: int = 0  # over which the posterior mean of a stable target is taken; 0 trains on plain targets
    n_first_target_samples: int = 512  # the same, at most, until the learning rate falls
    reference: GaussianReference | None = None  # from whose known velocity networks learn the departure
    checks_per_patience: int = 2  # validations within the steps of `patience`
    validation_levels: int = 16
    validation_draws: int = 4096  # noised samples of a member in all levels of a validation
    max_validation_samples: int = 4096  # of a member: more decide nothing
    n_nonzero_weights: int | None = None  # parameters of a member that may differ from zero at the end
    weight_bound: float | None = None  # largest absolute value of a parameter
    pruning_range: tuple[float, float] = (0.2, 0.6)  # fractions of the steps between which parameters are set to zero

    def decay_start(self, n_steps: int) -> float:
        """Step from which the learning rate falls, in a run of so many."""
        return n_steps * (1 - self.decay_fraction)

    def learning_rate_at(self, step: int) -> float:
        decay_start = self.decay_start(self.n_steps)
        warm = min(1.0, (step + 1) / min(self.warmup_steps, max(1, self.n_steps // 4)))
        cool = min(1.0, max(0.0, (self.n_steps - step) / max(1.0, self.n_steps - decay_start)))
        return self.learning_rate * min(warm, cool)

    def n_steps_if_ending(self, step: int) -> int:
        # The learning rate starts to fall here.
        return max(step, min(self.n_steps, round(step / max(1 - self.decay_fraction, 0.1))))

    @property
    def validate_every(self) -> int:
        # The weights that are validated are an average over a tenth of the steps, which moves slowly.
        between = min(self.patience // self.checks_per_patience, self.n_steps // 10)
        return max(1, between // self.check_every) * self.check_every


@dataclass(frozen=True, kw_only=True)
class SplitPlan(TrainingPlan):
    """Plan of the networks for all splits of the features: which splits they are trained on."""

    joint_share: float = 0.2  # all features are targets
    marginal_share: float = 0.3  # some features are targets, the others absent
    absent_share: float = 0.1  # some features are given and some absent
    mirrored: bool = False  # every sample comes twice in a batch, with opposite noise: that of the gradients cancels


@dataclass(frozen=True, kw_only=True)
class FineTuningPlan(Plan):
    """Plan of fine-tuning by the exact likelihood: after its warm-up the learning rate falls linearly to zero."""

    n_steps: int = 120
    batch_size: int = 128
    learning_rate: float = 5e-3
    warmup_steps: int = 10
    check_every: int = 30
    deadline_every: int = 1
    solver_steps: tuple[int, int] = (10, 20)  # fewest and most steps of the flow; with 6 to 12 half of the gain is lost
    knot_jitter: float = 0.4  # largest shift of a knot of the flow's grid, in units of the smaller gap beside it
    max_gradient_norm: float = 1.0  # to which the gradient of a member is clipped

    def learning_rate_at(self, step: int) -> float:
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * (1 - step / self.n_steps)


@dataclass(frozen=True, kw_only=True)
class DistillationPlan(Plan):
    """Plan of a distillation: after its warm-up the learning rate falls to zero as half a cosine."""

    batch_size: int = 1000
    learning_rate: float = 6e-3
    averaging_fraction: float = 0.0
    square_weight: float = 0.5  # of the mean square of log p - log q, beside its mean
    max_gap: float = 3.0  # nats of log p - log q that count in the square
    max_gradient_norm: float = 5.0  # to which the gradient is clipped

    def learning_rate_at(self, step: int) -> float:
        rising = self.learning_rate * min(1.0, (step + 1) / self.warmup_steps)
        return rising * 0.5 * (1 + math.cos(math.pi * step / self.n_steps))
