r"""Two mixtures of Gaussians one after another: the first features by one, those after them given these by another.

.. math:: p(x) = p_1(x_1, \ldots, x_m)\, p_2(x_{m+1}, \ldots, x_k \mid x_1, \ldots, x_m).

A mixture of more features has fewer Gaussians for each of them. Where a few features need many, as values near a grid
do, those after them take none of these away.
"""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.protocols import AxesSplit, Density, SampleNoise
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._stacking import choose_and_rescale


class ChainedMixture(Density):
    """The density of features of which the first ones have a mixture of their own.

    Parameters
    ----------
    first : GaussianMixtureDensity
        Of the first features.
    joint : GaussianMixtureDensity
        Of all features; only its conditional density given the first ones counts.
    """

    _saved = ("first", "joint", "marginal")

    def __init__(self, first: GaussianMixtureDensity, joint: GaussianMixtureDensity):
        self.first, self.joint = first, joint
        self.marginal = joint.marginal(self._axes.given)

    @property
    def n_features(self) -> int:
        """Of the samples."""
        return self.joint.n_features

    @property
    def _axes(self) -> AxesSplit:
        axes = np.eye(self.joint.n_features)
        return AxesSplit(axes[:, : self.first.n_features], axes[:, self.first.n_features :])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,)."""
        first = np.ascontiguousarray(x[:, : self.first.n_features])
        return self.first.log_prob(first) + self.joint.log_prob(x) - self.marginal.log_prob(first)

    def score(self, x: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        m, out = self.first.n_features, self.joint.score(x)
        out[:, :m] += self.first.score(x[:, :m]) - self.marginal.score(x[:, :m])
        return out

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the uniform ones choose Gaussians, and what is left of them those after."""
        m = self.first.n_features
        left = choose_and_rescale(self.first.weights, noise.uniform)[1]
        first = self.first.sample(SampleNoise(noise.normal[:, :m], noise.uniform))
        axes, which = AxesSplit(*(part[None] for part in self._axes)), np.zeros(len(first), dtype=int)
        given = self.joint.sample_given(axes, first, which, SampleNoise(noise.normal[:, m:], left))
        return np.concatenate([first, given], axis=1)
