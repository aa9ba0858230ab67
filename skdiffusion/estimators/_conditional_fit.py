"""The blend that answers where features are unknown: a split network beside the components in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities import Blend, Component, SplitDensity, TransformedDensity
from skdiffusion.diffusion.fitting import TRIAL_SOLVER_STEPS, DiffusionFit, Trial
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.out_of_fold import averaged_log_prob
from skdiffusion.diffusion.split_fitting import LENGTH, all_splits_network, fit_split_flow, split_flow, split_plan
from skdiffusion.estimators._stages import Beside, FitPlan, warn_if_interrupted
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
    tuning = diffusion.fine_tuning
    progress.conditionals(diffusion.training.n_steps + (0 if tuning is None else tuning.n_steps))
    unwhitened = diffusion.coordinates.preprocessor.unwhitened()
    covariance, mapped = diffusion.coordinates.preprocessor.whitening.correlation, data.mapped(unwhitened)
    known = [c for c in components if isinstance(c.density, TransformedDensity) and c.density.in_closed_form]
    options = _options_of_all_splits(data, components, covariance, plan)
    training = split_plan(replace(options.training, monitor=progress), data.n_trained)
    brief = replace(options.solver, n_steps=TRIAL_SOLVER_STEPS)
    beside = Beside(data, lambda: known, plan.components)
    trial = Trial(data, mapped, options, beside, lambda network: split_flow(network, covariance, brief).members())
    if diffusion.training.not_worthwhile:  # else they may be of weight late in a training that is longer
        training = trial.plan(training)
    flow, result = fit_split_flow(data, (mapped.z, covariance), options, training, data.rng.spawn(1)[0])
    warn_if_interrupted(result, training.n_steps)
    density = SplitDensity(unwhitened, flow)
    if not known:
        return Blend({"diffusion": density}, {"diffusion": 1.0})
    log_prob = averaged_log_prob(flow.members(), mapped, data.validation_folds)
    own = Component("diffusion", density, log_prob, "diffusion")
    known = [replace(c, held_out_log_prob=c.held_out_log_prob[: len(log_prob)]) for c in known]
    return Blend.of([own, *known], data.validation_weight[: len(log_prob)], plan.components)


def _options_of_all_splits(
    data: TrainingData, components: list[Component], covariance: np.ndarray, plan: FitPlan
) -> DiffusionOptions:
    """What the fit of the networks needs to know: their sizes, noise as low as the narrowest component, and the end.

    So many times longer is their training than that of one density, and so much less they must have learned early on.
    """
    narrowest = min([1.0, *(c.density.narrowest for c in components)]) * np.sqrt(np.linalg.eigvalsh(covariance)[0])
    options = plan.diffusion.adapted_to(float(narrowest)).ending_at(plan.deadline(), plan.deadline())
    return replace(
        options,
        network=all_splits_network(options.network, (data.n_trained, data.n_features)),
        min_trial_weight=options.min_trial_weight / LENGTH,
        min_trial_gain=options.min_trial_gain / LENGTH,
    )


def n_conditional_checks(data: TrainingData, plan: FitPlan) -> int:
    """Reports of the training of these networks at most."""
    return split_plan(plan.diffusion.training, data.n_trained).n_checks


def joint_part(plan: FitPlan) -> FitPlan:
    """The plan with the half of the time that the density of complete samples may take."""
    return plan if plan.max_seconds is None else replace(plan, max_seconds=plan.max_seconds / 2)
