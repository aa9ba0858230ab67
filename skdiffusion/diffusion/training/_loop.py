"""The training loop that denoising, fine-tuning by the likelihood and distillation share.

An objective gives gradients; the loop takes the steps. It averages the weights, keeps those with the lowest validation
loss, shortens its schedule to a deadline, reports to a monitor, and ends at Ctrl-C with what it has. Several processes
share the gradients of an objective; each then takes all steps, and decides as the others do.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.processes import n_free_helpers
from skdiffusion.diffusion.training._groups import MemberSteps, Rates, Walk, go_in_groups
from skdiffusion.diffusion.training._optimizer import AdamW, in_rows
from skdiffusion.diffusion.training._plans import Plan

MOVED = 1e-3  # of moments of the samples: more than round-off between machines, less than that of other coordinates
KEPT = "n_steps", "loss_curve", "validation_curve", "out_of_time", "not_worthwhile"  # of the result, in a checkpoint


class Objective(ABC):
    """A loss of the parameters of an ensemble, with its gradient.

    Training updates the parameters `flat` and the `average` of the latest ones, both of shape (n_members,
    n_parameters), in place. The loss is that of some `samples`, (n_samples, d), in coordinates of their own.
    """

    network: Any  # whose parameters they are

    def __init__(self, flat: torch.Tensor, samples: torch.Tensor | None = None) -> None:
        self.flat, self.average, self.samples = flat, in_rows(flat), samples

    @abstractmethod
    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient of the loss on the batch of a step, of the shape of `flat`, and the loss."""

    def parts(self, step: int, n_steps: int, count: int) -> list[tuple[slice, MemberSteps]]:
        """Groups of members with the next `count` steps of each, which they can take side by side; perhaps none."""
        return []

    @abstractmethod
    def network_of(self, flat: torch.Tensor) -> Any:
        """The network with parameters that training has found."""

    def skip(self, step: int, n_steps: int) -> None:  # noqa: B027
        """Draw what a step draws, and leave it."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the objective, in tensors and numbers, beside the parameters."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take over what `state` gave."""

    def constrain(self) -> None:  # noqa: B027
        """Bring `flat` and `average` into the class of parameters that is allowed, in place."""

    def settled(self, step: int, n_steps: int) -> bool:
        """Whether parameters may be kept from this step on."""
        return True

    def validation_losses(self) -> np.ndarray | None:
        """Losses of `average` on validation samples, (n_members,), or (1,) for the ensemble; None without samples."""
        return None


@dataclass(kw_only=True)
class TrainingResult:
    """What a training run found: the weights that it kept, and the curves that led to them.

    Attributes
    ----------
    best_step : int array of shape (n_members,), or (n_intervals, n_members)
        Step whose weights a member keeps; 0 without validation samples.
    network : FilmEnsemble, SwitchedNetworks or MaskedNetwork
    n_steps : int
        Optimizer steps taken.
    loss_curve, validation_curve : list of (step, loss)
        Mean training loss since the report before, and mean validation loss of the members.
    loss_by_noise : array of shape (n_levels, 2) or None
        Noise levels and the validation loss at each, where the mean loss was lowest.
    out_of_time, not_worthwhile, interrupted : bool
        Whether the deadline, the trial or Ctrl-C shortened the run.
    """

    best_step: np.ndarray
    network: Any = None
    n_steps: int = 0
    loss_curve: list = field(default_factory=list)
    validation_curve: list = field(default_factory=list)
    loss_by_noise: np.ndarray | None = None
    out_of_time: bool = False
    not_worthwhile: bool = False
    interrupted: bool = False


class BestWeights:
    """For each member, the parameters with the lowest validation loss so far."""

    def __init__(self, flat: torch.Tensor, tol: float) -> None:
        self.flat, self.tol = flat.clone(), tol
        self.losses, self.steps = np.full(len(flat), np.inf), np.zeros(len(flat), dtype=int)
        self.last_gain = 0

    def offer(self, flat: torch.Tensor, losses: np.ndarray, step: int) -> None:
        """Keep the parameters of the members whose losses fall."""
        if (losses < self.losses - self.tol).any():
            self.last_gain = step
        for m in np.flatnonzero(losses < self.losses):
            self.flat[m], self.steps[m] = flat[m], step
        self.losses = np.fmin(self.losses, losses)

    def follow(self, flat: torch.Tensor, step: int) -> None:
        """Keep these parameters, until others may be compared."""
        self.flat.copy_(flat)
        self.steps[:] = self.last_gain = step


