"""Conditionals of joint densities in closed form: Gaussian mixtures and a Student-t of the target and its inputs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrix
from skdiffusion.densities import (
    ExpectationMaximization,
    GaussianMixtureDensity,
    MixtureSetting,
    StudentTDensity,
    fit_student_t,
)
from skdiffusion.densities.predictive._data import LeftOut, RegressionData
from skdiffusion.densities.predictive._distributions import Distributions, NormalMixtures, StudentTs

LOG_2PI = np.log(2 * np.pi)
EM = ExpectationMaximization(tol=1e-3, max_k_means_runs=2)
SIZES = (1, 2, 4, 8, 16, 32)
MAX_WORSE = 2  # sizes one after another, after which no larger one is tried
MAX_COST = 1e9  # multiplications in a step of expectation maximization
MAX_COLUMNS = 50  # of the inputs: those of greatest correlation with the target
FEW_SAMPLES = 2000  # up to which all folds choose a mixture
N_TRIAL_FOLDS = 2  # that choose it beyond
WEAK_PRIOR = 0.1  # samples of the prior of every Gaussian, which is tried beside a strong one


@dataclass(frozen=True)
class JointMixture:
    """The conditionals of a mixture of Gaussians of a target, its first coordinate, and columns of inputs.

    Parameters
    ----------
    mixture : GaussianMixtureDensity
    columns : array of int
        Numbers of the columns of the inputs.
    """

    mixture: GaussianMixtureDensity
    columns: np.ndarray

    def given(self, design: np.ndarray) -> NormalMixtures:
        """The distributions of the target given the columns of samples (n, n_columns).

        With the means m and covariances C of the Gaussians, the parts have the weights that follow from the inputs g,
        the means :math:`m_y + C_{yg} C_{gg}^{-1} (g - m_g)` and the variances
        :math:`C_{yy} - C_{yg} C_{gg}^{-1} C_{gy}`.
        """
        g, mixture = design[:, self.columns], self.mixture
        parts = [_conditional(m, C) for m, C in zip(mixture.means, mixture.covariances)]
        log_joint = [np.log(w) + _log_normal(g, m[1:], C[1:, 1:]) for w, m, C in _parts(mixture)]
        log_weights = np.stack(log_joint, axis=1)
        weights = np.exp(log_weights - log_sum_exp(log_weights, axis=1)[:, None])
        means = [start + samples_times_matrix(g, slope[:, None])[:, 0] for start, slope, _ in parts]
        scales = np.array([scale for *_, scale in parts])
        return NormalMixtures(weights, np.stack(means, axis=1), np.repeat(scales[None], len(g), axis=0))


@dataclass(frozen=True)
class JointStudentT:
    """The conditional of a Student-t of a target, its first coordinate, and columns of inputs.

    Parameters
    ----------
    density : StudentTDensity
    columns : array of int
        Numbers of the columns of the inputs.
    """

    density: StudentTDensity
    columns: np.ndarray

    def given(self, design: np.ndarray) -> StudentTs:
        r"""The distributions of the target given the columns of samples (n, n_columns).

        With k columns at the squared distance :math:`\delta` they have :math:`\nu + k` degrees of freedom, and
        :math:`(\nu + \delta) / (\nu + k)` times the variance of a Gaussian.
        """
        g, k, nu = design[:, self.columns], len(self.columns), self.density.degrees
        location, scale = self.density.location, self.density.scale
        start, slope, deviation = _conditional(location, scale)
        delta = _squared_distance(g, location[1:], scale[1:, 1:])[0]
        means = start + samples_times_matrix(g, slope[:, None])[:, 0]
        return StudentTs(means, deviation * np.sqrt((nu + delta) / (nu + k)), nu + k)


def _parts(mixture: GaussianMixtureDensity) -> zip:
    return zip(mixture.weights, mixture.means, mixture.covariances)


def _conditional(mean: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Intercept, slopes and standard deviation of the first coordinate given the others."""
    slope = np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    variance = covariance[0, 0] - covariance[0, 1:] @ slope
    return float(mean[0] - slope @ mean[1:]), slope, float(np.sqrt(max(variance, 1e-14 * covariance[0, 0])))


