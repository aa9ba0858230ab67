"""The fit of the diffusion model in its stages: coordinates, training and fine-tuning of the networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import floored
from skdiffusion._utils.processes import Task, begin, results
from skdiffusion._utils.protocols import Density, VelocityField
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField, SwitchedNetworks
from skdiffusion.diffusion.ode import STEPPERS
from skdiffusion.diffusion.options import DiffusionOptions, Network, NetworkOptions, SolverOptions
from skdiffusion.diffusion.out_of_fold import (
    averaged_log_prob,
    flows_of_members,
    log_prob_of_members,
    out_of_fold_log_prob,
    some_of_folds,
)
from skdiffusion.diffusion.solver_steps import with_chosen_steps
from skdiffusion.diffusion.training import (
    FineTuningPlan,
    SampleBlocks,
    TrainingPlan,
    TrainingResult,
    TrainingSets,
    fine_tune,
    train_intervals,
)
from skdiffusion.preprocessing import LeftOutOfStream, MappedData, Preprocessor, TrainingData, Whitening

FINE_TUNING_SAMPLES = 400  # validation samples of a member that decide when its fine-tuning ends
FINE_TUNING_SOLVER_STEPS = 24  # of fourth order: finer than any step of the fine-tuning, whose errors must not count
TRIAL_SAMPLES, TRIAL_SOLVER_STEPS = 150, 16  # validation samples of a member, and steps, of the trial of networks
MAX_PILOT_SAMPLES = 1000  # validation samples that compare coordinates: more decide nothing
MAX_PILOTS = 4  # of different coordinates
PlanWithTrial = TypeVar("PlanWithTrial", bound=TrainingPlan)
FAR_SAMPLES = 2.0  # times the largest coordinate of the samples that transforms are fitted to
# Of short runs, which end with the first check that gains nothing: few samples are learned by heart from there on.
PILOT: dict[str, Any] = {
    "batch_size": 256,
    "learning_rate": 5e-3,
    "weight_decay": 0.0,
    "patience": 50,
    "checkpoint": None,
}


@dataclass(frozen=True)
class Coordinates:
    """Where the noise is isotropic.

    Parameters
    ----------
    preprocessor : Preprocessor
        From the features to whitened samples.
    reference : GaussianReference or None
        Distribution of the samples before noise in features of unit variance; None for noise that is isotropic in
        whitened coordinates.
    """

    preprocessor: Preprocessor
    reference: GaussianReference | None = None

    @property
    def narrowest(self) -> float:
        """Smallest standard deviation of the samples, in the units of the noise."""
        return 1.0 if self.reference is None else self.reference.narrowest


@dataclass(frozen=True)
class DiffusionFit:
    """A fitted diffusion model, and how its training went."""

    flow: ProbabilityFlow
    coordinates: Coordinates
    training: TrainingResult
    fine_tuning: TrainingResult | None


class Progress(Protocol):
    """What hears of the progress of a fit, and may stop it."""

    stopped: bool

    def __call__(self, step: int, n_steps: int, loss: float, validation_loss: float | None) -> bool | None: ...

    def fine_tuning(self, done: int) -> None: ...


class BesideOthers(Protocol):
    """The other components of the blend, to which a diffusion of known out-of-fold log-densities is added.

    The places are those of its samples among the validation samples.
    """

    def score(self, log_prob: np.ndarray, places: np.ndarray) -> float:
        """Mean log-density of the blend, in nats."""

    def worth(self, log_prob: np.ndarray, places: np.ndarray) -> tuple[float, float]:
        """Weight of the diffusion in the blend, and the nats a sample by which it raises the blend."""


def fit_diffusion(
    data: TrainingData,
    coordinates: Coordinates,
    options: DiffusionOptions,
    beside: BesideOthers,
    progress: Progress,
) -> DiffusionFit:
    """Train the networks, fine-tune them where that is asked for, and choose the steps of the solver.

    Parameters
    ----------
    data : TrainingData
    coordinates : Coordinates
    options : DiffusionOptions
    beside : BesideOthers
    progress : Progress
    """
    mapped = data.mapped(coordinates.preprocessor)
    options = replace(options, training=replace(options.training, monitor=progress))
    brief = replace(options.solver, n_steps=TRIAL_SOLVER_STEPS)

    def members(network: Network) -> Sequence[Density]:
        field = NetworkField(network, options.noise_limit, coordinates.reference)
        return flows_of_members(make_flow(field, brief))

    trial = Trial(data, mapped, options, beside, members)
    training = train_network(data, coordinates, replace(options, training=trial.plan(options.training)))
    field = NetworkField(training.network, options.noise_limit, coordinates.reference)
    flow, tuning = make_flow(field, options.solver), None
    ended = training.interrupted or training.not_worthwhile or progress.stopped
    if options.fine_tuning is not None and not ended and collective().clock() < options.fine_tuning.deadline:
        progress.fine_tuning(training.n_steps)
        plan = replace(options.fine_tuning, monitor=progress)
        tuning = fine_tune_network(flow, data, mapped, beside, plan)
        flow = replace(flow, field=field.with_network(tuning.network))
    if options.solver.n_steps is None:
        flow = with_chosen_steps(flow, data, mapped)
    return DiffusionFit(flow, coordinates, training, tuning)


def references(whitening: Whitening, min_gain: float) -> list[GaussianReference]:
    """The distributions before noise in features of unit variance; none where these are hardly correlated."""
    if not whitening.is_correlated(min_gain):
        return []
    return [GaussianReference(whitening.correlation, relative) for relative in (False, True)]


class _Pilots:
    """Short training runs that compare coordinates by the log-densities of samples that no member has seen."""

    def __init__(self, data: TrainingData, options: DiffusionOptions):
        folds = data.folds
        n_left_out = 2 if len(folds) > 2 else 1
        self.data = data
        # The average of a few members on samples that none of them has seen, as in the whole fit.
        self.training = np.concatenate(folds[n_left_out:])
        self.validation = np.concatenate([fold[: MAX_PILOT_SAMPLES // n_left_out] for fold in folds[:n_left_out]])
        self.deadline = options.pilot_deadline
        self.max_seconds = (self.deadline - collective().clock()) / MAX_PILOTS
        self.n_members = min(options.network.n_members, 4 if data.n_effective < 1000 else 2)
        self.network = replace(options.network, n_members=self.n_members, edges=())
        self.plan = replace(options.training, **PILOT, n_steps=options.n_pilot_steps, n_target_samples=0)
        self.known: dict[Coordinates, float] = {}

    def _begin(self, coordinates: Coordinates) -> Task[float]:
        """A short run as a task, from a stream of its own."""
        self.data.mapped(coordinates.preprocessor)  # once for all runs
        own = copy(self)
        own.data = replace(self.data, rng=self.data.rng.spawn(1)[0])
        return begin(own.score, coordinates)

    def score(self, coordinates: Coordinates) -> float:
        """Mean log-density of the validation samples after a short run, in nats."""
        mapped = self.data.mapped(coordinates.preprocessor)
        network = new_network(self.data.n_features, self.network, self.data.rng)
        sets = [self.training] * self.n_members, [self.validation] * self.n_members
        plan = replace(self.plan, deadline=collective().clock() + self.max_seconds)
        result = _train(network, mapped.z, self.data, sets, plan, coordinates.reference)
        if result.interrupted:
            raise KeyboardInterrupt  # nothing worth keeping yet
        low, high = (float(np.arctan(sigma)) for sigma in self.plan.sigma_range)
        # Nothing else is ever scored by it: no trial has to show that the bits of a sample are always the same.
        field = NetworkField(result.network, None, coordinates.reference, precision="single")
        flow = ProbabilityFlow(field, low, high)
        log_prob = mapped.log_prob_left_out(flow, self.validation)
        weights = self.data.weights_of(self.data.first(self.validation))
        return float(np.average(floored(log_prob, self.data.n_features), weights=weights))

    def best(self, candidates: list[Coordinates]) -> Coordinates:
        """The coordinates of greatest log-density; the first, without a run, if it is alone or time is over."""
        if len(candidates) == 1 or collective().clock() > self.deadline:
            return candidates[0]
        new = [coordinates for coordinates in candidates if coordinates not in self.known]
        scores = results([self._begin(coordinates) for coordinates in new])
        self.known.update(zip(new, collective().first(scores)))  # machines differ by round-off
        return max(candidates, key=self.known.__getitem__)


def choose_coordinates(
    data: TrainingData, preprocessors: Sequence[Preprocessor], options: DiffusionOptions
) -> Coordinates:
    """The preprocessor, and the distribution of the samples before noise, with which short training runs reach most.

    Noise may be isotropic in whitened coordinates, which serves structure in directions of little variance, or in
    features of unit variance, where these vanish under the noise first; there networks may learn all of the velocity
    or its departure from the Gaussian's.
    """
    pilots = _Pilots(data, options)
    preprocessor = pilots.best([Coordinates(p) for p in preprocessors]).preprocessor
    noise = [None, *references(preprocessor.whitening, options.min_correlation_gain)]
    return pilots.best([Coordinates(preprocessor, reference) for reference in noise])


def new_network(d: int, options: NetworkOptions, rng: np.random.Generator) -> Network:
    """Untrained members, one ensemble for each interval of noise levels."""
    parts = []
    for sizes in options.sizes_by_interval:
        part = FilmEnsemble(d, sizes, options.activation, options.n_members)
        part.initialize(rng, options.input_gain, options.hidden_gain)
        parts.append(part.to(device=options.device))
    return SwitchedNetworks(parts, options.edges) if options.edges else parts[0]


def _train(
    network: Network,
    z: np.ndarray,
    data: TrainingData,
    sets: tuple[list[np.ndarray], list[np.ndarray]],
    plan: TrainingPlan,
    reference: GaussianReference | None,
    blocks: SampleBlocks | None = None,
) -> TrainingResult:
    """`train_intervals` on whitened samples z, in the coordinates of the reference if there is one."""
    if reference is not None:
        z, plan = z @ reference.root, replace(plan, reference=reference if reference.relative else None)
    samples = torch.as_tensor(z, dtype=torch.float32, device=network.device)
    return train_intervals(network, TrainingSets(samples, data.sample_weight, *sets, blocks=blocks), plan, data.rng)


def member_sets(data: TrainingData, n_members: int, stops_apart: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The samples that each member learns from, and those whose loss chooses its weights: its fold, or the next one.

    A member that stops apart, where there are three folds or more, learns from neither: weights that were chosen by few
    samples flatter the log-densities of these.
    """
    folds = data.folds
    left_out = [folds[m % len(folds)] for m in range(n_members)]
    if not stops_apart or len(folds) < 3:
        return [data.without(fold) for fold in left_out], left_out
    following = [folds[(m + 1) % len(folds)] for m in range(n_members)]
    return [data.without(np.concatenate(pair)) for pair in zip(left_out, following)], following


