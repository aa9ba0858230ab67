"""The stages of a fit, as `DiffusionDensityEstimator.fit` calls them: transforms, components, diffusion, blend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import floored
from skdiffusion._utils.progress import (
    CLOSED_FORM_SHARE,
    DENOISING_SHARE,
    PILOT_SHARE,
    SEARCH_SHARE,
    TRAINING_SHARE,
    FitProgress,
    training_deadline,
)
from skdiffusion._utils.protocols import Density
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import (
    Blend,
    Component,
    ComponentOptions,
    TransformedDensity,
    blend_weights,
    feature_transform_candidates,
    improved,
    validation_score,
)
from skdiffusion.densities.components import ComponentTasks, Spaces, TimeLimits, begin_components
from skdiffusion.diffusion.fitting import Coordinates, DiffusionFit, choose_coordinates, fit_diffusion
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.out_of_fold import out_of_fold_log_prob
from skdiffusion.diffusion.training import TrainingPlan, TrainingResult
from skdiffusion.exceptions import DegenerateDataWarning, InterruptedFitWarning, UntrainedNetworkWarning
from skdiffusion.manifold import support_dimension
from skdiffusion.preprocessing import Preprocessor, Resolution, TrainingData


@dataclass(frozen=True)
class FitPlan:
    """What the parameters of an estimator ask of a fit.

    Parameters
    ----------
    feature_transform : str or None
    component_names : list of str
        Of the components in closed form.
    diffusion : DiffusionOptions
    components : ComponentOptions
    max_seconds : float or None
    started : float
        Moment of `Collective.clock`.
    """

    feature_transform: str | None
    component_names: list[str]
    diffusion: DiffusionOptions
    components: ComponentOptions
    max_seconds: float | None = None
    started: float = field(default_factory=lambda: collective().clock())

    def deadline(self, share: float = TRAINING_SHARE) -> float:
        """Moment at which a share of the time is over."""
        return training_deadline(self.started, self.max_seconds, share)


def candidate_preprocessors(data: TrainingData, plan: FitPlan) -> list[Preprocessor]:
    """The preprocessors that the diffusion may have, of which those of the other components are two."""
    first, transforms = feature_transform_candidates(data, plan.feature_transform)
    return [Preprocessor(data.X, data.sample_weight, t, data.bounds, first) for t in transforms]


def choose_diffusion_coordinates(data: TrainingData, preprocessors: list[Preprocessor], plan: FitPlan) -> Coordinates:
    """The coordinates of the diffusion, chosen within their share of the time."""
    return choose_coordinates(data, preprocessors, replace(plan.diffusion, pilot_deadline=plan.deadline(PILOT_SHARE)))


def spaces_of(data: TrainingData, preprocessors: list[Preprocessor]) -> Spaces:
    """The preprocessor without a transform, which is made if there is none, and the one with a transform."""
    plain = next((p for p in preprocessors if p.feature_transform is None), None)
    plain = plain or Preprocessor(data.X, data.sample_weight, None, data.bounds, preprocessors[0].first)
    return Spaces(plain, next((p for p in preprocessors if p.feature_transform is not None), None))


def begin_closed_forms(data: TrainingData, spaces: Spaces, plan: FitPlan) -> ComponentTasks:
    """Begin to fit the components in closed form."""
    limits = TimeLimits()
    if plan.max_seconds is not None:
        limits = TimeLimits(SEARCH_SHARE * plan.max_seconds, plan.deadline(CLOSED_FORM_SHARE))
    # A stream of their own: the networks are the same whatever the components draw.
    return begin_components(data, spaces, plan.component_names, plan.components, data.rng.spawn(1)[0], limits)


@dataclass(frozen=True)
class Beside:
    """The components in closed form, beside which the diffusion is weighed at some of the validation samples."""

    data: TrainingData
    others: Callable[[], list[Component]]  # which training need not wait for
    options: ComponentOptions

    @property
    def components(self) -> list[Component]:
        """The components."""
        return self.others()

    def _all(self, log_prob: np.ndarray, places: np.ndarray) -> list[Component]:
        others = [replace(c, held_out_log_prob=c.held_out_log_prob[places]) for c in self.components]
        return [Component("diffusion", Density(), log_prob, "diffusion"), *others]

    def score(self, log_prob: np.ndarray, places: np.ndarray) -> float:
        """Mean log-density of the blend at these places, in nats."""
        alone = log_prob if self.components else floored(log_prob, self.data.n_features)
        return validation_score(self._all(alone, places), self.data.validation_weight[places], self.options)

    def worth(self, log_prob: np.ndarray, places: np.ndarray) -> tuple[float, float]:
        """Weight of the diffusion in the blend, and the nats a sample by which it raises the blend."""
        (own, *others), sample_weight = self._all(log_prob, places), self.data.validation_weight[places]
        if not others:
            return 1.0, np.inf
        weight = float(blend_weights([own, *others], sample_weight, self.options)[0])
        scores = [validation_score(all_of, sample_weight, self.options) for all_of in ([own, *others], others)]
        return weight, scores[0] - scores[1]


def fit_flow(
    data: TrainingData, coordinates: Coordinates, closed_forms: ComponentTasks, plan: FitPlan, progress: FitProgress
) -> DiffusionFit:
    """The diffusion model, within its share of the time; what the whole blend gains decides how long it is trained."""
    share = TRAINING_SHARE if plan.diffusion.fine_tuning is None else DENOISING_SHARE
    options = plan.diffusion.ending_at(plan.deadline(share), plan.deadline())
    if not plan.component_names:
        options = replace(options, min_trial_weight=0.0)  # nothing else could do what the networks do
    return fit_diffusion(data, coordinates, options, Beside(data, closed_forms.all, plan.components), progress)


def stack(
    data: TrainingData, diffusion: DiffusionFit, components: list[Component], plan: FitPlan
) -> tuple[Blend, list[Component]]:
    """The blend of the diffusion with the other components, and these; those of weight fitted again with more work."""
    preprocessor = diffusion.coordinates.preprocessor
    density = TransformedDensity(preprocessor, diffusion.flow)
    if not components:
        return Blend({"diffusion": density}, {"diffusion": 1.0}), []
    log_prob = out_of_fold_log_prob(diffusion.flow, data.mapped(preprocessor), data.validation_folds)
    everything = [Component("diffusion", density, log_prob, "diffusion"), *components]
    everything = improved(everything, data.validation_weight, plan.components, plan.deadline())
    return Blend.of(everything, data.validation_weight, plan.components), everything[1:]


def warn_of_fit(data: TrainingData, diffusion: DiffusionFit, options: DiffusionOptions) -> None:
    """Warn of an interrupted fit, of untrained networks, and of samples on a set of lower dimension."""
    tuning, plan = diffusion.fine_tuning, options.fine_tuning
    if tuning is not None and plan is not None and tuning.interrupted:
        warn_user(
            f"The fit was interrupted after {tuning.n_steps} of {plan.n_steps} steps of its fine-tuning: the best "
            "weights so far are kept.",
            InterruptedFitWarning,
        )
    warn_if_interrupted(diffusion.training, options.training.n_steps)
    if options.network.initial is None and (tuning is None or not tuning.best_step.any()):
        warn_if_untrained(diffusion.training, options.training)
    preprocessor = diffusion.coordinates.preprocessor
    z = data.mapped(preprocessor).z[data.folds[0]]
    k = support_dimension(preprocessor.to_one_scale(data.X), diffusion.flow.field, z, data.rng)
    if k is not None:
        warn_user(
            f"The samples of X lie on or very near a set of dimension {k} of {data.n_features}: a density with respect "
            "to the volume of all features is then arbitrarily large. ManifoldDiffusionEstimator models such samples.",
            DegenerateDataWarning,
        )


def warn_if_interrupted(result: TrainingResult, n_steps: int) -> None:
    """Warn of a training run that Ctrl-C ended, and say how far it got."""
    if result.interrupted:
        warn_user(
            f"The fit was interrupted after {result.n_steps} of {n_steps} steps: the best weights so far are kept. Fit "
            "again, or with warm_start=True to continue.",
            InterruptedFitWarning,
        )


def warn_if_untrained(result: TrainingResult, plan: TrainingPlan) -> None:
    """Warn of untrained networks that early stopping kept before its patience was over.

    Where more steps were of no use either, to the networks or to the blend, they are what suits the samples, as where
    these are Gaussian.
    """
    keeps_first = plan.keep_best and len(result.validation_curve) > 0 and not result.best_step.any()
    if keeps_first and not (result.interrupted or result.not_worthwhile) and result.n_steps < plan.patience:
        limit = "'max_fit_seconds'" if result.out_of_time else "'max_iter' or the 'n_training_steps' option"
        warn_user(
            "Early stopping kept the untrained networks, which are a Gaussian whatever the 'hidden_layer_sizes': in "
            f"{result.n_steps} steps of training their loss on samples left out did not fall. To train longer, raise "
            f"{limit}. Where 'network_gain_' stays at 0 then, networks learn nothing from these samples that a "
            "Gaussian lacks.",
            UntrainedNetworkWarning,
        )


def warn_of_constant_features(resolution: Resolution) -> None:
    """Warn of features that have no density."""
    constant = resolution.constant
    if len(constant):
        warn_user(
            f"Features {constant.tolist()} are constant and have no density: they are given a nominal resolution. Drop "
            "them to compare log-densities.",
            DegenerateDataWarning,
        )


def warn_of_moved_constants(data: TrainingData) -> None:
    """Warn of features that were constant in the first fit, and are not what they were."""
    assert data.given is not None
    constants = {int(j): data.resolution.spikes[j][0] for j in data.resolution.constant}
    moved = [j for j, value in constants.items() if not np.allclose(data.given[:, j], value, rtol=1e-9, atol=0)]
    if moved:
        warn_user(
            f"Features {moved} were constant in the first call and have other values now, which "
            "partial_fit does not learn: call fit.",
            DegenerateDataWarning,
        )
