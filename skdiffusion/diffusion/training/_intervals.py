"""Training of networks that share the noise levels: each on its own interval, in its share of the steps."""

import time
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

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


class _WholeRange:
    """The result for all noise levels, which grows interval by interval.

    Levels whose networks are still to be trained count with the loss of the zero network, which is 1.
    """

    def __init__(self, shares: np.ndarray, n_steps: np.ndarray, plan: TrainingPlan) -> None:
        self.shares, self.n_steps, self.plan = shares, n_steps, plan
        self.results: list[TrainingResult] = []
        self.step, self.stopped = 0, False
        self.loss = self.validation_loss = 0.0  # of the intervals that are done, weighted by their shares
        self.loss_curve: list[tuple[int, float]] = []
        self.validation_curve: list[tuple[int, float]] = []

    def next_plan(self, sigma_range: tuple[float, float]) -> TrainingPlan:
        """The plan of the next interval, with its share of the steps and of the time."""
        now, k = time.perf_counter(), len(self.results)
        return replace(
            self.plan,
            n_steps=int(self.n_steps[k]),
            sigma_range=sigma_range,
            deadline=now + (self.plan.deadline - now) * self.n_steps[k] / self.n_steps[k:].sum(),
            monitor=self.report,
        )

    def whole(self, done: float, loss: float) -> float:
        """The loss over all levels, from that of the intervals before and that of the present one."""
        k = len(self.results)
        return done + self.shares[k] * loss + self.shares[k + 1 :].sum()

    def report(self, step: int, n_steps: int, loss: float, validation_loss: float | None) -> bool:
        """Monitor of the present interval, which tells that of the whole range."""
        if self.plan.monitor is None:
            return False
        validated = None if validation_loss is None else self.whole(self.validation_loss, validation_loss)
        loss = self.whole(self.loss, loss)
        self.stopped = bool(self.plan.monitor(self.step + step, int(self.n_steps.sum()), loss, validated))
        return self.stopped

    def add(self, result: TrainingResult) -> None:
        """Append the curves of an interval."""
        share = self.shares[len(self.results)]
        self.loss_curve += [(self.step + s, self.whole(self.loss, v)) for s, v in result.loss_curve]
        validated = [(self.step + s, self.whole(self.validation_loss, v)) for s, v in result.validation_curve]
        self.validation_curve += validated
        self.step += result.n_steps
        self.loss += share * (result.loss_curve[-1][1] if result.loss_curve else 1.0)
        self.validation_loss += share * min((v for _, v in result.validation_curve), default=1.0)
        self.results.append(result)

    def result(self, network: SwitchedNetworks) -> TrainingResult:
        """What all intervals found; those that were not reached keep their networks."""
        found, by_noise = self.results, [r.loss_by_noise for r in self.results if r.loss_by_noise is not None]
        return TrainingResult(
            network=SwitchedNetworks([r.network for r in found] + network.parts[len(found) :], network.edges),
            n_steps=self.step,
            loss_curve=self.loss_curve,
            validation_curve=self.validation_curve,
            best_step=np.stack([r.best_step for r in found]),
            loss_by_noise=np.concatenate(by_noise) if by_noise else None,
            out_of_time=any(r.out_of_time for r in found),
            interrupted=any(r.interrupted for r in found),
        )


def train_intervals(
    network: FilmEnsemble | SwitchedNetworks, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator
) -> TrainingResult:
    """`train`; networks with several intervals are trained one after the other, from the data to the noise.

    Half of the steps are shared out by the noise levels of an interval, half equally.

    Parameters
    ----------
    network : FilmEnsemble or SwitchedNetworks
    sets, plan, rng
        As for `train`.

    Returns
    -------
    TrainingResult
        Its losses are those of all noise levels.
    """
    if not isinstance(network, SwitchedNetworks):
        return train(network, sets, plan, rng)
    shares, intervals = noise_shares(network.edges, plan)
    n_steps = np.maximum(1, np.round(plan.n_steps * (shares + 1 / len(shares)) / 2)).astype(int)
    whole = _WholeRange(shares, n_steps, plan)
    for part, interval in zip(network.parts, intervals):
        result = train(part, sets, whole.next_plan(interval), rng)
        whole.add(result)
        if result.interrupted or whole.stopped:
            break
    return whole.result(network)
