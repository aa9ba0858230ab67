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

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from skdiffusion._utils.numerics import effective_number, exp_in_place
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.warnings import without_convergence_warnings
from skdiffusion.densities._em import FLOOR
from skdiffusion.densities._mixture import LOG_2PI
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._state_tables import smoothed_table

MAX_ITER, TOL = 200, 1e-4  # steps, and nats by which the mean log-density must rise in one
TABLE_PRIOR = 2.0  # samples by which the table of a component is drawn to that of all samples
MAX_K_MEANS_SAMPLES = 4000


class ProductSetting(NamedTuple):
    """What a mixture of products is fitted with."""

    n_components: int
    strength: float  # prior samples of each covariance, as of `MixtureSetting`


class _Pattern(NamedTuple):
    """Samples with the same present features."""

    rows: np.ndarray
    features: np.ndarray
    others: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]  # i <= j
    terms: np.ndarray  # (n_rows, n_terms): 1, x, x_i x_j of the pairs

    @classmethod
    def of(cls, z: np.ndarray, rows: np.ndarray, features: np.ndarray) -> _Pattern:
        pairs, others = np.triu_indices(len(features)), np.setdiff1d(np.arange(z.shape[1]), features)
        return cls(rows, features, others, pairs, _terms(z[np.ix_(rows, features)], pairs))


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
    patterns: list[_Pattern] = field(init=False)

    def __post_init__(self) -> None:
        self.effective = effective_number(self.weights)
        self.w = self.weights * (self.effective / self.weights.sum())
        self.patterns = [_Pattern.of(self.z, *part) for part in Patterns.of(self.z).parts()]
        self.one_hot = one_hot(self.states, self.n_states)
        self.ends = np.cumsum(self.n_states)[:-1]
        columns = zip(self.states.T, self.n_states)
        self.shared = [smoothed_table(state, self.w, n) for state, n in columns]

    def fit(self, setting: ProductSetting, rng: np.random.Generator) -> tuple[ProductMixture, float]:
        """The mixture that EM finds from clusters of k-means, and the mean log-density that it gives these samples."""
        d = self.z.shape[1]
        single = ProductMixture(
            np.ones(1), np.zeros((1, d)), np.eye(d)[None], [t[None] for t in self.shared], self.with_other
        )
        labels = self._clusters(setting.n_components, rng)
        share = np.zeros((len(self.z), setting.n_components))
        share[np.arange(len(share)), labels] = 1.0
        start = _repeated(single, setting.n_components)
        mixture, previous = self._maximization(start, share, setting.strength), -np.inf
        for _ in range(MAX_ITER):
            share, log_prob = self._expectation(mixture)
            if log_prob - previous < TOL:
                break
            previous = log_prob
            mixture = self._maximization(mixture, share, setting.strength)
        return mixture, previous

    def _clusters(self, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
        """Labels of k-means, of the present values and of the states that are known."""
        if n_clusters == 1:
            return np.zeros(len(self.z), dtype=int)
        features = np.hstack([np.nan_to_num(self.z), self.one_hot])
        some = rng.permutation(len(features))[:MAX_K_MEANS_SAMPLES]
        means = KMeans(n_clusters, n_init=1, max_iter=20, random_state=int(rng.integers(2**31)))
        with without_convergence_warnings():  # fewer distinct samples than clusters
            return means.fit(features[some], sample_weight=self.w[some]).predict(features)

    def _expectation(self, mixture: ProductMixture) -> tuple[np.ndarray, float]:
        """Responsibilities of the components, (n_samples, n_components), and the mean log-density."""
        log_tables = np.concatenate([np.log(table) for table in mixture.tables] or [mixture.means[:, :0]], axis=1)
        log_joint = self.one_hot @ log_tables.T
        for pattern in self.patterns:
            log_joint[pattern.rows] += pattern.terms @ _coefficients(mixture, pattern)
        top = log_joint.max(1, keepdims=True)
        log_joint -= top
        share = exp_in_place(np.maximum(log_joint, -700.0, out=log_joint))
        norm = share.sum(1)
        share /= norm[:, None]
        return share, float(self.w @ (np.log(norm) + top[:, 0]) / self.effective)

    def _maximization(self, mixture: ProductMixture, share: np.ndarray, strength: float) -> ProductMixture:
        """The mixture of greatest posterior density, with the expectations of what is absent under the last one."""
        weighted, (k, d) = share * self.w[:, None], mixture.means.shape
        mass = np.maximum(weighted.sum(0), 1e-10)
        first, second = np.zeros((k, d)), np.zeros((k, d, d))
        for pattern in self.patterns:
            sums = weighted[pattern.rows].T @ pattern.terms
            a, b = _completed_moments(mixture, pattern, sums)
            first += a
            second += b
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


def _terms(x: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The terms 1, x, x_i x_j of samples: the log-density of a Gaussian is linear in them."""
    i, j = pairs
    return np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]])


def _coefficients(mixture: ProductMixture, pattern: _Pattern) -> np.ndarray:
    """Coefficients, (n_terms, n_components), that turn the terms of a pattern into log w_k N(x; m_k, C_k)."""
    features, log_weights, n = pattern.features, np.log(mixture.weights), len(pattern.features)
    if not n:
        return log_weights[None]
    factors = np.linalg.cholesky(mixture.covariances[:, features][:, :, features])
    inverses, means = np.linalg.inv(factors), mixture.means[:, features]
    precisions = inverses.transpose(0, 2, 1) @ inverses
    pulls = np.einsum("kij,kj->ki", precisions, means)
    log_roots = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    constants = log_weights - 0.5 * (means * pulls).sum(1) - log_roots - 0.5 * n * LOG_2PI
    i, j = pattern.pairs
    quadratics = -np.where(i == j, 0.5, 1.0) * precisions[:, i, j]
    return np.concatenate([constants[None], pulls.T, quadratics.T])


def _completed_moments(mixture: ProductMixture, pattern: _Pattern, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of x and of x x', with the expectations of absent features, from sums of the terms of the others.

    Shapes (n_components, n_numeric) and (n_components, n_numeric, n_numeric).
    """
    features, others, (i, j) = pattern.features, pattern.others, pattern.pairs
    (k, d), n = mixture.means.shape, len(features)
    mass, first, second = sums[:, 0], sums[:, 1 : 1 + n], np.empty((k, n, n))
    second[:, i, j] = second[:, j, i] = sums[:, 1 + n :]
    if n == d:
        return first, second
    across, own = mixture.covariances[:, others][:, :, features], mixture.covariances[:, others][:, :, others]
    gain = np.zeros((k, d, n))  # x is expected to be offset + gain @ x_o
    gain[:, features, np.arange(n)] = 1.0
    if n:
        inverse = np.linalg.inv(mixture.covariances[:, features][:, :, features])
        gain[:, others] = across @ inverse
    offset = mixture.means - np.einsum("kij,kj->ki", gain, mixture.means[:, features])
    offset[:, features] = 0.0
    total = mass[:, None] * offset + np.einsum("kij,kj->ki", gain, first)
    mixed = offset[:, :, None] * np.einsum("kij,kj->ki", gain, first)[:, None]
    product = mass[:, None, None] * offset[:, :, None] * offset[:, None] + mixed + mixed.transpose(0, 2, 1)
    product += gain @ second @ gain.transpose(0, 2, 1)
    left = own - gain[:, others] @ across.transpose(0, 2, 1)
    product[np.ix_(np.arange(k), others, others)] += mass[:, None, None] * left
    return total, product
