r"""Gaussian mixtures by weighted, regularized expectation maximization.

The covariance of a component is the mode under an inverse-Wishart prior,
:math:`C_k = (S_k + \nu\Psi)/(N_k + \nu)`, with S_k its weighted scatter, N_k its effective samples and
:math:`\Psi=\sum_k S_k/n` the covariance within components, re-estimated in every step. A strong prior (large nu) serves
components that are alike, a weak one those of very different size or direction. A component of many samples that is
far smaller than the others has a prior, and a floor, by its own size: those of all would be wider than it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import exp_in_place
from skdiffusion._utils.warnings import without_convergence_warnings
from skdiffusion.densities._mixture import LOG_2PI, GaussianMixtureDensity

BLOCK_NUMBERS = 2_000_000  # terms of a block of samples
FLOOR = 1e-6  # of the variances of components, in that of all samples
MAX_PRIOR_RATIO = 1e4  # of the variance of the prior to that of a component; beyond, the prior falls as its square
MAX_FLOOR_RATIO = 0.1  # of the floor to it
MIN_VARIANCE = 1e-13  # in that of all samples: round-off
MANY_SAMPLES = 10  # for each of n_features + 1: a component of fewer could vanish to a point


class MixtureSetting(NamedTuple):
    """What a mixture is fitted with."""

    n_components: int
    strength: float  # prior samples per component, nu above; raising it makes the components more alike

    def of_repeated(self, information: float) -> MixtureSetting:
        """The same where samples are worth a share of their effective number, by which EM counts them."""
        return self._replace(strength=self.strength / information)


class _Parameters(NamedTuple):
    """A mixture about the center of its samples: effective samples of the components, means, covariances."""

    mass: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class KMeansStart(NamedTuple):
    """A start of EM from clusters of weighted k-means: EM stays near the optimum where it starts."""

    samples: np.ndarray  # that k-means takes
    seed: int
    max_runs: int  # from other seeds, of which the best is taken

    def labels(self, X: np.ndarray, weights: np.ndarray, n_clusters: int) -> np.ndarray:
        """Clusters of samples X."""
        some = self.samples
        # Runs from other seeds differ the less the more clusters there are.
        n_init = min(self.max_runs, max(1, 40 // n_clusters))
        means = KMeans(n_clusters, n_init=n_init, max_iter=10, random_state=self.seed)
        with without_convergence_warnings():  # fewer distinct samples than clusters
            return means.fit(X[some], sample_weight=weights[some]).predict(X)


@dataclass(frozen=True)
class ExpectationMaximization:
    """Fit of Gaussian mixtures."""

    max_iter: int = 200
    tol: float = 1e-4  # nats by which the mean log-density must rise in a step
    max_k_means_runs: int = 10  # of k-means; there are fewer for many components
    max_k_means_samples: int = 4000  # of k-means, which finds the start; EM itself takes all samples
    max_stored: int = 40_000_000  # numbers up to which the quadratic terms of all samples are kept for every step

    def draw_start(self, weights: np.ndarray, n_components: int, rng: np.random.Generator | None) -> KMeansStart | None:
        """The random numbers of a start from k-means; none for one component."""
        if n_components == 1:
            return None
        assert rng is not None, "k-means takes random numbers."
        some = np.flatnonzero(weights > 0)
        if len(some) > self.max_k_means_samples:
            some = np.sort(rng.choice(some, self.max_k_means_samples, replace=False))
        return KMeansStart(some, int(rng.integers(2**31)), self.max_k_means_runs)

    def fit(
        self,
        X: np.ndarray,
        weights: np.ndarray,
        setting: MixtureSetting | tuple[int, float],
        rng: np.random.Generator | None = None,
        start: GaussianMixtureDensity | KMeansStart | None = None,
    ) -> GaussianMixtureDensity:
        """Fit a mixture to weighted samples.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        weights : array of shape (n_samples,)
            Non-negative; their scale does not matter, their effective number of samples does.
        setting : MixtureSetting
        rng : numpy Generator, optional
            Of `draw_start`; not needed with a `start`.
        start : GaussianMixtureDensity or KMeansStart, optional
            Where EM starts; None draws a start from k-means.
        """
        k, strength = setting
        if start is None:
            start = self.draw_start(weights, k, rng)
        steps = _Steps(X, weights, strength, self.max_stored)
        if isinstance(start, GaussianMixtureDensity):
            mixture = _Parameters(steps.effective * start.weights, start.means - steps.center, start.covariances)
        else:
            labels = np.zeros(len(X), dtype=int) if start is None else start.labels(steps.terms.X, steps.w, k)
            mixture = steps.of_labels(labels, k)
        previous = -np.inf
        # One Gaussian is its moments.
        for _ in range(self.max_iter if k > 1 else 0):
            sums, mean_log_density = steps.expectation(mixture)
            if mean_log_density - previous < self.tol:
                break
            mixture, previous = steps.maximization(sums), mean_log_density
        return GaussianMixtureDensity(mixture.mass, mixture.means + steps.center, mixture.covariances)


class _Steps:
    """Both steps of EM for weighted samples."""

    def __init__(self, X: np.ndarray, weights: np.ndarray, strength: float, max_stored: int):
        self.strength, self.effective = strength, weights.sum() ** 2 / (weights**2).sum()
        self.w = weights * (self.effective / weights.sum())
        # About the mean: a scatter is a difference of sums, whose round-off must stay below the variances.
        self.center = (self.w @ X) / self.effective
        X = X - self.center
        d = X.shape[1]
        self.terms = _QuadraticTerms(X, max_stored)
        self.variance = max((self.w @ X**2).sum() / self.effective / d, 1e-12)

    def of_labels(self, labels: np.ndarray, n_components: int) -> _Parameters:
        """The mixture of samples that are labeled with their component."""
        one_hot = np.zeros((len(labels), n_components))
        one_hot[np.arange(len(labels)), labels] = self.w
        return self.maximization(sum(one_hot[block].T @ made for block, made in self.terms))

    def expectation(self, mixture: _Parameters) -> tuple[np.ndarray, float]:
        """Sums of the terms by component, weighted by its responsibilities; and the mean log-density."""
        coefficients = self.terms.coefficients(mixture).T
        sums, total = np.zeros((len(mixture.mass), self.terms.n_terms)), 0.0
        for block, made in self.terms:
            # Components by samples: sums over the components then run through whole vectors of samples.
            r = coefficients @ made.T
            top = r.max(0)
            r -= top
            exp_in_place(np.maximum(r, -700.0, out=r))  # subnormal numbers are slow
            norm = r.sum(0)
            total += self.w[block] @ (np.log(norm) + top)
            r *= self.w[block] / norm
            sums = sums + r @ made
        return sums, total / self.effective

    def maximization(self, sums: np.ndarray) -> _Parameters:
        """The mixture of greatest posterior density."""
        mass, means, scatter = self.terms.moments(sums)
        within, d = scatter.sum(0) / self.effective, means.shape[1]
        many = mass >= MANY_SAMPLES * (d + 1)
        own = np.where(many, np.trace(scatter, axis1=1, axis2=2) / mass / d, np.inf)
        own = np.maximum(own, MIN_VARIANCE * self.variance)
        prior = self.strength * np.minimum(MAX_PRIOR_RATIO * own / max(np.trace(within) / d, 1e-300), 1.0) ** 2
        floor = np.minimum(FLOOR * self.variance, MAX_FLOOR_RATIO * own)
        covariances = (scatter + prior[:, None, None] * within) / (mass + self.strength)[:, None, None]
        return _Parameters(mass, means, covariances + floor[:, None, None] * np.eye(d))


class _QuadraticTerms:
    """The terms (1, x, x_i x_j for i <= j) of samples, in blocks: both steps of EM are then matrix products.

    The log-density of a Gaussian is linear in these terms, and their weighted sums are its sufficient statistics. The
    terms are kept if they are at most `max_stored` numbers, else made again in every pass.
    """

    def __init__(self, X: np.ndarray, max_stored: int):
        self.X, d = X, X.shape[1]
        self.upper = np.triu_indices(d)
        self.n_terms = 1 + d + len(self.upper[0])
        self.blocks = list(slices(len(X), BLOCK_NUMBERS // self.n_terms))
        keep = len(X) * self.n_terms <= max_stored
        self._kept = [self._make(b) for b in self.blocks] if keep else None

    def _make(self, block: slice) -> np.ndarray:
        x = self.X[block]
        made, d = np.empty((len(x), self.n_terms)), x.shape[1]
        made[:, 0], made[:, 1 : 1 + d] = 1.0, x
        start = 1 + d
        for i in range(d):
            np.multiply(x[:, i : i + 1], x[:, i:], out=made[:, start : start + d - i])
            start += d - i
        return made

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        return zip(self.blocks, self._kept or (self._make(b) for b in self.blocks))

    def coefficients(self, mixture: _Parameters) -> np.ndarray:
        """Coefficients that turn the terms into log w_k N(x; m_k, C_k)."""
        (mass, means, covariances), (i, j) = mixture, self.upper
        log_weights = np.log(mass / mass.sum())
        factors = np.linalg.cholesky(covariances)
        inverses = np.linalg.inv(factors)
        precisions = inverses.transpose(0, 2, 1) @ inverses
        pulls = (precisions @ means[:, :, None])[:, :, 0]
        log_roots = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        constants = log_weights - 0.5 * (means * pulls).sum(1) - log_roots - 0.5 * means.shape[1] * LOG_2PI
        # The diagonal counts once, a pair i < j twice.
        quadratics = -np.where(i == j, 0.5, 1.0) * precisions[:, i, j]
        return np.concatenate([constants[None], pulls.T, quadratics.T])

    def moments(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masses, means and scatter matrices about the means, from weighted sums of the terms."""
        (i, j), d = self.upper, self.X.shape[1]
        mass = np.maximum(sums[:, 0], 1e-10)
        means = sums[:, 1 : 1 + d] / mass[:, None]
        second = np.empty((len(mass), d, d))
        second[:, i, j] = second[:, j, i] = sums[:, 1 + d :]
        return mass, means, second - mass[:, None, None] * means[:, :, None] * means[:, None, :]
