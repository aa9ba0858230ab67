"""The fit of mixture density networks by their log-density, one without each of the folds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.collective import collective
from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities.predictive._data import LeftOut, RegressionData
from skdiffusion.densities.predictive._network import LOG_SCALES, MixtureNetworks
from skdiffusion.diffusion.fitting import member_sets
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.split_fitting import hidden_layers
from skdiffusion.diffusion.training import Objective, TrainingPlan, TrainingResult, TrainingSets, run

N_PARTS = 8  # normal distributions of a network
MAX_WIDTH = 64  # of the hidden layers, which else are as wide as those of denoising
RATE = 0.5  # of the learning rate of denoising
BATCH = 0.5  # of its batches
WEIGHT_DECAY = 0.2
FIRST_SCALE, FIRST_REACH = 0.7, 1.2  # of the parts before training, which stand side by side
LOG_2PI = math.log(2 * math.pi)


class MixtureLikelihood(Objective):
    """Minus the mean log-density of the samples of every network, the first feature given the others.

    Parameters
    ----------
    sets : TrainingSets
        Samples of the target and the columns of its inputs.
    width : int
        Of the two hidden layers.
    log_scales : pair of float
        Ends of the log-scales of the parts.
    plan : TrainingPlan
    rng : numpy Generator
    """

    def __init__(
        self,
        sets: TrainingSets,
        width: int,
        log_scales: tuple[float, float],
        plan: TrainingPlan,
        rng: np.random.Generator,
    ) -> None:
        self.sets, self.log_scales, self.plan, d = sets, log_scales, plan, sets.samples.shape[1] - 1
        self._shapes = [(d, width), (1, width), (width, width), (1, width), (width, 3 * N_PARTS), (1, 3 * N_PARTS)]
        super().__init__(self._initial(rng).to(sets.samples))
        self._streams = sets.streams(sets.training, rng)

    def _initial(self, rng: np.random.Generator) -> Tensor:
        """Parameters of networks that say the same of all inputs."""
        parts, n_networks = [], len(self.sets.training)
        for n_in, n_out in self._shapes[:4:2]:
            parts.append(rng.standard_normal((n_networks, n_in * n_out)) / math.sqrt(max(n_in, 1)))
            parts.append(rng.uniform(-1, 1, (n_networks, n_out)))
        parts.append(np.zeros((n_networks, math.prod(self._shapes[4]))))
        means, zero = np.linspace(-FIRST_REACH, FIRST_REACH, N_PARTS), np.zeros(N_PARTS)
        parts.append(np.tile(np.concatenate([zero, means, zero + math.log(FIRST_SCALE)]), (n_networks, 1)))
        return torch.as_tensor(np.concatenate(parts, axis=1))

    def layers(self, flat: Tensor) -> list[Tensor]:
        """Weights and offsets of the layers, one after another, with the networks on the first axis."""
        sizes = [n_in * n_out for n_in, n_out in self._shapes]
        return [part.view(len(flat), *shape) for part, shape in zip(flat.split(sizes, 1), self._shapes)]

    def losses(self, flat: Tensor, samples: Tensor) -> Tensor:
        """Minus the log-densities of samples (n_networks, n, n_features), shape (n_networks, n)."""
        first, shift, second, bend, last, offset = self.layers(flat)
        hidden = torch.nn.functional.silu(torch.baddbmm(shift, samples[..., 1:], first))
        hidden = torch.nn.functional.silu(torch.baddbmm(bend, hidden, second))
        log_weights, means, log_scales = torch.baddbmm(offset, hidden, last).chunk(3, dim=2)
        log_scales = log_scales.clamp(*self.log_scales)
        squares = ((samples[..., :1] - means) * torch.exp(-log_scales)).square()
        parts = torch.log_softmax(log_weights, 2) - log_scales - 0.5 * (squares + LOG_2PI)
        return -torch.logsumexp(parts, 2)

    def _draw(self) -> np.ndarray:
        return np.stack([stream.take(self.plan.batch_size) for stream in self._streams])

    def skip(self, step: int, n_steps: int) -> None:
        self._draw()

    def gradient(self, step: int, n_steps: int) -> tuple[Tensor, Tensor]:
        picks = self._draw()
        own = picks[:, collective().share(picks.shape[1])]
        samples = self.sets.samples[torch.as_tensor(own).to(self.flat.device)]
        with torch.enable_grad():
            flat = self.flat.clone().requires_grad_(True)
            losses = self.losses(flat, samples).sum(1) / picks.shape[1]
            (gradient,) = torch.autograd.grad(losses.sum(), flat)
        collective().add_up(gradient)
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0), losses.detach().mean()

    def validation_losses(self) -> np.ndarray:
        samples, weight, out = self.sets.samples, self.sets.sample_weight, []
        for m, fold in enumerate(self.sets.validation):
            left_out = samples[torch.as_tensor(fold).to(samples.device)][None]
            losses = self.losses(self.average[m : m + 1], left_out)[0].double().cpu().numpy()
            out.append(np.average(losses, weights=weight[fold]))
        return np.array(out)

    def network_of(self, flat: Tensor) -> list[np.ndarray]:
        return [part.cpu().numpy() for part in self.layers(flat)]


def network_plan(denoising: TrainingPlan) -> TrainingPlan:
    """The plan of mixture density networks that follows from that of denoising."""
    return replace(
        denoising,
        batch_size=max(1, round(BATCH * denoising.batch_size)),
        learning_rate=RATE * denoising.learning_rate,
        weight_decay=WEIGHT_DECAY,
    )


def fit_networks(
    data: RegressionData,
    design: np.ndarray,
    options: DiffusionOptions,
    rng: np.random.Generator,
    progress: FitProgress,
) -> tuple[MixtureNetworks, LeftOut, TrainingResult]:
    """Train a network without each of the folds.

    Parameters
    ----------
    data : RegressionData
    design : array of shape (n_samples, n_columns)
    options : DiffusionOptions
        Of denoising networks of these samples: these take as many steps at most.
    rng : numpy Generator
    progress : FitProgress

    Returns
    -------
    networks : MixtureNetworks
    left_out : LeftOut
        What the network without each of the folds says of it.
    result : TrainingResult
    """
    plan = replace(network_plan(options.training), monitor=progress)
    samples = torch.as_tensor(np.column_stack([data.z, design]), dtype=torch.float32, device=options.network.device)
    sets = TrainingSets(samples, data.weight, *member_sets(data.target, len(data.folds), stops_apart=False))
    log_scales = max(LOG_SCALES[0], math.log(max(data.min_scale, 1e-300))), LOG_SCALES[1]
    width = min(MAX_WIDTH, *hidden_layers(options.network))
    result = run(MixtureLikelihood(sets, width, log_scales, plan, rng), plan)
    weights, offsets = tuple(result.network[::2]), tuple(result.network[1::2])
    networks = MixtureNetworks(weights, offsets, log_scales)
    left_out = data.left_out(lambda m: networks.alone(m).given(design[data.folds[m]]))
    return networks, left_out, result
