"""Samples of a fit with their unknown features drawn, by a Gaussian mixture fitted to what is known.

A fit then sees complete samples. Values may be missing in dependence on those that are known.
"""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities._em import MixtureSetting
from skdiffusion.densities._incomplete import IncompleteSamples, fit_incomplete_mixture
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._transformed import TransformedDensity
from skdiffusion.preprocessing import (
    Bounds,
    CompletedSamples,
    Preprocessor,
    Resolution,
    Ties,
    WeightedSamples,
    bounds_with_margins,
    merged_copies,
    nearest,
    without_round_off,
)

TRANSFORMS = (None, "yeo-johnson", 1.0)
N_COMPONENTS = (1, 2, 4, 8, 16)
MIN_COMPONENT_SAMPLES = 30  # for each component of more than one
MAX_SEARCH_SAMPLES = 1500  # that choose the transform and the number of components
LEFT_OUT = 0.25  # of these
MIN_ALONE = 0.5  # share of the values of a feature that are of one sample alone, from which these tell copies
SEARCH_TOL, FIT_TOL = 1e-4, 1e-6  # nats by which the mean log-density must rise in a step of EM
SEARCH_SHARE = 0.5  # of the time until a deadline
N_DRAWS = 3  # for every incomplete sample


class Completion:
    """The distribution of unknown features given known ones, learned from incomplete samples.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Distinct samples, with NaN in unknown features; every feature is known of some sample.
    weights : array of shape (n_samples,)
        Positive.
    bounds : (low, high) or None
    rng : numpy Generator
    deadline : float
        Moment of `Collective.clock` at which the fit ends, with the best that it has.
    """

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray] | None,
        rng: np.random.Generator,
        deadline: float = np.inf,
    ):
        self.X = X.astype(np.float64)
        self.known, self.w, self.rng, self.deadline = ~np.isnan(X), weights, rng, deadline
        # Values at random keep the distribution, the ties and the bounds of every feature.
        filled = without_round_off(self._filled_at_random(), np.finfo(X.dtype).eps)
        self.resolution = Resolution.of(filled, bounds)
        margins = None if bounds is None else bounds_with_margins(filled, weights, self.resolution, bounds)
        self.spread = self.resolution.dequantized(filled, rng, bounds)
        self.density = self._fit(margins)

    def _filled_at_random(self) -> np.ndarray:
        """Samples with values of other samples in the place of those that are unknown."""
        out = self.X.copy()
        for j, known in enumerate(self.known.T):
            w = self.w[known]
            out[~known, j] = self.rng.choice(self.X[known, j], np.count_nonzero(~known), p=w / w.sum())
        return out

    def _mapped(self, preprocessor: Preprocessor, rows: np.ndarray) -> tuple[IncompleteSamples, np.ndarray]:
        """Samples in features of unit variance, and the log-Jacobians of what is known of each."""
        X, known = self.spread[rows], self.known[rows]
        z, _ = preprocessor.transform(X)
        slopes = np.stack([feature.log_slope(x) for feature, x in zip(preprocessor.maps, X.T)], axis=1)
        slopes -= np.log(preprocessor.whitening.scale)
        return IncompleteSamples(np.where(known, z, np.nan), self.w[rows]), np.where(known, slopes, 0.0).sum(1)

    def _fit(self, bounds: Bounds | None) -> TransformedDensity:
        """The mixture behind feature transforms that is best on samples left out, fitted to all."""
        search_deadline = _part_of_time(SEARCH_SHARE, self.deadline)
        order = self.rng.permutation(len(self.X))[:MAX_SEARCH_SAMPLES]
        n_left_out = max(1, int(LEFT_OUT * len(order)))
        left_out, train = order[:n_left_out], order[n_left_out:]
        best, chosen = -np.inf, (Preprocessor(self.spread, self.w, None, bounds).unwhitened(), 1)
        for transform in TRANSFORMS:
            if np.isfinite(best) and _is_over(search_deadline):
                break
            preprocessor = Preprocessor(self.spread, self.w, transform, bounds).unwhitened()
            samples, _ = self._mapped(preprocessor, train)
            validation, log_slope = self._mapped(preprocessor, left_out)
            highest, single = -np.inf, None
            for k in N_COMPONENTS:
                few = MIN_COMPONENT_SAMPLES * k > effective_number(self.w[train])
                if k > 1 and (few or _is_over(search_deadline)):
                    break
                mixture = self._mixture(samples, k, SEARCH_TOL, search_deadline, single)
                single = single or mixture
                score = float(np.average(validation.log_prob(mixture) + log_slope, weights=self.w[left_out]))
                if score > best:
                    best, chosen = score, (preprocessor, k)
                if score < highest:
                    break
                highest = max(score, highest)
        preprocessor, k = chosen
        samples, _ = self._mapped(preprocessor, np.arange(len(self.X)))
        return TransformedDensity(preprocessor, self._mixture(samples, k, FIT_TOL, self.deadline))

    def _mixture(
        self,
        samples: IncompleteSamples,
        n_components: int,
        tol: float,
        deadline: float,
        single: GaussianMixtureDensity | None = None,
    ) -> GaussianMixtureDensity:
        """The mixture of so many components, from a known Gaussian of these samples if there is one."""
        setting = MixtureSetting(n_components, 2.0 + self.X.shape[1])
        return fit_incomplete_mixture(samples, setting, self.rng, tol, single, deadline)

    def drawn(self, groups: np.ndarray | None = None, n_draws: int = N_DRAWS) -> WeightedSamples:
        """Every incomplete sample completed by several draws that share its weight and stay together in every split.

        Known values are kept to the bit.
        """
        incomplete = ~self.known.all(1)
        times = np.where(incomplete, n_draws, 1)
        source = np.repeat(np.arange(len(self.X)), times)
        number = np.concatenate([np.arange(t) for t in times])
        draws, log_proposal = self._drawn(n_draws)
        weight, groups = self.w[source] / times[source], np.arange(len(self.X)) if groups is None else groups
        completed = CompletedSamples(source, log_proposal[number, source], self.known[source])
        return WeightedSamples(draws[number, source], weight / weight.max(), groups[source], completed)

    def _drawn(self, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """The samples with their unknown features drawn, (n_draws, n_samples, n_features), and the log-densities of
        what was drawn given what is known, (n_draws, n_samples)."""
        n, d = self.X.shape
        shape = n_draws, n
        normal, uniform = self.rng.standard_normal((*shape, d)), self.rng.random((2, *shape))
        numbers = normal.reshape(-1, d), uniform[0].ravel(), None, uniform[1].ravel(), self.rng.random((*shape, d))
        noise = SampleNoise(*numbers[:4], numbers[4].reshape(-1, d))
        complete, log_given = np.tile(self.X, (n_draws, 1)), np.zeros(n)
        incomplete, some = ~self.known.all(1), self.known.any(1)
        mine = np.flatnonzero(np.tile(incomplete, n_draws))
        complete[mine] = self.density.known_completed(complete[mine], noise.take(mine))
        log_given[some] = self.density.known_log_prob(self.X[some])
        log_proposal = self.density.log_prob(complete).reshape(shape) - log_given
        log_proposal[:, ~incomplete] = 0.0
        complete = self._on_grids(self.resolution.at_spikes(complete)).reshape(*shape, d)
        return np.where(self.known, self.X, complete), log_proposal

    def _on_grids(self, X: np.ndarray) -> np.ndarray:
        """Samples, those features whose known values are on a grid at the nearest known value."""
        out = X.copy()
        for j, known in enumerate(self.known.T):
            ties = Ties.of(self.X[known, j])
            if ties.on_grid:
                out[:, j] = nearest(ties.values, out[:, j])
        return out


def _is_over(deadline: float) -> bool:
    """Whether a moment of `Collective.clock` has passed, which processes ask each other only where there is one."""
    return deadline < np.inf and collective().clock() > deadline


def _part_of_time(share: float, deadline: float) -> float:
    """The moment at which a share of the time until a deadline has passed."""
    if deadline == np.inf:
        return deadline
    now = collective().clock()
    return now + share * (deadline - now)


def completed_samples(
    samples: WeightedSamples,
    bounds: tuple[np.ndarray, np.ndarray] | None,
    rng: np.random.Generator,
    deadline: float = np.inf,
) -> tuple[np.ndarray, WeightedSamples]:
    """The distinct ones of incomplete samples (n_distinct, n_features), and the samples that complete these.

    Copies become weights before anything is drawn, lest what is drawn for them passes for values that repeat. The
    mixture that completes them has until the deadline, a moment of `Collective.clock`.
    """
    distinct = merged_copies(samples, incomplete_originals(samples.X))
    return distinct.X, Completion(distinct.X, distinct.weight, bounds, rng, deadline).drawn(distinct.groups)


def incomplete_originals(X: np.ndarray) -> np.ndarray:
    """For every sample with NaN in unknown features the first one that it is a copy of; its own number where none is.

    A copy is equal in what is known and unknown, and has a value that no sample but its copies has, of a feature most
    values of which are of one sample alone: equal counts or categories are no copies.
    """
    known = ~np.isnan(X)
    _, first, inverse = np.unique(
        np.hstack([np.where(known, X, 0.0), known]), axis=0, return_index=True, return_inverse=True
    )
    own = np.zeros(len(first), dtype=bool)
    for x, rows in zip(X[first].T, known[first].T):
        _, place, counts = np.unique(x[rows], return_inverse=True, return_counts=True)
        alone = counts[place.ravel()] == 1
        if alone.mean() > MIN_ALONE:
            own[np.flatnonzero(rows)[alone]] = True
    return np.where(own[inverse.ravel()], first[inverse.ravel()], np.arange(len(X)))
