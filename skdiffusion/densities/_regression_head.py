"""The head of a regression: a mixture of Gaussians for the features that others follow.

A chain of regressions has one bent, noisy function for each feature. Where samples come in groups, the first features
are not told by such functions, and what is generated amiss there is wrong in all that follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import clearly_better, effective_number
from skdiffusion.densities._em import ExpectationMaximization, MixtureSetting
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._regression import AutoregressiveRegression

EM = ExpectationMaximization(max_iter=30, tol=3e-3)
MAX_SAMPLES = 5000  # of its fit: every other one, every third one and so on, of more
MAX_SIZE = 6  # features of a head
MAX_WORSE = 2  # larger heads in a row that are no better, after which no more are tried
MAX_COMPONENTS, MIN_COMPONENT_SAMPLES = 16, 50
STRENGTH = 2.0  # of the prior of the mixture
REACH = 3.5  # standard deviations that a Gaussian has within the limits at least
MIN_SCALE = 1e-3  # to which one is narrowed at most
MAX_GAIN = 10.0  # nats of one sample: what it has less than this, other components of the blend have
MARGIN = 2.0  # standard errors by which a head must be better than the regressions in its place


class LeftOut(NamedTuple):
    """Samples that a regression was fitted without, with weights of sum 1."""

    z: np.ndarray
    weights: np.ndarray


def fit_head(
    z: np.ndarray, weights: np.ndarray, regression: AutoregressiveRegression, size: int
) -> GaussianMixtureDensity:
    """A mixture of Gaussians of the first features of the order of a regression, fitted to the same samples.

    A Gaussian that would reach beyond the limits of a feature is narrowed to end there.
    """
    kept, features = np.flatnonzero(weights > 0), regression.order[:size]
    kept = kept[:: 1 + (len(kept) - 1) // MAX_SAMPLES]
    n_components = int(np.clip(effective_number(weights[kept]) / MIN_COMPONENT_SAMPLES, 1, MAX_COMPONENTS))
    # A stream of its own, so that no other draw depends on heads that are only tried.
    rng = np.random.default_rng(0)
    mixture = EM.fit(z[kept][:, features], weights[kept], MixtureSetting(n_components, STRENGTH), rng)
    low, high = regression.limits[:, features]
    room = np.minimum(high - mixture.means, mixture.means - low) / np.sqrt(mixture.covariances.diagonal(0, 1, 2))
    scale = np.clip(room / REACH, MIN_SCALE, 1.0)
    covariances = mixture.covariances * scale[:, :, None] * scale[:, None, :]
    return GaussianMixtureDensity(mixture.weights, mixture.means, covariances)


def choose_head(regression: AutoregressiveRegression, z: np.ndarray, weights: np.ndarray, left_out: LeftOut) -> int:
    """How many of the first features of the order have a clearly better density in a mixture of Gaussians; 0 for none.

    Parameters
    ----------
    regression : AutoregressiveRegression
        Without a head.
    z, weights : array of shape (n_samples, n_features) and (n_samples,)
        The samples that it was fitted to.
    left_out : LeftOut
    """
    order = regression.order
    alone = np.cumsum(regression.log_conditionals(left_out.z)[:, order], axis=1)
    best, size, worse = np.zeros(len(left_out.z)), 0, 0
    for k in range(2, min(MAX_SIZE, len(order) - 1) + 1):
        head = fit_head(z, weights, regression, k)
        gain = np.clip(head.log_prob(left_out.z[:, order[:k]]) - alone[:, k - 1], -MAX_GAIN, MAX_GAIN)
        if clearly_better(gain, best, left_out.weights, MARGIN):
            best, size, worse = gain, k, 0
        elif (worse := worse + 1) == MAX_WORSE:
            break
    return size
