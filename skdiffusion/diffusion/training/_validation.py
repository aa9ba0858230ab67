"""Noised validation samples, drawn once a training run so that the losses of its checks can be compared."""

import numpy as np
import torch

from skdiffusion.diffusion.networks import Passes, noise_features
from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._targets import add_noise, noise_angles, plain_target, target_samples


class ValidationDraws:
    """Validation samples of every member at fixed noise levels, with their targets.

    The target is the posterior mean over all validation samples of a member. In expectation it is the plain target,
    without the noise that would decide between networks of nearly the same loss.

    Attributes
    ----------
    angles : ndarray of shape (n_levels,)
    z, target : tensors of shape (n_members, n_levels, n_draws, d)
    noise_floor : tensor of shape (n_members, n_levels)
        What every network pays to the noise of the plain target. With it the loss of the zero network is 1, or what the
        Gaussian reference leaves.
    """

    def __init__(self, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator) -> None:
        samples, levels, most = sets.samples, plan.validation_levels, plan.max_validation_samples
        dtype, device = samples.dtype, samples.device
        per_level = max(1, plan.validation_draws // levels)
        validation = [v[rng.permutation(len(v))[:most]] if len(v) > most else v for v in sets.validation]
        picks = np.stack([s.take(levels * per_level) for s in sets.streams(validation, rng)])
        picks = picks.reshape(len(validation), levels, per_level)
        self.angles = noise_angles(rng, (1, levels), plan)[0]
        self.features = noise_features(self.angles, dtype, device)
        noise = rng.standard_normal((*picks.shape, samples.shape[1]))
        e, cos, sin = (
            torch.as_tensor(a, dtype=dtype, device=device) for a in (noise, np.cos(self.angles), np.sin(self.angles))
        )
        x = samples[torch.as_tensor(picks)]
        self.z = add_noise(x, e, cos, sin)
        target, plain = (
            target_samples(sets, validation).stable_target(self.z, x, cos, sin),
            plain_target(x, e, cos, sin),
        )
        if plan.reference is not None:
            known = plan.reference.velocity(self.z, cos, sin)
            target, plain = target - known, plain - known
        self.target, self.noise_floor = target, (plain.square() - target.square()).mean((2, 3))

    @property
    def n_draws(self) -> int:
        """Noised samples of a member at a level."""
        return self.z.shape[2]

    def losses(self, passes: Passes) -> np.ndarray:
        """Mean squared errors of every member at every noise level, float64 of shape (n_members, n_levels).

        `passes` are of one level with `n_draws` samples.
        """
        losses = torch.empty_like(self.noise_floor)
        for k in range(len(self.features)):  # one level at a time: its buffers stay in cache
            level = slice(k, k + 1)
            error = passes.velocity(self.z[:, level], self.features[level]).sub_(self.target[:, level])
            losses[:, k] = error.square().mean((1, 2, 3))
        return (losses + self.noise_floor).double().cpu().numpy()
