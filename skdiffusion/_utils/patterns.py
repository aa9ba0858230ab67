"""Patterns of known and unknown features: what follows from the places of NaN is computed once for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Patterns(NamedTuple):
    """The distinct patterns of known features, and that of every sample."""

    known: np.ndarray  # (n_patterns, n_features), bool
    which: np.ndarray  # (n_samples,), the pattern of each sample by its number

    @classmethod
    def of(cls, X: np.ndarray) -> Patterns:
        """The patterns of samples (n_samples, n_features) with NaN in their unknown features."""
        known, which = np.unique(~np.isnan(X), axis=0, return_inverse=True)
        return cls(known, which.ravel())

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The samples of every pattern, and the features that are known of them, both by their numbers."""
        order = np.argsort(self.which, kind="stable")
        ends = np.searchsorted(self.which[order], np.arange(1, len(self.known)))
        for samples, known in zip(np.split(order, ends), self.known):
            yield samples, np.flatnonzero(known)
