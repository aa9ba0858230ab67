"""The numbers that steer a training run, one frozen value for each of the three objectives.

Steps are optimizer steps everywhere. The defaults are those that the package trains with; an ablation replaces a field.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from skdiffusion.diffusion.networks import GaussianReference

Monitor = Callable[[int, int, float, float | None], bool | None]


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """What the loop needs to know of any training run.

    Parameters
    ----------
    n_steps : int
        Optimizer steps.
    batch_size : int
        Samples that a member sees in a step.
    learning_rate : float
        Largest learning rate of AdamW.
    weight_decay : float
        Decoupled weight decay of AdamW.
    warmup_steps : int
        Steps over which the learning rate rises.
    averaging_fraction : float
        Fraction of the steps taken so far over which the weights are averaged; 0 keeps those of the last step.
    check_every : int
        Steps between two reports of the loss.
    deadline_every : int
        Steps between two looks at the clock.
    patience : int
        Steps without a gain on the validation samples after which training ends; 0 trains to the end.
    tol : float
        Fall of a member's validation loss that counts as a gain.
    keep_best : bool
        Keep the weights with the lowest validation loss, not the last ones.
    deadline : float
        Moment of ``time.perf_counter()`` by which training ends: the schedule is shortened to it.
    monitor : callable or None
        Called at every report with the step, the number of steps, the training loss and the validation loss or None. If
        it returns true, training ends.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    averaging_fraction: float = 0.1
    check_every: int = 50
    deadline_every: int = 50
    patience: int = 0
    tol: float = 0.0
    keep_best: bool = True
    deadline: float = math.inf
    monitor: Monitor | None = None

    @abstractmethod
    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""

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
    """Plan of denoising score matching: the learning rate warms up, stays, and falls linearly to zero.

    Parameters
    ----------
    n_levels : int
        Noise levels of a batch, which share its samples equally.
    noise_mean, noise_spread : float
        Mean and standard deviation of the log noise level.
    sigma_range : tuple of float
        Smallest and largest noise level, relative to the signal.
    decay_fraction : float
        Fraction of the steps, the last ones, over which the learning rate falls.
    n_target_samples : int
        Samples over which the posterior mean of a stable target is taken; 0 trains on plain targets.
    reference : GaussianReference or None
        Gaussian whose velocity is known: networks learn the departure from it.
    checks_per_patience : int
        Validations within the steps of `patience`.
    validation_levels, validation_draws : int
        Noise levels of a validation, and its noised samples a member in all of them.
    max_validation_samples : int
        Validation samples of a member: more decide nothing.
    n_nonzero_weights : int or None
        Parameters of a member that may differ from zero at the end.
    weight_bound : float or None
        Largest absolute value of a parameter.
    pruning_range : tuple of float
        Fractions of the steps between which parameters are set to zero until `n_nonzero_weights` are left.
    """

    batch_size: int = 256
    learning_rate: float = 5e-3
    n_levels: int = 16
    noise_mean: float = -1.2
    noise_spread: float = 1.2
    sigma_range: tuple[float, float] = (0.01, 20.0)
    decay_fraction: float = 0.3
    n_target_samples: int = 0
    reference: GaussianReference | None = None
    checks_per_patience: int = 4
    validation_levels: int = 16
    validation_draws: int = 8192
    max_validation_samples: int = 4096
    n_nonzero_weights: int | None = None
    weight_bound: float | None = None
    pruning_range: tuple[float, float] = (0.2, 0.6)

    def learning_rate_at(self, step: int) -> float:
        decay_start = self.n_steps * (1 - self.decay_fraction)
        warm = min(1.0, (step + 1) / min(self.warmup_steps, max(1, self.n_steps // 4)))
        cool = min(1.0, max(0.0, (self.n_steps - step) / max(1.0, self.n_steps - decay_start)))
        return self.learning_rate * min(warm, cool)

    @property
    def validate_every(self) -> int:
        # The weights that are validated are an average over a tenth of the steps, which moves slowly.
        between = min(self.patience // self.checks_per_patience, self.n_steps // 10)
        return max(1, between // self.check_every) * self.check_every


@dataclass(frozen=True, kw_only=True)
class FineTuningPlan(Plan):
    """Plan of fine-tuning by the exact likelihood: after its warm-up the learning rate falls linearly to zero.

    Parameters
    ----------
    solver_steps : tuple of int
        Smallest and largest number of steps of the flow. With 6 to 12 half of the gain is lost.
    knot_jitter : float
        Largest shift of a knot of the flow's grid, as a fraction of the smaller gap beside it.
    max_gradient_norm : float
        Norm to which the gradient of a member is clipped.
    """

    n_steps: int = 120
    batch_size: int = 128
    learning_rate: float = 5e-3
    warmup_steps: int = 10
    check_every: int = 30
    deadline_every: int = 1
    solver_steps: tuple[int, int] = (10, 20)
    knot_jitter: float = 0.4
    max_gradient_norm: float = 1.0

    def learning_rate_at(self, step: int) -> float:
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * (1 - step / self.n_steps)


@dataclass(frozen=True, kw_only=True)
class DistillationPlan(Plan):
    """Plan of a distillation: after its warm-up the learning rate falls to zero as half a cosine.

    Parameters
    ----------
    square_weight : float
        Weight of the mean square of log p - log q beside its mean.
    max_gap : float
        Nats of log p - log q that count in the square.
    max_gradient_norm : float
        Norm to which the gradient is clipped.
    """

    batch_size: int = 1000
    learning_rate: float = 6e-3
    averaging_fraction: float = 0.0
    square_weight: float = 0.5
    max_gap: float = 3.0
    max_gradient_norm: float = 5.0

    def learning_rate_at(self, step: int) -> float:
        rising = self.learning_rate * min(1.0, (step + 1) / self.warmup_steps)
        return rising * 0.5 * (1 + math.cos(math.pi * step / self.n_steps))
