r"""EM of mixtures of products, of samples some values of which are absent or unknown.

With the present features o of a sample, the others have expectations that are linear in :math:`x_o` in every
component. The sufficient statistics of a component are therefore functions of the weighted moments of the present
features alone, pattern by pattern, and a step of EM is a few matrix products. Covariances have the prior of
`ExpectationMaximization`, tables a Dirichlet prior about the table of all samples.

References
----------
Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from skdiffusion._utils.numerics import effective_number, exp_in_place
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.warnings import without_convergence_warnings
from skdiffusion.densities._em import FLOOR
from skdiffusion.densities._product_patterns import PatternBlock, PatternGaussians, gaussian_terms, pattern_blocks
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._state_tables import smoothed_table

TABLE_PRIOR = 2.0  # samples by which the table of a component is drawn to that of all samples
MAX_K_MEANS_SAMPLES = 4000


class Effort(NamedTuple):
    """When EM ends: after so many steps, where one raises the mean log-density by less nats, or at a moment of
    `time.perf_counter`."""

    max_steps: int
    tol: float
    deadline: float = np.inf

    def until(self, deadline: float) -> Effort:
        """The same, that ends at a moment."""
        return self._replace(deadline=deadline)


FULL_EFFORT, FOLD_EFFORT = Effort(200, 1e-4), Effort(200, 1e-3)  # of all samples, and without a fold of them
SEARCH_EFFORT, START_EFFORT = Effort(50, 2e-3), Effort(50, 1e-3)  # that sizes, and that starts are compared by


class ProductSetting(NamedTuple):
    """What a mixture of products is fitted with."""

    n_components: int
    strength: float  # prior samples of each covariance, as of `MixtureSetting`


@dataclass
class ProductSamples:
    """Samples of a table, prepared for EM.

    Parameters
    ----------
    states : int array of shape (n_samples, n_stated)
        Negative where unknown.
    z : array of shape (n_samples, n_numeric)
        Features of about unit variance, NaN where absent or unknown.
    weights : array of shape (n_samples,)
    n_states : int array of shape (n_stated,)
    with_other : bool array of shape (n_stated,)
    """

    states: np.ndarray
    z: np.ndarray
    weights: np.ndarray
    n_states: np.ndarray
    with_other: np.ndarray

    def __post_init__(self) -> None:
        self.effective = effective_number(self.weights)
        self.w = self.weights * (self.effective / self.weights.sum())
        self.patterns = Patterns.of(self.z)
        self.order = np.argsort(self.patterns.which, kind="stable")  # in which EM has the samples: by pattern
        self.terms = gaussian_terms(self.z[self.order])
        self.one_hot = one_hot(self.states[self.order], self.n_states)
        self.ends = np.cumsum(self.n_states)[:-1]
        columns = zip(self.states.T, self.n_states)
        self.shared = [smoothed_table(state, self.w, n) for state, n in columns]

    def fit(
        self, setting: ProductSetting, rng: np.random.Generator, effort: Effort = FULL_EFFORT
    ) -> tuple[ProductMixture, float]:
        """The mixture that EM finds from clusters of k-means, and the mean log-density that it gives these samples."""
        d = self.z.shape[1]
        single = ProductMixture(
            np.ones(1), np.zeros((1, d)), np.eye(d)[None], [t[None] for t in self.shared], self.with_other
        )
        labels = self._clusters(setting.n_components, rng)[self.order]
        share = np.zeros((len(self.z), setting.n_components))
        share[np.arange(len(share)), labels] = 1.0
        start, blocks = _repeated(single, setting.n_components), pattern_blocks(self.patterns, setting.n_components)
        return self.continued(self._step(start, blocks, setting.strength, share)[0], setting.strength, effort)

    def continued(
        self, mixture: ProductMixture, strength: float, effort: Effort = FULL_EFFORT
    ) -> tuple[ProductMixture, float]:
        """The mixture that EM finds from another one, and the mean log-density that it gives these samples."""
        blocks, previous = pattern_blocks(self.patterns, len(mixture.weights)), -np.inf
        for _ in range(effort.max_steps):
            following, log_prob = self._step(mixture, blocks, strength)
            if log_prob - previous < effort.tol:
                break
            mixture, previous = following, log_prob
            if time.perf_counter() > effort.deadline:
                break
        return mixture, previous

    def of(self, rows: np.ndarray) -> ProductSamples:
        """Some of the samples."""
        return ProductSamples(self.states[rows], self.z[rows], self.weights[rows], self.n_states, self.with_other)

    def _clusters(self, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
        """Labels of k-means, of the present values and of the states that are known."""
        if n_clusters == 1:
            return np.zeros(len(self.z), dtype=int)
        features = np.hstack([np.nan_to_num(self.z), one_hot(self.states, self.n_states)])
        some = rng.permutation(len(features))[:MAX_K_MEANS_SAMPLES]
        means = KMeans(n_clusters, n_init=1, max_iter=20, random_state=int(rng.integers(2**31)))
        with without_convergence_warnings():  # fewer distinct samples than clusters
            return means.fit(features[some], sample_weight=self.w[some]).predict(features)

    def _step(
        self, mixture: ProductMixture, blocks: list[PatternBlock], strength: float, share: np.ndarray | None = None
    ) -> tuple[ProductMixture, float]:
        """The mixture after a step of EM, and the mean log-density under the one before.

        Responsibilities, (n_samples, n_components), that are given stand for those of the mixture before.
        """
        (k, d), w = mixture.means.shape, self.w[self.order]
        first, second = np.zeros((k, d)), np.zeros((k, d, d))
        log_prob, weighted = np.zeros(len(w)), self._log_tables(mixture) if share is None else share * w[:, None]
        for block in blocks:
            gaussians, own = PatternGaussians(block, mixture.weights, mixture.means, mixture.covariances), block.samples
            if share is None:
                gaussians.add_log_densities(weighted, self.terms)
                log_prob[own] = _responsibilities_in_place(weighted[own])
                weighted[own] *= w[own, None]
            gaussians.add_moments(first, second, weighted, self.terms)
        following = self._maximized(weighted, first, second, strength)
        return following, float(w @ log_prob / self.effective)

    def _log_tables(self, mixture: ProductMixture) -> np.ndarray:
        """Log-probabilities of the known states under the components, (n_samples, n_components)."""
        log_tables = np.concatenate([np.log(table) for table in mixture.tables] or [mixture.means[:, :0]], axis=1)
        return self.one_hot @ log_tables.T

    def _maximized(
        self, weighted: np.ndarray, first: np.ndarray, second: np.ndarray, strength: float
    ) -> ProductMixture:
        """The mixture of greatest posterior density, of expected moments and weighted responsibilities."""
        mass, d = np.maximum(weighted.sum(0), 1e-10), first.shape[1]
        means = first / mass[:, None]
        scatter = second - mass[:, None, None] * means[:, :, None] * means[:, None]
        within = scatter.sum(0) / self.effective
        covariances = (scatter + strength * within) / (mass + strength)[:, None, None] + FLOOR * np.eye(d)
        covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
        counts = np.split(weighted.T @ self.one_hot, self.ends, axis=1) if len(self.n_states) else []
        tables = [
            (count + TABLE_PRIOR * shared) / (count.sum(1, keepdims=True) + TABLE_PRIOR)
            for count, shared in zip(counts, self.shared)
        ]
        return ProductMixture(mass, means, covariances, tables, self.with_other)


def one_hot(states: np.ndarray, n_states: np.ndarray) -> np.ndarray:
    """States as indicators, side by side, (n_samples, sum of n_states): zeros for unknown ones."""
    starts, out = np.cumsum(n_states) - n_states, np.zeros((len(states), int(n_states.sum())))
    for state, start in zip(states.T, starts):
        known = np.flatnonzero(state >= 0)
        out[known, start + state[known]] = 1.0
    return out


def _repeated(mixture: ProductMixture, k: int) -> ProductMixture:
    """A mixture of k copies of a single component."""
    tables = [np.repeat(table, k, axis=0) for table in mixture.tables]
    means, covariances = np.repeat(mixture.means, k, axis=0), np.repeat(mixture.covariances, k, axis=0)
    return ProductMixture(np.ones(k), means, covariances, tables, mixture.with_other)


def _responsibilities_in_place(log_joint: np.ndarray) -> np.ndarray:
    """Turn log-densities with weights, (n_samples, n_components), into responsibilities; the log of their sums."""
    top = log_joint.max(1, keepdims=True)
    log_joint -= top
    share = exp_in_place(np.maximum(log_joint, -700.0, out=log_joint))
    norm = share.sum(1)
    share /= norm[:, None]
    return np.log(norm) + top[:, 0]
