"""Batches of noised samples with the velocities that networks learn from them."""

import numpy as np
import torch

from skdiffusion.diffusion.networks import noise_features
from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._targets import (
    TargetSamples,
    add_noise,
    noise_angles,
    plain_target,
    plain_target_level,
    target_samples,
)


class NoisedBatches:
    """Batches for the steps of a training run; `draw` draws those of several steps at once.

    Targets are plain at the lowest noise levels, where posterior means are no steadier, and stable above. Where the
    samples of a member outnumber the target samples of the plan, a batch brings its own.

    Parameters
    ----------
    sets : TrainingSets
    plan : TrainingPlan
    rng : numpy Generator
        Draws samples and noise levels.
    noise_seed : int
        Seed of the noise, which is drawn on the device of the samples.
    """

    def __init__(self, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator, noise_seed: int) -> None:
        self.sets, self.plan, self.rng = sets, plan, rng
        self.per_level = max(1, plan.batch_size // plan.n_levels)
        self._noise = torch.Generator(device=sets.samples.device).manual_seed(noise_seed)
        self._streams = sets.streams(sets.training, rng)
        self._targets: TargetSamples | None = None
        self._n_drawn = size = self.per_level * plan.n_levels
        self._plain_below = np.inf  # noise level
        if plan.n_target_samples:
            longest = max(len(t) for t in sets.training)
            if longest <= plan.n_target_samples:
                self._targets = target_samples(sets, sets.training)
            else:
                self._n_drawn = max(size, plan.n_target_samples)
            samples = sets.samples.cpu().numpy()[sets.training[0]]
            self._plain_below = plain_target_level(samples, min(longest, max(plan.n_target_samples, size)), rng)

    def draw(self, n_batches: int) -> None:
        """Draw the samples and noise levels of the next batches."""
        levels, samples = self.plan.n_levels, self.sets.samples
        theta = noise_angles(self.rng, (n_batches, levels), self.plan)
        self._features = noise_features(theta.ravel(), samples.dtype, samples.device).view(n_batches, levels, -1)
        self._cos = torch.as_tensor(np.cos(theta), dtype=samples.dtype, device=samples.device)
        self._sin = torch.as_tensor(np.sin(theta), dtype=samples.dtype, device=samples.device)
        self._n_plain = (np.tan(theta) < self._plain_below).sum(1)
        picks = np.stack([s.take(n_batches * self._n_drawn).reshape(n_batches, -1) for s in self._streams], 1)
        self._picks = torch.as_tensor(picks).to(samples.device)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noised samples (n_members, n_levels, n, d), features of their noise levels and targets of batch i of a draw.

        The noise is drawn here: a batch is asked for once.
        """
        cos, sin, samples, levels = self._cos[i], self._sin[i], self.sets.samples, self.plan.n_levels
        drawn = samples[self._picks[i]]
        x = drawn[:, : self.per_level * levels].reshape(len(drawn), levels, self.per_level, -1)
        noise = torch.randn(x.shape, generator=self._noise, dtype=x.dtype, device=x.device)
        z, target, k = add_noise(x, noise, cos, sin), plain_target(x, noise, cos, sin), self._n_plain[i]
        if k < levels:  # the levels ascend
            targets = TargetSamples(drawn) if self._targets is None else self._targets
            target[:, k:] = targets.stable_target(z[:, k:], x[:, k:], cos[k:], sin[k:])
        if self.plan.reference is not None:
            target.sub_(self.plan.reference.velocity(z, cos, sin))
        return z, self._features[i], target
