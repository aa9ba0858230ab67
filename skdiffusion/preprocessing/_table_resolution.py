"""The cells of the present values of a table, and generated values at the values that these have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion.preprocessing._columns import Columns
from skdiffusion.preprocessing._resolution import Resolution
from skdiffusion.preprocessing._ties import GRID_TOLERANCE, Ties


@dataclass(frozen=True)
class TableResolution:
    """The cells of the present values of a table, which categories and atoms do not have.

    Parameters
    ----------
    columns : Columns
    resolution : Resolution
        Of all columns, without cells for categories.
    grids : dict of int to ndarray
        Rising values of every feature whose values repeat, by its number.
    """

    columns: Columns
    resolution: Resolution
    grids: dict[int, np.ndarray]

    @classmethod
    def of(cls, columns: Columns, X: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None) -> TableResolution:
        """The resolution of present values (n_samples, n_features), NaN elsewhere."""
        ties = {int(j): Ties.of(X[~np.isnan(X[:, j]), j]) for j in columns.numeric}
        grids = {j: t.values for j, t in ties.items() if t.on_grid and len(t.values) > 1}
        return cls(columns, Resolution.of(X, bounds), grids)

    def cell_widths(self, X: np.ndarray) -> np.ndarray:
        """Width of the cell that every value stands for, (n_samples, n_features): none for categories and atoms."""
        out = self.resolution.cell_widths(X)
        for j, atoms in self.columns.atoms.items():
            out[np.isin(X[:, j], atoms), j] = 0.0
        return out

    def requantized(self, X: np.ndarray) -> np.ndarray:
        """Generated samples, with the present values within the reach of a spike moved back to the spike, and those of
        a feature whose values repeat at a value of its grid.

        Values a whole number of steps apart have all multiples of the step for a grid, others the known values alone.
        """
        out = self.resolution.requantized(X).copy()
        for j, values in self.grids.items():
            out[:, j] = _on_grid(out[:, j], values)
        for j, atoms in self.columns.atoms.items():
            out[:, j] = np.where(np.isin(X[:, j], atoms), X[:, j], out[:, j])
        return out


def _on_grid(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest values of the grid that rising values are on."""
    nearest = values[np.searchsorted((values[1:] + values[:-1]) / 2, x)]
    step = np.diff(values).min()
    multiples = np.diff(values) / step
    if np.abs(multiples - np.round(multiples)).max() > GRID_TOLERANCE:
        return nearest
    rounded = values[0] + step * np.round((x - values[0]) / step)
    # Known values come back to the bit, and nothing is beyond them.
    return np.where(np.abs(rounded - nearest) < step / 2, nearest, np.clip(rounded, values[0], values[-1]))
