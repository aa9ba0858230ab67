r"""Fine-tuning by the exact likelihood: gradients of log-densities through the flow and its divergence.

The loss of a member is the mean of :math:`-\log p(x)` over its samples, by few explicit steps of second order. Their
number and their knots are drawn anew for every step of the optimizer: on a fixed grid the weights learn to exploit its
errors.

References
----------
Grathwohl et al. (2019), FFJORD: free-form continuous dynamics for scalable reversible generative models.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.parallel import side_by_side
from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, WhitenedField
from skdiffusion.diffusion.ode import power_grid, solve
from skdiffusion.diffusion.training._loop import Objective, TrainingResult, run
from skdiffusion.diffusion.training._plans import FineTuningPlan
from skdiffusion.diffusion.training._samples import TrainingSets


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
    """Minus the mean log-density of whitened samples x (n, d) in nats, differentiable in the parameters."""
    field: VelocityField = network.evaluator()
    if reference is not None:
        # These levels never come again: a copy keeps their matrices only for this call.
        field = WhitenedField(field, copy(reference), departure=reference.relative)
    end = solve(field, x, grid, "ab2", divergence=True)
    return (0.5 * end.z.square().sum(1) + end.log_density_change).mean() + 0.5 * x.shape[1] * np.log(2 * np.pi)


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
        self.network, self.reference = cast(FilmEnsemble, flow.network_field.network), flow.field.reference
        super().__init__(self.network.flat.clone())
        self.ends = flow.theta_min, flow.theta_max
        self.samples, self.validation_score, self.plan, self.rng = sets.samples, validation_score, plan, rng
        self._streams = sets.streams(sets.training, rng)
        self._gradient = torch.zeros_like(self.flat)

    def _draw(self) -> tuple[list[float], list[torch.Tensor]]:
        """The grid of a step, and the samples of every member."""
        grid = random_grid(self.rng, *self.ends, self.plan).tolist()
        return grid, [torch.as_tensor(stream.take(self.plan.batch_size)) for stream in self._streams]

    def skip(self, step: int, n_steps: int) -> None:
        self._draw()

    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        grid, picks = self._draw()
        losses = side_by_side([partial(self._member_gradient, m, some, grid) for m, some in enumerate(picks)])
        collective().add_up(self._gradient)
        for m in range(len(picks)):
            self._clip(m)
        return self._gradient, torch.tensor(losses, dtype=torch.float64).mean()

    def _member_gradient(self, member: int, picks: torch.Tensor, grid: list[float]) -> float:
        """Write the gradient of a member on the own share of some samples; the part of its loss."""
        own_picks = picks[collective().share(len(picks))]
        if not len(own_picks):
            self._gradient[member] = 0.0
            return 0.0
        x, share = self.samples[own_picks.to(self.samples.device)], len(own_picks) / len(picks)
        with torch.enable_grad():
            own = self.flat[member : member + 1].clone().requires_grad_(True)
            loss = share * negative_log_likelihood(self.network.with_flat(own), self.reference, x, grid)
            (slope,) = torch.autograd.grad(loss, own)
        self._gradient[member] = slope[0]
        return float(loss)

    def _clip(self, member: int) -> None:
        """Shorten the gradient of a member to the largest norm; one that overflows, by a far sample, is left out."""
        slope, most = self._gradient[member], self.plan.max_gradient_norm
        norm = float(slope.norm())
        self._gradient[member] = slope * min(1.0, most / max(norm, 1e-12)) if np.isfinite(norm) else 0.0

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
