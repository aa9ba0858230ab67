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

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.patterns import Patterns
from skdiffusion.densities._em import FLOOR, ExpectationMaximization, MixtureSetting
from skdiffusion.densities._mixture import LOG_2PI, GaussianMixtureDensity
from skdiffusion.densities._student import DEGREES, StudentTDensity, shrunk_scale

MAX_ITER = 200
MAX_NUMBERS = 4_000_000  # of a matrix for every sample under the components that are worked on at a time
TOL = 1e-6  # nats by which the mean log-density must rise in a step


class Distances(NamedTuple):
    """How far what is known of samples is from the centers of components, by the covariances of the known features."""

    deviations: np.ndarray  # (n_components, n_samples, n_features), from the centers; of unknown features expected ones
    squared: np.ndarray  # (n_components, n_samples)
    log_det: np.ndarray  # (n_components, n_samples), of the covariances of the known features
    # (n_unknown, n_unknown, n_patterns, n_components) of every group: covariances of unknown features given the others
    conditional: list[np.ndarray]


class PatternGroup(NamedTuple):
    """The incomplete samples with as many unknown features, pattern by pattern."""

    samples: np.ndarray  # (n,), their numbers
    which: np.ndarray  # (n,), the pattern of each, rising
    unknown: np.ndarray  # (n_unknown, n_patterns), numbers of the unknown features of every pattern

    @property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the unknown features of the samples, among all samples and features."""
        return self.samples, self.unknown[:, self.which]

    @property
    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the unknown features of the patterns in the matrices of all features."""
        return self.unknown[:, None], self.unknown[None]


def pattern_groups(patterns: Patterns) -> list[PatternGroup]:
    """Patterns with unknown features, by the number of these."""
    n_unknown, groups = (~patterns.known).sum(1), []
    for n in np.unique(n_unknown[n_unknown > 0]):
        own = np.flatnonzero(n_unknown == n)
        samples = np.flatnonzero(np.isin(patterns.which, own))
        samples = samples[np.argsort(patterns.which[samples], kind="stable")]
        unknown = np.nonzero(~patterns.known[own])[1].reshape(-1, n).T
        groups.append(PatternGroup(samples, np.searchsorted(own, patterns.which[samples]), unknown))
    return groups


