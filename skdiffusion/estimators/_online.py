"""A round of training on a stream: networks go on from where they are, and the blend is weighed again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import ks_2samp

from skdiffusion._utils.numerics import clearly_better, effective_number, floored
from skdiffusion._utils.progress import FitProgress
from skdiffusion.densities import Blend, Component, ComponentOptions, TransformedDensity
from skdiffusion.densities import out_of_fold_log_prob as out_of_fold_blend
from skdiffusion.diffusion.fitting import network_gain, out_of_fold_log_prob, train_further
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.options import DiffusionOptions
from skdiffusion.diffusion.training import TrainingResult
from skdiffusion.estimators._replay import ReplayBuffer
from skdiffusion.preprocessing import MappedData, TrainingData

ROUND_SHARE = 0.05  # of the samples kept: so many new ones make a round
MARGIN = 1.0  # standard errors of a gain on samples left out
MOVED = 1e-4  # level of the test for a density that has moved


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
        """Train the networks on the samples of the buffer, and keep what samples left out gain by.

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
        weight = self.data.validation_weight
        gains = clearly_better(
            self._out_of_fold(moved), self._out_of_fold(self.components), weight / weight.sum(), MARGIN
        )
        blend = Blend.of(moved if gains else self.components, weight, self.options)
        after = replace(self, buffer=self.buffer.trained(), blend=blend)
        return after, result, network_gain(after.flow, self.mapped, self.data)

    def forgetting(self) -> Round:
        """The same without earlier samples, if the density seems to have moved.

        The log-densities of samples that no network has seen are compared with those of the samples that wait, which
        none has seen either: where their distributions differ, the earlier half is forgotten. So the samples kept
        become fewer while a density moves, and more where it stays (compare Bifet and Gavalda, 2007, Learning from
        time-changing data with adaptive windowing).
        """
        waiting, weight = self.buffer.waiting[self.data.validated], self.data.validation_weight
        log_prob = self._out_of_fold(self.components)
        parts = [self._drawn(log_prob[part], weight[part]) for part in (~waiting, waiting)]
        if min(map(len, parts)) and ks_2samp(*parts, method="asymp").pvalue < MOVED:
            return replace(self, buffer=self.buffer.forgetting())
        return self

    def _drawn(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """As many values as the effective number of their weights, drawn by these."""
        if len(values) == 0 or np.ptp(weight) == 0:
            return values
        return self.rng.choice(values, max(1, int(effective_number(weight))), p=weight / weight.sum())

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