class _Run:
    """The state of a training run."""

    def __init__(self, objective: Objective, plan: Plan) -> None:
        self.objective, self.plan, self.processes = objective, plan, collective()
        self.optimizer = AdamW(objective.flat, plan.weight_decay)
        self.best = BestWeights(objective.average, plan.tol)
        self.result = TrainingResult(best_step=self.best.steps)
        self.validate_every, self.started = plan.validate_every, self.processes.clock()
        self.first_step = 0  # another where it goes on from a checkpoint
        self.tried = plan.is_worthwhile is None
        self.losses: list[torch.Tensor] = []  # of the steps since the last report

    def advance(self) -> None:
        """Take a step; or all as far as the next look at the clock or the next report, in groups of members."""
        step, objective, plan = self.result.n_steps, self.objective, self.plan
        self.processes.enters(f"step {step + 1} of {plan.n_steps} of the training")
        if n_free_helpers() and self._advance_in_groups():
            return
        gradient, loss = objective.gradient(step, plan.n_steps)
        self.losses.append(loss)
        self.optimizer.step(gradient, plan.learning_rate_at(step))
        objective.average.lerp_(objective.flat, plan.averaging_weight(step))
        objective.constrain()
        self.result.n_steps = step + 1

    def _advance_in_groups(self) -> bool:
        """Take all steps as far as the next look at the clock or the next report in groups, if that is possible."""
        step, objective, plan = self.result.n_steps, self.objective, self.plan
        looks = {plan.check_every, plan.check_every if plan.deadline == np.inf else plan.deadline_every}
        stop = min(plan.n_steps, *(step - step % every + every for every in looks))
        parts = objective.parts(step, plan.n_steps, stop - step)
        if parts:
            rates = [Rates(plan.learning_rate_at(s), plan.averaging_weight(s)) for s in range(step, stop)]
            walk = Walk(objective.network, objective.average, self.optimizer)
            self.losses += go_in_groups(walk, parts, rates).mean(1)
            self.result.n_steps = stop
        return bool(parts)

    def shorten(self) -> None:
        """Plan as many steps as the deadline allows at the speed seen so far."""
        step = self.result.n_steps
        if self.plan.deadline == np.inf or step % self.plan.deadline_every:
            return
        now = self.processes.clock()
        taken = step - self.first_step
        allowed = step + max(0, int((self.plan.deadline - now) * taken / max(now - self.started, 1e-9)))
        if allowed < self.plan.n_steps:
            self.plan, self.result.out_of_time = replace(self.plan, n_steps=allowed), True

    def ask(self) -> None:
        """End soon, if the plan's trial finds that more steps are not worthwhile."""
        step, plan = self.result.n_steps, self.plan
        if self.tried or not plan.trial_fraction * plan.n_steps <= step < plan.n_steps:
            return
        self.tried, asked = True, self.processes.clock()
        assert plan.is_worthwhile is not None
        worthwhile = plan.is_worthwhile(self.objective.network_of(self.objective.average.clone()))
        if not self.processes.first(worthwhile):
            self.plan, self.result.not_worthwhile = replace(plan, n_steps=plan.n_steps_if_ending(step)), True
        self.started += self.processes.clock() - asked  # what a step takes does not count it

    def validate(self) -> None:
        """Compare the averaged weights with the best so far."""
        losses, step = self.processes.first(self.objective.validation_losses()), self.result.n_steps
        if losses is None:
            return
        if self.objective.settled(step, self.plan.n_steps):
            self.best.offer(self.objective.average, losses, step)
        else:
            self.best.follow(self.objective.average, step)
        self.result.validation_curve.append((step, float(losses.mean())))

    def check(self) -> bool:
        """Report and validate where it is time to. True if training ends here."""
        plan, result, step = self.plan, self.result, self.result.n_steps
        if step % plan.check_every and step < plan.n_steps:
            return False
        mean, self.losses = torch.stack(self.losses).mean(), []
        self.processes.add_up(mean)
        loss = float(mean)
        result.loss_curve.append((step, loss))
        if step % self.validate_every == 0 or step == plan.n_steps:
            self.validate()
        validated, latest = result.validation_curve[-1] if result.validation_curve else (step, None)
        if plan.monitor is not None and plan.monitor(step, plan.n_steps, loss, latest):
            if validated < step:
                self.validate()
            return True
        self.ask()
        return latest is not None and 0 < plan.patience <= step - self.best.last_gain

    def keep(self, ended: bool) -> None:
        """Write the state to the checkpoint of the plan, if any: where weights are validated, and at the end."""
        step, result, best, optimizer = self.result.n_steps, self.result, self.best, self.optimizer
        ended = ended or step >= self.plan.n_steps
        if self.plan.checkpoint is None or (step % self.validate_every and not ended):
            return
        self.plan.checkpoint.keep(
            {
                "ended": ended,
                "moments": self._moments(),
                "tried": self.tried,
                "n_planned": self.plan.n_steps,
                "tensors": [t.detach().cpu().clone() for t in self._tensors()],
                "best": (torch.as_tensor(best.losses), torch.as_tensor(best.steps), best.last_gain),
                "count": optimizer.count,
                "result": {name: getattr(result, name) for name in KEPT},
                "objective": self.objective.state(),
            }
        )

    def is_of_this(self, state: dict[str, Any]) -> bool:
        """Whether a checkpoint's state is of networks of this shape on these samples in these coordinates.

        Under a limit of time another fit may have chosen others.
        """
        shapes = [tuple(t.shape) for t in state["tensors"]] == [tuple(t.shape) for t in self._tensors()]
        moments = state["moments"]
        return shapes and bool(torch.isclose(moments, self._moments(), rtol=MOVED, atol=MOVED, equal_nan=True).all())

    def _moments(self) -> torch.Tensor:
        samples = self.objective.samples
        if samples is None:
            return torch.zeros(0)
        return torch.stack([samples.double().mean(0), samples.double().std(0)]).cpu()

    def restore(self, state: dict[str, Any]) -> bool:
        """Go to the state of a checkpoint; whether the run had ended there."""
        self.tried, self.plan = state["tried"], replace(self.plan, n_steps=state["n_planned"])
        for name in KEPT:
            setattr(self.result, name, state["result"][name])
        for step in range(self.result.n_steps):
            self.objective.skip(step, self.plan.n_steps)
        for own, saved in zip(self._tensors(), state["tensors"], strict=True):
            own.copy_(saved)
        losses, steps, self.best.last_gain = state["best"]
        self.best.losses[:], self.best.steps[:], self.optimizer.count = losses, steps, state["count"]
        self.objective.restore(state["objective"])
        self.first_step, self.started = self.result.n_steps, self.processes.clock()
        return state["ended"]

    def _tensors(self) -> list[torch.Tensor]:
        return [self.objective.flat, self.objective.average, self.optimizer.mean, self.optimizer.square, self.best.flat]


def run(objective: Objective, plan: Plan) -> TrainingResult:
    """Train the parameters of an objective in place, as planned.

    Returns
    -------
    TrainingResult
        With the best averaged weights of each member, or the last ones where nothing validates them. After Ctrl-C, with
        those found so far.
    """
    training = _Run(objective, plan)
    result = training.result
    try:
        with torch.no_grad():
            saved, ended = None if plan.checkpoint is None else plan.checkpoint.begin(), False
            if saved is None or not training.is_of_this(saved):
                training.validate()
            else:
                ended = training.restore(saved)
            while not ended and result.n_steps < training.plan.n_steps:
                training.advance()
                training.shorten()
                ended = training.check()
                training.keep(ended)
    except KeyboardInterrupt:
        if not training.processes.may_end_alone:
            raise
        if plan.checkpoint is not None:
            plan.checkpoint.interrupted = True
        result.interrupted = True
    validated = plan.keep_best and result.validation_curve
    result.network = objective.network_of(training.best.flat if validated else objective.average)
    return result