def inverses(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of positive definite matrices (n, n, ...), and log-determinants (...).

    By the elimination of Gauss and Jordan in all of them at once: LAPACK takes most of its time to begin with a small
    matrix.
    """
    out, log_det = blocks.copy(), np.zeros(blocks.shape[2:])
    for i in range(len(out)):
        pivot, column = out[i, i].copy(), out[:, i].copy()
        row = out[i] / pivot
        out -= column[:, None] * row
        out[i], out[:, i], out[i, i] = row, -column / pivot, 1 / pivot
        log_det += np.log(pivot)
    return out, log_det


def sums_by(places: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sums of values (n_values, ...) by their places among n, shape (n, ...)."""
    out, order = np.zeros((n, *values.shape[1:])), np.argsort(places, kind="stable")
    found, first = np.unique(places[order], return_index=True)
    out[found] = np.add.reduceat(values[order], first)
    return out


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

    def _joint(self, mixture: GaussianMixtureDensity) -> tuple[np.ndarray, list[tuple[slice, Distances]]]:
        """`log_joint`, and the distances from the components, a few at a time."""
        n, d = self.X.shape
        parts = [
            (some, self.distances(mixture.means[some], mixture.covariances[some]))
            for some in slices(len(mixture.weights), max(1, MAX_NUMBERS // (n * d**2)))
        ]
        energy = np.concatenate([part.squared + part.log_det for _, part in parts])
        return np.log(mixture.weights) - 0.5 * (energy + self.known.sum(1) * LOG_2PI).T, parts

    def distances(self, means: np.ndarray, covariances: np.ndarray) -> Distances:
        """Squared Mahalanobis distances of what is known from centers (n_components, n_features), and their parts."""
        precisions = np.linalg.inv(covariances)
        deviations = np.where(self.known, self.X - means[:, None], 0.0)
        pulled = deviations @ precisions
        squared = (pulled * deviations).sum(2)
        log_det, conditional = np.repeat(np.linalg.slogdet(covariances)[1][:, None], len(self.X), axis=1), []
        for group in self.groups:
            of_patterns, of_blocks = inverses(precisions.transpose(1, 2, 0)[group.blocks])
            conditional.append(of_patterns)
            own = pulled.transpose(1, 2, 0)[group.entries]
            expected = (of_patterns[:, :, group.which] * own).sum(1)
            deviations.transpose(1, 2, 0)[group.entries] = -expected
            squared[:, group.samples] -= (own * expected).sum(0).T
            log_det[:, group.samples] += of_blocks[group.which].T
        return Distances(deviations, squared, log_det, conditional)

    def left(self, conditional: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """Sums, by weights (n_samples, n_components), of the covariances of unknown features given the known ones,
        shape (n_components, n_features, n_features)."""
        k, d = weights.shape[1], self.X.shape[1]
        out = np.zeros((d**2, k))
        for group, covariances in zip(self.groups, conditional):
            rows, columns = group.blocks
            by_pattern = sums_by(group.which, weights[group.samples], covariances.shape[2])
            out += sums_by((rows * d + columns).ravel(), (by_pattern * covariances).reshape(-1, k), d**2)
        return out.T.reshape(k, d, d)

    def step(self, mixture: GaussianMixtureDensity, strength: float) -> tuple[GaussianMixtureDensity, float]:
        """One step of EM, with `strength` samples of the covariance within components as the prior of each; and the
        mean log-density before it."""
        log_joint, parts = self._joint(mixture)
        log_prob = log_sum_exp(log_joint, axis=1)
        share = np.exp(log_joint - log_prob[:, None]) * self.w[:, None]
        mass, moved, scatter = np.maximum(share.sum(0), 1e-10), [], []
        for some, part in parts:
            r = share[:, some]
            moved.append(np.einsum("nk,knj->kj", r, part.deviations) / mass[some, None])
            centered = part.deviations - moved[-1][:, None]
            weighted = (centered * r.T[:, :, None]).transpose(0, 2, 1)
            scatter.append(weighted @ centered + self.left(part.conditional, r))
        scatters = np.concatenate(scatter)
        within = scatters.sum(0) / self.effective
        covariances = (scatters + strength * within) / (mass + strength)[:, None, None] + FLOOR * np.eye(len(within))
        covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
        means = mixture.means + np.concatenate(moved)
        return GaussianMixtureDensity(mass, means, covariances), float(self.w @ log_prob / self.effective)

    def expected(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Samples with the expectations of their unknown features, (n_samples, n_features)."""
        log_joint, parts = self._joint(mixture)
        share, out = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None]), np.zeros(self.X.shape)
        for some, part in parts:
            out += np.einsum("nk,knj->nj", share[:, some], mixture.means[some][:, None] + part.deviations)
        return np.where(self.known, self.X, out)


def fit_incomplete_mixture(
    samples: IncompleteSamples,
    setting: MixtureSetting,
    rng: np.random.Generator,
    tol: float = TOL,
    single: GaussianMixtureDensity | None = None,
    deadline: float = np.inf,
) -> GaussianMixtureDensity:
    """The mixture of a setting for incomplete samples, from where EM ends for their expectations under one Gaussian.

    EM ends where a step raises the mean log-density by less than `tol` nats, or at the deadline, a moment of
    `Collective.clock`. That one Gaussian is fitted first, unless it is given.
    """
    d = samples.X.shape[1]
    if single is None:
        mean = (samples.w @ samples.X) / np.maximum(samples.w @ samples.known, 1e-10)
        single = _steps(samples, GaussianMixtureDensity(np.ones(1), mean[None], np.eye(d)[None]), 0.0, tol, deadline)
    if setting.n_components == 1:
        return single
    few = ExpectationMaximization(max_iter=20, tol=1e-3)
    start = few.fit(samples.expected(single), samples.w, setting, rng)
    return _steps(samples, start, setting.strength, tol, deadline)


def _steps(
    samples: IncompleteSamples, mixture: GaussianMixtureDensity, strength: float, tol: float, deadline: float
) -> GaussianMixtureDensity:
    """The mixture after as many steps of EM as raise the mean log-density by so many nats each, or as there is time
    for; after one at least."""
    previous = -np.inf
    for _ in range(MAX_ITER):
        moved, mean_log_density = samples.step(mixture, strength)
        if mean_log_density - previous < tol:
            break
        mixture, previous = moved, mean_log_density
        if deadline < np.inf and collective().clock() > deadline:
            break
    return mixture


def student_t_log_prob(samples: IncompleteSamples, density: StudentTDensity) -> np.ndarray:
    """Log-density of what is known of samples under a Student-t, in nats, shape (n_samples,)."""
    nu, n_known = density.degrees, samples.known.sum(1)
    distances = samples.distances(density.location[None], density.scale[None])
    constant = gammaln((nu + n_known) / 2) - gammaln(nu / 2) - n_known / 2 * np.log(nu * np.pi)
    return constant - 0.5 * distances.log_det[0] - (nu + n_known) / 2 * np.log1p(distances.squared[0] / nu)


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
            distances = samples.distances(location[None], density.scale[None])
            u = w * (nu + known.sum(1)) / (nu + distances.squared[0])
            expected = location + distances.deviations[0]
            moved = (u @ expected) / u.sum()
            left = samples.left(distances.conditional, w[:, None])[0]
            scale = (expected - moved).T @ ((expected - moved) * u[:, None]) + left
            change = np.abs(moved - location).max() / np.sqrt(np.diag(density.scale).max())
            location = moved
            if change < 1e-4:
                break
        fitted.append((float(w @ student_t_log_prob(samples, density)), density))
    return max(fitted, key=lambda scored: scored[0])[1]
