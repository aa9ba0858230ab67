"""The kernel density, where it adds to the blend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skdiffusion.densities import BandwidthSearch, Component, KernelSamples, Spacing, TransformedDensity
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData, Preprocessor


class KernelFamily(ComponentFamily):
    """One kernel density in the space where samples left out one at a time gain most by it, or none.

    The space is that of a preprocessor or its features of unit variance. The kernels are of one width, or as wide as
    samples lie apart where that is better: not at sharp edges.
    """

    def fit(self, fit: ComponentFit) -> list[Component]:
        if fit.data.n_samples > fit.options.max_kernel_samples:
            return []
        return fit_kernel(fit, [*fit.spaces.by_prefix().values()], fit.others())


def fit_kernel(fit: ComponentFit, spaces: Sequence[Preprocessor], others: np.ndarray) -> list[Component]:
    """The kernel in the best of the spaces, whitened or not, beside a blend with these out-of-fold log-densities.

    It is left out where no bandwidth in no space adds enough to the blend. Beside a mixture a kernel may serve near
    copies of samples alone.
    """
    queries, n_queries = fit.data.validated, fit.options.max_kernel_queries
    if len(queries) > n_queries:
        chosen = np.sort(fit.rng.choice(len(queries), n_queries, replace=False))
        queries, others = queries[chosen], others[chosen]
    correlated = [space for space in spaces if space.whitening.is_correlated(fit.options.min_correlation_gain)]
    mapped = [fit.data.mapped(space) for space in spaces]
    mapped += [MappedData.of(fit.data, space.unwhitened()) for space in correlated]
    tried = [KernelCandidate(fit, m, queries, others) for m in mapped]
    if max(candidate.search.max_gain for candidate in tried) < fit.options.min_total_gain:
        return []
    finalists = [max(tried, key=KernelCandidate.score)]
    if fit.options.adaptive_kernels:
        finalists.append(KernelCandidate(fit, finalists[0].mapped, queries, others, adaptive=True))
    for candidate in finalists:
        candidate.search.refine()
    return [max(finalists, key=KernelCandidate.score).component()]


class KernelCandidate:
    """Kernels at the samples behind a preprocessor, adaptive or of one width, and the search for their bandwidth."""

    def __init__(
        self, fit: ComponentFit, mapped: MappedData, queries: np.ndarray, others: np.ndarray, adaptive: bool = False
    ):
        self.data, self.mapped = fit.data, mapped
        z, w = mapped.z, fit.data.sample_weight
        spacing = Spacing.of_samples(z, w) if adaptive else None
        whitened = 1 - mapped.preprocessor.whitening.shrinkage
        self.kernels = KernelSamples(z, w, mapped.z_left_out, whitened, spacing, fit.data.groups)
        self.log_det, self.query_weight = mapped.log_det_left_out[queries], fit.data.weights_of(queries)
        if fit.data.completed is not None:  # the kernel is scored at completed samples, the others at what was known
            others = others + fit.data.completed.log_proposal[queries]
        self.search = BandwidthSearch(self.kernels, queries, others - self.log_det, fit.options, self.query_weight)

    def score(self) -> float:
        """Mean log-density of the queries under the best blend with the others."""
        return np.average(self.search.blended + self.log_det, weights=self.query_weight)

    def component(self) -> Component:
        """The component, whose samples are left out one at a time."""
        validated, bandwidth = np.concatenate(self.data.validation_folds), self.search.bandwidth
        log_prob = self.kernels.leave_one_out([bandwidth], validated)[0] + self.mapped.log_det_left_out[validated]
        held_out = self.mapped.observed(log_prob, validated)
        transformed = TransformedDensity(self.mapped.preprocessor, self.kernels.density(bandwidth))
        return Component("kernel", transformed, held_out, "kernel")
