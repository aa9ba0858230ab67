"""The fit of a split flow: one network for the conditional distributions of all splits of the features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from skdiffusion.diffusion.fitting import make_flow, member_sets
from skdiffusion.diffusion.networks import FilmEnsemble, SplitField, split_network
from skdiffusion.diffusion.options import DiffusionOptions, NetworkOptions, SolverOptions, default_network
from skdiffusion.diffusion.split import SplitFlow
from skdiffusion.diffusion.training import SplitPlan, TrainingPlan, TrainingResult, TrainingSets, train_splits
from skdiffusion.preprocessing import TrainingData

LENGTH = 2  # of the training, in that of one density: it learns many
MAX_PASSES = 1000  # over the samples, beyond which nothing is gained
MAX_MEMBERS = 4  # of which the mean has hardly more noise than that of eight
WIDE_SAMPLES, NARROW = 2000, 64  # with fewer samples, wider networks gain nothing
RATE = 0.5  # of the learning rate of one density, beyond which the noise of the splits hides small gains
DECAY = 0.7  # of the steps, over which the learning rate falls
PER_LEVEL = 16  # samples of a noise level in a batch: those of few samples and many levels have too few splits
GAIN = 2.0  # of the first weights: of four times the inputs most are zero
# Steps of the flow, which all splits share: log-densities are off by 0.001 nats at most in the mean, samples by 0.002
# standard deviations (banana, funnel, kin8nm).
N_STEPS = 24


def fit_split_flow(
    data: TrainingData,
    features: tuple[np.ndarray, np.ndarray],
    options: DiffusionOptions,
    plan: SplitPlan,
    rng: np.random.Generator,
    n_targets: int | None = None,
) -> tuple[SplitFlow, TrainingResult]:
    """Train a split network, one member for each validation fold, on the samples outside it.

    Parameters
    ----------
    data : TrainingData
        Its generator is not asked.
    features : (z, covariance)
        Its samples in centered features of unit variance, (n_samples, n_features), and the covariance of these,
        positive definite.
    options : DiffusionOptions
        Of the diffusion model of all features together.
    plan : SplitPlan
    rng : numpy Generator
    n_targets : int, optional
        Features that can be targets, the first ones; None is all of them.
    """
    (z, covariance), network = features, options.network
    d = z.shape[1]
    ensemble = split_network(
        d, d if n_targets is None else n_targets, hidden_layers(network), network.activation, network.n_members
    )
    ensemble.initialize(rng, GAIN * network.input_gain, network.hidden_gain)
    ensemble = ensemble.to(device=network.device)
    samples = torch.as_tensor(z, dtype=torch.float32, device=network.device)
    sets = TrainingSets(samples, data.sample_weight, *member_sets(data, network.n_members, stops_apart=False))
    result = train_splits(ensemble, sets, covariance, plan, rng)
    flow = split_flow(result.network, covariance, options.solver)
    if options.solver.n_steps is None:
        flow = flow.with_steps(N_STEPS)
    return flow, result


def split_flow(network: FilmEnsemble, covariance: np.ndarray, options: SolverOptions) -> SplitFlow:
    """The flow of networks for all splits of features of this covariance, with what is given of its solver."""
    return SplitFlow(make_flow(SplitField(network, covariance), options))


def hidden_layers(options: NetworkOptions) -> Sequence[int]:
    """Two layers, of which the divergence is cheap, as wide as the widest that are asked for."""
    return [max(width for sizes in options.sizes_by_interval for width in sizes)] * 2


def all_splits_network(options: NetworkOptions, shape: tuple[int, int]) -> NetworkOptions:
    """The ensemble for all splits that follows from that of one density, of so many samples and features.

    The default has fewer networks, which are less wide for few samples; other sizes and numbers are what was asked for.
    """
    (width, _), default, n_members = hidden_layers(options), default_network(*shape), options.n_members
    if shape[0] < WIDE_SAMPLES and options.hidden_layer_sizes == default.hidden_layer_sizes:
        width = min(width, NARROW)
    if n_members == default.n_members:
        n_members = min(n_members, MAX_MEMBERS)
    return replace(options, hidden_layer_sizes=(width, width), n_members=n_members)


def split_plan(plan: TrainingPlan, n_samples: int) -> SplitPlan:
    """The plan of a split network, for so many samples, that follows from that of one density."""
    length = max(1.0, min(LENGTH, MAX_PASSES * n_samples / (plan.batch_size * plan.n_steps)))
    given = _numbers(plan)
    given |= {"n_steps": round(length * plan.n_steps), "patience": round(length * plan.patience)}
    given |= {"learning_rate": RATE * plan.learning_rate, "decay_fraction": max(DECAY, plan.decay_fraction)}
    given |= {"n_levels": max(1, plan.batch_size // PER_LEVEL), "trial_fraction": plan.trial_fraction / length}
    return SplitPlan(**given, mirrored=True)


def single_split_plan(plan: TrainingPlan) -> SplitPlan:
    """The plan of a network of one split, in which all features that are no targets are given."""
    return SplitPlan(**_numbers(plan), joint_share=0.0, marginal_share=0.0, absent_share=0.0)


def _numbers(plan: TrainingPlan) -> dict[str, Any]:
    """The fields of the plan of one density, without a reference: that of every split is its own."""
    return {field.name: getattr(plan, field.name) for field in fields(plan)} | {"reference": None}
