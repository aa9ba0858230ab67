"""Which samples of a stream are left out, so that what is chosen on them does not see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdiffusion.preprocessing._data import TrainingData


class LeftOutOfStream:
    """For every member of an ensemble, the samples of a source that it must not learn from.

    A sample that was drawn into the reservoir is known by its number in the source, whatever the type in which a pass
    reads it. Copies of it beyond the reservoir are known by their values, rounded to float32, unless all features
    repeat by themselves: equal samples of counts are no copies.

    Parameters
    ----------
    data : TrainingData
        Of a reservoir.
    training : sequence of int arrays
        For each member, the samples of the data that it learns from.
    """

    def __init__(self, data: TrainingData, training: Sequence[np.ndarray]) -> None:
        assert data.reservoir is not None
        assert data.places is not None
        assert data.given is not None
        out = np.ones((len(training), data.n_samples), dtype=bool)  # of each member and sample of the data
        for of_member, samples in zip(out, training):
            of_member[samples] = False
        self._coefficients = np.random.default_rng(0).integers(2**63, size=data.n_features, dtype=np.uint64) * 2 + 1
        own = np.flatnonzero(may_have_copies(data) & out.any(0))
        keys, place = np.unique(self._keys(data.given[own]), return_inverse=True)
        by_key = np.zeros((len(out), len(keys)), dtype=bool)
        for of_key, of_member in zip(by_key, out):
            of_key[place[of_member[own]]] = True
        self._by_number = data.reservoir.numbers, out[:, data.places]
        self._by_key = keys, by_key

    def _keys(self, X: np.ndarray) -> np.ndarray:
        """A number for every sample, equal for equal ones."""
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(X, dtype=np.float32) + np.float32(0.0)  # zero has one sign
        return values.view(np.uint32).astype(np.uint64) @ self._coefficients

    def __call__(self, X: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Whether samples of the source, by their values and numbers, are left out, shape (n_members, n_samples)."""
        out = np.zeros((len(self._by_key[1]), len(X)), dtype=bool)
        for (known, table), values in ((self._by_number, numbers), (self._by_key, self._keys(X))):
            if len(known):
                place = np.minimum(np.searchsorted(known, values), len(known) - 1)
                found = known[place] == values
                out[:, found] |= table[:, place[found]]
        return out


def may_have_copies(data: TrainingData) -> np.ndarray:
    """Whether samples that equal one of the data are copies of it, shape (n_samples,).

    They are where a value of it does not repeat by itself; where all values lie on grids, if copies were found, and a
    value is no spike.
    """
    assert data.given is not None
    assert data.places is not None
    individual = (data.resolution.cell_widths(data.given) == 0).any(1)
    if individual.any() or len(data.places) == data.n_samples:
        return individual
    return np.any([~np.isin(x, spikes) for x, spikes in zip(data.given.T, data.resolution.spikes)], axis=0)
