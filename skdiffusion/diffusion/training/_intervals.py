"""Training of networks that share the noise levels: each on its own interval, in its share of the steps."""

import time
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from skdiffusion.diffusion.networks import SwitchedNetworks
from skdiffusion.diffusion.training._loop import CHECK_EVERY, TrainingResult, train


def noise_shares(edges, plan):
    """Shares of the training's noise levels that fall between the edges (angles), and the intervals themselves."""
    levels = np.array([plan.sigma_range[0], *np.tan(edges), plan.sigma_range[1]])
    mass = np.diff(ndtr((np.log(levels) - plan.noise_mean) / plan.noise_spread))
    return mass / mass.sum(), list(zip(levels[:-1], levels[1:]))


def max_checks(plan, edges):
    """At most how often a training run reports: once every so many steps, and at the end of every interval."""
    return -(-plan.n_steps // CHECK_EVERY) + 2 * len(edges)


class _Reporter:
    """Curves and progress of one interval as those of the whole: the intervals to come count as the Gaussian fit."""

    def __init__(self, plan, whole, step, done, share, left):
        self.monitor, self.n_steps = plan.monitor, whole
        self.step, self.done, self.share, self.left = step, done, share, left
        self.stopped = False

    def loss(self, loss):
        return self.done + self.share * loss + self.left

    def __call__(self, step, n_steps, loss, held):
        held = None if held is None else self.loss(held)
        self.stopped = bool(self.monitor(self.step + step, self.n_steps, self.loss(loss), held))
        return self.stopped


def train_intervals(network, samples, weights, training_samples, held_out_samples, plan, rng):
    """`train`; networks with several intervals are trained one after the other, from the data to the noise.

    Half of the steps are shared out by the noise levels of an interval, half equally.

    Parameters
    ----------
    network : FilmEnsemble or SwitchedNetworks
    samples, weights, training_samples, held_out_samples, plan, rng : as for `train`

    Returns
    -------
    TrainingResult
        Its losses are those of all noise levels.
    """
    data = samples, weights, training_samples, held_out_samples
    if not isinstance(network, SwitchedNetworks):
        return train(network, *data, plan, rng)
    shares, intervals = noise_shares(network.edges, plan)
    n_steps = np.maximum(1, np.round(plan.n_steps * (shares + 1 / len(shares)) / 2)).astype(int)
    whole, parts, best_steps, by_noise = TrainingResult(network=None, n_steps=0), [], [], []
    done, held_done = 0.0, 0.0
    for k, (part, share, interval) in enumerate(zip(network.parts, shares, intervals)):
        left = shares[k + 1 :].sum()
        ours = replace(plan, n_steps=int(n_steps[k]), sigma_range=interval)
        if np.isfinite(plan.deadline):
            now = time.perf_counter()
            ours = replace(ours, deadline=now + (plan.deadline - now) * n_steps[k] / n_steps[k:].sum())
        reporter = _Reporter(plan, int(n_steps.sum()), whole.n_steps, held_done, share, left)
        if plan.monitor is not None:
            ours = replace(ours, monitor=reporter)
        result = train(part, *data, ours, rng)
        whole.loss_curve += [(whole.n_steps + s, done + share * v + left) for s, v in result.loss_curve]
        whole.validation_curve += [
            (whole.n_steps + s, held_done + share * v + left) for s, v in result.validation_curve
        ]
        whole.n_steps += result.n_steps
        whole.out_of_time |= result.out_of_time
        whole.interrupted |= result.interrupted
        done += share * (result.loss_curve[-1][1] if result.loss_curve else 1.0)
        held_done += share * min((v for _, v in result.validation_curve), default=1.0)
        parts.append(result.network)
        best_steps.append(result.best_step)
        by_noise.append(result.loss_by_noise)
        if result.interrupted or reporter.stopped:
            parts += network.parts[k + 1 :]
            break
    whole.network = SwitchedNetworks(parts, network.edges)
    whole.best_step = np.stack(best_steps)
    whole.loss_by_noise = np.concatenate(by_noise) if by_noise[0] is not None else None
    return whole
