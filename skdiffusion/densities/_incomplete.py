r"""Gaussian mixtures and Student-t of samples some features of which are unknown, by EM on what is known.

Given the known features o of a sample, the unknown features u have under every component, of precision
:math:`P = C^{-1}`, the moments

.. math:: \mathrm E[x_u \mid x_o] = m_u - P_{uu}^{-1} P_{uo} (x_o - m_o),\quad
    \mathrm{cov}(x_u \mid x_o) = P_{uu}^{-1},\quad \log\det C_{oo} = \log\det C + \log\det P_{uu} :

of every pattern only the block of the few unknown features is inverted. The likelihood of what is known is what rises,
so that values may be missing in dependence on those that are known.

References
----------
Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach.
Liu and Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and ECME.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.patterns import Patterns
from skdiffusion.densities._em import FLOOR, ExpectationMaximization, MixtureSetting
from skdiffusion.densities._mixture import LOG_2PI, GaussianMixtureDensity
from skdiffusion.densities._student import DEGREES, StudentTDensity, shrunk_scale

MAX_ITER = 200
TOL = 1e-6  # nats by which the mean log-density must rise in a step


class Distances(NamedTuple):
    """How far what is known of samples is from a center, by the covariance of the known features."""

    deviations: np.ndarray  # (n_samples, n_features), from the center; of unknown features their expectations
    squared: np.ndarray  # (n_samples,)
    log_det: np.ndarray  # (n_samples,), of the covariances of the known features
    conditional: list[np.ndarray]  # of every group of patterns the covariances of the unknown features given the others


class PatternGroup(NamedTuple):
    """The incomplete samples with as many unknown features."""

    samples: np.ndarray  # (n,), their numbers
    which: np.ndarray  # (n,), the pattern of each
    unknown: np.ndarray  # (n_patterns, n_unknown), numbers of the unknown features of every pattern

    @property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the unknown features of the samples, among all samples and features."""
        return self.samples[:, None], self.unknown[self.which]

    @property
    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the unknown features of the patterns in the matrices of all features."""
        return self.unknown[:, :, None], self.unknown[:, None, :]


def pattern_groups(patterns: Patterns) -> list[PatternGroup]:
    """Patterns with unknown features, by the number of these."""
    n_unknown, groups = (~patterns.known).sum(1), []
    for n in np.unique(n_unknown[n_unknown > 0]):
        own = np.flatnonzero(n_unknown == n)
        samples = np.flatnonzero(np.isin(patterns.which, own))
        unknown = np.nonzero(~patterns.known[own])[1].reshape(-1, n)
        groups.append(PatternGroup(samples, np.searchsorted(own, patterns.which[samples]), unknown))
    return groups


class IncompleteSamples:
    """Samples with NaN in their unknown features, by the patterns of these, for EM.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Features of about unit variance.
    weights : array of shape (n_samples,)
    """

    def __init__(self, X: np.ndarray, weights: np.ndarray):
        self.known = ~np.isnan(X)
        self.X = np.where(self.known, X, 0.0)
        self.effective = float(weights.sum() ** 2 / (weights @ weights))
        self.w = weights * (self.effective / weights.sum())
        self.groups = pattern_groups(Patterns.of(X))

    def log_joint(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Log-densities of what is known under the components, with their weights, (n_samples, n_components)."""
        return self._joint(mixture)[0]

    def log_prob(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Log-density of what is known, in nats, shape (n_samples,)."""
        return log_sum_exp(self.log_joint(mixture), axis=1)

    def _joint(self, mixture: GaussianMixtureDensity) -> tuple[np.ndarray, list[Distances]]:
        """`log_joint`, and the distances from every component."""
        out, parts, n_known = np.empty((len(self.X), len(mixture.weights))), [], self.known.sum(1)
        for k, (weight, mean, covariance) in enumerate(zip(mixture.weights, mixture.means, mixture.covariances)):
            parts.append(self.distances(mean, covariance))
            out[:, k] = np.log(weight) - 0.5 * (parts[-1].squared + parts[-1].log_det + n_known * LOG_2PI)
        return out, parts

    def distances(self, mean: np.ndarray, covariance: np.ndarray) -> Distances:
        """Squared Mahalanobis distances of what is known, and what they are made of."""
        precision = np.linalg.inv(covariance)
        deviations = np.where(self.known, self.X - mean, 0.0)
        pulled = deviations @ precision
        squared = (pulled * deviations).sum(1)
        log_det, conditional = np.full(len(self.X), np.linalg.slogdet(covariance)[1]), []
        for group in self.groups:
            blocks, entries = precision[group.blocks], group.entries
            conditional.append(np.linalg.inv(blocks))
            own = pulled[entries]
            expected = (conditional[-1][group.which] @ own[:, :, None])[:, :, 0]
            deviations[entries] = -expected
            squared[group.samples] -= (own * expected).sum(1)
            log_det[group.samples] += np.linalg.slogdet(blocks)[1][group.which]
        return Distances(deviations, squared, log_det, conditional)

    def left(self, conditional: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """The sum, by weights (n_samples,), of the covariances of unknown features given the known ones."""
        d = self.X.shape[1]
        out = np.zeros(d * d)
        for group, covariances in zip(self.groups, conditional):
            by_pattern = np.bincount(group.which, weights[group.samples], len(group.unknown))
            rows, columns = group.blocks
            out += np.bincount((rows * d + columns).ravel(), (by_pattern[:, None, None] * covariances).ravel(), d * d)
        return out.reshape(d, d)

    def step(self, mixture: GaussianMixtureDensity, strength: float) -> tuple[GaussianMixtureDensity, float]:
        """One step of EM, with `strength` samples of the covariance within components as the prior of each; and the
        mean log-density before it."""
        log_joint, parts = self._joint(mixture)
        log_prob = log_sum_exp(log_joint, axis=1)
        share = np.exp(log_joint - log_prob[:, None]) * self.w[:, None]
        d = self.X.shape[1]
        mass, means, scatter = np.maximum(share.sum(0), 1e-10), [], []
        for k, part in enumerate(parts):
            r = share[:, k]
            moved = r @ part.deviations / mass[k]
            means.append(mixture.means[k] + moved)
            centered = part.deviations - moved
            scatter.append(centered.T @ (centered * r[:, None]) + self.left(part.conditional, r))
        within = sum(scatter) / self.effective
        covariances = (np.stack(scatter) + strength * within) / (mass + strength)[:, None, None] + FLOOR * np.eye(d)
        covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
        return GaussianMixtureDensity(mass, np.stack(means), covariances), float(self.w @ log_prob / self.effective)

    def expected(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Samples with the expectations of their unknown features, (n_samples, n_features)."""
        log_joint, parts = self._joint(mixture)
        share = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None])
        parted = (r[:, None] * (mean + part.deviations) for r, mean, part in zip(share.T, mixture.means, parts))
        return np.where(self.known, self.X, sum(parted))