def _squared_distance(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, float]:
    """Squared Mahalanobis distances, and half the log-determinant of the covariance."""
    factor = np.linalg.cholesky(covariance)
    scaled = samples_times_matrix(x - mean, np.linalg.inv(factor).T)
    return (scaled**2).sum(1), float(np.log(np.diag(factor)).sum())


def _log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    squared, half_log_det = _squared_distance(x, mean, covariance)
    return -0.5 * squared - half_log_det - 0.5 * len(mean) * LOG_2PI


def informative_columns(data: RegressionData, design: np.ndarray, train: np.ndarray | slice) -> np.ndarray:
    """Rising numbers of the columns of greatest correlation with the target, among some samples."""
    correlation = (data.weight[train] * data.z[train]) @ design[train]
    return np.sort(np.argsort(-np.abs(correlation), kind="stable")[:MAX_COLUMNS])


def fit_joint_student_t(data: RegressionData, design: np.ndarray) -> tuple[JointStudentT, LeftOut]:
    """The Student-t of all samples, and what those without each of the folds say of it."""

    def fitted(train: np.ndarray | slice) -> JointStudentT:
        columns = informative_columns(data, design, train)
        joint = np.column_stack([data.z, design[:, columns]])
        return JointStudentT(fit_student_t(joint[train], data.weight[train]), columns)

    left_out = data.left_out(lambda k: fitted(data.target.without(data.folds[k])).given(design[data.folds[k]]))
    return fitted(slice(None)), left_out


def fit_joint_mixture(
    data: RegressionData, design: np.ndarray, rng: np.random.Generator, deadline: float
) -> tuple[JointMixture, LeftOut]:
    """The mixture of the size and prior of best out-of-fold conditional log-density, and what those without each of the
    folds say of it.

    After the deadline, a moment of `time.perf_counter`, no larger mixture is tried.
    """
    columns, folds = informative_columns(data, design, slice(None)), data.folds
    joint = np.column_stack([data.z, design[:, columns]])
    n_trial = len(folds) if len(joint) <= FEW_SAMPLES else min(N_TRIAL_FOLDS, len(folds))
    trial = np.concatenate(folds[:n_trial])
    search = _Search(data, design, rng)
    best, highest = MixtureSetting(1, _strong(joint)), -np.inf
    for strength in (_strong(joint), WEAK_PRIOR):
        n_worse = 0
        for k in SIZES:
            few = k > 1 and len(joint) < 4 * k
            if highest > -np.inf and time.perf_counter() > deadline:
                break
            if few or k * joint.size * joint.shape[1] > MAX_COST or (k == 1 and strength == WEAK_PRIOR):
                continue
            setting = MixtureSetting(k, strength)
            score = np.average(search.log_prob(setting, folds[:n_trial]), weights=data.weight[trial])
            if score > highest:
                best, highest, n_worse = setting, score, 0
            elif k > 1:
                n_worse += 1
            if n_worse == MAX_WORSE:
                break
    left_out = data.left_out(lambda k: search.given(best, folds[k]))
    return JointMixture(EM.fit(joint, data.weight, best, rng), columns), left_out


def _strong(joint: np.ndarray) -> float:
    """Prior samples of Gaussians that are alike."""
    return 2.0 + joint.shape[1]


@dataclass(frozen=True)
class _Search:
    """Mixtures without each of the folds."""

    data: RegressionData
    design: np.ndarray
    rng: np.random.Generator

    def log_prob(self, setting: MixtureSetting, folds: tuple[np.ndarray, ...]) -> np.ndarray:
        """Conditional log-densities of the targets of folds by mixtures without these."""
        return np.concatenate([self.data.log_prob_of(self.given(setting, fold), fold) for fold in folds])

    def given(self, setting: MixtureSetting, fold: np.ndarray) -> Distributions:
        """Distributions of the targets of a fold by a mixture without it."""
        train = self.data.target.without(fold)
        columns = informative_columns(self.data, self.design, train)
        joint = np.column_stack([self.data.z, self.design[:, columns]])
        mixture = EM.fit(joint[train], self.data.weight[train], setting, self.rng)
        return JointMixture(mixture, columns).given(self.design[fold])
