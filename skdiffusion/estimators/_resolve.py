"""What the parameters and options of an estimator resolve to for the table at hand."""

from __future__ import annotations

from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from skdiffusion.densities import ComponentOptions
from skdiffusion.diffusion.options import (
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
    steps_without_fine_tuning,
    stops_apart,
    trial_pays,
)
from skdiffusion.diffusion.training import FineTuningPlan, TrainingPlan
from skdiffusion.estimators._options import Options

N_FOLDS = 8  # of "auto", unless there are more networks
MIN_TRIAL_WEIGHT = 0.1  # of "auto", where there is a trial of the networks
AUTOMATIC_CLIP = 2.0  # times sqrt(log n): true scores do not reach it


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
    est: Any, shape: tuple[int, int], device: torch.device, initial: Network | None = None, fine_tunes: bool = True
) -> DiffusionOptions:
    """What the parameters of an estimator ask for, for a table of this shape.

    Parameters
    ----------
    est : DiffusionDensityEstimator
    shape : (n_samples, n_features)
    device : torch device
    initial : network, optional
        Of an earlier fit, whose architecture is kept.
    fine_tunes : bool, default=True
        Whether there is a likelihood fine-tuning of such networks.

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
    training, n_pilot_steps = _resolve_training(est, given, shape, fine_tunes)
    training = replace(training, sigma_range=(float(np.tan(solver.theta_min)), float(given.sigma_max)))
    n_folds = _resolve_folds(est, given, shape[0], network.n_members)
    network = replace(network, n_members=int(min(network.n_members, n_folds)), edges=edges)
    options = DiffusionOptions(
        network=network,
        training=training,
        solver=solver,
        n_pilot_steps=n_pilot_steps,
        n_folds=n_folds,
        stops_apart=stops_apart(*shape),
        noise_limit=_noise_limit(given.score_clip, shape[0]),
        min_correlation_gain=float(given.min_correlation_gain),
        min_trial_weight=_min_trial_weight(est, given, shape[0], edges),
        min_trial_gain=float(given.min_trial_gain),
        adapts_sigma_min=isinstance(given.sigma_min, str),
        equal_intervals=isinstance(given.noise_intervals, Integral),
    )
    return replace(options, fine_tuning=_resolve_fine_tuning(est, given, shape, options) if fine_tunes else None)


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


def _resolve_training(est: Any, given: Options, shape: tuple[int, int], fine_tunes: bool) -> tuple[TrainingPlan, int]:
    """The plan of training that the parameters ask for, and the steps of the short runs before it."""
    default, n_pilot_steps = default_training(*shape)
    asked = {"batch_size": given.batch_size, "learning_rate": given.learning_rate, "patience": given.patience}
    asked |= {"weight_decay": given.weight_decay, "n_target_samples": given.n_target_samples}
    plan = replace(default, **_given(**asked))
    plan = replace(plan, **_given(n_first_target_samples=given.n_target_samples))
    if est.max_iter != "auto" and given.n_training_steps != "auto":
        raise ValueError(
            "'max_iter' and the 'n_training_steps' option both set the length of training: leave one of them at 'auto'."
        )
    automatic = plan.n_steps if fine_tunes else steps_without_fine_tuning(plan, shape[0])
    n_steps = automatic if given.n_training_steps == "auto" else int(given.n_training_steps)
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


def _min_trial_weight(est: Any, given: Options, n_samples: int, edges: tuple[float, ...]) -> float:
    """Weight in the blend below which training ends early; 0 where a length of training, or fine-tuning, is asked for.

    Networks of one interval of noise levels know nothing of those of the others.
    """
    asked = est.max_iter != "auto" or given.n_training_steps != "auto" or given.fine_tune is True
    if asked or edges or not est.early_stopping:
        return 0.0
    automatic = MIN_TRIAL_WEIGHT if trial_pays(n_samples) else 0.0
    return automatic if isinstance(given.min_trial_weight, str) else float(given.min_trial_weight)


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
