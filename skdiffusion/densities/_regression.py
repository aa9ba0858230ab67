r"""Autoregressive regressions: features one after another, each given those before it, mean and spread alike.

.. math:: p(x) = \prod_j p(x_j \mid x_{<j}),\qquad
    x_j = \mu_j(x_{<j}) + e^{v_j(x_{<j})/2}\,\varepsilon_j,

with :math:`\mu_j, v_j` linear in basis functions of the features before (the features themselves, hinges and products)
and residuals :math:`\varepsilon_j` that are standard normal or a mixture of normals. That a feature follows from
others, or that a spread depends on them, is said here in closed form, where a network needs many samples.

Beyond the samples of the fit basis functions, means and log-variances stay as they are at its edge. No mean leaves the
values of its feature, no standard deviation exceeds the largest residual, and the distribution of a feature ends where
its tail may be thought to end: one far feature would send those after it far away, and where features follow almost
exactly from those before them, generated ones need not be near any sample.

The first features of the order, which all others follow, may have a mixture of Gaussians for their joint density, or
two of them one after another: what is wrong with them is wrong with all after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy.special import ndtr

from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrix
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._chained_mixture import ChainedMixture
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._residuals import ResidualDistribution, WithinLimits
from skdiffusion.densities._stacking import choose_and_rescale

Head: TypeAlias = GaussianMixtureDensity | ChainedMixture


@dataclass(frozen=True, eq=False)
class RegressionBasis:
    """Basis functions of the features: a constant, the features, hinges and products, in this order."""

    reach: np.ndarray  # (2, n_features), ends of the features beyond which basis functions are constant
    hinges: tuple[np.ndarray, np.ndarray]  # features and knots of hinges max(x - knot, 0)
    products: np.ndarray  # (n_products, 2), pairs of features, equal ones for squares

    def values(self, clipped: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Basis functions of clipped samples, all or those of some numbers, shape (n_samples, n_functions)."""
        d, (features, knots), products, constant, linear = clipped.shape[1], self.hinges, self.products, 1, clipped
        if which is not None:
            kinds = np.searchsorted([1, 1 + d, 1 + d + len(features)], which, side="right")
            of_kind = [which[kinds == kind] for kind in range(4)]
            constant, linear, hinges = len(of_kind[0]), clipped[:, of_kind[1] - 1], of_kind[2] - 1 - d
            features, knots, products = features[hinges], knots[hinges], products[of_kind[3] - 1 - d - len(features)]
        parts = [
            np.ones((len(clipped), constant)),
            linear,
            np.maximum(clipped[:, features] - knots, 0.0),
            clipped[:, products[:, 0]] * clipped[:, products[:, 1]],
        ]
        return np.concatenate(parts, axis=1)

    def pull_back(self, clipped: np.ndarray, by_function: np.ndarray) -> np.ndarray:
        """Derivatives by the features, within the reach, from those by the basis functions."""
        d, (features, knots) = clipped.shape[1], self.hinges
        out = by_function[:, 1 : 1 + d].copy()
        by_hinge, by_product = np.split(by_function[:, 1 + d :], [len(features)], axis=1)
        by_hinge = by_hinge * (clipped[:, features] > knots)
        for k, feature in enumerate(features):
            out[:, feature] += by_hinge[:, k]
        for k, (a, b) in enumerate(self.products):
            out[:, a] += by_product[:, k] * clipped[:, b]
            out[:, b] += by_product[:, k] * clipped[:, a]
        return out


