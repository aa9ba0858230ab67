r"""Fine-tuning by the exact likelihood: gradients of log-densities through the flow and its divergence.

The loss of a member is the mean of :math:`-\log p(x)` over its samples, by few explicit steps of second order whose number
and knots are drawn anew every time: on a fixed grid the weights learn to exploit its errors.

References
----------
Grathwohl et al. (2019), FFJORD: free-form continuous dynamics for scalable reversible generative models.
"""

import time
from copy import copy

import numpy as np
import torch

from skdiffusion.diffusion.ode import power_grid, solve
from skdiffusion.diffusion.training._loop import TrainingResult
from skdiffusion.diffusion.training._steps import AdamW, SampleStream, shortened_plan

FINE_TUNING_CHECK_EVERY = 30
WARMUP_STEPS = 10
MIN_STEPS, MAX_STEPS = 10, 20  # of the flow; with 6 to 12 half of the gain is lost
JITTER = 0.4  # of the smaller gap beside a knot
MAX_GRADIENT = 1.0  # norm of a member's


def random_grid(rng, theta_min, theta_max):
    """Angles of a flow in a random number of steps with random knots."""
    grid = power_grid(int(rng.integers(MIN_STEPS, MAX_STEPS + 1)), theta_min, theta_max)
    gaps = np.diff(grid)
    grid[1:-1] += JITTER * rng.uniform(-1, 1, len(gaps) - 1) * np.minimum(gaps[:-1], gaps[1:])
    return grid


def negative_log_likelihood(network, reference, x, grid):
    """Minus the mean log-density of whitened samples x, a tensor (n, d), nats; differentiable in the parameters."""
    field = network.evaluator()
    if reference is not None:
        # These levels never come again: a copy keeps their matrices only for this call.
        field = copy(reference).whitened(field, departure=reference.relative)
    end = solve(field, x, grid, "ab2", divergence=True)
    return (0.5 * end.z.square().sum(1) + end.log_density_change).mean() + 0.5 * x.shape[1] * np.log(2 * np.pi)


def fine_tune(flow, samples, weights, training_samples, judge, plan, rng):
    """Raise the log-density of every member of a flow's network on its own samples.

    Parameters
    ----------
    flow : ProbabilityFlow
        Of a `NetworkField` with one ensemble for all noise levels.
    samples : array of shape (n_samples, d)
        Whitened samples.
    weights : ndarray of shape (n_samples,)
        Non-negative sample weights; they set how often a sample is drawn.
    training_samples : list of int arrays
        For each member, the samples it learns from.
    judge : callable
        ``judge(network)``: what the ensemble is worth, in nats. The weights of greatest worth are kept, those at the
        start included.
    plan : TrainingPlan
        Steps, batch, rate, weight decay, monitor and deadline.
    rng : numpy Generator

    Returns
    -------
    TrainingResult
        Its `loss_curve` is of minus mean log-densities, its `validation_curve` of what the judge says.
    """
    start, reference = flow.field.network, flow.field.reference
    samples = torch.as_tensor(samples, dtype=start.dtype, device=start.device)
    flat, average = start.flat.clone(), start.flat.clone()
    optimizer, gradient = AdamW(flat, plan.weight_decay), torch.zeros_like(flat)
    streams = [SampleStream(t, weights[t], rng) for t in training_samples]
    result = TrainingResult(network=start, n_steps=0, best_step=0)
    greatest, recent, started = -np.inf, [], time.perf_counter()

    def learn(member, grid):
        """Write the gradient of a member; its loss."""
        x = samples[torch.as_tensor(streams[member].take(plan.batch_size)).to(samples.device)]
        with torch.enable_grad():
            own = flat[member : member + 1].clone().requires_grad_(True)
            loss = negative_log_likelihood(start.with_flat(own), reference, x, grid)
            (slope,) = torch.autograd.grad(loss, own)
        norm = float(slope.norm())
        # One far sample may overflow: its step is left out.
        gradient[member] = slope[0] * min(1.0, MAX_GRADIENT / max(norm, 1e-12)) if np.isfinite(norm) else 0.0
        return float(loss)

    def check(step):
        nonlocal greatest
        network = start.with_flat(average.clone())
        worth = judge(network)
        result.validation_curve.append((step, worth))
        if worth > greatest:
            greatest, result.network, result.best_step = worth, network, step

    try:
        with torch.no_grad():
            check(0)
            while result.n_steps < plan.n_steps:
                step = result.n_steps
                grid = [float(theta) for theta in random_grid(rng, flow.theta_min, flow.theta_max)]
                recent.append(np.mean([learn(member, grid) for member in range(start.n_members)]))
                warm = min(1.0, (step + 1) / WARMUP_STEPS)
                optimizer.step(gradient, plan.learning_rate * warm * (1 - step / plan.n_steps))
                average.lerp_(flat, min(1.0, 10.0 / (step + 10.0)))
                step += 1
                result.n_steps = step
                if np.isfinite(plan.deadline):
                    shortened = shortened_plan(plan, step, started)
                    result.out_of_time |= shortened.n_steps < plan.n_steps
                    plan = shortened
                if step % FINE_TUNING_CHECK_EVERY == 0 or step == plan.n_steps:
                    check(step)
                    loss, recent = float(np.mean(recent)), []
                    result.loss_curve.append((step, loss))
                    held_out = -result.validation_curve[-1][1]
                    if plan.monitor is not None and plan.monitor(step, plan.n_steps, loss, held_out):
                        break
    except KeyboardInterrupt:
        result.interrupted = True
    return result
