"""The cells of the present values of a table, and generated values at the values that these have."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skdiffusion.preprocessing._columns import Columns
from skdiffusion.preprocessing._resolution import Resolution, on_grid


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
        resolution = Resolution.of(X, bounds)
        grids = {int(j): resolution.grids[j] for j in columns.numeric if len(resolution.grids[j]) > 1}
        return cls(columns, replace(resolution, grids=()), grids)

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
            out[:, j] = on_grid(out[:, j], values)
        for j, atoms in self.columns.atoms.items():
            out[:, j] = np.where(np.isin(X[:, j], atoms), X[:, j], out[:, j])
        return out
