"""Inputs of any kind as numbers of mean zero and unit variance, for components that know no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion.densities.predictive._data import RegressionData, power_map_of
from skdiffusion.preprocessing import Preprocessor

MIN_DEVIATION = 1e-9  # of a column that says something
MARGIN = 1.0  # standard deviations beyond the columns of the fit, to which farther ones are moved


@dataclass(frozen=True)
class Design:
    """Numbers, skewed ones behind power maps, then indicators of missing values, and of categories.

    Parameters
    ----------
    numeric : array of int
        Numbers of the inputs that are numbers.
    power : Preprocessor or None
        Of these; None where there are none.
    fill : array of shape (n_numeric,)
        Their means, which stand for missing values.
    incomplete : array of int
        Numbers of the inputs with missing values in the fit.
    categories : dict of int to array
        Values of the inputs that are categories.
    kept : array of int
        Numbers of the columns that vary.
    shift, scale : array of shape (n_kept,)
    low, high : array of shape (n_kept,)
        Ends of the scaled columns: beyond them there is nothing to learn from.
    """

    numeric: np.ndarray
    power: Preprocessor | None
    fill: np.ndarray
    incomplete: np.ndarray
    categories: dict[int, np.ndarray]
    kept: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, data: RegressionData) -> Design:
        """The columns of the inputs of a fit."""
        X, w, numeric = data.X, data.weight, data.numeric
        known = ~np.isnan(X)
        shares = np.maximum(w @ known[:, numeric], 1e-300)
        fill = (w @ np.where(known, X, 0.0)[:, numeric]) / shares
        filled = np.where(known[:, numeric], X[:, numeric], fill)
        transforms = tuple(power_map_of(x, w) for x in filled.T)
        power = Preprocessor(filled, w, transforms) if len(numeric) else None
        values = {j: np.unique(X[known[:, j], j]) for j in data.categories}
        incomplete = np.flatnonzero(~known.all(0))
        none = np.zeros(0)
        whole = cls(numeric, power, fill, incomplete, values, np.zeros(0, dtype=int), none, none, none, none)
        columns = whole._columns(X)
        shift = np.average(columns, axis=0, weights=w)
        scale = np.sqrt(np.average((columns - shift) ** 2, axis=0, weights=w))
        kept = np.flatnonzero(scale > MIN_DEVIATION * (1 + np.abs(shift)))
        shift, scale = shift[kept], scale[kept]
        scaled = (columns[:, kept] - shift) / scale
        low, high = scaled.min(0) - MARGIN, scaled.max(0) + MARGIN
        return cls(numeric, power, fill, incomplete, values, kept, shift, scale, low, high)

    def _columns(self, X: np.ndarray) -> np.ndarray:
        """All columns, before they are scaled."""
        missing = np.isnan(X)
        parts = []
        if self.power is not None:
            filled = np.where(missing[:, self.numeric], self.fill, X[:, self.numeric])
            with np.errstate(over="ignore", invalid="ignore"):
                parts += [m.forward(x)[:, None] for m, x in zip(self.power.maps, filled.T)]
        parts.append(missing[:, self.incomplete].astype(float))
        parts += [(X[:, [j]] == values).astype(float) for j, values in self.categories.items()]
        return np.concatenate(parts, axis=1)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Columns of inputs X (n, n_inputs), shape (n, n_kept)."""
        with np.errstate(over="ignore"):
            scaled = (self._columns(X)[:, self.kept] - self.shift) / self.scale
        return np.clip(scaled, self.low, self.high)
