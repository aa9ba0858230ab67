r"""The training loop: all members at once, in steps of a few matrix products.

The loss of a member is the mean of :math:`\|F(z,\theta) - F^*\|^2 / d` over log-normal noise levels. Its
value is 1 for the zero network (the Gaussian fit) whatever d, so 1 - loss is the explained part.

The learning rate warms up, stays, and falls linearly to zero; the weights that are validated and kept
are an average over about the last tenth of the steps.
"""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from skdiffusion.diffusion.networks import Passes, noise_features
from skdiffusion.diffusion.training._constraints import WeightConstraint
from skdiffusion.diffusion.training._steps import AdamW, SampleStream, shortened_plan
from skdiffusion.diffusion.training._targets import (
    ReferenceSamples,
    add_noise,
    level_of_references,
    noise_angles,
    plain_target,
)

WARMUP_STEPS = 50
CHECK_EVERY = 50
CHECKS_OF_PATIENCE = 4  # looks at the held-out samples in the steps that training waits for a gain
DECAY_FRACTION = 0.3
VALIDATION_LEVELS = 16
VALIDATION_DRAWS = 8192
MAX_VALIDATION = 4096  # held-out samples of a member


@dataclass(frozen=True)
class TrainingPlan:
    """Numbers that steer `train`; every one is derived or given before training starts."""

    n_steps: int
    batch_size: int = 256
    n_levels: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 1e-4
    noise_mean: float = -1.2
    noise_spread: float = 1.2
    sigma_range: tuple = (0.01, 20.0)
    n_references: int = 0
    patience: int = 0
    keep_best: bool = True
    tol: float = 0.0
    n_nonzero_weights: int | None = None
    weight_bound: float | None = None
    reference: object = None  # a GaussianReference, from whose velocity networks learn the departure
    deadline: float = np.inf  # of time.perf_counter(): the schedule is shortened to end by it
    monitor: object = None  # called with (step, n_steps, training loss, validation loss); true to stop


@dataclass
class TrainingResult:
    """What `train` found: the kept weights and the curves that led to them."""

    network: object
    n_steps: int
    loss_curve: list = field(default_factory=list)
    validation_curve: list = field(default_factory=list)
    loss_by_noise: np.ndarray | None = None  # (levels, 2): noise level and mean held-out loss, at the best check
    best_step: np.ndarray | None = None
    out_of_time: bool = False
    interrupted: bool = False


