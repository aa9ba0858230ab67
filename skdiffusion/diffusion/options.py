"""What a fit of the diffusion model needs to know, as frozen values, and their defaults by the shape of the data.

``benchmarks/ablation.py`` measures what each default is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from skdiffusion.diffusion.networks import FilmEnsemble, SwitchedNetworks
from skdiffusion.diffusion.training import Checkpoint, FineTuningPlan, TrainingPlan, max_checks

SIGMA_MIN, SIGMA_MAX = 0.01, 20.0  # noise levels of training, in whitened standard deviations
MIN_SIGMA_MIN = 1e-3  # the lowest that narrow components of a mixture may ask for
NARROWEST_SHARE = 0.2  # of the narrowest standard deviation of a mixture, at which the flow may stop
MIN_GROWTH, MAX_GROWTH = 5000, 50_000  # samples between which steps may grow with their number

Sizes = tuple[int, ...]
Network = FilmEnsemble | SwitchedNetworks


@dataclass(frozen=True)
class NetworkOptions:
    """The ensemble of networks.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, or list of such tuples
        A list holds the sizes of every interval of noise levels.
    n_members : int
        Networks whose velocities are averaged.
    input_gain, hidden_gain : float
        Scale of the first weights, of the first layer and of the others: the larger, the finer the structure that a
        network sees at once.
    activation : str
        Key of `skdiffusion.diffusion.networks.ACTIVATIONS`.
    edges : tuple of float
        Angles between the intervals of noise levels.
    device : torch device
    initial : network or None
        An earlier one to continue from.
    """

    hidden_layer_sizes: Sizes | list[Sizes]
    n_members: int
    input_gain: float = 1.0
    hidden_gain: float = 1.2
    activation: str = "silu"
    edges: tuple[float, ...] = ()
    device: torch.device = torch.device("cpu")
    initial: Network | None = None

    @property
    def sizes_by_interval(self) -> list[Sizes]:
        """Hidden layers of the networks of every interval."""
        sizes, n_intervals = self.hidden_layer_sizes, len(self.edges) + 1
        return sizes[:n_intervals] if isinstance(sizes, list) else [sizes] * n_intervals


@dataclass(frozen=True)
class SolverOptions:
    """The probability-flow ODE.

    Parameters
    ----------
    theta_min, theta_max : float
        Angles of the data end and of the horizon, arctan of the noise level.
    stepper : str or None
        Key of `skdiffusion.diffusion.ode.STEPPERS`; None is the default of `ProbabilityFlow`.
    n_steps : int or None
        Steps from end to end; None chooses them on validation samples.
    """

    theta_min: float
    theta_max: float
    stepper: str | None = None
    n_steps: int | None = None


@dataclass(frozen=True)
class DiffusionOptions:
    """Everything that the fit of the diffusion model takes.

    Parameters
    ----------
    network : NetworkOptions
    training : TrainingPlan
        Of denoising score matching.
    solver : SolverOptions
    fine_tuning : FineTuningPlan or None
        Of the exact likelihood; None leaves it out.
    n_pilot_steps : int
        Optimizer steps of the short runs that choose the coordinates.
    pilot_deadline : float
        Moment of `Collective.clock` at which these runs should be over: they are cut short, equally, and then left
        out.
    n_folds : int
    stops_apart : bool
        Whether the loss on another fold than its own ends the training of a member: see `member_sets`.
    noise_limit : float or None
        Bound of the predicted noise of every feature.
    min_correlation_gain : float
        Nats a feature that a Gaussian must gain by correlations, for noise in features of unit variance to be tried.
    min_trial_weight, min_trial_gain : float
        Weight in the blend, or nats a sample by which they raise it, that networks must have early in training for it
        to go on. A weight of 0 leaves the trial out.
    adapts_sigma_min : bool
        Whether the flow may stop at less noise where a component is narrow.
    equal_intervals : bool
        Whether the edges between intervals follow the noise levels of the flow.
    """

    network: NetworkOptions
    training: TrainingPlan
    solver: SolverOptions
    fine_tuning: FineTuningPlan | None = None
    n_pilot_steps: int = 125
    pilot_deadline: float = np.inf
    n_folds: int = 8
    stops_apart: bool = False
    noise_limit: float | None = None
    min_correlation_gain: float = 0.05
    min_trial_weight: float = 0.1
    min_trial_gain: float = 0.01
    adapts_sigma_min: bool = True
    equal_intervals: bool = True

    @property
    def n_checks(self) -> int:
        """Checks of the whole training at most."""
        edges = self.network.edges if self.network.initial is None else self.network.initial.edges
        n_tuning = 0 if self.fine_tuning is None else self.fine_tuning.n_checks
        return max_checks(self.training, edges) + n_tuning

    def stopping_at(self, theta_min: float) -> DiffusionOptions:
        """The same, with a flow that stops at this angle."""
        solver = replace(self.solver, theta_min=theta_min)
        sigma_range = (float(np.tan(theta_min)), self.training.sigma_range[1])
        edges = self.network.edges
        if edges and self.equal_intervals:
            edges = equal_edges(theta_min, solver.theta_max, len(edges) + 1)
        return replace(
            self,
            solver=solver,
            training=replace(self.training, sigma_range=sigma_range),
            network=replace(self.network, edges=edges),
        )

    def adapted_to(self, narrowest: float) -> DiffusionOptions:
        """The same, with a flow that resolves this standard deviation, in the units of the noise, if nothing was
        given."""
        if not self.adapts_sigma_min:
            return self
        return self.stopping_at(float(np.arctan(np.clip(NARROWEST_SHARE * narrowest, MIN_SIGMA_MIN, SIGMA_MIN))))

    def ending_at(self, training: float, fine_tuning: float) -> DiffusionOptions:
        """The same, with deadlines, moments of `Collective.clock`, for training and fine-tuning."""
        tuning = self.fine_tuning
        return replace(
            self,
            training=replace(self.training, deadline=training),
            fine_tuning=None if tuning is None else replace(tuning, deadline=fine_tuning),
        )

    def kept_in(self, checkpoint: Checkpoint | None) -> DiffusionOptions:
        """The same, with training runs whose states a checkpoint keeps."""
        tuning = self.fine_tuning
        return replace(
            self,
            training=replace(self.training, checkpoint=checkpoint),
            fine_tuning=None if tuning is None else replace(tuning, checkpoint=checkpoint),
        )

    def continued(self, theta_min: float, theta_max: float, forget_decay: bool, share: float) -> DiffusionOptions:
        """The same for a share of the samples, which should move the networks and not erase them, in the angles of a
        flow."""
        plan = self.training
        weight_decay = 0.0 if forget_decay else plan.weight_decay
        gentle = replace(
            plan,
            learning_rate=plan.learning_rate / 4,
            weight_decay=weight_decay,
            n_steps=max(1, round(share * plan.n_steps)),
        )
        largest = plan.sigma_range[1] if np.arctan(plan.sigma_range[1]) == theta_max else float(np.tan(theta_max))
        sigma_range = float(np.tan(theta_min)), largest
        return replace(self, training=replace(gentle, sigma_range=sigma_range), fine_tuning=None)


def equal_edges(theta_min: float, theta_max: float, n_intervals: int) -> tuple[float, ...]:
    """Angles between intervals that share the log noise level equally."""
    levels = np.linspace(np.log(np.tan(theta_min)), np.log(np.tan(theta_max)), n_intervals + 1)
    return tuple(np.arctan(np.exp(levels[1:-1])))


def default_network(n: float, d: int) -> NetworkOptions:
    """The ensemble for n samples and d features."""
    # Wider networks cost a fifth to a quarter more, and gain nothing on most sets of 2000 or 10000 samples.
    sizes: Sizes = (96, 96)
    n_members = 4
    if d == 1:
        # Wider ones gain nothing on twenty densities of one feature.
        sizes, n_members = (48, 48), 2
    if d == 2:
        # Sharp edges take a third layer, whose divergence is cheap in few features. A fourth member gains a thousandth.
        sizes, n_members = (64, 64, 64) if n >= 5000 else (48, 48, 48), 3
    if n >= 20_000 and d != 2:
        sizes = (128, 128)
    if n < 1000:
        # Variance dominates: many small members. From 350 samples on wider ones gain 0.02 nats for a quarter
        # more time, and with fewer samples nothing (`benchmarks.few_samples`).
        sizes, n_members = (48, 48, 48) if d == 2 else (64, 64), 8
    if n <= 150:
        sizes = (32, 32)
    return NetworkOptions(sizes, n_members, input_gain=4.0 if d <= 2 else 2.0 if d < 10 else 1.0)


def default_training(n: float, d: int) -> tuple[TrainingPlan, int]:
    """The plan of training for n samples and d features, and the steps of the short runs before it."""
    n_steps, batch_size, learning_rate, n_pilot_steps = 1000, 512, 1e-2, 125
    if d == 2:
        # Sharp edges take many steps and targets of little noise.
        n_steps, batch_size, n_pilot_steps = (3000, 512, 250) if n >= 5000 else (2000, 256, 250)
    elif d == 1:
        # What is left there is the closed forms', and more steps move a fit by a few thousandths of a nat.
        n_steps, batch_size, learning_rate, n_pilot_steps = 800, 256, 5e-3, 50
    elif n >= 5000:
        n_steps, n_pilot_steps = 4000, 250
    if n < 1000:
        n_steps, batch_size, learning_rate, n_pilot_steps = (400 if d == 1 else 800), 256, 5e-3, 100 if d == 1 else 200
    if n <= 150:
        n_steps, batch_size, n_pilot_steps = 300, 128, 75
    plan = TrainingPlan(
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        # The more features there are and the fewer samples, the sooner networks overfit; edges take large weights.
        weight_decay=min(0.3, d * (200 / n) ** 2) if d > 2 else 1e-4,
        noise_mean=-1.8 if d <= 2 else -1.2,
        n_target_samples=2048 if d == 2 else 512 if d <= 8 else 0,
        # With few samples the loss falls and then rises steadily: the last check at which a member gains comes soon.
        patience=100 if n < 1000 else max(150, n_steps // 4),
    )
    return plan, n_pilot_steps


def steps_without_fine_tuning(plan: TrainingPlan, n: float) -> int:
    """Steps for n samples of tables, which have no likelihood fine-tuning: all are seen as often as those of 5000 are.

    With the steps of 5000 samples for all, large tables end long before their loss does (`benchmarks.mixed`, wholes).
    The patience stays: those that overfit end as soon.
    """
    return round(plan.n_steps * min(max(n / MIN_GROWTH, 1.0), MAX_GROWTH / MIN_GROWTH))


def stops_apart(n: float, d: int) -> bool:
    """Whether to end the training of a member by other samples than those that weigh it in the blend.

    On few samples of a single feature the network would otherwise be given weight by some hundredths of a nat that it
    does not have; where the closed forms do as well, this costs as much.
    """
    return d == 1 and n < 1000


def trial_pays(n: float) -> bool:
    """Whether to ask early in training what the networks are worth: with fewer samples early stopping ends it as
    soon."""
    return n >= 1000


def fine_tuning_pays(n: float, d: int) -> bool:
    """Whether to raise the exact likelihood: with fewer samples members overfit, in the plane nothing is left to
    gain."""
    return n >= 5000 and d > 2
