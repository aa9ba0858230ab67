"""Training of a masked network on draws of a known density."""

import math

import torch

from skdiffusion.diffusion.training._loop import CHECK_EVERY
from skdiffusion.diffusion.training._steps import AdamW

BATCH_SIZE = 1000
LEARNING_RATE = 6e-3
WARM_UP = 50
WEIGHT_DECAY = 1e-4
MOST_NORM = 5.0  # of a gradient
# Beside the mean of log p - log q its square, which is zero at the same law and has no noise there.
SQUARES = 0.5
MOST_GAP = 3.0  # nats that count in a square


def distill(network, rows, log_density, n_steps, rng, monitor=None):
    """Fit a masked network to rows drawn from a law whose log-densities are known, in place.

    Parameters
    ----------
    network : MaskedNetwork
    rows : array of shape (n, d)
        Draws of the law.
    log_density : array of shape (n,)
        Its log-densities at the rows, in nats.
    n_steps : int
    rng : numpy Generator
    monitor : callable, optional
        Called with (step, n_steps, mean of log p - log q over the latest steps, None) from time to time.

    Returns
    -------
    list of float
        Mean of log p - log q over the rows of every step: an estimate of the Kullback-Leibler divergence.
    """
    rows, target = (torch.as_tensor(a, dtype=torch.float32, device=network.flat.device) for a in (rows, log_density))
    masks, flat = network.masks(), network.flat.requires_grad_(True)
    optimiser, curve = AdamW(flat.detach(), WEIGHT_DECAY), []
    for step in range(n_steps):
        batch = torch.as_tensor(rng.integers(len(rows), size=min(BATCH_SIZE, len(rows))), device=rows.device)
        gap = target[batch] - network.log_density(rows[batch], network.layers(masks))
        loss = gap.mean() + SQUARES * gap.clamp(-MOST_GAP, MOST_GAP).square().mean()
        (gradient,) = torch.autograd.grad(loss, flat)
        gradient *= torch.clamp(MOST_NORM / torch.linalg.vector_norm(gradient), max=1.0)
        rate = LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        optimiser.step(gradient, rate)
        curve.append(float(gap.detach().mean()))
        if monitor is not None and ((step + 1) % CHECK_EVERY == 0 or step + 1 == n_steps):
            monitor(step + 1, n_steps, sum(curve[-CHECK_EVERY:]) / len(curve[-CHECK_EVERY:]), None)
    network.flat = flat.detach()
    return curve