def _learning_rate(step, plan):
    decay_start = plan.n_steps * (1 - DECAY_FRACTION)
    warm = min(1.0, (step + 1) / min(WARMUP_STEPS, max(1, plan.n_steps // 4)))
    cool = min(1.0, max(0.0, (plan.n_steps - step) / max(1.0, plan.n_steps - decay_start)))
    return plan.learning_rate * min(warm, cool)


def _references(samples, weights, sample_sets, dtype, device):
    """All samples of each member's set as references, sets of fewer samples padded with weight zero."""
    longest = max(len(t) for t in sample_sets)
    index = np.stack([np.resize(t, longest) for t in sample_sets])
    inside = np.arange(longest) < np.array([[len(t)] for t in sample_sets])
    with np.errstate(divide="ignore"):
        log_weights = np.where(inside, np.log(weights[index]), -np.inf)
    return ReferenceSamples(samples[torch.as_tensor(index)].to(dtype), torch.as_tensor(log_weights).to(device, dtype))


def _validation_set(samples, held_out, weights, plan, rng, dtype, device):
    """Angles, and frozen (sample, noise, level) draws of every member's held-out samples with their targets.

    The posterior mean over all held-out samples is in expectation the plain target, without the noise that would decide
    between networks of nearly the same loss.
    """
    per_level = max(1, VALIDATION_DRAWS // VALIDATION_LEVELS)
    held_out = [h[rng.permutation(len(h))[:MAX_VALIDATION]] if len(h) > MAX_VALIDATION else h for h in held_out]
    picks = np.stack([SampleStream(h, weights[h], rng).take(VALIDATION_LEVELS * per_level) for h in held_out]).reshape(
        len(held_out), VALIDATION_LEVELS, per_level
    )
    theta = noise_angles(rng, 1, VALIDATION_LEVELS, plan.noise_mean, plan.noise_spread, plan.sigma_range)[0]
    noise = rng.standard_normal((*picks.shape, samples.shape[1]))
    e, cos, sin = (torch.as_tensor(a, dtype=dtype, device=device) for a in (noise, np.cos(theta), np.sin(theta)))
    x = samples[torch.as_tensor(picks)].to(dtype)
    z = add_noise(x, e, cos, sin)
    target = _references(samples, weights, held_out, dtype, device).stable_target(z, x, cos, sin)
    plain = plain_target(x, e, cos, sin)
    if plan.reference is not None:
        known = plan.reference.velocity(z, cos, sin)
        target, plain = target - known, plain - known
    # What every network pays to the noise of the plain target: with it, the zero network's loss is 1, or what
    # the reference leaves.
    noise_floor = (plain.square() - target.square()).mean((2, 3))
    return theta, (z, noise_features(theta, dtype, device), target, noise_floor)


def _losses_by_level(passes, batch):
    """Mean squared errors of every member at every frozen noise level: (members, levels)."""
    z, features, target, noise_floor = batch
    losses = torch.empty_like(noise_floor)
    for k in range(len(features)):  # one level at a time: its buffers stay in cache
        level = slice(k, k + 1)
        error = passes.velocity(z[:, level], features[level]).sub_(target[:, level])
        losses[:, k] = error.square().mean((1, 2, 3))
    return (losses + noise_floor).double().cpu().numpy()


def train(network, samples, weights, training_samples, held_out_samples, plan, rng):
    """Fit every member of `network` to its own samples.

    Parameters
    ----------
    network : FilmEnsemble
        Initialized members; its parameters are updated in place.
    samples : tensor of shape (n_samples, d)
        Samples, in coordinates in which the noise is isotropic, on the network's device.
    weights : ndarray of shape (n_samples,)
        Non-negative sample weights; they set how often a sample is drawn.
    training_samples, held_out_samples : lists of int arrays
        For each member, the samples it learns from, and the samples that choose its weights (an empty list
        of arrays keeps the last average).
    plan : TrainingPlan
        Sizes, rates and patience.
    rng : numpy Generator
        Source of every random number.

    Returns
    -------
    TrainingResult
        With the best averaged weights of each member. After Ctrl-C, the best so far.
    """
    members, d = network.n_members, network.n_features
    dtype, device = network.dtype, network.device
    noise_generator = torch.Generator(device=device).manual_seed(int(rng.integers(2**62)))
    per_level = max(1, plan.batch_size // plan.n_levels)
    batch = per_level * plan.n_levels
    streams = [SampleStream(t, weights[t], rng) for t in training_samples]
    validate = bool(held_out_samples)
    if validate:
        angles, validation = _validation_set(samples, held_out_samples, weights, plan, rng, dtype, device)

    references, extra = None, 0
    if plan.n_references:
        longest = max(len(t) for t in training_samples)
        if longest <= plan.n_references:
            references = _references(samples, weights, training_samples, dtype, device)
        else:
            extra = max(0, plan.n_references - batch)
        least = level_of_references(
            samples.cpu().numpy()[training_samples[0]], min(longest, max(plan.n_references, batch)), rng
        )

    flat = network.flat
    optimizer = AdamW(flat, plan.weight_decay)
    constraint = WeightConstraint(network, plan.n_nonzero_weights, plan.weight_bound)
    average = network.with_flat(flat.clone())
    passes = Passes(network, plan.n_levels, per_level)
    if validate:
        validation_passes = Passes(average, 1, validation[0].shape[2])
    best = average.flat.clone()
    best_loss = np.full(members, np.inf)
    best_step = np.zeros(members, dtype=int)
    result = TrainingResult(network=None, n_steps=0)
    started, recent, last_gain, step = time.perf_counter(), [], 0, 0
    # The weights that are judged are an average over a tenth of the steps, which moves slowly.
    between = min(plan.patience // CHECKS_OF_PATIENCE, plan.n_steps // 10)
    validate_every = max(1, between // CHECK_EVERY) * CHECK_EVERY

    def check(step):
        nonlocal best_loss, last_gain
        by_level = _losses_by_level(validation_passes, validation)
        losses = by_level.mean(1)
        if constraint.settled(step, plan.n_steps):
            gained = losses < best_loss - plan.tol
            for m in np.flatnonzero(losses < best_loss):
                best[m] = average.flat[m]
                best_step[m] = step
            best_loss = np.minimum(best_loss, losses)
        if not constraint.settled(step, plan.n_steps) or gained.any():
            last_gain = step
        result.validation_curve.append((step, float(losses.mean())))
        if result.validation_curve[-1][1] <= min(v for _, v in result.validation_curve):
            result.loss_by_noise = np.column_stack([np.tan(angles), by_level.mean(0)])

    try:
        with torch.no_grad():
            if validate:
                check(0)
            while step < plan.n_steps:
                if step % CHECK_EVERY == 0:
                    constraint.renew(flat, step, plan.n_steps)
                    chunk = min(CHECK_EVERY, plan.n_steps - step)
                    theta = noise_angles(
                        rng, chunk, plan.n_levels, plan.noise_mean, plan.noise_spread, plan.sigma_range
                    )
                    level_features = noise_features(theta.ravel(), dtype, device).view(chunk, plan.n_levels, -1)
                    n_plain = (np.tan(theta) < least).sum(1) if plan.n_references else [plan.n_levels] * chunk
                    cosines = torch.as_tensor(np.cos(theta), dtype=dtype, device=device)
                    sines = torch.as_tensor(np.sin(theta), dtype=dtype, device=device)
                    index = torch.as_tensor(
                        np.stack([s.take(chunk * (batch + extra)).reshape(chunk, -1) for s in streams], 1)
                    ).to(device)
                i = step % CHECK_EVERY
                features, cos, sin = level_features[i], cosines[i], sines[i]
                drawn = samples[index[i]]
                x = drawn[:, :batch].reshape(members, plan.n_levels, per_level, d)
                noise = torch.randn(x.shape, generator=noise_generator, dtype=dtype, device=device)
                z = add_noise(x, noise, cos, sin)
                target, k = plain_target(x, noise, cos, sin), n_plain[i]
                if k < plan.n_levels:  # the levels ascend
                    others = ReferenceSamples(drawn) if references is None else references
                    target[:, k:] = others.stable_target(z[:, k:], x[:, k:], cos[k:], sin[k:])
                if plan.reference is not None:
                    target.sub_(plan.reference.velocity(z, cos, sin))
                residual = passes.velocity(z, features).sub_(target)
                recent.append(residual.square().mean())
                optimizer.step(passes.gradient(residual.mul_(2.0 / (batch * d))), _learning_rate(step, plan))
                average.flat.lerp_(flat, min(1.0, 10.0 / (step + 10.0)))
                constraint.apply(flat, average.flat)
                step += 1
                result.n_steps = step
                if step % CHECK_EVERY == 0 or step == plan.n_steps:
                    loss, recent = float(torch.stack(recent).mean()), []
                    result.loss_curve.append((step, loss))
                    if np.isfinite(plan.deadline):
                        shortened = shortened_plan(plan, step, started)
                        result.out_of_time |= shortened.n_steps < plan.n_steps
                        plan = shortened
                    if validate and (step % validate_every == 0 or step == plan.n_steps):
                        check(step)
                    held = result.validation_curve[-1][1] if validate else None
                    if plan.monitor is not None and plan.monitor(step, plan.n_steps, loss, held):
                        if validate and result.validation_curve[-1][0] < step:
                            check(step)
                        break
                    if validate and plan.patience and step - last_gain >= plan.patience:
                        break
    except KeyboardInterrupt:
        result.interrupted = True
    kept_flat = best if validate and plan.keep_best and np.isfinite(best_loss).all() else average.flat
    result.network = network.with_flat(constraint.project(kept_flat))
    result.best_step = best_step
    return result
