"""What every training loop takes its steps with: samples, an optimizer, and the time that is left."""

import time
from dataclasses import replace

import numpy as np
import torch


class SampleStream:
    """Endless shuffled passes over the samples of one member, a sample as often as its weight asks."""

    def __init__(self, samples, weights, rng):
        self.samples, self.rng = samples, rng
        self.cumulative = np.cumsum(weights) / np.sum(weights)
        self.buffer = np.empty(0, dtype=np.int64)

    def take(self, count):
        while len(self.buffer) < count:
            n = len(self.samples)
            # Systematic resampling: with equal weights every sample comes exactly once a pass.
            u = (np.arange(n) + self.rng.random()) / n
            chosen = np.minimum(np.searchsorted(self.cumulative, u, side="right"), n - 1)
            self.buffer = np.concatenate([self.buffer, self.rng.permutation(self.samples[chosen])])
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019) on one flat tensor.

    The loop's own, since constructing torch's optimizer imports its compiler: 1.7 s in a fresh process.
    """

    def __init__(self, flat, weight_decay, betas=(0.9, 0.99), eps=1e-8):
        self.flat, self.weight_decay, self.betas, self.eps = flat, weight_decay, betas, eps
        self.mean, self.square, self.root = (torch.zeros_like(flat) for _ in range(3))
        self.count = 0

    def step(self, gradient, learning_rate):
        self.count += 1
        b1, b2 = self.betas
        self.mean.lerp_(gradient, 1 - b1)
        self.square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        root = torch.sqrt(self.square, out=self.root).mul_((1 - b2**self.count) ** -0.5).add_(self.eps)
        self.flat.mul_(1 - learning_rate * self.weight_decay)
        self.flat.addcdiv_(self.mean, root, value=-learning_rate / (1 - b1**self.count))


def shortened_plan(plan, step, started):
    """The plan with as many steps as its deadline allows at the speed seen so far."""
    now = time.perf_counter()
    allowed = step + max(0, int((plan.deadline - now) * step / max(now - started, 1e-9)))
    return replace(plan, n_steps=min(plan.n_steps, max(allowed, step)))
