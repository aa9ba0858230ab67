"""The bandwidth of a kernel density, by samples that are left out one at a time of the density they are scored by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import best_blend, clearly_better, effective_number, log_sum_exp
from skdiffusion.densities._kernel import MAX_PAIRS, GaussianKernelDensity, Spacing, kernel_density
from skdiffusion.densities._mixture import LOG_2PI
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions

MIN_BANDWIDTH, MAX_BANDWIDTH = 0.02, 0.95  # beyond the largest, the density is almost a Gaussian
N_COARSE = 9  # bandwidths of the first grid, which is geometric
N_REFINEMENTS = 3
MAX_LEVERAGE = 0.9  # of a sample in its own covariance; more than this is round-off or shrinkage


class KernelSamples:
    """Samples at which kernels stand, for densities of every bandwidth.

    The samples have features of unit variance. `seen_from` are the places at which they are scored when they are left
    out, where these differ from their own. `whitened` is the share of their own covariance in the one that whitens
    them, 0 where none does. A sample is left out of it and of the spacing as well: its distances to the others would
    else be too small, by a share of about n_features / n_samples. With the numbers of `groups`, the kernels of all
    samples of its group are left out with it.
    """

    def __init__(
        self,
        samples: np.ndarray,
        weights: np.ndarray,
        seen_from: np.ndarray | None = None,
        whitened: float = 0.0,
        spacing: Spacing | None = None,
        groups: np.ndarray | None = None,
    ):
        self.samples, self.weights, self.whitened = samples, weights, whitened
        self.spacing, self.groups = spacing, groups
        mean = np.average(samples, axis=0, weights=weights)
        self.centered = samples - mean
        self.norms, self.shares = (self.centered**2).sum(1), weights / weights.sum()
        self.places = self.centered if seen_from is None else seen_from - mean
        # (n_features + 2, n_samples): what squared distances are linear in
        self.terms = torch.from_numpy(np.vstack([self.centered.T, self.norms, np.ones(len(samples))]))

    def density(self, bandwidth: float) -> GaussianKernelDensity:
        """The kernel density of all samples."""
        return kernel_density(self.samples, bandwidth, self.weights, self.spacing)

    def leave_one_out(self, bandwidths: Sequence[float], queries: np.ndarray) -> np.ndarray:
        """Log-densities of samples under the `kernel_density` of all others, in nats, (n_bandwidths, n_queries).

        The queries are numbers of samples. A copy of a query (distance zero) is left out with it: otherwise duplicates
        would reward a bandwidth of zero without bound.
        """
        out = np.empty((len(bandwidths), len(queries)))
        for block in slices(len(queries), MAX_PAIRS // len(self.samples)):
            left_out = _LeftOut(self, queries[block])
            for b, bandwidth in enumerate(bandwidths):
                out[b, block] = left_out.log_prob(bandwidth)
        return out


class _LeftOut:
    """A block of samples, each under the kernels of all others."""

    def __init__(self, kernels: KernelSamples, block: np.ndarray):
        samples, d = kernels.centered, kernels.samples.shape[1]
        self.kernels, self.own_samples, self.n_features = kernels, samples[block], d
        own, gram = kernels.norms[block, None], samples[block] @ samples.T
        apart = own + kernels.norms - 2 * gram
        same = apart <= 2e-12 * (1 + own)
        missing = np.minimum((same * kernels.shares).sum(1)[:, None], 1 - 1e-9)
        self.log_weights = np.where(same, -np.inf, np.log(kernels.shares / (1 - missing)))
        if kernels.groups is not None:
            grouped = same | (kernels.groups[block, None] == kernels.groups)
            left = np.maximum(1 - (grouped * kernels.shares).sum(1)[:, None], 1e-9)
            self.log_weights = np.where(grouped, -np.inf, np.log(kernels.shares / left))
        self.half_precisions: float | np.ndarray = 0.5
        if kernels.spacing is not None:
            near = apart <= np.square(kernels.spacing.reach) * (1 + 1e-9)
            log_scale = np.log(kernels.spacing.scale) + np.where(near, np.log(kernels.spacing.without), 0.0)
            self.log_weights -= d * log_scale
            self.half_precisions = 0.5 * np.exp(-2 * log_scale)
        # The others have the mean -odds sample, and about it the covariance (I - odds sample sample^T) / (1 - missing).
        self.odds, self.missing = missing / (1 - missing), kernels.whitened * missing
        self.leverage = np.minimum(kernels.whitened * self.odds * own, MAX_LEVERAGE)
        self.log_det = 0.5 * (d * np.log1p(-self.missing) - np.log1p(-self.leverage))[:, 0]
        self.places = kernels.places[block]
        self.squared_gram = torch.from_numpy(np.square(gram, out=gram)) if kernels.whitened else None

    def log_prob(self, bandwidth: float) -> np.ndarray:
        """Log-densities, in nats, shape (n_block,)."""
        kept = np.sqrt(1 - bandwidth**2)
        moved = (1 - kept) * self.odds
        place = self.places + moved * self.own_samples
        along = (self.own_samples * place).sum(1)[:, None]
        tilt = self.kernels.whitened * self.odds / (1 - self.leverage)
        precision = (1 - self.missing) / bandwidth**2
        # Squared distances |place - kept sample|^2 + tilt (own . place - kept own . sample)^2: but for the square of
        # the gram matrix a product of few columns, where sums of whole matrices would pass over all pairs many times.
        linear = -2 * kept * (place + tilt * along * self.own_samples)
        constant = (place**2).sum(1)[:, None] + tilt * along**2
        columns = np.hstack([linear, np.full(constant.shape, kept**2), constant])
        energy = torch.from_numpy(-precision * columns) @ self.kernels.terms
        if self.squared_gram is not None:
            energy.addcmul_(self.squared_gram, torch.from_numpy(-precision * tilt * kept**2))
        log_joint = energy.clamp_(max=0.0).numpy()
        log_joint *= self.half_precisions
        log_joint += self.log_weights
        total = log_sum_exp(log_joint, axis=1)
        return total + self.log_det - 0.5 * self.n_features * (2 * np.log(bandwidth) + LOG_2PI)


class BandwidthSearch:
    """Search for the bandwidth of the kernel density that adds most to others.

    It starts on a coarse grid; `refine` goes on about the best bandwidths.

    The queries are numbers of samples that are left out in turn; `others` are their out-of-fold log-densities, in nats,
    under the density that the kernel is to be blended with. Their weights are those of the samples unless given.
    """

    def __init__(
        self,
        kernels: KernelSamples,
        queries: np.ndarray,
        others: np.ndarray,
        options: ComponentOptions = DEFAULT_OPTIONS,
        weights: np.ndarray | None = None,
    ):
        self.kernels, self.queries, self.others, self.options = kernels, queries, others, options
        weights = kernels.weights[queries] if weights is None else weights
        self.share = weights / weights.sum()
        self._alone: dict[float, np.ndarray] = {}  # log-densities of the queries by bandwidth
        self._blended: dict[float, np.ndarray] = {}  # the same of the best blend with the others
        self._ratio = (MAX_BANDWIDTH / MIN_BANDWIDTH) ** (1 / (N_COARSE - 1))
        self._evaluate(np.geomspace(MIN_BANDWIDTH, MAX_BANDWIDTH, N_COARSE).tolist())

    def _evaluate(self, bandwidths: Sequence[float]) -> None:
        new, beside = sorted({*bandwidths} - {*self._alone}), self.options.score_beside_others
        for bandwidth, log_prob in zip(new, self.kernels.leave_one_out(new, self.queries)):
            self._blended[bandwidth] = best_blend(log_prob, self.others, self.share) if beside else log_prob
            self._alone[bandwidth] = np.maximum(log_prob, -1e6)

    def _best(self, log_prob: dict[float, np.ndarray]) -> float:
        return max(log_prob, key=lambda bandwidth: self.share @ log_prob[bandwidth])

    @property
    def bandwidth(self) -> float:
        """The one that is best alone, if no other is clearly better beside the others."""
        alone, beside, margin = self._best(self._alone), self._best(self._blended), self.options.bandwidth_margin
        better = clearly_better(self._blended[beside], self._blended[alone], self.share, margin)
        return beside if better else alone

    @property
    def blended(self) -> np.ndarray:
        """Log-densities of the queries under the best blend with the others, in nats, shape (n_queries,)."""
        return self._blended[self.bandwidth]

    @property
    def max_gain(self) -> float:
        """Nats that the best blend of any bandwidth adds to the others at all queries together."""
        best = self._blended[self._best(self._blended)]
        return effective_number(self.share) * float(self.share @ (best - self.others))

    def refine(self) -> None:
        """Narrow the grid about the bandwidth that is best alone, and about the one that is best beside the others."""
        for k in range(1, N_REFINEMENTS + 1):
            step = self._ratio**0.5**k
            best = self._best(self._alone), self._best(self._blended)
            self._evaluate([min(h, MAX_BANDWIDTH) for center in best for h in (center / step, center * step)])
