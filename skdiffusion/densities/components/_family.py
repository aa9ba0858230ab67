"""What a family of components is, and what its fit is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion.densities import Component, ComponentOptions, out_of_fold_log_prob
from skdiffusion.preprocessing import Preprocessor, TrainingData


@dataclass(frozen=True)
class Spaces:
    """The preprocessors behind which components are fitted."""

    plain: Preprocessor  # without a feature transform
    mapped: Preprocessor | None = None  # with the transform that suits the samples best; None if that is none

    def by_prefix(self) -> dict[str, Preprocessor]:
        """The spaces by the prefix that they give to the name of a component."""
        return {"": self.plain} if self.mapped is None else {"mapped_": self.mapped, "": self.plain}


@dataclass(frozen=True)
class TimeLimits:
    """The time that the fit of components may take."""

    search_seconds: float = np.inf  # of the search for the number of Gaussians of each mixture
    deadline: float = np.inf  # moment of `Collective.clock` after which no family is begun

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return collective().clock() > self.deadline


@dataclass
class ComponentFit:
    """The state of a fit of components, which every family reads."""

    data: TrainingData
    spaces: Spaces
    options: ComponentOptions
    rng: np.random.Generator  # of the components: the networks draw from another
    limits: TimeLimits = TimeLimits()
    components: list[Component] = field(default_factory=list)  # those fitted so far

    def others(self) -> np.ndarray:
        """Out-of-fold log-densities of the blend of the components so far, shape (n_validated,); -inf without any."""
        if not self.components:
            return np.full(len(self.data.validated), -np.inf)
        return out_of_fold_log_prob(self.components, self.data.validation_weight, self.options)

    def with_own_stream(self) -> ComponentFit:
        """The same with a stream that nothing else draws from."""
        return replace(self, rng=self.rng.spawn(1)[0])

    @cached_property
    def left_out_together(self) -> list[np.ndarray]:
        """The validation folds, in parts that hold at most as many samples as a fold of all samples would.

        Folds of many samples are cut, and each part costs a density that is fitted without it.
        """
        return join_folds(self.data.validation_folds, self.data.n_samples // len(self.data.folds))


class ComponentFamily:
    """A kind of density that the blend may hold, behind one or more preprocessors.

    A family of its own gives `fit`, and is one line of `COMPONENTS`.
    """

    indispensable = False  # whether it is fitted even where there is no time left
    independent = False  # whether it is fitted whatever the others are

    def parts(self, fit: ComponentFit) -> list[Callable[[ComponentFit], list[Component]]]:
        """The parts of `fit`, each with a stream of its own, that need nothing of each other."""
        return [self.fit]

    def fit(self, fit: ComponentFit) -> list[Component]:
        """Components of this family that are worth having beside those fitted so far; perhaps none."""
        raise NotImplementedError


def join_folds(folds: tuple[np.ndarray, ...], max_samples: int) -> list[np.ndarray]:
    """The folds, as many of them joined as together hold at most `max_samples`."""
    step = max(1, max_samples // max(map(len, folds)))
    return [np.concatenate(folds[i : i + step]) for i in range(0, len(folds), step)]
