"""The search for the bandwidth of a kernel density, by samples left out one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import best_blend, clearly_better
from skdiffusion.densities._leave_one_out import KernelSamples
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions

MIN_BANDWIDTH, MAX_BANDWIDTH = 0.02, 0.95  # beyond the largest, the density is almost a Gaussian
N_COARSE = 9  # bandwidths of the first grid, which is geometric
N_REFINEMENTS = 3


class _Tried(NamedTuple):
    """Log-densities of the queries under a kernel density, and under its best blend with the others."""

    alone: np.ndarray
    blended: np.ndarray


class BandwidthSearch:
    """Search for the bandwidth of the kernel density that adds most to others.

    It starts on a coarse grid; `refine` goes on about the best bandwidths.

    Parameters
    ----------
    kernels : KernelSamples
    queries : int array of shape (n_queries,)
        Samples that are left out in turn.
    others : array of shape (n_queries,)
        Out-of-fold log-densities of the queries, in nats, under the density that the kernel is to be blended with.
    options : ComponentOptions
    """

    def __init__(
        self,
        kernels: KernelSamples,
        queries: np.ndarray,
        others: np.ndarray,
        options: ComponentOptions = DEFAULT_OPTIONS,
    ):
        self.kernels, self.queries, self.others, self.options = kernels, queries, others, options
        self.share = kernels.weights[queries] / kernels.weights[queries].sum()
        self._tried: dict[float, _Tried] = {}
        self._ratio = (MAX_BANDWIDTH / MIN_BANDWIDTH) ** (1 / (N_COARSE - 1))
        self._evaluate(np.geomspace(MIN_BANDWIDTH, MAX_BANDWIDTH, N_COARSE).tolist())

    def _evaluate(self, bandwidths: Sequence[float]) -> None:
        new = sorted({*bandwidths} - {*self._tried})
        if not new:
            return
        for bandwidth, log_prob in zip(new, self.kernels.leave_one_out(new, self.queries)):
            beside = self.options.score_beside_others
            blended = best_blend(log_prob, self.others, self.share) if beside else log_prob
            self._tried[bandwidth] = _Tried(np.maximum(log_prob, -1e6), blended)

    def _best_alone(self) -> float:
        return max(self._tried, key=lambda h: self.share @ self._tried[h].alone)

    def _best_blended(self) -> float:
        return max(self._tried, key=lambda h: self.share @ self._tried[h].blended)

    @property
    def bandwidth(self) -> float:
        """The one that is best alone, if no other is clearly better beside the others."""
        alone, beside = self._best_alone(), self._best_blended()
        pair = self._tried[beside].blended, self._tried[alone].blended
        return beside if clearly_better(*pair, self.share, self.options.bandwidth_margin) else alone

    @property
    def blended(self) -> np.ndarray:
        """Log-densities of the queries under the best blend with the others, in nats, shape (n_queries,)."""
        return self._tried[self.bandwidth].blended

    @property
    def max_gain(self) -> float:
        """Nats that the best blend of any bandwidth adds to the others at all queries together."""
        best = self._tried[self._best_blended()]
        return len(self.share) * float(self.share @ (best.blended - self.others))

    def refine(self) -> None:
        """Narrow the grid about the bandwidth that is best alone, and about the one that is best beside the others."""
        for k in range(1, N_REFINEMENTS + 1):
            step = self._ratio**0.5**k
            best = self._best_alone(), self._best_blended()
            self._evaluate([min(h, MAX_BANDWIDTH) for center in best for h in (center / step, center * step)])
