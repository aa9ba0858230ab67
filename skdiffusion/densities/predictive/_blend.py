"""The blend of what components say of a target given its inputs, with weights that do not depend on these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skdiffusion.densities.predictive._boosting import BoostedTrees, Outputs
from skdiffusion.densities.predictive._design import Design
from skdiffusion.densities.predictive._distributions import Distributions
from skdiffusion.densities.predictive._flow import TABLE_TOLERANCE, TargetFlow
from skdiffusion.densities.predictive._forest import Forest
from skdiffusion.densities.predictive._joint import JointMixture, JointStudentT
from skdiffusion.densities.predictive._network import MixtureNetworks
from skdiffusion.densities.predictive._pool import BlendedDistributions
from skdiffusion.densities.predictive._sharpening import SharpenedDistributions, Sharpening

PredictiveComponent = BoostedTrees | Forest | JointMixture | JointStudentT | MixtureNetworks | TargetFlow


class Inputs:
    """Inputs of samples, with what several components make of them."""

    def __init__(self, X: np.ndarray, design: Design, trees: BoostedTrees):
        self.X, self._design, self._trees = X, design, trees

    @cached_property
    def columns(self) -> np.ndarray:
        """Columns of numbers, (n_samples, n_columns)."""
        return self._design.transform(self.X)

    @cached_property
    def outputs(self) -> Outputs:
        """What the trees say."""
        return self._trees.outputs(self.X)


@dataclass(frozen=True)
class PredictiveBlend:
    """A blend of densities of a target given its inputs.

    Parameters
    ----------
    design : Design
    trees : BoostedTrees
        Which the flow may take too, whatever their own weight.
    components : dict of str to component
    weights : dict of str to float
        Of the same names; non-negative, sum 1. A component of weight zero is never evaluated.
    sharpening : Sharpening or None
        Of draws that are order statistics of several; None where all are single ones.
    """

    design: Design
    trees: BoostedTrees
    components: Mapping[str, PredictiveComponent]
    weights: dict[str, float]
    sharpening: Sharpening | None

    def given(self, X: np.ndarray) -> BlendedDistributions | SharpenedDistributions:
        """The distributions of the mapped target given inputs X (n_samples, n_inputs)."""
        inputs = Inputs(X, self.design, self.trees)
        used = [name for name, weight in self.weights.items() if weight > 0]
        parts = [_given(self.components[name], inputs, self.weights[name]) for name in used]
        pool = BlendedDistributions(len(X), np.array([self.weights[name] for name in used]), parts)
        return pool if self.sharpening is None else SharpenedDistributions(pool, self.sharpening)


def _given(component: PredictiveComponent, inputs: Inputs, weight: float) -> Distributions:
    if isinstance(component, BoostedTrees):
        return component.given(inputs.outputs)
    if isinstance(component, Forest):
        return component.given(inputs.X)
    if isinstance(component, TargetFlow):
        outputs = inputs.outputs if component.of_residuals else Outputs.standard(len(inputs.X))
        return component.given(inputs.columns, outputs, TABLE_TOLERANCE / weight)
    return component.given(inputs.columns)
