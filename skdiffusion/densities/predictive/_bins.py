"""Bins of numbers for gradient boosting: found once for all fits, which then take the numbers of bins.

scikit-learn finds the bins of weighted samples anew in every fit, quantile by quantile, which takes far longer than the
trees of few samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAX_BINS = 255  # which scikit-learn takes


class Bins(NamedTuple):
    """Bins of the numbers among the inputs.

    Parameters
    ----------
    columns : array of int of shape (n_numbers,)
        Numbers of the inputs that are numbers.
    edges : tuple of arrays
        Rising ends of the bins of each; a value at an end belongs to the bin below it.
    """

    columns: np.ndarray
    edges: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, X: np.ndarray, weight: np.ndarray, columns: np.ndarray) -> Bins:
        """Bins between the values of columns of X (n_samples, n_inputs), or of equal weight where these are many."""
        return cls(columns, tuple(_edges(X[:, j], weight) for j in columns))

    def binned(self, X: np.ndarray) -> np.ndarray:
        """X with numbers of bins for numbers; missing values stay."""
        out = X.copy()
        for j, edges in zip(self.columns, self.edges):
            out[:, j] = np.where(np.isnan(X[:, j]), np.nan, np.searchsorted(edges, X[:, j]))
        return out

    def thresholds(self, column: np.ndarray, of_bins: np.ndarray) -> np.ndarray:
        """The greatest values whose bins are no greater than some numbers.

        Parameters
        ----------
        column : array of int of shape (n,)
            Places among `columns`; negative where the threshold is not of a number.
        of_bins : array of shape (n,)
            Thresholds of numbers of bins; infinite where only missing values are split off.
        """
        out = np.array(of_bins, dtype=np.float64)
        for k, edges in enumerate(self.edges):
            mine = column == k
            place = np.minimum(out[mine], len(edges)).astype(np.int64)
            out[mine] = np.append(edges, np.inf)[place]
        return out


def _edges(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    known = ~np.isnan(x)
    values, which = np.unique(x[known], return_inverse=True)
    middles = values[:-1] + np.diff(values) / 2
    if len(values) <= MAX_BINS:
        return middles
    share = np.cumsum(np.bincount(which, weight[known]))
    places = np.searchsorted(share, np.arange(1, MAX_BINS) / MAX_BINS * share[-1])
    return middles[np.unique(places[places < len(middles)])]
