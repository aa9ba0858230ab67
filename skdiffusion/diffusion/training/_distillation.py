"""Training of a masked network on draws of a known density."""

import math

import torch

from skdiffusion.diffusion.training._loop import CHECK_EVERY
from skdiffusion.diffusion.training._steps import AdamW

BATCH_SIZE = 1000
LEARNING_RATE = 6e-3
WARM_UP = 50
WEIGHT_DECAY = 1e-4
MAX_NORM = 5.0  # of a gradient
# Beside the mean of log p - log q its square, which is zero at the same distribution and has no noise there.
SQUARES = 0.5
MAX_GAP = 3.0  # nats that count in a square


def distill(network, samples, log_density, n_steps, rng, monitor=None):
    """Fit a masked network to samples drawn from a distribution whose log-densities are known, in place.

    Parameters
    ----------
    network : MaskedNetwork
    samples : array of shape (n, d)
        Draws of the distribution.
    log_density : array of shape (n,)
        Its log-densities at the samples, in nats.
    n_steps : int
    rng : numpy Generator
    monitor : callable, optional
        Called with (step, n_steps, mean of log p - log q over the latest steps, None) from time to time.

    Returns
    -------
    list of float
        Mean of log p - log q over the samples of every step: an estimate of the Kullback-Leibler divergence.
    """
    samples, target = (
        torch.as_tensor(a, dtype=torch.float32, device=network.flat.device) for a in (samples, log_density)
    )
    masks, flat = network.masks(), network.flat.requires_grad_(True)
    optimizer, curve = AdamW(flat.detach(), WEIGHT_DECAY), []
    for step in range(n_steps):
        batch = torch.as_tensor(rng.integers(len(samples), size=min(BATCH_SIZE, len(samples))), device=samples.device)
        gap = target[batch] - network.log_prob(samples[batch], network.layers(masks))
        loss = gap.mean() + SQUARES * gap.clamp(-MAX_GAP, MAX_GAP).square().mean()
        (gradient,) = torch.autograd.grad(loss, flat)
        gradient *= torch.clamp(MAX_NORM / torch.linalg.vector_norm(gradient), max=1.0)
        rate = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        optimizer.step(gradient, rate)
        curve.append(float(gap.detach().mean()))
        if monitor is not None and ((step + 1) % CHECK_EVERY == 0 or step + 1 == n_steps):
            monitor(step + 1, n_steps, sum(curve[-CHECK_EVERY:]) / len(curve[-CHECK_EVERY:]), None)
    network.flat = flat.detach()
    return curve
