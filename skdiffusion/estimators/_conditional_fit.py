"""The blend that answers where features are unknown: a split network beside the components in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdiffusion.densities import Blend, Component, SplitDensity, TransformedDensity
from skdiffusion.diffusion.fitting import log_prob_of_members
from skdiffusion.diffusion.split_fitting import fit_split_flow
from skdiffusion.estimators._stages import FitPlan, warn_if_interrupted
from skdiffusion.preprocessing import Preprocessor, TrainingData


def fit_conditional_blend(
    data: TrainingData, preprocessor: Preprocessor, components: list[Component], plan: FitPlan
) -> Blend:
    """Train the networks of all splits behind the feature transforms of the diffusion, and weigh them.

    The weights are those of out-of-fold log-densities of complete samples by the networks that answer. Regressions,
    whose marginals are not known, are left out.

    Parameters
    ----------
    data : TrainingData
        Its generator is not asked, but for a stream of its own: nothing else is changed.
    preprocessor : Preprocessor
        Of the diffusion.
    components : list of Component
        The others of the blend of complete samples.
    plan : FitPlan
    """
    covariance = preprocessor.whitening.correlation
    narrowest = min([1.0, *(c.density.narrowest for c in components)]) * np.sqrt(np.linalg.eigvalsh(covariance)[0])
    options = plan.diffusion.adapted_to(float(narrowest)).ending_at(plan.deadline(), plan.deadline())
    unwhitened = preprocessor.unwhitened()
    mapped = data.mapped(unwhitened)
    flow, result = fit_split_flow(data, mapped.z, covariance, options, data.rng.spawn(1)[0])
    warn_if_interrupted(result, options.training.n_steps)
    density = SplitDensity(unwhitened, flow)
    known = [c for c in components if isinstance(c.density, TransformedDensity) and c.density.in_closed_form]
    if not known:
        return Blend({"diffusion": density}, {"diffusion": 1.0})
    log_prob = log_prob_of_members(flow.members(), mapped, data.validation_folds)
    own = Component("diffusion", density, log_prob, "diffusion")
    return Blend.of([own, *known], data.validation_weight, plan.components)


def joint_part(plan: FitPlan) -> FitPlan:
    """The plan with the half of the time that the density of complete samples may take."""
    return plan if plan.max_seconds is None else replace(plan, max_seconds=plan.max_seconds / 2)
