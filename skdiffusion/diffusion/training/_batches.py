"""Noised samples with the velocities that networks learn from them: batches to train on, and draws to validate by."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.processes import Task, begin, n_helpers
from skdiffusion.diffusion.networks import Passes, noise_features
from skdiffusion.diffusion.training._pieces import (
    Batch,
    NoisedSteps,
    Noising,
    Piece,
    SquaredErrors,
    noised_beside_given,
    prepared,
)
from skdiffusion.diffusion.training._plans import TrainingPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._targets import (
    add_noise,
    noise_angles,
    plain_target,
    plain_target_level,
    target_samples,
)

DRAWN_CHECKS = 4  # between reports, of whose steps samples and noise levels are drawn at once
PIECE_STEPS = 10  # of which a helper prepares the batches at a time


class _Phase(NamedTuple):
    """What a phase of training takes its targets from."""

    noising: Noising
    n_drawn: int  # samples of a member in a batch, some of which may be targets alone
    is_costly: bool  # whether another process prepares targets ahead


class NoisedBatches:
    """Batches for the steps of a training run; `draw` draws the samples and levels of several steps at once.

    Targets are plain at the lowest noise levels, where posterior means are no steadier, and stable above. Where the
    samples of a member outnumber the target samples of the plan, a batch brings its own. As long as the learning rate
    is high, noise of the targets averages out, and fewer of them do. Where targets are costly, helpers prepare batches
    ahead. Several processes of one fit draw the same batches, and each has its share of the samples of every level.
    """

    def __init__(self, sets: TrainingSets, plan: TrainingPlan, rng: np.random.Generator) -> None:
        self.sets, self.plan, self.rng = sets, plan, rng
        self.per_level = max(1, plan.batch_size // plan.n_levels)
        own = self._own = collective().share(self.per_level)
        self.n_own = own.stop - own.start
        self.n_together = plan.check_every * (DRAWN_CHECKS if sets.blocks is None else 1)
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
        targets, n_drawn, plain_below = None, size, np.inf
        if n_target_samples:
            longest = max(len(t) for t in sets.training)
            samples = sets.samples.cpu().numpy()[sets.training[0]]
            plain_below = plain_target_level(samples, min(longest, max(n_target_samples, size)), self.rng)
            if sets.blocks is None and longest <= n_target_samples:
                targets = target_samples(sets, sets.training)
            else:
                n_drawn = max(size, n_target_samples)
        members = slice(0, len(sets.training))
        noising = Noising(members.stop, members, self.per_level, self._own, targets, plain_below, self.plan.reference)
        is_costly = bool(n_target_samples) and sets.noised is None and sets.samples.device.type == "cpu"
        return _Phase(noising, n_drawn, is_costly)

    @property
    def n_targets(self) -> int:
        """Target samples of a member, in a batch or in all."""
        targets = self._now.noising.targets
        return self._now.n_drawn if targets is None else targets.n_samples

    def draw(self, last: bool) -> None:
        """Draw the samples and noise levels of the next `n_together` batches, perhaps of the last phase of training."""
        n, levels, samples = self.n_together, self.plan.n_levels, self.sets.samples
        self._now = self._last if last else self._first
        self._theta = noise_angles(self.rng, (n, levels), self.plan)
        self._features = noise_features(self._theta.ravel(), samples.dtype, samples.device).view(n, levels, -1)
        if (blocks := self.sets.blocks) is None:
            picks = np.stack([s.take(n * self._now.n_drawn).reshape(n, -1) for s in self._streams], 1)
        else:
            block, picks = blocks.take((n, self.per_level * levels), self._now.n_drawn, self.plan.deadline)
            self._drawn_from = block.to(samples.device, samples.dtype)
        self._picks = torch.as_tensor(picks).to(samples.device)
        self._seeds = self.rng.integers(2**62, size=-(-n // PIECE_STEPS)).tolist()
        self._ahead: dict[int, Task] = {}  # pieces that helpers may prepare, by number
        self._at = -1
        self._batches: Iterator[Batch] = iter(())

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noised samples (n_members, n_levels, n, d), features of their noise levels and targets of batch i of a draw.

        Batches are asked for in their order, each once.
        """
        number, place = divmod(i, PIECE_STEPS)
        if number != self._at:
            self._at, self._batches = number, islice(self._piece(number), place, None)
        z, target = next(self._batches)
        return z, self._features[i], target

    def _piece(self, number: int) -> Iterator[Batch]:
        """The batches of a piece; helpers prepare the next ones meanwhile."""
        if not (n_helpers() and self._now.is_costly):
            return self._now.noising.batches(self._given(number))
        for later in range(number + 1, min(number + 2 + n_helpers(), len(self._seeds))):
            if later not in self._ahead:
                self._ahead[later] = begin(prepared, self._now.noising, self._given(later))
        if number not in self._ahead:
            return self._now.noising.batches(self._given(number))
        return zip(*self._ahead.pop(number).result())

    def steps(self, i: int, n: int, members: slice, errors: SquaredErrors) -> NoisedSteps:
        """The steps of some members on batches i to i + n of a draw, the first of which begins a piece."""
        noising, numbers = self._now.noising.of_members(members), range(i // PIECE_STEPS, -(-(i + n) // PIECE_STEPS))
        pieces = [self._given(number).of_members(members) for number in numbers]
        return NoisedSteps(noising, pieces, self._features[i : i + n], errors)

    def _given(self, number: int) -> Piece:
        """What a piece is made from."""
        where = slice(number * PIECE_STEPS, (number + 1) * PIECE_STEPS)
        picks, noised = self._picks[where], self.sets.noised
        entries = None if noised is None else noised[picks]
        return Piece(self._drawn_from[picks], entries, self._theta[where], self._seeds[number])


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

    def losses(self, passes: Passes) -> np.ndarray:
        """Mean squared errors, (n_members, n_levels) in float64, by passes of one level with `n_draws` samples.

        The levels are shared out among the processes.
        """
        losses = torch.zeros_like(self.noise_floor)
        mean = torch.Tensor.nanmean if self.has_given else torch.Tensor.mean
        for k in range(len(self.features))[collective().share(len(self.features))]:
            level = slice(k, k + 1)  # one at a time: its buffers stay in cache
            error = passes.velocity(self.z[:, level], self.features[level]).sub_(self.target[:, level])
            losses[:, k] = mean(error.square(), (1, 2, 3))
        collective().add_up(losses)
        return (losses + self.noise_floor).double().cpu().numpy()
