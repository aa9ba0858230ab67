"""A round of training on a stream: networks go on from where they are, and the blend is weighed again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import clearly_better, floored
from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities import Blend, Component, ComponentOptions, TransformedDensity
from skdiffusion.densities import out_of_fold_log_prob as out_of_fold_blend
from skdiffusion.diffusion.fitting import train_further
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.out_of_fold import network_gain, out_of_fold_log_prob
from skdiffusion.diffusion.training import TrainingResult
from skdiffusion.estimators._following import best_window, following
from skdiffusion.estimators._replay import ReplayBuffer
from skdiffusion.preprocessing import MappedData, TrainingData

ROUND_SHARE = 0.05  # of the samples kept: so many new ones make a round
MARGIN = 1.0  # standard errors of a gain on samples left out


def log_prob_of_others(blend: Blend, X: np.ndarray) -> np.ndarray:
    """Log-densities of the closed-form components of a blend, shape (n_samples, n_components), whatever they weigh."""
    others = [density for name, density in blend.densities.items() if name != "diffusion"]
    return np.stack([density.log_prob(X) for density in others], axis=1) if others else np.empty((len(X), 0))


@dataclass(frozen=True)
class Round:
    """The samples and the blend that a round of training starts from."""

    buffer: ReplayBuffer
    blend: Blend
    options: ComponentOptions
    rng: np.random.Generator

    @property
    def diffusion(self) -> TransformedDensity:
        """The component whose networks go on."""
        density = self.blend.densities["diffusion"]
        assert isinstance(density, TransformedDensity)
        return density

    @property
    def flow(self) -> ProbabilityFlow:
        """Its flow."""
        assert isinstance(self.diffusion.density, ProbabilityFlow)
        return self.diffusion.density

    @cached_property
    def data(self) -> TrainingData:
        """The samples of the buffer."""
        return self.buffer.training_data(self.flow.network_field.network.n_members, self.rng)

    @cached_property
    def mapped(self) -> MappedData:
        """The same behind the preprocessor."""
        preprocessor = self.diffusion.preprocessor
        z, _ = preprocessor.transform(self.data.X)
        return MappedData(preprocessor, z, self.buffer.z_left_out, self.buffer.log_det_left_out)

    @cached_property
    def components(self) -> list[Component]:
        """The components of the blend, with what they say of the folds."""
        return self._components(self.flow)

    def run(self, options: DiffusionOptions, progress: FitProgress) -> tuple[Round, TrainingResult, float]:
        """Train the networks on the samples of the buffer, move mixtures, and keep what samples left out gain by.

        Returns
        -------
        Round
            With the samples and the blend that the next round starts from.
        TrainingResult
        float
            What its networks gain over a Gaussian: see `network_gain`.
        """
        field = self.flow.network_field
        result = train_further(field, self.mapped.z, self.data, options, progress)
        moved = self._components(replace(self.flow, field=field.with_network(result.network)))
        own, *others = self._better(moved, self.components)
        followed = [following(component, self.data, self.options.max_restart_cost) for component in others]
        own, *others = self._better([own, *followed], [own, *others])
        blend = Blend.of([own, *others], self.data.validation_weight, self.options)
        log_prob = [component.held_out_log_prob for component in others]
        after = replace(self, buffer=self.buffer.trained(self.data.validated, log_prob), blend=blend)
        return after, result, network_gain(after.flow, self.mapped, self.data)

    def forgetting(self) -> Round:
        """The same without earlier samples, if fewer of them say more of the latest ones.

        So the samples kept become fewer while a density moves, however slowly, and more where it stays (compare Bifet
        and Gavalda, 2007, Learning from time-changing data with adaptive windowing).
        """
        n_kept = collective().first(best_window(self.data, self.blend, self.options.max_restart_cost))
        return replace(self, buffer=self.buffer.latest(n_kept))

    def _better(self, moved: list[Component], components: list[Component]) -> list[Component]:
        """Components that have moved, if the blend at samples left out gains clearly by it; the others if not."""
        weight = self.data.validation_weight
        gains = clearly_better(self._out_of_fold(moved), self._out_of_fold(components), weight / weight.sum(), MARGIN)
        return moved if gains else components

    def _out_of_fold(self, components: list[Component]) -> np.ndarray:
        """Log-densities of the blend of components at the validation samples."""
        return out_of_fold_blend(components, self.data.validation_weight, self.options)

    def _components(self, flow: ProbabilityFlow) -> list[Component]:
        """`components` with a flow in the place of that of the diffusion."""
        log_prob = out_of_fold_log_prob(flow, self.mapped, self.data.validation_folds)
        names = [name for name in self.blend.densities if name != "diffusion"]
        if not names:
            log_prob = floored(log_prob, self.data.n_features)
        others = [
            Component(name, self.blend.densities[name], column, name, min_weight=least)
            for name, column, least in zip(names, self.buffer.log_prob[self.data.validated].T, self.buffer.min_weights)
        ]
        return [Component("diffusion", replace(self.diffusion, density=flow), log_prob, "diffusion"), *others]
