"""Options: the settings of a diffusion fit that hardly anybody changes, and what they resolve to."""

from __future__ import annotations

from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skdiffusion._utils.validation import Interval, StrOptions
from skdiffusion.densities import ComponentOptions
from skdiffusion.diffusion.networks import ACTIVATIONS
from skdiffusion.diffusion.ode import STEPPERS
from skdiffusion.diffusion.options import (
    SIGMA_MAX,
    SIGMA_MIN,
    DiffusionOptions,
    Network,
    NetworkOptions,
    Sizes,
    SolverOptions,
    default_network,
    default_training,
    equal_edges,
    fine_tuning_pays,
)
from skdiffusion.diffusion.training import FineTuningPlan, TrainingPlan

N_FOLDS = 8  # of "auto", unless there are more networks
AUTOMATIC_CLIP = 2.0  # times sqrt(log n): true scores do not reach it


class Options(BaseEstimator):
    r"""Settings of a diffusion fit beyond the parameters of the estimator.

    The defaults are chosen from the shape of the table and need no change. They can be set and searched under
    ``options__`` names of the estimator.

    Parameters
    ----------
    activation : str, default="silu"
        Activation of the hidden layers, a key of `skdiffusion.diffusion.networks.ACTIVATIONS`.
    learning_rate : "auto" or float, default="auto"
        Peak learning rate of AdamW. "auto" falls as one over the root of the steps where `max_iter` asks for more than
        the default makes.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay. "auto" is ``n_features * (200 / n_samples)**2``, at most 0.3, for more than two
        features, and 1e-4 for one or two; later calls of `partial_fit` then have none.
    batch_size : "auto" or int, default="auto"
        Samples a step and network.
    n_training_steps : "auto" or int, default="auto"
        Optimizer steps of training, in place of the epochs of `max_iter`.
    patience : "auto" or int, default="auto"
        Optimizer steps without a lower validation loss after which training stops early.
    decay_fraction : float, default=0.3
        Share of the steps over which the learning rate falls to zero.
    n_target_samples : "auto" or int, default="auto"
        Samples among which the posterior mean is taken for training targets of less variance; 0 takes each sample
        alone.
    n_pilot_steps : "auto" or int, default="auto"
        Optimizer steps of the short runs that choose the coordinates of the noise.
    min_correlation_gain : float, default=0.05
        Nats a feature that a Gaussian must gain by correlations for features of unit variance to be tried beside
        whitened coordinates, for the noise of the diffusion and for the kernel; infinity never tries them.
    n_folds : "auto" or int, default="auto"
        Folds of the samples. Every network leaves out another, for early stopping and for the weights of the blend:
        there are at most as many networks. "auto" is 8, or the number of networks if that is larger.
    fine_tune : "auto" or bool, default="auto"
        Whether to raise the exact likelihood of the trained networks, by gradients through the flow, as long as
        validation samples gain. "auto" does from 5000 samples of three features on, unless `max_iter` is given or
        `early_stopping` is off. It takes two or three hidden layers, and no intervals, clipping or constraints: "auto"
        leaves it out with these, True is then an error.
    sigma_min : "auto" or float, default="auto"
        Noise level at which the flow stops before the data, in standard deviations: the density is smoothed at it.
        "auto" is 0.01, or less where a mixture finds narrow components.
    sigma_max : float, default=20.0
        Noise level of the horizon, where samples start from the normal distribution.
    noise_intervals : int or array-like of float, default=1
        Intervals of noise levels, each with networks of its own: a number of them, which share the log noise level
        equally, or the noise levels between them. Smaller networks at larger noise are what the minimax rate in W1
        takes (Oko, Akiyama and Suzuki, 2023); `skdiffusion.theory.besov.design` proposes both.
    score_clip : "auto", float or None, default=None
        Bound C of the score: predicted noise beyond ``C * sqrt(log(n_samples))`` is set to it. "auto" is C = 2.
    n_nonzero_weights : int or None, default=None
        Parameters of a network that may differ from zero: the others are pruned during training.
    weight_bound : float or None, default=None
        Largest absolute value of a parameter. With ``activation="relu"`` both give the sparse networks of bounded
        weights of the minimax theory.
    solver : "auto" or str, default="auto"
        Stepper of the flow, a key of `skdiffusion.diffusion.ode.STEPPERS`. "auto" takes Adams-Bashforth methods, with
        one evaluation of the networks a step: "ab4" in the log signal-to-noise ratio for log-densities and codes, and
        for samples of 24 steps or more; "ab2" for samples of fewer steps.
    min_total_gain : float, default=2.0
        Nats that a kernel or a regression must add to the blend, over all samples left out together.
    min_improved_weight : float, default=0.05
        Weight of all mixtures, or of all regressions, in the blend from which more work on them pays.
    score_beside_others : bool, default=True
        Whether mixtures and bandwidths are chosen by what they add to other components, or else alone.
    em_restarts : int, default=3
        Runs of expectation maximization from different starts whose mean is an improved mixture.
    max_restart_cost, max_search_cost : float, default=2.5e8 and 6e9
        Multiplications in a step of expectation maximization, up to which it is run again from other starts, and up to
        which mixtures of more than 64 components are tried.
    weak_prior, weakest_prior : float, default=2e-3 and 1e-5
        Prior samples of each component of a mixture that are tried beside a strong prior.
    max_regression_orders : int, default=4
        Orders of the features in an improved regression.
    adaptive_kernels : bool, default=True
        Whether kernels that are as wide as samples lie apart are tried beside kernels of one width.

    Examples
    --------
    >>> from skdiffusion import DiffusionDensityEstimator, Options
    >>> est = DiffusionDensityEstimator(options=Options(learning_rate=5e-3))
    >>> est.set_params(options__batch_size=128).options
    Options(batch_size=128, learning_rate=0.005)
    """

    _saved = ()  # parameters only

    _parameter_constraints: dict = {
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "n_training_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "patience": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "decay_fraction": [Interval(Real, 0, 1, closed="right")],
        "n_target_samples": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_pilot_steps": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "min_correlation_gain": [Interval(Real, 0, None, closed="both")],
        "n_folds": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "fine_tune": [StrOptions({"auto"}), "boolean"],
        "sigma_min": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "sigma_max": [Interval(Real, 0, None, closed="neither")],
        "noise_intervals": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "score_clip": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), None],
        "n_nonzero_weights": [Interval(Integral, 1, None, closed="left"), None],
        "weight_bound": [Interval(Real, 0, None, closed="neither"), None],
        "solver": [StrOptions({"auto"}), StrOptions(STEPPERS.keys())],
        "min_total_gain": [Interval(Real, 0, None, closed="both")],
        "min_improved_weight": [Interval(Real, 0, 1, closed="both")],
        "score_beside_others": ["boolean"],
        "em_restarts": [Interval(Integral, 1, None, closed="left")],
        "max_restart_cost": [Interval(Real, 0, None, closed="both")],
        "max_search_cost": [Interval(Real, 0, None, closed="both")],
        "weak_prior": [Interval(Real, 0, None, closed="neither")],
        "weakest_prior": [Interval(Real, 0, None, closed="neither")],
        "max_regression_orders": [Interval(Integral, 1, None, closed="left")],
        "adaptive_kernels": ["boolean"],
    }

    def __init__(
        self,
        *,
        activation: str = "silu",
        learning_rate: Any = "auto",
        weight_decay: Any = "auto",
        batch_size: Any = "auto",
        n_training_steps: Any = "auto",
        patience: Any = "auto",
        decay_fraction: float = 0.3,
        n_target_samples: Any = "auto",
        n_pilot_steps: Any = "auto",
        min_correlation_gain: float = 0.05,
        n_folds: Any = "auto",
        fine_tune: Any = "auto",
        sigma_min: Any = "auto",
        sigma_max: float = SIGMA_MAX,
        noise_intervals: Any = 1,
        score_clip: Any = None,
        n_nonzero_weights: Any = None,
        weight_bound: Any = None,
        solver: Any = "auto",
        min_total_gain: float = 2.0,
        min_improved_weight: float = 0.05,
        score_beside_others: bool = True,
        em_restarts: int = 3,
        max_restart_cost: float = 2.5e8,
        max_search_cost: float = 6e9,
        weak_prior: float = 2e-3,
        weakest_prior: float = 1e-5,
        max_regression_orders: int = 4,
        adaptive_kernels: bool = True,
    ):
        self.activation = activation
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_training_steps = n_training_steps
        self.patience = patience
        self.decay_fraction = decay_fraction
        self.n_target_samples = n_target_samples
        self.n_pilot_steps = n_pilot_steps
        self.min_correlation_gain = min_correlation_gain
        self.n_folds = n_folds
        self.fine_tune = fine_tune
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.noise_intervals = noise_intervals
        self.score_clip = score_clip
        self.n_nonzero_weights = n_nonzero_weights
        self.weight_bound = weight_bound
        self.solver = solver
        self.min_total_gain = min_total_gain
        self.min_improved_weight = min_improved_weight
        self.score_beside_others = score_beside_others
        self.em_restarts = em_restarts
        self.max_restart_cost = max_restart_cost
        self.max_search_cost = max_search_cost
        self.weak_prior = weak_prior
        self.weakest_prior = weakest_prior
        self.max_regression_orders = max_regression_orders
        self.adaptive_kernels = adaptive_kernels