def fit_incomplete_mixture(
    samples: IncompleteSamples,
    setting: MixtureSetting,
    rng: np.random.Generator,
    tol: float = TOL,
    single: GaussianMixtureDensity | None = None,
) -> GaussianMixtureDensity:
    """The mixture of a setting for incomplete samples, from where EM ends for their expectations under one Gaussian.

    EM ends where a step raises the mean log-density by less than `tol` nats. That one Gaussian is fitted first, unless
    it is given.
    """
    d = samples.X.shape[1]
    if single is None:
        mean = (samples.w @ samples.X) / np.maximum(samples.w @ samples.known, 1e-10)
        single = _steps(samples, GaussianMixtureDensity(np.ones(1), mean[None], np.eye(d)[None]), 0.0, tol)
    if setting.n_components == 1:
        return single
    few = ExpectationMaximization(max_iter=20, tol=1e-3)
    start = few.fit(samples.expected(single), samples.w, setting, rng)
    return _steps(samples, start, setting.strength, tol)


def _steps(
    samples: IncompleteSamples, mixture: GaussianMixtureDensity, strength: float, tol: float
) -> GaussianMixtureDensity:
    """The mixture after as many steps of EM as raise the mean log-density by so many nats each."""
    previous = -np.inf
    for _ in range(MAX_ITER):
        moved, mean_log_density = samples.step(mixture, strength)
        if mean_log_density - previous < tol:
            break
        mixture, previous = moved, mean_log_density
    return mixture


def student_t_log_prob(samples: IncompleteSamples, density: StudentTDensity) -> np.ndarray:
    """Log-density of what is known of samples under a Student-t, in nats, shape (n_samples,)."""
    nu, n_known = density.degrees, samples.known.sum(1)
    distances = samples.distances(density.location, density.scale)
    constant = gammaln((nu + n_known) / 2) - gammaln(nu / 2) - n_known / 2 * np.log(nu * np.pi)
    return constant - 0.5 * distances.log_det - (nu + n_known) / 2 * np.log1p(distances.squared / nu)


def fit_incomplete_student_t(samples: IncompleteSamples, n_iter: int = 40) -> StudentTDensity:
    r"""The Student-t of incomplete samples, as `fit_student_t` finds that of complete ones.

    A sample of which the features o are known counts :math:`(\nu + |o|) / (\nu + \delta)`, with its squared distance
    :math:`\delta` by these.

    Parameters
    ----------
    samples : IncompleteSamples
    n_iter : int
        Largest number of steps of EM for each of the degrees of freedom.
    """
    known, w = samples.known, samples.w / samples.effective
    share = np.maximum(w @ known, 1e-10)
    location = (w @ samples.X) / share
    scale = np.diag((w @ np.where(known, samples.X - location, 0.0) ** 2) / share)
    fitted: list[tuple[float, StudentTDensity]] = []
    for nu in sorted(DEGREES, reverse=True):
        for _ in range(n_iter):
            density = StudentTDensity(location, shrunk_scale(scale, samples.effective), nu)
            distances = samples.distances(location, density.scale)
            u = w * (nu + known.sum(1)) / (nu + distances.squared)
            expected = location + distances.deviations
            moved = (u @ expected) / u.sum()
            left = samples.left(distances.conditional, w)
            scale = (expected - moved).T @ ((expected - moved) * u[:, None]) + left
            change = np.abs(moved - location).max() / np.sqrt(np.diag(density.scale).max())
            location = moved
            if change < 1e-4:
                break
        fitted.append((float(w @ student_t_log_prob(samples, density)), density))
    return max(fitted, key=lambda scored: scored[0])[1]
