r"""Fine-tuning by the exact likelihood: gradients of log-densities through the flow and its divergence.

The loss of a member is the mean of :math:`-\log p(x)` over its samples, by few explicit steps of second order. Their
number and their knots are drawn anew for every step of the optimizer: on a fixed grid the weights learn to exploit its
errors.

References
----------
Grathwohl et al. (2019), FFJORD: free-form continuous dynamics for scalable reversible generative models.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import (
    FilmEnsemble,
    FlowPasses,
    GaussianReference,
    MembersEvaluator,
    WhitenedField,
)
from skdiffusion.diffusion.ode import power_grid, solve
from skdiffusion.diffusion.training._groups import MemberSteps, member_groups
from skdiffusion.diffusion.training._likelihood_passes import LikelihoodPasses
from skdiffusion.diffusion.training._loop import Objective, TrainingResult, run
from skdiffusion.diffusion.training._plans import FineTuningPlan
from skdiffusion.diffusion.training._samples import TrainingSets

STEPPER = "ab2"  # of the flow


def random_grid(rng: np.random.Generator, theta_min: float, theta_max: float, plan: FineTuningPlan) -> np.ndarray:
    """Angles of a flow in a random number of steps with random knots."""
    fewest, most = plan.solver_steps
    grid = power_grid(int(rng.integers(fewest, most + 1)), theta_min, theta_max)
    gaps = np.diff(grid)
    grid[1:-1] += plan.knot_jitter * rng.uniform(-1, 1, len(gaps) - 1) * np.minimum(gaps[:-1], gaps[1:])
    return grid


def negative_log_likelihood(
    network: FilmEnsemble, reference: GaussianReference | None, x: torch.Tensor, grid: list[float]
) -> torch.Tensor:
    """Minus the mean log-density of each member's whitened samples x (n_members, n, d), in nats, shape (n_members,).

    It is differentiable in the parameters, for architectures whose gradient `LikelihoodPasses` does not write.
    """
    field: VelocityField = MembersEvaluator(network, grid)
    if reference is not None:
        # These levels never come again: a copy keeps their matrices only for this call.
        field = WhitenedField(field, copy(reference), departure=reference.relative)
    end = solve(field, x.flatten(0, 1), grid, STEPPER, divergence=True)
    loss = 0.5 * end.z.square().sum(1) + end.log_density_change
    return loss.view(x.shape[:2]).mean(1) + 0.5 * x.shape[2] * np.log(2 * np.pi)


class MemberLikelihoods:
    """Minus mean log-densities of the samples of some members, each under its own flow, and their gradient.

    Parameters
    ----------
    reference : GaussianReference or None
    max_steps : int
        Of the solver.
    max_norm : float
        Largest norm of a gradient.
    """

    def __init__(self, reference: GaussianReference | None, max_steps: int, max_norm: float) -> None:
        self.reference, self.max_steps, self.max_norm = reference, max_steps, max_norm
        self._passes: dict[int, LikelihoodPasses] = {}  # by the samples of a member

    def gradient(
        self, network: FilmEnsemble, x: torch.Tensor, grid: list[float], share: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient (n_members, n_parameters) of samples x that are a share of all, and the parts of the losses."""
        if not share:
            return torch.zeros_like(network.flat), torch.zeros(len(x), device=x.device)
        if FlowPasses.can_pass(network):
            n_samples = x.shape[1]
            if n_samples not in self._passes:
                self._passes[n_samples] = LikelihoodPasses(network, self.reference, n_samples, STEPPER, self.max_steps)
            losses, gradient = self._passes[n_samples].losses_and_gradient(network, x, grid, share)
            return gradient, losses
        with torch.enable_grad():
            own = network.flat.clone().requires_grad_(True)
            losses = share * negative_log_likelihood(network.with_flat(own), self.reference, x, grid)
            (gradient,) = torch.autograd.grad(losses.sum(), own)
        return gradient, losses.detach()

    def clipped(self, gradient: torch.Tensor) -> torch.Tensor:
        """Gradients shortened to the largest norm; one that overflows, by a far sample, is left out."""
        norms = torch.stack([own.norm() for own in gradient])[:, None]  # one by one: with the bits that each has alone
        factors = (self.max_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        return torch.where(torch.isfinite(norms), gradient * factors, 0.0)


@dataclass(frozen=True)
class LikelihoodSteps:
    """Steps of some members on samples and grids that were drawn before.

    Parameters
    ----------
    likelihoods : MemberLikelihoods
    samples : list of tensor of shape (n_members, n_samples, d)
    grids : list of list of float
    """

    likelihoods: MemberLikelihoods
    samples: list[torch.Tensor]
    grids: list[list[float]]

    def gradients(self, network: FilmEnsemble) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Gradients and losses, step by step."""
        for x, grid in zip(self.samples, self.grids):
            gradient, losses = self.likelihoods.gradient(network, x, grid)
            yield self.likelihoods.clipped(gradient), losses.double()


class Likelihood(Objective):
    """Minus the mean log-density of the samples of every member under its own flow."""

    def __init__(
        self,
        flow: ProbabilityFlow,
        sets: TrainingSets,
        validation_score: Callable[[FilmEnsemble], float],
        plan: FineTuningPlan,
        rng: np.random.Generator,
    ) -> None:
        network, self.reference = cast(FilmEnsemble, flow.network_field.network), flow.field.reference
        self.network = network.with_flat(network.flat.clone())
        super().__init__(self.network.flat, sets.samples)
        self.samples: torch.Tensor
        self.ends = flow.theta_min, flow.theta_max
        self.validation_score, self.plan, self.rng = validation_score, plan, rng
        self._streams = sets.streams(sets.training, rng)
        self._likelihoods = self._new_likelihoods()

    def _new_likelihoods(self) -> MemberLikelihoods:
        return MemberLikelihoods(self.reference, self.plan.solver_steps[1], self.plan.max_gradient_norm)

    def _draw(self) -> tuple[list[float], np.ndarray]:
        """The grid of a step, and the samples of every member."""
        grid = random_grid(self.rng, *self.ends, self.plan).tolist()
        return grid, np.stack([stream.take(self.plan.batch_size) for stream in self._streams])

    def skip(self, step: int, n_steps: int) -> None:
        self._draw()

    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        grid, picks = self._draw()
        own = picks[:, collective().share(picks.shape[1])]
        x, share = self._picked(own), own.shape[1] / picks.shape[1]
        gradient, losses = self._likelihoods.gradient(self.network, x, grid, share)
        collective().add_up(gradient)
        return self._likelihoods.clipped(gradient), losses.double().mean()

    def _picked(self, picks: np.ndarray) -> torch.Tensor:
        return self.samples[torch.as_tensor(picks).to(self.samples.device)]

    def parts(self, step: int, n_steps: int, count: int) -> list[tuple[slice, MemberSteps]]:
        sizes = (*self.network.hidden_layer_sizes, self.network.n_features)
        groups = member_groups(self.network, [self.plan.batch_size * size for size in sizes])
        if len(groups) == 1 or count == 1:
            return []
        grids, picks = zip(*(self._draw() for _ in range(count)))
        likelihoods = self._new_likelihoods()
        drawn = [self._picked(own) for own in picks]
        return [(m, LikelihoodSteps(likelihoods, [x[m].clone() for x in drawn], [*grids])) for m in groups]

    def validation_losses(self) -> np.ndarray:
        return np.array([-self.validation_score(self.network.with_flat(self.average.clone()))])

    def network_of(self, flat: torch.Tensor) -> FilmEnsemble:
        return self.network.with_flat(flat)


def fine_tune(
    flow: ProbabilityFlow,
    sets: TrainingSets,
    validation_score: Callable[[FilmEnsemble], float],
    plan: FineTuningPlan,
    rng: np.random.Generator,
) -> TrainingResult:
    """Raise the log-density of every member of a flow's network on its own samples.

    Parameters
    ----------
    flow : ProbabilityFlow
        Of a `NetworkField` with one ensemble for all noise levels. Its network is left as it is.
    sets : TrainingSets
        Whitened samples; validation sets are not used.
    validation_score : callable
        ``validation_score(network) -> float``: mean log-density of validation samples with the ensemble `network`, in
        nats. The weights with the highest score are kept, which may be those at the start.
    plan : FineTuningPlan
    rng : numpy Generator

    Returns
    -------
    TrainingResult
        Its `loss_curve` is of minus mean log-densities, its `validation_curve` of validation scores.
    """
    result = run(Likelihood(flow, sets, validation_score, plan, rng), plan)
    return replace(result, validation_curve=[(step, -loss) for step, loss in result.validation_curve])
