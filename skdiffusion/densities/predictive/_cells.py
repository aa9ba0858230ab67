"""Distributions of a target in its own units: behind a map, and even within the cells to which values are rounded.

Values of a coarse grid stand for cells that they were spread over before the fit. A normal distribution about as narrow
as a cell is higher at the value of the grid than the mass of the cell allows, so that the density of rounded values
would be too high: it is the mass over the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion.densities.predictive._distributions import MIN_MASS, TargetNoise
from skdiffusion.densities.predictive._pool import BlendedDistributions
from skdiffusion.densities.predictive._sharpening import SharpenedDistributions
from skdiffusion.preprocessing import Preprocessor


@dataclass(frozen=True)
class MappedDistributions:
    """Distributions of a target, one for each sample, by those of the mapped target.

    Parameters
    ----------
    blend : BlendedDistributions or SharpenedDistributions
        Of the mapped target.
    target_map : Preprocessor
    reach : pair of float
        Least and greatest value for means, which heavy tails behind a map of powers would not have.
    """

    blend: BlendedDistributions | SharpenedDistributions
    target_map: Preprocessor
    reach: tuple[float, float]

    def __len__(self) -> int:
        return len(self.blend)

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the target, infinite where there are none."""
        return float(self.target_map.low[0]), float(self.target_map.high[0])

    def _mapped(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets of any shape, mapped, and the logarithms of the slope."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.target_map.transform(np.clip(y, *self.bounds).reshape(-1, 1))
        return z.reshape(y.shape), log_det.reshape(y.shape)

    def _from_mapped(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            y = self.target_map.inverse_transform(z.reshape(-1, 1)).reshape(z.shape)
        return np.clip(y, *self.bounds)

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        """Log-densities, in nats, of one target for every sample (n,)."""
        z, log_det = self._mapped(y)
        low, high = self.bounds
        return np.where((y < low) | (y > high), -np.inf, self.blend.log_prob(z) + log_det)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Distribution functions at several targets for every sample (n, n_targets)."""
        low, high = self.bounds
        return np.where(y < low, 0.0, np.where(y >= high, 1.0, self.blend.cdf(self._mapped(y)[0])))

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1)."""
        return self._from_mapped(self.blend.quantiles(probabilities))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes, within the reach, and weights of a quadrature of every distribution, each (n, n_nodes)."""
        z, weights = self.blend.nodes()
        return np.clip(np.where(weights > 0, self._from_mapped(z), 0.0), *self.reach), weights

    def mean(self) -> np.ndarray:
        """Means, shape (n,)."""
        y, weights = self.nodes()
        return (y * weights).sum(1)

    def sample(self, noise: TargetNoise) -> np.ndarray:
        """A draw for every sample, (n,)."""
        return self._from_mapped(self.blend.sample(noise))

    def take(self, samples: np.ndarray) -> MappedDistributions:
        """Those of some samples, by their numbers."""
        return MappedDistributions(self.blend.take(samples), self.target_map, self.reach)


@dataclass(frozen=True)
class EvenInCells(MappedDistributions):
    """The same with the mass of every cell spread evenly over it; beyond the cells the density is as it was.

    Parameters
    ----------
    edges : array of shape (n_cells + 1,)
        Rising ends of the cells.
    """

    edges: np.ndarray

    def _cell(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the cells that targets are in, and whether they are in one."""
        number = np.searchsorted(self.edges, y, side="right") - 1
        last = len(self.edges) - 2
        inside = (y >= self.edges[0]) & (y <= self.edges[-1])
        return np.clip(number, 0, last), inside

    def _heights(self) -> np.ndarray:
        """Distribution functions at all ends, by interpolation, (n, n_cells + 1)."""
        z = np.repeat(self._mapped(self.edges)[0][None], len(self), axis=0)
        return np.maximum.accumulate(self.blend.fast_cdf()(z, np.arange(len(self))), axis=1)

    def _ends(self, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distribution functions at both ends of cells (n, n_targets), each of this shape."""
        of_cells = super().cdf(self.edges[np.concatenate([cell, cell + 1], axis=1)])
        below, above = np.split(of_cells, 2, axis=1)
        return below, above

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        cell, inside = self._cell(y)
        below, above = self._ends(cell[:, None])
        mass, width = (above - below)[:, 0], self.edges[cell + 1] - self.edges[cell]
        even = np.log(np.maximum(mass, MIN_MASS) / width)
        return np.where(inside & (mass > MIN_MASS), even, super().log_prob(y))

    def cdf(self, y: np.ndarray) -> np.ndarray:
        cell, inside = self._cell(y)
        below, above = self._ends(cell)
        share = (y - self.edges[cell]) / (self.edges[cell + 1] - self.edges[cell])
        return np.where(inside, below + np.clip(share, 0.0, 1.0) * (above - below), super().cdf(y))

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        heights, last = self._heights(), len(self.edges) - 2
        place = (heights[:, None] <= probabilities[:, :, None]).sum(2) - 1
        inside = (place >= 0) & (place <= last)
        cell = np.clip(place, 0, last)
        below, above = (np.take_along_axis(heights, cell + k, axis=1) for k in (0, 1))
        share = np.clip((probabilities - below) / np.maximum(above - below, 1e-300), 0.0, 1.0)
        even = self.edges[cell] + share * (self.edges[cell + 1] - self.edges[cell])
        beyond = super().quantiles(probabilities)
        beyond = np.where(place < 0, np.minimum(beyond, self.edges[0]), np.maximum(beyond, self.edges[-1]))
        return np.where(inside, even, beyond)

    def mean(self) -> np.ndarray:
        heights, (y, weights) = self._heights(), self.nodes()
        mean = np.diff(heights, axis=1) @ ((self.edges[:-1] + self.edges[1:]) / 2)
        for beyond, mass, end in (
            (y < self.edges[0], heights[:, 0], self.edges[0]),
            (y > self.edges[-1], 1 - heights[:, -1], self.edges[-1]),
        ):
            share = (weights * beyond).sum(1)
            mean += mass * np.where(share > 0, (weights * beyond * y).sum(1) / np.where(share > 0, share, 1.0), end)
        return mean

    def sample(self, noise: TargetNoise) -> np.ndarray:
        """A draw of the blend moves within its cell to where as much of the evenly spread mass is below it."""
        y = super().sample(noise)
        cell, inside = self._cell(y)
        below, above = (ends[:, 0] for ends in self._ends(cell[:, None]))
        at = MappedDistributions.cdf(self, y[:, None])[:, 0]
        share = np.clip((at - below) / np.maximum(above - below, 1e-300), 0.0, 1.0)
        even = self.edges[cell] + share * (self.edges[cell + 1] - self.edges[cell])
        return np.where(inside & (above - below > MIN_MASS), even, y)

    def take(self, samples: np.ndarray) -> EvenInCells:
        return EvenInCells(self.blend.take(samples), self.target_map, self.reach, self.edges)
