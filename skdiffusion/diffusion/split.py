r"""Direct, normalized densities of some features given others, by one network for all splits.

For targets u given features g, both centered and of unit variance, with the Gaussian conditional mean m and covariance
S of the split (`SplitGaussians`) and :math:`w = S^{-1/2}(y_u - m)`,

.. math:: \log p(y_u \mid y_g) = \log N(w_T; 0, I) - \tfrac12 \log\det S
    - \int_{\theta_{min}}^{\theta_T} \mathrm{tr}_u \frac{\partial (F - F_S)}{\partial z}\, d\theta .

A zero network is the exact Gaussian of every split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skdiffusion._utils.numerics import samples_times_matrix
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.diffusion.flow import LOG_2PI, ProbabilityFlow
from skdiffusion.diffusion.networks import OneSplitField, Split, SplitField, means_of_targets


@dataclass(frozen=True)
class SplitFlow(Density):
    """The conditional densities of all splits of features, along the probability flow of their residuals.

    Parameters
    ----------
    flow : ProbabilityFlow
        Its field is a `SplitField`.
    """

    flow: ProbabilityFlow

    @property
    def field(self) -> SplitField:
        """The field of all splits."""
        assert isinstance(self.flow.field, SplitField)
        return self.flow.field

    def members(self) -> list[SplitFlow]:
        """The same flow with each of the networks alone, and steps that no sample changes."""
        parts = [self.field.member(m) for m in range(self.field.network.n_members)]
        return [SplitFlow(replace(self.flow, field=part, tolerance=0.0)) for part in parts]

    @property
    def _everything(self) -> Split:
        """All features are targets."""
        return Split(tuple(range(self.field.n_targets)))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density of samples x (n, n_features) all features of which are targets, in nats, shape (n,)."""
        return self.conditional_log_prob(x, self._everything)

    def conditional_log_prob(self, x: np.ndarray, split: Split) -> np.ndarray:
        """Log-density of the targets of samples x (n, n_features) given others, in nats, shape (n,).

        Features that are neither targets nor given are not read.
        """
        field = self.field.of(split)
        state, targets = _initial_state(field, x), field.gaussians.targets[0]
        d = len(targets)
        residual = np.where(targets, x[:, :d] - state[:, d : 2 * d], 0.0)
        state[:, :d] = samples_times_matrix(residual, _power(field, -0.5))
        # The flow counts all coordinates as normal ones, those that stand still too.
        still = state[:, d:]
        constant = 0.5 * (still**2).sum(1) + 0.5 * LOG_2PI * (state.shape[1] - targets.sum())
        return replace(self.flow, field=field).log_prob(state) + constant - field.gaussians.half_log_det[0]

    def draw(self, x: np.ndarray, split: Split, normal: np.ndarray) -> np.ndarray:
        """Targets given others, shape (n, n_targets), from standard normal noise of the same shape.

        Columns of features that are no targets are zero.
        """
        field = self.field.of(split)
        state, targets = _initial_state(field, x), field.gaussians.targets[0]
        d = len(targets)
        mean = state[:, d : 2 * d]
        state[:, :d] = np.where(targets, normal, 0.0)
        w = replace(self.flow, field=field).draw(state)[:, :d]
        return np.where(targets, mean + samples_times_matrix(w, _power(field, 0.5)), 0.0)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples of all features from random numbers."""
        return self.draw(np.zeros((len(noise.normal), len(self.field.covariance))), self._everything, noise.normal)


def _initial_state(field: OneSplitField, x: np.ndarray) -> np.ndarray:
    """What the field of a split follows, without the targets: zeros, and the given features beside the means."""
    gaussians = field.gaussians
    d = gaussians.targets.shape[1]
    still = np.where(gaussians.given[0], x, 0.0)
    still[:, :d] += means_of_targets(gaussians, x)
    return np.concatenate([np.zeros((len(x), d)), still], axis=1)


def _power(field: OneSplitField, exponent: float) -> np.ndarray:
    """A power of the conditional covariance of a split."""
    gaussians = field.gaussians
    d = gaussians.targets.shape[1]
    return gaussians.matrix(0, gaussians.values[0] ** exponent)[:d, :d]
