r"""Denoising score matching: all members at once, in steps of a few matrix products.

The loss of a member is the mean of :math:`\|F(z,\theta) - F^*\|^2 / d` over log-normal noise levels. It is 1 for the
zero network, the Gaussian fit, whatever d, so that 1 - loss is the explained part.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion.diffusion.networks import FilmEnsemble, Passes
from skdiffusion.diffusion.training._batches import PIECE_STEPS, NoisedBatches, ValidationDraws
from skdiffusion.diffusion.training._constraints import WeightConstraint
from skdiffusion.diffusion.training._groups import MemberSteps, member_groups
from skdiffusion.diffusion.training._loop import Objective, TrainingResult, run
from skdiffusion.diffusion.training._pieces import SquaredErrors
from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._targets import MIN_ROWS


class Denoising(Objective):
    """Mean squared error of the velocities that an ensemble predicts from noised samples."""

    def __init__(self, network: FilmEnsemble, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator) -> None:
        super().__init__(network.flat, sets.samples)
        self.network, self.plan = network, plan
        self.loss_by_noise: np.ndarray | None = None  # at the check with the lowest mean loss
        self._lowest = np.inf
        self._validation = ValidationDraws(sets, plan, rng) if sets.validation else None
        self._batches = NoisedBatches(sets, plan, rng)
        self._constraint = WeightConstraint(network, plan.n_nonzero_weights, plan.weight_bound, plan.pruning_range)
        n_own, per_level = self._batches.n_own, self._batches.per_level
        counted = 1.0 if sets.noised is None else float(sets.noised.float().mean())
        self._errors = SquaredErrors(sets.noised is not None, n_own / per_level, counted)
        self._passes = Passes(network, plan.n_levels, max(1, n_own))
        if self._validation is not None:
            self._validation_passes = Passes(network.with_flat(self.average), 1, self._validation.n_draws)
        # Latest draw: its step, and whether it was of the last phase.
        self._drawn_at, self._drawn_last = 0, False

    def _draw(self, step: int, n_steps: int) -> int:
        """The number of a step's batch among those that are drawn together, which are drawn at the first of them."""
        last = step >= self.plan.decay_start(n_steps)
        phase_ends = last != self._drawn_last and step % self.plan.check_every == 0
        if step == 0 or step - self._drawn_at == self._batches.n_together or phase_ends:
            self._batches.draw(last)
            self._drawn_at, self._drawn_last = step, last
        return step - self._drawn_at

    def skip(self, step: int, n_steps: int) -> None:
        self._draw(step, n_steps)

    def state(self) -> dict[str, Any]:
        by_noise = None if self.loss_by_noise is None else torch.as_tensor(self.loss_by_noise)
        return {"lowest": float(self._lowest), "loss_by_noise": by_noise}

    def restore(self, state: dict[str, Any]) -> None:
        by_noise = state["loss_by_noise"]
        self._lowest, self.loss_by_noise = state["lowest"], None if by_noise is None else by_noise.numpy()

    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        i, batches = self._draw(step, n_steps), self._batches
        if step % self.plan.check_every == 0:
            self._constraint.renew(self.flat, step, n_steps)
        z, features, target = batches[i]
        if batches.n_own:
            gradient, losses = self._errors.gradient(self._passes, z, features, target)
        else:
            gradient, losses = self._passes.grad.zero_(), self._passes.grad.sum(1)
        collective().add_up(gradient)
        return gradient, losses.mean()

    def parts(self, step: int, n_steps: int, count: int) -> list[tuple[slice, MemberSteps]]:
        plan, batches = self.plan, self._batches
        if self._constraint.is_active or step % PIECE_STEPS:
            return []
        per_member = plan.n_levels * batches.n_own
        numbers = [per_member * width for width in (*self.network.hidden_layer_sizes, self.network.n_features)]
        numbers.append(batches.n_targets * MIN_ROWS)
        groups = member_groups(self.network, numbers)
        if len(groups) == 1:
            return []
        i = self._draw(step, n_steps)
        return [(members, batches.steps(i, count, members, self._errors)) for members in groups]

    def constrain(self) -> None:
        self._constraint.apply(self.flat, self.average)

    def settled(self, step: int, n_steps: int) -> bool:
        return self._constraint.settled(step, n_steps)

    def validation_losses(self) -> np.ndarray | None:
        if self._validation is None:
            return None
        by_level = self._validation.losses(self._validation_passes)
        losses = by_level.mean(1)
        if losses.mean() <= self._lowest:
            self._lowest = losses.mean()
            self.loss_by_noise = np.column_stack([np.tan(self._validation.angles), by_level.mean(0)])
        return losses

    def network_of(self, flat: torch.Tensor) -> FilmEnsemble:
        return self.network.with_flat(self._constraint.project(flat))


def train(network: FilmEnsemble, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator) -> TrainingResult:
    """Fit every member of an ensemble to its own samples.

    Parameters
    ----------
    network : FilmEnsemble
        Initialized members; its parameters are updated in place.
    sets : TrainingSets
        Samples in coordinates where the noise is isotropic.
    plan : TrainingPlan
    rng : numpy Generator

    Returns
    -------
    TrainingResult
        With the best averaged weights of each member. After Ctrl-C, with the best so far.
    """
    objective = Denoising(network, sets, plan, rng)
    return replace(run(objective, plan), loss_by_noise=objective.loss_by_noise)