@dataclass(frozen=True, eq=False)
class AutoregressiveRegression(Density):
    """The density of one order of the features."""

    order: np.ndarray  # (n_features,)
    basis: RegressionBasis
    mean: np.ndarray  # (n_functions, n_features), coefficients of the basis functions
    log_variance: np.ndarray  # the same for the log-variances
    bounds: np.ndarray  # (2, 2 n_features), least and largest means and log-variances
    residuals: ResidualDistribution  # of the residuals over their standard deviations
    limits: np.ndarray  # (2, n_features), least and greatest value of every feature; infinite in the head
    head: Head | None = None  # the joint density of the first features of the order

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Means and log-variances of all features, and whether each is within its bounds, (n_samples, n_features)."""
        coefficients = np.concatenate([self.mean, self.log_variance], axis=1)
        free = samples_times_matrix(self.basis.values(_within(x, self.basis.reach)), coefficients)
        both, d = _within(free, self.bounds), x.shape[1]
        moves = both == free
        return both[:, :d], both[:, d:], moves[:, :d], moves[:, d:]

    def with_head(self, head: Head) -> AutoregressiveRegression:
        """The same with a joint density of the first features of the order."""
        limits = self.limits.copy()
        limits[:, self.order[: head.n_features]] = np.array([[-np.inf], [np.inf]])
        return replace(self, limits=limits, head=head)

    @property
    def _first(self) -> np.ndarray:
        """The features of the head."""
        return self.order[: 0 if self.head is None else self.head.n_features]

    def _within(self, mean: np.ndarray, v: np.ndarray, features: slice = slice(None)) -> WithinLimits:
        """The distributions of the residuals within the limits of some features, from means and log-variances."""
        low, high = ((end - mean) * np.exp(-v / 2) for end in self.limits[:, features])
        return WithinLimits(self.residuals, low, high, features)

    def log_conditionals(self, x: np.ndarray) -> np.ndarray:
        """Log-densities of features given those before them, shape (n_samples, n_features); -inf beyond the limits."""
        mean, v, *_ = self.predict(x)
        return self._log_conditionals(x, v, (x - mean) * np.exp(-v / 2), self._within(mean, v))

    def _log_conditionals(self, x: np.ndarray, v: np.ndarray, e: np.ndarray, within: WithinLimits) -> np.ndarray:
        """The same from log-variances, residuals over standard deviations, and their limits."""
        out = self.residuals.log_prob(e) - v / 2
        out[within.near] -= np.log(within.mass)
        out[(x < self.limits[0]) | (x > self.limits[1])] = -np.inf
        return out

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,)."""
        conditionals = self.log_conditionals(x)
        if self.head is None:
            return conditionals.sum(1)
        conditionals[:, self._first] = 0.0
        return conditionals.sum(1) + self.head.log_prob(x[:, self._first])

    def score(self, x: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        return self.log_prob_and_score(x)[1]

    def log_prob_and_score(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once."""
        mean, v, mean_moves, v_moves = self.predict(x)
        e = (x - mean) * np.exp(-v / 2)
        slope = self.residuals.score(e)
        own = slope * np.exp(-v / 2)
        by_mean, by_variance = -own, -0.5 * (slope * e + 1)
        within = self._within(mean, v)
        conditionals = self._log_conditionals(x, v, e, within)
        by_limits = within.slopes()
        by_mean[within.near] += sum(by_limits) * np.exp(-v[within.near] / 2)
        by_variance[within.near] += 0.5 * (by_limits[0] * within.ends[1] + by_limits[1] * within.ends[0])
        by_mean, by_variance = np.where(mean_moves, by_mean, 0.0), np.where(v_moves, by_variance, 0.0)
        if self.head is not None:
            conditionals[:, self._first] = 0.0
            of_head, own[:, self._first] = self.head.log_prob_and_score(x[:, self._first])
            by_mean[:, self._first] = by_variance[:, self._first] = 0.0
        by_function = by_mean @ self.mean.T + by_variance @ self.log_variance.T
        clipped = np.clip(x, *self.basis.reach)
        score = own + np.where(clipped == x, self.basis.pull_back(clipped, by_function), 0.0)
        return conditionals.sum(1) + (0.0 if self.head is None else of_head), score

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the normal ones, and the uniform ones for the head."""
        normal = noise.normal
        x, clipped, first = np.empty_like(normal), np.zeros_like(normal), self._first
        if self.head is not None:
            x[:, first] = self.head.sample(SampleNoise(normal[:, first], noise.uniform))
            clipped[:, first] = np.clip(x[:, first], *self.basis.reach[:, first])
        for j in self.order[len(first) :]:
            coefficients = np.stack([self.mean[:, j], self.log_variance[:, j]], axis=1)
            used = np.flatnonzero(coefficients.any(1))
            free = samples_times_matrix(self.basis.values(clipped, used), coefficients[used])
            mean, v = np.clip(free, *self.bounds[:, [j, j + len(self.order)]]).T
            e = self.residuals.from_normal(normal[:, j], j)
            within = self._within(mean[:, None], v[:, None], slice(j, j + 1))
            near = within.near[:, 0]
            e[near] = within.from_uniform(ndtr(normal[near, j]))
            x[:, j] = np.clip(mean + np.exp(v / 2) * e, *self.limits[:, j])
            clipped[:, j] = np.clip(x[:, j], *self.basis.reach[:, j])
        return x


def _within(x: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Samples (n_samples, n) clipped to the ends (2, n) of each of their numbers."""
    return np.minimum(np.maximum(x, ends[0]), ends[1])  # np.clip takes longer for few samples


class RegressionDensity(Density):
    """A mixture of autoregressive regressions of different orders of the features.

    Parameters
    ----------
    regressions : sequence of AutoregressiveRegression
    weights : array of shape (n_regressions,)
        Positive, sum 1.
    """

    _saved = ("regressions", "weights")

    def __init__(self, regressions: Sequence[AutoregressiveRegression], weights: np.ndarray | Sequence[float]):
        self.regressions, self.weights = list(regressions), np.asarray(weights, dtype=float)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,)."""
        x = np.asarray(x, dtype=float)
        joint = np.stack([regression.log_prob(x) for regression in self.regressions], axis=1) + np.log(self.weights)
        return log_sum_exp(joint, axis=1)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        return self.log_prob_and_score(x)[1]

    def log_prob_and_score(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once."""
        log_prob, scores = zip(*(regression.log_prob_and_score(x) for regression in self.regressions))
        joint = np.stack(log_prob, axis=1) + np.log(self.weights)
        total = log_sum_exp(joint, axis=1)
        share = np.exp(joint - np.where(np.isfinite(total), total, 0.0)[:, None])  # none beyond all limits
        return total, sum(share[:, k : k + 1] * score for k, score in enumerate(scores))

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the uniform ones choose the orders, and what is left of them parts of heads."""
        which, left = choose_and_rescale(self.weights, noise.uniform)
        noise, x = noise._replace(uniform=left), np.empty_like(noise.normal)
        for k, regression in enumerate(self.regressions):
            x[which == k] = regression.sample(noise.take(which == k))
        return x
