"""Training of networks that share the noise levels: each on its own interval, in its share of the steps."""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from skdiffusion._utils.collective import collective
from skdiffusion.diffusion.networks import FilmEnsemble, SwitchedNetworks
from skdiffusion.diffusion.training._denoising import train
from skdiffusion.diffusion.training._loop import TrainingResult
from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets


def noise_shares(edges: tuple[float, ...], plan: TrainingPlan) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Shares of the training's noise levels that fall between the edges (angles), and the intervals themselves."""
    levels = np.array([plan.sigma_range[0], *np.tan(edges), plan.sigma_range[1]])
    mass = np.diff(ndtr((np.log(levels) - plan.noise_mean) / plan.noise_spread))
    return mass / mass.sum(), list(zip(levels[:-1].tolist(), levels[1:].tolist()))


def max_checks(plan: TrainingPlan, edges: tuple[float, ...]) -> int:
    """The most reports of a training run: every interval may end between two of them."""
    return plan.n_checks + 2 * len(edges)


class _WholeLoss:
    """The loss over all noise levels, interval by interval; those to come count with 1, the loss of a zero network."""

    def __init__(self, shares: np.ndarray) -> None:
        self.shares, self.k = shares, 0
        self.done = 0.0  # of the intervals before the present one, k
        self.curve: list[tuple[int, float]] = []

    def at(self, loss: float) -> float:
        """The loss over all levels where that of the present interval is `loss`."""
        return self.done + self.shares[self.k] * loss + self.shares[self.k + 1 :].sum()

    def add(self, start: int, curve: list[tuple[int, float]], final: float) -> None:
        """Append the curve of the present interval, which began at the step `start` and ended with the loss `final`."""
        self.curve += [(start + step, self.at(loss)) for step, loss in curve]
        self.done += self.shares[self.k] * final
        self.k += 1


def train_intervals(
    network: FilmEnsemble | SwitchedNetworks, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator
) -> TrainingResult:
    """`train`; networks with several intervals are trained one after the other, from the data to the noise.

    Half of the steps are shared out by the noise levels of an interval, half equally.

    Returns
    -------
    TrainingResult
        Its losses are those of all noise levels. Intervals that were not reached keep their networks.
    """
    if not isinstance(network, SwitchedNetworks):
        return train(network, sets, plan, rng)
    shares, intervals = noise_shares(network.edges, plan)
    n_steps = np.maximum(1, np.round(plan.n_steps * (shares + 1 / len(shares)) / 2)).astype(int)
    training, validation = _WholeLoss(shares), _WholeLoss(shares)
    results: list[TrainingResult] = []
    start, stopped = 0, False

    def report(step: int, _: int, loss: float, validation_loss: float | None) -> bool:
        nonlocal stopped
        if plan.monitor is not None:
            validated = None if validation_loss is None else validation.at(validation_loss)
            stopped = bool(plan.monitor(start + step, int(n_steps.sum()), training.at(loss), validated))
        return stopped

    for k, (part, interval) in enumerate(zip(network.parts, intervals)):
        now = collective().clock()
        deadline = now + (plan.deadline - now) * n_steps[k] / n_steps[k:].sum()
        own = replace(plan, n_steps=int(n_steps[k]), sigma_range=interval, deadline=deadline, monitor=report)
        result = train(part, sets, own, rng)
        training.add(start, result.loss_curve, result.loss_curve[-1][1] if result.loss_curve else 1.0)
        validation.add(start, result.validation_curve, min((v for _, v in result.validation_curve), default=1.0))
        results.append(result)
        start += result.n_steps
        if result.interrupted or stopped:
            break
    by_noise = [r.loss_by_noise for r in results if r.loss_by_noise is not None]
    return TrainingResult(
        network=SwitchedNetworks([r.network for r in results] + network.parts[len(results) :], network.edges),
        n_steps=start,
        loss_curve=training.curve,
        validation_curve=validation.curve,
        best_step=np.stack([r.best_step for r in results]),
        loss_by_noise=np.concatenate(by_noise) if by_noise else None,
        out_of_time=any(r.out_of_time for r in results),
        interrupted=any(r.interrupted for r in results),
    )
