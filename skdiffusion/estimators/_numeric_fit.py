"""The fit of samples that are numbers: transforms, components in closed form, diffusion, blend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.processes import n_helpers
from skdiffusion._utils.progress import (
    PILOT_SHARE,
    FitProgress,
    affordable_in_memory,
    affordable_samples,
    training_deadline,
)
from skdiffusion.densities import Component, KernelSources, completed_samples
from skdiffusion.densities.components import ComponentTasks
from skdiffusion.diffusion.fitting import Coordinates, DiffusionFit
from skdiffusion.diffusion.out_of_fold import network_gain
from skdiffusion.estimators._conditional_fit import fit_conditional_blend, joint_part, n_conditional_checks
from skdiffusion.estimators._fit_input import FitInput
from skdiffusion.estimators._replay import ReplayBuffer
from skdiffusion.estimators._stages import (
    FitPlan,
    begin_closed_forms,
    candidate_preprocessors,
    choose_diffusion_coordinates,
    fit_flow,
    spaces_of,
    stack,
    warn_of_constant_features,
    warn_of_fit,
)
from skdiffusion.estimators._unresolved import warn_of_unresolved_features
from skdiffusion.preprocessing import TrainingData

if TYPE_CHECKING:
    from skdiffusion.estimators._density import DiffusionDensityEstimator


class NumericFit:
    """The fit of one table of numbers.

    Parameters
    ----------
    estimator : DiffusionDensityEstimator
    begun : FitInput
    """

    def __init__(self, estimator: DiffusionDensityEstimator, begun: FitInput) -> None:
        self.estimator, rng, seconds = estimator, begun.rng, estimator.max_fit_seconds
        samples = begun.samples.drawn(affordable_in_memory(seconds), rng)
        incomplete = bool(np.isnan(samples.X).any())
        self.observed = samples.X
        if incomplete:
            self.observed, samples = completed_samples(
                samples, begun.bounds, rng.spawn(1)[0], training_deadline(begun.started, seconds, PILOT_SHARE)
            )
        self.samples = samples
        data = replace(TrainingData.of(samples, begun.bounds, rng), reservoir=begun.reservoir)
        warn_of_constant_features(data.resolution)
        self.previous = estimator._previous(data.n_features) if estimator.warm_start else None
        plan = estimator._plan((data.n_trained, data.n_features), self.previous)
        self.whole_plan = replace(plan, started=begun.started, diffusion=plan.diffusion.kept_in(begun.checkpoint))
        asked = estimator.fit_conditionals
        self.conditionals = data.n_features > 1 and (incomplete if asked == "auto" else bool(asked))
        plan = joint_part(self.whole_plan) if self.conditionals else self.whole_plan
        n_folds, affordable = plan.diffusion.n_folds, affordable_samples(seconds)
        self.data, self.plan = data.split(n_folds, plan.diffusion.network.n_members, affordable), plan

    def run(self) -> None:
        """Fit everything, and set the attributes of the estimator."""
        estimator, data = self.estimator, self.data
        coordinates, closed_forms = self._closed_forms()
        narrowest = min([1.0, *(c.density.narrowest for c in closed_forms.independent())]) * coordinates.narrowest
        plan = replace(self.plan, diffusion=self.plan.diffusion.adapted_to(narrowest))
        n_checks = plan.diffusion.n_checks + self.conditionals * n_conditional_checks(data, plan)
        with FitProgress(estimator, n_checks) as progress:
            diffusion = fit_flow(data, coordinates, closed_forms, plan, progress)
            estimator.blend_, components = stack(data, diffusion, closed_forms.all(), plan)
            if self.conditionals and not (diffusion.training.interrupted or progress.stopped):
                estimator.conditional_blend_ = fit_conditional_blend(
                    data, diffusion, components, self.whole_plan, progress
                )
        warn_of_fit(data, diffusion, plan.diffusion)
        warn_of_unresolved_features(data.X, estimator.blend_)
        self._set_attributes(coordinates, components)
        self._tell_of_training(diffusion, plan)

    def _closed_forms(self) -> tuple[Coordinates, ComponentTasks]:
        """The coordinates of the diffusion, those of an earlier fit where it goes on, and the other components.

        These go on beside the diffusion where helpers fit them.
        """
        data, plan = self.data, self.plan
        if self.previous is None:
            preprocessors = candidate_preprocessors(data, plan)
            closed_forms = begin_closed_forms(data, spaces_of(data, preprocessors), plan)
            if n_helpers() and plan.max_seconds is None:
                closed_forms.independent()  # the longest tasks come first, so that none is waited for at last
            coordinates = choose_diffusion_coordinates(data, preprocessors, plan)
        else:
            preprocessor = self.estimator.preprocessor_
            coordinates = Coordinates(preprocessor, self.previous.reference)
            closed_forms = begin_closed_forms(data, spaces_of(data, [preprocessor]), plan)
        if n_helpers():
            return coordinates, closed_forms
        # Machines differ by round-off, and so in their choices.
        return collective().first((coordinates, closed_forms.finished()))

    def _set_attributes(self, coordinates: Coordinates, components: list[Component]) -> None:
        """Set the attributes that describe the density, and those that `partial_fit` goes on from."""
        estimator, data = self.estimator, self.data
        estimator.component_weights_, estimator.preprocessor_ = estimator.blend_.weights, coordinates.preprocessor
        estimator.feature_scale_, estimator._resolution = self.samples.scale, data.resolution
        if data.completed is not None:
            estimator._kernel_sources = KernelSources.of(self.observed, data.completed.source)
        rng = np.random.default_rng([estimator._sample_seed, 0])
        estimator._replay = ReplayBuffer.of_fit(data, data.mapped(coordinates.preprocessor), components, rng)

    def _tell_of_training(self, diffusion: DiffusionFit, plan: FitPlan) -> None:
        """Set the attributes that tell how training went."""
        estimator, data, result, tuning = self.estimator, self.data, diffusion.training, diffusion.fine_tuning
        estimator.network_gain_ = network_gain(diffusion.flow, data.mapped(estimator.preprocessor_), data)
        passes = result.n_steps * plan.diffusion.training.batch_size / data.n_trained
        estimator.n_iter_ = max(1, int(np.ceil(passes)))
        estimator.likelihood_curve_ = np.array([] if tuning is None else tuning.validation_curve).reshape(-1, 2)
        estimator.loss_curve_ = np.array(result.loss_curve).reshape(-1, 2)
        scores = np.array(result.validation_curve).reshape(-1, 2)
        estimator.validation_scores_ = np.column_stack([scores[:, 0], 1 - scores[:, 1]])
        estimator.loss_by_noise_ = result.loss_by_noise
        estimator.best_validation_score_ = float(estimator.validation_scores_[:, 1].max()) if len(scores) else np.nan
