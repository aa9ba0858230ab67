"""The fit of a blend: components of a target given its inputs, with weights of out-of-fold log-densities."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import floored
from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities import ComponentOptions, stacking_weights
from skdiffusion.densities.predictive._blend import PredictiveBlend, PredictiveComponent
from skdiffusion.densities.predictive._boosting import fit_boosted
from skdiffusion.densities.predictive._cells import MappedDistributions
from skdiffusion.densities.predictive._data import LeftOut, RegressionData
from skdiffusion.densities.predictive._design import Design
from skdiffusion.densities.predictive._flow import fit_target_flow
from skdiffusion.densities.predictive._forest import fit_forest
from skdiffusion.densities.predictive._joint import fit_joint_mixture, fit_joint_student_t
from skdiffusion.densities.predictive._network_fit import fit_networks, network_plan
from skdiffusion.densities.predictive._sharpening import Sharpening, l_skewness, rising
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.training import TrainingResult

COMPONENTS = ("trees", "forest", "mixture", "student", "network", "diffusion")
NETWORK_SHARE = 0.3  # of the time that is left for all networks
N_OF_SKEWNESS = 256  # samples of whose distributions the L-moments are averaged


@dataclass(frozen=True)
class PredictivePlan:
    """What a fit is asked for.

    Parameters
    ----------
    names : tuple of str
        Of the components, among `COMPONENTS`.
    options : DiffusionOptions
    search_deadline : float
        Moment of `time.perf_counter` from which no forest is grown and no mixture searched for.
    """

    names: tuple[str, ...]
    options: DiffusionOptions
    search_deadline: float = np.inf

    @property
    def trains_networks(self) -> bool:
        """Whether there are mixture density networks, in the blend or to choose what the flow learns."""
        return not {"network", "diffusion"}.isdisjoint(self.names)

    @property
    def n_checks(self) -> int:
        """Reports of all training runs at most."""
        return self.options.n_checks * (self.trains_networks + ("diffusion" in self.names))


class PredictiveFit(NamedTuple):
    """A blend, and how the training of its networks went, if there are some."""

    blend: PredictiveBlend
    training: TrainingResult | None
    n_epochs: int  # of this training, at least 1


def fit_predictive(data: RegressionData, plan: PredictivePlan, progress: FitProgress) -> PredictiveFit:
    """Fit the components that a plan names to samples in folds, and weigh them.

    Trees are fitted whatever the names, and mixture density networks where there is a flow: if trees say more than
    these of samples left out, the flow learns what trees leave, else the target as it is.
    """
    rng, result = data.target.rng.spawn(1)[0], None
    validated = np.concatenate(data.target.validation_folds)
    boosted, design = fit_boosted(data), Design.of(data)
    columns = design.transform(data.X)
    found: dict[str, tuple[PredictiveComponent, LeftOut]] = {"trees": (boosted.trees, boosted.left_out.take(validated))}
    in_time = time.perf_counter() < plan.search_deadline
    if "forest" in plan.names and (in_time or len(plan.names) == 1):
        forest, left_out = fit_forest(data, rng.spawn(1)[0])
        found["forest"] = forest, left_out.take(validated)
    in_time = time.perf_counter() < plan.search_deadline
    if "mixture" in plan.names and (in_time or len(plan.names) == 1):
        mixture, left_out = fit_joint_mixture(data, columns, rng, plan.search_deadline)
        found["mixture"] = mixture, left_out.take(validated)
    if "student" in plan.names:
        student, left_out = fit_joint_student_t(data, columns)
        found["student"] = student, left_out.take(validated)
    if plan.trains_networks:
        options = plan.options if "diffusion" not in plan.names else _early(plan.options)
        networks, left_out, result = fit_networks(data, columns, options, rng, progress)
        found["network"] = networks, left_out.take(validated)
        gaps = floored(boosted.left_out.log_prob, 1) - floored(left_out.log_prob, 1)
        trees_lead, trained = np.average(gaps, weights=data.weight) > 0, network_plan(plan.options.training)
    ended = result is not None and (result.interrupted or progress.stopped)
    in_time = collective().clock() < plan.options.training.deadline
    if "diffusion" in plan.names and not ended and (in_time or len(plan.names) == 1):
        outputs = boosted.outputs if trees_lead else None
        flow, left_out, result = fit_target_flow(data, columns, outputs, plan.options, progress)
        found["diffusion"], trained = (flow, left_out), plan.options.training
    named = {name: found[name] for name in found if name in plan.names} or {"trees": found["trees"]}
    components = {name: component for name, (component, _) in named.items()}
    by_name = {name: left_out for name, (_, left_out) in named.items()}
    weights = _weights(by_name, data.weight[validated])
    blend = PredictiveBlend(design, boosted.trees, components, weights, None)
    blend = replace(blend, sharpening=_sharpening(blend, by_name, data, validated))
    n_seen = 0 if result is None else result.n_steps * trained.batch_size
    n_epochs = max(1, -(-n_seen // len(data.z)))
    return PredictiveFit(blend, result, n_epochs)


def _early(options: DiffusionOptions) -> DiffusionOptions:
    """The same, of a training that leaves most of the time for another."""
    now, deadline = collective().clock(), options.training.deadline
    return options.ending_at(now + NETWORK_SHARE * (deadline - now), deadline)


def _weights(left_out: Mapping[str, LeftOut], sample_weight: np.ndarray) -> dict[str, float]:
    """Weights of the components of greatest out-of-fold log-density, of which a Student-t keeps some."""
    options = ComponentOptions()
    least = np.array([options.min_student_weight if name == "student" else 0.0 for name in left_out])
    weights = np.ones(1)
    if len(left_out) > 1:
        log_prob = np.stack([one.log_prob for one in left_out.values()], axis=1)
        weights = stacking_weights(log_prob, sample_weight, least)
        weights[weights < options.negligible_weight] = 0.0
        weights /= weights.sum()
    return dict(zip(left_out, weights.tolist()))


def _sharpening(
    blend: PredictiveBlend, left_out: Mapping[str, LeftOut], data: RegressionData, validated: np.ndarray
) -> Sharpening | None:
    """The shares of order statistics that raise the log-density of the blend most and keep the mean of y.

    The log-density is of samples left out, the mean of distributions at samples of the fit: only their shape counts.
    """
    cdf = np.sum([blend.weights[name] * one.cdf for name, one in left_out.items()], axis=0)
    some = np.unique(np.linspace(0, len(data.X) - 1, N_OF_SKEWNESS).round().astype(int))
    y, mass = MappedDistributions(blend.given(data.X[some]), data.target_map, data.reach).nodes()
    sharpening = Sharpening.fit(cdf, data.weight[validated], l_skewness(*rising(y, mass), data.weight[some]))
    return sharpening if sharpening.share > ComponentOptions().negligible_weight else None


def network_shape(n_samples: int, n_columns: int) -> tuple[int, int]:
    """Samples and features of the networks of a target: its residual, and beside the columns two outputs of trees."""
    return n_samples, n_columns + 3
