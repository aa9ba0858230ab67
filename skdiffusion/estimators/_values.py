"""Values of samples that an estimator computes part by part, as functions that other processes can know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdiffusion._utils.blocks import whole_vectors
from skdiffusion._utils.protocols import Density
from skdiffusion._utils.validation import finite_values, without_overshoot
from skdiffusion.densities import Blend

Function = Callable[[np.ndarray], np.ndarray]


def quietly(function: Function, values: np.ndarray) -> np.ndarray:
    """A function of values without warnings of floating-point numbers: what overflows is looked at afterwards."""
    with np.errstate(over="ignore", invalid="ignore"):
        return function(values)


@dataclass(frozen=True)
class WithinBounds:
    """A function of samples within the bounds of a preprocessor; of others it has a value of its own.

    Parameters
    ----------
    function : callable
    preprocessor : Preprocessor or TablePreprocessor
    outside : float
        The value beyond the bounds.
    shape : tuple of int
        Of the values of a sample.
    """

    function: Function
    preprocessor: Any
    outside: float
    shape: tuple[int, ...]

    def __call__(self, X: np.ndarray) -> np.ndarray:
        known, out = self.preprocessor, np.full((len(X), *self.shape), self.outside)
        block = without_overshoot(X.astype(np.float64), known.low, known.high, np.finfo(X.dtype).eps)
        inside = np.flatnonzero(known.inside(block))
        if len(inside):
            out[inside] = finite_values(quietly(self.function, whole_vectors(block[inside]))[: len(inside)], "X")
        return out


@dataclass(frozen=True)
class SolverError:
    """How far the log-density of a blend moves if that of one of its components is solved in more steps."""

    blend: Blend
    name: str
    finer: Density

    def __call__(self, X: np.ndarray) -> np.ndarray:
        coarse = self.blend.component_log_prob(X)
        fine = coarse.copy()
        fine[:, list(self.blend.densities).index(self.name)] = self.finer.log_prob(X)
        both = self.blend.combined(coarse), self.blend.combined(fine)
        return np.where(both[0] == both[1], 0.0, np.abs(both[0] - both[1]))  # both may be minus infinity
