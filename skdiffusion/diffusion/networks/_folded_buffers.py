"""Memory for the units of a `FoldedFlow` on blocks of one size.

Of a block of few samples, arrays and the tensors that share their memory would take longer to make than to fill.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skdiffusion.diffusion.networks._film import MIN_COLUMNS, FilmEnsemble

ONE = np.float32(1)  # of the type of the units, which NumPy adds sooner than another


class LayerBuffers:
    """Units of one hidden layer of all members, their slopes and the derivatives of these.

    Parameters
    ----------
    shape : tuple of int
        Of the arrays: (n, units of all members) in the first layer, (members, n, width) in others.
    n_members : int
    n_rows : int
        Samples for which `units` has place: beyond those of `shape` it stays zero.
    """

    def __init__(self, shape: tuple[int, ...], n_members: int, n_rows: int):
        self._n_members = n_members
        self._q, self._rise, self._slope = np.empty((3, *shape), dtype=np.float32)
        self.products = torch.from_numpy(self._q)  # to which the product with the weights goes
        self.q, self.slope, self._units = self._by_member(self._q), self._by_member(self._slope), self._q
        self.bend = self.units = self.q
        if n_rows > self.q.shape[1]:
            self.units = np.zeros((n_members, n_rows, self.q.shape[2]), dtype=np.float32)
            self._units = self.units[:, : self.q.shape[1]]
        self.units_tensor, self.slope_tensor = torch.from_numpy(self.units), torch.from_numpy(self.slope)

    def _by_member(self, array: np.ndarray) -> np.ndarray:
        """The view (members, n, width) of an array."""
        return array if array.ndim == 3 else array.reshape(len(array), self._n_members, -1).transpose(1, 0, 2)

    def activate(self, gain: np.ndarray | None, square: np.ndarray | None) -> None:
        """The units of the halved preactivations q; with a gain the slopes, and with its square their derivatives."""
        q, rise, slope = self._q, self._rise, self._slope
        np.tanh(q, out=rise)
        if gain is not None:
            np.subtract(ONE, rise, out=slope)
        if square is not None:
            self.bend = self._by_member(2 * (1 + rise) * slope * (1 - q * rise) * square)
        np.add(rise, ONE, out=rise)
        np.multiply(q, rise, out=self._units)
        if gain is not None:
            np.multiply(slope, self._units, out=slope)
            np.add(slope, rise, out=slope)
            np.multiply(slope, gain, out=slope)


class FoldedBuffers:
    """The layers of a network on n samples.

    Parameters
    ----------
    n : int
    network : FilmEnsemble
    """

    def __init__(self, n: int, network: FilmEnsemble):
        self.n, members, widths = n, network.n_members, network.hidden_layer_sizes
        self.samples = np.ones((n, network.n_features + 1), dtype=np.float32)  # with a one for the shift
        self.samples_tensor = torch.from_numpy(self.samples)
        rows = max(n, MIN_COLUMNS)
        shapes: list[tuple[int, ...]] = [(n, members * widths[0]), *((members, n, width) for width in widths[1:])]
        self.layers = [
            LayerBuffers(shape, members, rows if k == len(widths) - 1 else n) for k, shape in enumerate(shapes)
        ]
        self._last_units = self.layers[-1].units_tensor.mT
        self._padded = np.zeros((members, rows, widths[0]), dtype=np.float32)
        self._first_units = torch.from_numpy(self._padded).mT

    def velocity(self, weight: Tensor) -> np.ndarray:
        """Units of the last layer times a matrix (members, d, width), added up over the members, (n, d) in float64."""
        return self._added_up(weight, self._last_units)

    def by_samples(self, weight: Tensor, by_product: np.ndarray) -> np.ndarray:
        """Derivatives by the products of the first layer times a matrix (members, d, width), (n, d) in float64."""
        self._padded[:, : self.n] = by_product
        return self._added_up(weight, self._first_units)

    def _added_up(self, weight: Tensor, units: Tensor) -> np.ndarray:
        # With few features a product is five times faster this way round.
        return torch.bmm(weight, units).numpy()[:, :, : self.n].sum(0, dtype=float).T
