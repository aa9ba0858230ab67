r"""Gaussian mixtures and Student-t of samples some features of which are unknown, by EM on what is known.

With the known features o of a sample, the expectations of the unknown ones under every component follow from

.. math:: \hat x = m + C\,G\,(x - m),\quad \mathrm{cov}(x \mid x_o) = C - C\,G\,C ,

where G is the inverse of :math:`C_{oo}`, with zeros for the unknown features. The likelihood of what is known is what
rises, so that values may be missing in dependence on those that are known.

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

    inverses: np.ndarray  # (n_patterns, n_features, n_features), G above
    log_det: np.ndarray  # (n_samples,), of the covariances of the known features
    pulled: np.ndarray  # (n_samples, n_features), G (x - m)
    squared: np.ndarray  # (n_samples,)


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
        self.patterns, self.which = Patterns.of(X)

    def _inverses(self, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inverses of the blocks of the known features of every pattern, with zeros elsewhere, and log-determinants."""
        both = self.patterns[:, :, None] & self.patterns[:, None]
        blocks = np.where(both, covariance, np.eye(covariance.shape[0]))
        return np.where(both, np.linalg.inv(blocks), 0.0), np.linalg.slogdet(blocks)[1]

    def log_joint(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Log-densities of what is known under the components, with their weights, (n_samples, n_components)."""
        return self._joint(mixture)[0]

    def log_prob(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Log-density of what is known, in nats, shape (n_samples,)."""
        return log_sum_exp(self.log_joint(mixture), axis=1)

    def _joint(self, mixture: GaussianMixtureDensity) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """`log_joint`, and for every component the inverses by pattern and G (x - m) of every sample."""
        out, parts, n_known = np.empty((len(self.X), len(mixture.weights))), [], self.known.sum(1)
        for k, (weight, mean, covariance) in enumerate(zip(mixture.weights, mixture.means, mixture.covariances)):
            inverses, log_det, pulled, squared = self.distances(mean, covariance)
            out[:, k] = np.log(weight) - 0.5 * (squared + log_det + n_known * LOG_2PI)
            parts.append((inverses, pulled))
        return out, parts

    def distances(self, mean: np.ndarray, covariance: np.ndarray) -> Distances:
        """Squared Mahalanobis distances of what is known, and what they are made of."""
        inverses, log_det = self._inverses(covariance)
        centered = np.where(self.known, self.X - mean, 0.0)
        pulled = np.einsum("nij,nj->ni", inverses[self.which], centered)
        return Distances(inverses, log_det[self.which], pulled, (centered * pulled).sum(1))

    def step(self, mixture: GaussianMixtureDensity, strength: float) -> tuple[GaussianMixtureDensity, float]:
        """One step of EM, with `strength` samples of the covariance within components as the prior of each; and the
        mean log-density before it."""
        log_joint, parts = self._joint(mixture)
        log_prob = log_sum_exp(log_joint, axis=1)
        share = np.exp(log_joint - log_prob[:, None]) * self.w[:, None]
        d = self.X.shape[1]
        mass, means, scatter = np.maximum(share.sum(0), 1e-10), [], []
        for k, (inverses, pulled) in enumerate(parts):
            mean, covariance, r = mixture.means[k], mixture.covariances[k], share[:, k]
            expected = np.where(self.known, self.X, mean + pulled @ covariance)
            means.append(r @ expected / mass[k])
            centered = expected - means[-1]
            by_pattern = np.bincount(self.which, r, len(self.patterns))
            left = mass[k] * covariance - covariance @ np.tensordot(by_pattern, inverses, 1) @ covariance
            scatter.append(centered.T @ (centered * r[:, None]) + left)
        within = sum(scatter) / self.effective
        covariances = (np.stack(scatter) + strength * within) / (mass + strength)[:, None, None] + FLOOR * np.eye(d)
        covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
        return GaussianMixtureDensity(mass, np.stack(means), covariances), float(self.w @ log_prob / self.effective)

    def expected(self, mixture: GaussianMixtureDensity) -> np.ndarray:
        """Samples with the expectations of their unknown features, (n_samples, n_features)."""
        log_joint, parts = self._joint(mixture)
        share = np.exp(log_joint - log_sum_exp(log_joint, axis=1)[:, None])
        parted = (
            r[:, None] * (mean + pulled @ covariance)
            for r, mean, covariance, (_, pulled) in zip(share.T, mixture.means, mixture.covariances, parts)
        )
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
            expected = np.where(known, samples.X, location + distances.pulled @ density.scale)
            moved = (u @ expected) / u.sum()
            by_pattern = np.bincount(samples.which, w, len(samples.patterns))
            left = density.scale - density.scale @ np.tensordot(by_pattern, distances.inverses, 1) @ density.scale
            scale = (expected - moved).T @ ((expected - moved) * u[:, None]) + left
            change = np.abs(moved - location).max() / np.sqrt(np.diag(density.scale).max())
            location = moved
            if change < 1e-4:
                break
        fitted.append((float(w @ student_t_log_prob(samples, density)), density))
    return max(fitted, key=lambda scored: scored[0])[1]