class OptionsMixin(BaseEstimator):
    """Estimators with the parameter `options`, whose settings can be searched where it is None too."""

    options: Options | None

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; ``options__`` names set those of `options`, which are made where there are none.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self
        """
        if self.options is None and any(name.startswith("options__") for name in params):
            self.options = Options()
        return super().set_params(**params)


def component_options(options: Options | None) -> ComponentOptions:
    """The limits of the components that options ask for; those of the same names are taken over."""
    if options is None:
        return ComponentOptions()
    parameters = options.get_params(deep=False)
    return ComponentOptions(**{f.name: parameters[f.name] for f in fields(ComponentOptions) if f.name in parameters})


def _given(**values: Any) -> dict[str, Any]:
    """The values that are not left to "auto"."""
    return {name: value for name, value in values.items() if not (isinstance(value, str) and value == "auto")}


def layer_sizes(hidden_layer_sizes: Any, n_intervals: int = 1) -> Sizes | list[Sizes] | None:
    """A tuple of int, a list of such tuples, one for each interval, or None for "auto".

    Raises
    ------
    ValueError
        If the sizes are not positive integers, or not those of as many intervals.
    """
    if isinstance(hidden_layer_sizes, str):
        return None
    wrong = (
        "The 'hidden_layer_sizes' parameter must be 'auto', a tuple of positive integers, or a list of such tuples, "
        f"one for each of the 'noise_intervals'. Got {hidden_layer_sizes!r} instead."
    )

    def checked(sizes: Any) -> Sizes:
        sizes = np.atleast_1d(np.asarray(sizes, dtype=object))
        if sizes.ndim != 1 or not len(sizes) or not all(isinstance(s, Integral) and int(s) > 0 for s in sizes):
            raise ValueError(wrong)
        return tuple(int(s) for s in sizes)

    nested = isinstance(hidden_layer_sizes, (list, tuple)) and any(
        isinstance(s, (list, tuple)) for s in hidden_layer_sizes
    )
    if not nested:
        return checked(hidden_layer_sizes)
    if len(hidden_layer_sizes) != n_intervals:
        raise ValueError(wrong)
    return [checked(sizes) for sizes in hidden_layer_sizes] if n_intervals > 1 else checked(hidden_layer_sizes[0])


def check_noise_intervals(noise_intervals: Any) -> tuple[int, np.ndarray | None]:
    """Number of intervals of noise levels, and the levels between them, or None where they are derived.

    Raises
    ------
    ValueError
        If it is neither a positive integer nor rising positive levels.
    """
    if isinstance(noise_intervals, Integral):
        return int(noise_intervals), None
    levels = np.asarray(noise_intervals, dtype=object)
    if (
        levels.ndim != 1
        or not all(isinstance(s, Real) and float(s) > 0 for s in levels)
        or (np.diff(levels) <= 0).any()
    ):
        raise ValueError(
            "The 'noise_intervals' option must be a positive integer, or the noise levels between the intervals, "
            f"positive and rising. Got {noise_intervals!r} instead."
        )
    return len(levels) + 1, levels.astype(float)


def interval_edges(noise_intervals: Any, solver: SolverOptions) -> tuple[float, ...]:
    """Angles between the intervals; a number of them share the log noise level equally.

    Raises
    ------
    ValueError
        If a given level lies outside those of the flow.
    """
    count, levels = check_noise_intervals(noise_intervals)
    if levels is None:
        return equal_edges(solver.theta_min, solver.theta_max, count)
    low, high = np.tan([solver.theta_min, solver.theta_max])
    if (levels <= low).any() or (levels >= high).any():
        raise ValueError(
            "The levels of 'noise_intervals' must lie between 'sigma_min' and 'sigma_max'. Got "
            f"{noise_intervals!r}, with noise from {low:.3g} to {high:.3g}."
        )
    return tuple(float(e) for e in np.arctan(levels))


def resolve_options(
    est: Any, shape: tuple[int, int], device: torch.device, initial: Network | None = None
) -> DiffusionOptions:
    """What the parameters of an estimator ask for, for a table of this shape.

    Parameters
    ----------
    est : DiffusionDensityEstimator
    shape : (n_samples, n_features)
    device : torch device
    initial : network, optional
        Of an earlier fit, whose architecture is kept.

    Raises
    ------
    ValueError
        For options that are not valid, or do not go together.
    """
    given = Options() if est.options is None else est.options
    given._validate_params()
    n_intervals, _ = check_noise_intervals(given.noise_intervals)
    network = _resolve_network(est, given, shape, n_intervals, initial)
    network = replace(network, device=device, activation=given.activation, initial=initial)
    solver = _resolve_solver(est, given)
    edges = interval_edges(given.noise_intervals, solver)
    training, n_pilot_steps = _resolve_training(est, given, shape)
    training = replace(training, sigma_range=(float(np.tan(solver.theta_min)), float(given.sigma_max)))
    n_folds = _resolve_folds(est, given, shape[0], network.n_members)
    network = replace(network, n_members=int(min(network.n_members, n_folds)), edges=edges)
    options = DiffusionOptions(
        network=network,
        training=training,
        solver=solver,
        n_pilot_steps=n_pilot_steps,
        n_folds=n_folds,
        noise_limit=_noise_limit(given.score_clip, shape[0]),
        min_correlation_gain=float(given.min_correlation_gain),
        adapts_sigma_min=isinstance(given.sigma_min, str),
        equal_intervals=isinstance(given.noise_intervals, Integral),
    )
    return replace(options, fine_tuning=_resolve_fine_tuning(est, given, shape, options))


def _resolve_network(
    est: Any, given: Options, shape: tuple[int, int], n_intervals: int, initial: Network | None
) -> NetworkOptions:
    """The ensemble that the parameters ask for."""
    network = default_network(*shape)
    if initial is not None:
        network = replace(network, hidden_layer_sizes=initial.hidden_layer_sizes, n_members=initial.n_members)
    if (sizes := layer_sizes(est.hidden_layer_sizes, n_intervals)) is not None:
        network = replace(network, hidden_layer_sizes=sizes)
    return replace(network, **_given(n_members=est.n_estimators))


def _resolve_folds(est: Any, given: Options, n_samples: int, n_members: int) -> int:
    """Number of folds, of which every network leaves out another."""
    if isinstance(given.n_folds, str):
        return min(n_samples, max(n_members, N_FOLDS))
    if est.n_estimators != "auto" and est.n_estimators > given.n_folds:
        raise ValueError(
            f"Each of the {est.n_estimators} networks of 'n_estimators' leaves out another fold, but the 'n_folds' "
            f"option is {given.n_folds}: raise it, or leave it at 'auto'."
        )
    return min(n_samples, int(given.n_folds))


def _resolve_training(est: Any, given: Options, shape: tuple[int, int]) -> tuple[TrainingPlan, int]:
    """The plan of training that the parameters ask for, and the steps of the short runs before it."""
    default, n_pilot_steps = default_training(*shape)
    asked = {"batch_size": given.batch_size, "learning_rate": given.learning_rate, "patience": given.patience}
    asked |= {"weight_decay": given.weight_decay, "n_target_samples": given.n_target_samples}
    plan = replace(default, **_given(**asked))
    if est.max_iter != "auto" and given.n_training_steps != "auto":
        raise ValueError(
            "'max_iter' and the 'n_training_steps' option both set the length of training: leave one of them at 'auto'."
        )
    n_steps = plan.n_steps if given.n_training_steps == "auto" else int(given.n_training_steps)
    if est.max_iter != "auto":
        n_steps = int(np.ceil(est.max_iter * shape[0] / plan.batch_size))
    if n_steps != default.n_steps or est.max_iter != "auto":
        n_pilot_steps = min(n_pilot_steps, -(-n_steps // 4))
        if given.learning_rate == "auto":
            # At the default's rate, runs of more than twice its steps can end in spikes of the loss.
            slower = min(1.0, np.sqrt(default.n_steps / n_steps))
            plan = replace(plan, learning_rate=float(plan.learning_rate * slower))
        plan = replace(plan, n_steps=n_steps)
    if not est.early_stopping:
        plan = replace(plan, patience=0, keep_best=False)
    plan = replace(
        plan,
        decay_fraction=float(given.decay_fraction),
        n_nonzero_weights=given.n_nonzero_weights,
        weight_bound=given.weight_bound,
    )
    return plan, _given(n=given.n_pilot_steps).get("n", n_pilot_steps)


def _resolve_solver(est: Any, given: Options) -> SolverOptions:
    """The solver that the parameters ask for."""
    sigma_min = SIGMA_MIN if given.sigma_min == "auto" else float(given.sigma_min)
    if sigma_min >= given.sigma_max:
        raise ValueError(
            f"The 'sigma_min' option must lie below 'sigma_max'. Got {given.sigma_min!r} and {given.sigma_max!r}."
        )
    return SolverOptions(
        float(np.arctan(sigma_min)),
        float(np.arctan(given.sigma_max)),
        _given(solver=given.solver).get("solver"),
        _given(n_steps=est.n_steps).get("n_steps"),
    )


def _resolve_fine_tuning(
    est: Any, given: Options, shape: tuple[int, int], options: DiffusionOptions
) -> FineTuningPlan | None:
    """The plan of the fine-tuning that the parameters ask for, and allow."""
    obstacles = {
        "noise_intervals": len(options.network.edges) > 0,
        "hidden_layer_sizes": len(options.network.hidden_layer_sizes) not in (2, 3),  # no closed-form divergence
        "score_clip": given.score_clip is not None,
        "n_nonzero_weights": given.n_nonzero_weights is not None,
        "weight_bound": given.weight_bound is not None,
    }
    found = [name for name, there in obstacles.items() if there]
    if isinstance(given.fine_tune, str):
        possible = not found and est.max_iter == "auto" and est.early_stopping
        wanted = possible and fine_tuning_pays(*shape)
    else:
        wanted = bool(given.fine_tune)
    if wanted and found:
        raise ValueError(
            "fine_tune=True needs one interval of noise levels, two or three hidden layers and networks without "
            f"constraints: change {' and '.join(repr(name) for name in found)}, or set fine_tune='auto'."
        )
    return FineTuningPlan(weight_decay=options.training.weight_decay) if wanted else None


def _noise_limit(score_clip: float | str | None, n_samples: int) -> float | None:
    """Bound of the predicted noise, C sqrt(log n), or None."""
    if score_clip is None:
        return None
    constant = AUTOMATIC_CLIP if isinstance(score_clip, str) else score_clip
    return float(constant * np.sqrt(np.log(max(n_samples, 2))))
