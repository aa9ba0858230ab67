r"""Denoising score matching for all splits of the features at once: each sample of a batch has a split of its own.

The loss of a member is the mean over noise levels, samples and splits of
:math:`\sqrt{d / |u|}\,\|G(z, y_g, \theta) - G^*\|^2 / d`, with the departures G of the targets u from the velocity of
their Gaussian. The weight stands between the mean and the sum over the targets. Posterior means over other samples
would be wrong targets where features are given, so that targets are plain.
"""

from __future__ import annotations

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion.diffusion.networks import FilmEnsemble, Passes
from skdiffusion.diffusion.training._loop import Objective, TrainingResult, run
from skdiffusion.diffusion.training._plans import SplitPlan
from skdiffusion.diffusion.training._samples import TrainingSets
from skdiffusion.diffusion.training._split_batches import SplitBatches, SplitSpace, SplitValidation


class SplitDenoising(Objective):
    """Mean squared error of the departures that an ensemble predicts from noised residuals of random splits."""

    def __init__(
        self,
        network: FilmEnsemble,
        sets: TrainingSets,
        covariance: np.ndarray,
        plan: SplitPlan,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(network.flat, sets.samples)
        self.network, self.plan = network, plan
        space = SplitSpace(covariance, network.n_features)
        self._validation = SplitValidation(sets, space, plan, rng) if sets.validation else None
        self._batches = SplitBatches(sets, space, plan, rng)
        self._passes = Passes(network, plan.n_levels, max(1, self._batches.n_own))
        if self._validation is not None:
            self._validation_passes = Passes(network.with_flat(self.average), 1, self._validation.n_draws)

    def _draw(self, step: int, n_steps: int) -> int:
        """The number of a step's batch among those that are drawn together, which are drawn at the first of them."""
        i = step % self.plan.check_every
        if i == 0:
            self._batches.draw(min(self.plan.check_every, n_steps - step))
        return i

    def skip(self, step: int, n_steps: int) -> None:
        self._draw(step, n_steps)
        self._batches.skip()

    def gradient(self, step: int, n_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        batches = self._batches
        features, (seen, target, weight) = batches[self._draw(step, n_steps)]
        if batches.n_own:
            share = batches.n_own / batches.per_level
            residual = self._passes.velocity(seen, features) - target
            weighted = residual * weight
            self._passes.gradient(weighted * (2.0 * share / target[0].numel()))
            loss = (weighted * residual).mean() * share
        else:
            loss = self._passes.grad.zero_().sum()
        collective().add_up(self._passes.grad)
        return self._passes.grad, loss

    def validation_losses(self) -> np.ndarray | None:
        return None if self._validation is None else self._validation.losses(self._validation_passes)

    def network_of(self, flat: torch.Tensor) -> FilmEnsemble:
        return self.network.with_flat(flat)


def train_splits(
    network: FilmEnsemble, sets: TrainingSets, covariance: np.ndarray, plan: SplitPlan, rng: np.random.Generator
) -> TrainingResult:
    """Fit every member of an ensemble to the conditional distributions of random splits of its own samples.

    Parameters
    ----------
    network : FilmEnsemble
        Initialized members, made by `split_network`; their parameters are updated in place.
    sets : TrainingSets
        Centered samples of unit variance.
    covariance : array of shape (n_features, n_features)
        Of these, positive definite.
    plan : SplitPlan
    rng : numpy Generator

    Returns
    -------
    TrainingResult
        With the best averaged weights of each member. After Ctrl-C, with the best so far.
    """
    return run(SplitDenoising(network, sets, covariance, plan, rng), plan)
