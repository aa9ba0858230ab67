"""The blend that answers where features are unknown: a split network beside the components in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities import Blend, Component, SplitDensity, TransformedDensity
from skdiffusion.diffusion.fitting import DiffusionFit
from skdiffusion.diffusion.out_of_fold import averaged_log_prob
from skdiffusion.diffusion.split_fitting import all_splits_network, fit_split_flow, split_plan
from skdiffusion.estimators._stages import FitPlan, warn_if_interrupted
from skdiffusion.preprocessing import TrainingData


def fit_conditional_blend(
    data: TrainingData, diffusion: DiffusionFit, components: list[Component], plan: FitPlan, progress: FitProgress
) -> Blend:
    """Train the networks of all splits behind the feature transforms of the diffusion, and weigh them.

    The weights are those of out-of-fold log-densities of complete samples by the networks that answer, on as many
    validation folds as there are networks. Regressions, whose marginals are not known, are left out.

    Parameters
    ----------
    data : TrainingData
        Its generator is not asked, but for a stream of its own: nothing else is changed.
    diffusion : DiffusionFit
        That of complete samples.
    components : list of Component
        The others of their blend.
    plan : FitPlan
    progress : FitProgress
    """
    preprocessor, tuning = diffusion.coordinates.preprocessor, diffusion.fine_tuning
    progress.conditionals(diffusion.training.n_steps + (0 if tuning is None else tuning.n_steps))
    covariance = preprocessor.whitening.correlation
    narrowest = min([1.0, *(c.density.narrowest for c in components)]) * np.sqrt(np.linalg.eigvalsh(covariance)[0])
    options = plan.diffusion.adapted_to(float(narrowest)).ending_at(plan.deadline(), plan.deadline())
    options = replace(options, network=all_splits_network(options.network, (data.n_trained, data.n_features)))
    training = split_plan(replace(options.training, monitor=progress), data.n_trained)
    unwhitened = preprocessor.unwhitened()
    mapped = data.mapped(unwhitened)
    flow, result = fit_split_flow(data, (mapped.z, covariance), options, training, data.rng.spawn(1)[0])
    warn_if_interrupted(result, training.n_steps)
    density = SplitDensity(unwhitened, flow)
    known = [c for c in components if isinstance(c.density, TransformedDensity) and c.density.in_closed_form]
    if not known:
        return Blend({"diffusion": density}, {"diffusion": 1.0})
    log_prob = averaged_log_prob(flow.members(), mapped, data.validation_folds)
    own = Component("diffusion", density, log_prob, "diffusion")
    known = [replace(c, held_out_log_prob=c.held_out_log_prob[: len(log_prob)]) for c in known]
    return Blend.of([own, *known], data.validation_weight[: len(log_prob)], plan.components)


def n_conditional_checks(data: TrainingData, plan: FitPlan) -> int:
    """Reports of the training of these networks at most."""
    return split_plan(plan.diffusion.training, data.n_trained).n_checks


def joint_part(plan: FitPlan) -> FitPlan:
    """The plan with the half of the time that the density of complete samples may take."""
    return plan if plan.max_seconds is None else replace(plan, max_seconds=plan.max_seconds / 2)