def train_network(data: TrainingData, coordinates: Coordinates, options: DiffusionOptions) -> TrainingResult:
    """Train one member for each validation fold, on the samples outside it; from an earlier network if there is one."""
    if options.network.initial is None:
        network = new_network(data.n_features, options.network, data.rng)
    else:
        network = options.network.initial.copy(torch.float32, options.network.device)
    sets, plan = member_sets(data, options.network.n_members, options.stops_apart), options.training
    z = data.mapped(coordinates.preprocessor).z
    blocks = None if data.reservoir is None else sample_blocks(data, coordinates, sets[0], plan)
    return _train(network, z, data, sets, plan, coordinates.reference, blocks)


def sample_blocks(
    data: TrainingData, coordinates: Coordinates, training: list[np.ndarray], plan: TrainingPlan
) -> SampleBlocks:
    """Blocks of all samples that those of a fit were drawn from, in the coordinates of the networks.

    Samples far beyond those that the transforms were fitted to are of no use.
    """
    preprocessor = coordinates.preprocessor
    limit = FAR_SAMPLES * np.abs(data.mapped(preprocessor).z).max()

    def place(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            z, _ = preprocessor.transform(data.dequantized(X, rng))
            z = np.where(np.abs(z) <= limit, z, np.nan)
            return z if coordinates.reference is None else z @ coordinates.reference.root

    assert data.reservoir is not None
    left_out = LeftOutOfStream(data, training)
    return SampleBlocks(data.reservoir, left_out, place, plan.n_steps * plan.batch_size, data.rng.spawn(1)[0])


def train_further(
    field: NetworkField, z: np.ndarray, data: TrainingData, options: DiffusionOptions, progress: Progress
) -> TrainingResult:
    """Continue the members of a field's network on whitened samples z, each on those outside its fold.

    A member keeps the weights of least loss on its fold, which may be those that it has.
    """
    network = field.network.copy(torch.float32, field.network.device)
    sets = member_sets(data, network.n_members, stops_apart=False)
    return _train(network, z, data, sets, replace(options.training, monitor=progress), field.reference)


@dataclass(frozen=True)
class Trial:
    """The question, early in training, whether the networks will have a weight in the blend that pays for the rest.

    Parameters
    ----------
    data : TrainingData
    mapped : MappedData
        Its samples as the networks see them.
    options : DiffusionOptions
    beside : BesideOthers
    members : callable
        ``members(network)`` are the densities of the networks of an ensemble, each alone, in few steps.
    """

    data: TrainingData
    mapped: MappedData
    options: DiffusionOptions
    beside: BesideOthers
    members: Callable[[Any], Sequence[Density]]

    def plan(self, training: PlanWithTrial) -> PlanWithTrial:
        """The plan of training, with the trial where there is one."""
        return replace(training, is_worthwhile=self.is_worthwhile) if self.options.min_trial_weight else training

    def is_worthwhile(self, network: Any) -> bool:
        """Whether the networks as they are have the least weight in the blend, or raise it by the least gain."""
        # A stream of its own: networks of weight are the same whether they were tried or not.
        chosen, places = some_of_folds(self.data, TRIAL_SAMPLES, np.random.default_rng(0))
        log_prob = averaged_log_prob(self.members(network), self.mapped, chosen)
        weight, gain = self.beside.worth(log_prob, places[: len(log_prob)])
        return weight >= self.options.min_trial_weight or gain >= self.options.min_trial_gain


def make_flow(field: VelocityField, options: SolverOptions) -> ProbabilityFlow:
    """The flow of a field, with what is given of its solver."""
    given: dict = {}
    if options.stepper is not None:
        given["stepper"] = given["sample_stepper"] = options.stepper
        if not STEPPERS[options.stepper].estimates_error:
            given["tolerance"] = 0.0
    if options.n_steps is not None:
        n_steps = int(options.n_steps)
        given |= {"density_steps": n_steps, "sample_steps": n_steps, "tolerance": 0.0}
    return ProbabilityFlow(field, options.theta_min, options.theta_max, **given)


def fine_tune_network(
    flow: ProbabilityFlow,
    data: TrainingData,
    mapped: MappedData,
    beside: BesideOthers,
    plan: FineTuningPlan,
) -> TrainingResult:
    """Raise the exact likelihood of the members of a flow as long as the blend gains on validation samples.

    Parameters
    ----------
    flow : ProbabilityFlow
    data, mapped : TrainingData and MappedData
    beside : BesideOthers
    plan : FineTuningPlan

    Returns
    -------
    TrainingResult
    """
    training = [data.without(fold) for fold in data.validation_folds]
    chosen, all_places = some_of_folds(data, FINE_TUNING_SAMPLES, data.rng)
    field = flow.network_field
    fine_flow = replace(flow, stepper="abm4", density_steps=FINE_TUNING_SOLVER_STEPS, grid=None)

    def own_log_prob(network: Network) -> np.ndarray:
        tuned = replace(fine_flow, field=field.with_network(network))
        return log_prob_of_members(flows_of_members(tuned), mapped, chosen)

    # Averaging gains about as much after the fine-tuning: only the members themselves are followed.
    gain = out_of_fold_log_prob(fine_flow, mapped, chosen) - own_log_prob(field.network)

    def score(network: Network) -> float:
        return beside.score(own_log_prob(network) + gain, all_places)

    network = field.network
    z = torch.as_tensor(mapped.z, dtype=network.dtype, device=network.device)
    return fine_tune(flow, TrainingSets(z, data.sample_weight, training), score, plan, data.rng)
