"""Noised samples with the velocities that networks learn from them: batches to train on, and draws to validate by."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.parallel import side_by_side
from skdiffusion.diffusion.networks import Passes, noise_features
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


class _Phase(NamedTuple):
    """What a phase of training takes its targets from."""

    targets: TargetSamples | None  # None where a batch brings its own
    n_drawn: int  # samples of a member in a batch, some of which may be targets alone
    plain_below: float  # noise level


class NoisedBatches:
    """Batches for the steps of a training run; `draw` draws the samples and levels of several steps at once.

    Targets are plain at the lowest noise levels, where posterior means are no steadier, and stable above. Where the
    samples of a member outnumber the target samples of the plan, a batch brings its own. As long as the learning rate
    is high, noise of the targets averages out, and fewer of them do. `noise_seed` is that of the noise, which is drawn
    on the device of the samples. Several processes draw the same batches, and each has its share `own` of the samples
    of every level.
    """

    def __init__(self, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator, noise_seed: int) -> None:
        self.sets, self.plan, self.rng = sets, plan, rng
        self.per_level = max(1, plan.batch_size // plan.n_levels)
        self.own = collective().share(self.per_level)
        self.n_own = self.own.stop - self.own.start
        self._noise = torch.Generator(device=sets.samples.device).manual_seed(noise_seed)
        self._streams = sets.streams(sets.training, rng)
        self._drawn_from = sets.samples
        self._last = self._first = self._phase(plan.n_target_samples)
        longest = max(len(t) for t in sets.training)
        if plan.n_first_target_samples < min(longest, plan.n_target_samples):
            self._first = self._phase(plan.n_first_target_samples)
        self._now = self._first

    def _phase(self, n_target_samples: int) -> _Phase:
        """What batches of this many target samples take."""
        sets, size = self.sets, self.per_level * self.plan.n_levels
        if not n_target_samples:
            return _Phase(None, size, np.inf)
        longest = max(len(t) for t in sets.training)
        samples = sets.samples.cpu().numpy()[sets.training[0]]
        plain_below = plain_target_level(samples, min(longest, max(n_target_samples, size)), self.rng)
        if sets.blocks is None and longest <= n_target_samples:
            return _Phase(target_samples(sets, sets.training), size, plain_below)
        return _Phase(None, max(size, n_target_samples), plain_below)

    def draw(self, n_batches: int, last: bool) -> None:
        """Draw the samples and noise levels of the next batches, which may be of the last phase of training."""
        levels, samples = self.plan.n_levels, self.sets.samples
        self._now = self._last if last else self._first
        theta = noise_angles(self.rng, (n_batches, levels), self.plan)
        self._features = noise_features(theta.ravel(), samples.dtype, samples.device).view(n_batches, levels, -1)
        self._cos = torch.as_tensor(np.cos(theta), dtype=samples.dtype, device=samples.device)
        self._sin = torch.as_tensor(np.sin(theta), dtype=samples.dtype, device=samples.device)
        self._n_plain = (np.tan(theta) < self._now.plain_below).sum(1)
        if (blocks := self.sets.blocks) is None:
            picks = np.stack([s.take(n_batches * self._now.n_drawn).reshape(n_batches, -1) for s in self._streams], 1)
        else:
            block, picks = blocks.take((n_batches, self.per_level * levels), self._now.n_drawn, self.plan.deadline)
            self._drawn_from = block.to(samples.device, samples.dtype)
        self._picks = torch.as_tensor(picks).to(samples.device)

    def skip(self) -> None:
        """Draw what a batch draws, and leave it."""
        self._draw_noise()

    def _draw_noise(self) -> torch.Tensor:
        """The own noise of a batch; that of the others is drawn too."""
        samples = self.sets.samples
        shape = len(self.sets.training), self.plan.n_levels, self.per_level, samples.shape[1]
        noise = torch.randn(shape, generator=self._noise, dtype=samples.dtype, device=samples.device)
        return noise[:, :, self.own]

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noised samples (n_members, n_levels, n, d), features of their noise levels and targets of batch i of a draw.

        The noise is drawn here: a batch is asked for once.
        """
        cos, sin, levels = self._cos[i], self._sin[i], self.plan.n_levels
        noise = self._draw_noise()
        if self.sets.noised is not None:
            return self._of_given(i, self.sets.noised, noise)
        drawn = self._drawn_from[self._picks[i]]
        x = drawn[:, : self.per_level * levels].reshape(len(drawn), levels, self.per_level, -1)[:, :, self.own]
        z, target, k = add_noise(x, noise, cos, sin), plain_target(x, noise, cos, sin), self._n_plain[i]
        if k < levels and self.n_own:  # the levels ascend
            targets = TargetSamples(drawn) if self._now.targets is None else self._now.targets
            target[:, k:] = targets.stable_target(z[:, k:], x[:, k:], cos[k:], sin[k:])
        if self.plan.reference is not None:
            target.sub_(self.plan.reference.velocity(z, cos, sin))
        return z, self._features[i], target

    def _of_given(
        self, i: int, noised: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same of samples with given entries: targets are plain, and NaN where they do not count."""
        picks = self._picks[i][:, : self.per_level * self.plan.n_levels]
        picks = picks.reshape(len(picks), self.plan.n_levels, self.per_level)[:, :, self.own]
        x, cos, sin = self.sets.samples[picks], self._cos[i], self._sin[i]
        z, target = noised_beside_given(x, noised[picks], noise, cos, sin)
        return z, self._features[i], target


def noised_beside_given(
    x: torch.Tensor, noised: torch.Tensor, noise: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples of which some entries are noised and the others given, and plain targets, NaN for the given entries."""
    z = torch.where(noised, add_noise(x, noise, cos, sin), x)
    return z, torch.where(noised, plain_target(x, noise, cos, sin), torch.nan)


class ValidationDraws:
    """Validation samples of every member at fixed noise levels, drawn once so that the losses of checks compare.

    The target, of shape (n_members, n_levels, n_draws, d), is the posterior mean over all validation samples of a
    member. In expectation it is the plain target, without the noise that would decide between networks of nearly the
    same loss. What every network pays to that noise is the `noise_floor`, of shape (n_members, n_levels). With it the
    loss of the zero network is 1, or what the Gaussian reference leaves.
    """

    def __init__(self, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator) -> None:
        samples, levels, most = sets.samples, plan.validation_levels, plan.max_validation_samples
        self.has_given = sets.noised is not None
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
        if sets.noised is not None:
            self.z, self.target = noised_beside_given(x, sets.noised[torch.as_tensor(picks)], e, cos, sin)
            self.noise_floor = torch.zeros(self.z.shape[:2], dtype=dtype, device=device)
            return
        self.z = add_noise(x, e, cos, sin)
        target = target_samples(sets, validation).stable_target(self.z, x, cos, sin)
        plain = plain_target(x, e, cos, sin)
        if plan.reference is not None:
            known = plan.reference.velocity(self.z, cos, sin)
            target, plain = target - known, plain - known
        self.target, self.noise_floor = target, (plain.square() - target.square()).mean((2, 3))

    @property
    def n_draws(self) -> int:
        """Noised samples of a member at a level."""
        return self.z.shape[2]

    def losses(self, *passes: Passes) -> np.ndarray:
        """Mean squared errors, (n_members, n_levels) in float64, by passes of one level with `n_draws` samples.

        The levels are shared out among the processes, and then among the passes, which go side by side.
        """
        losses = torch.zeros_like(self.noise_floor)

        def measure(own: Passes, levels: np.ndarray) -> None:
            for k in levels.tolist():  # one level at a time: its buffers stay in cache
                level = slice(k, k + 1)
                error = own.velocity(self.z[:, level], self.features[level]).sub_(self.target[:, level])
                mean = torch.Tensor.nanmean if self.has_given else torch.Tensor.mean
                losses[:, k] = mean(error.square(), (1, 2, 3))

        own_levels = np.arange(len(self.features))[collective().share(len(self.features))]
        shares = np.array_split(own_levels, len(passes))
        side_by_side([partial(measure, own, levels) for own, levels in zip(passes, shares)])
        collective().add_up(losses)
        return (losses + self.noise_floor).double().cpu().numpy()
