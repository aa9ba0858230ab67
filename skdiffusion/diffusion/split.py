r"""Direct, normalized densities of some features given others, by one network for all splits.

For targets u given features g, both centered and of unit variance, with the Gaussian conditional mean m and covariance
S of the split (`SplitGaussians`) and :math:`w = S^{-1/2}(y_u - m)`,

.. math:: \log p(y_u \mid y_g) = \log N(w_T; 0, I) - \tfrac12 \log\det S
    - \int_{\theta_{min}}^{\theta_T} \mathrm{tr}_u \frac{\partial (F - F_S)}{\partial z}\, d\theta .

A zero network is the exact Gaussian of every split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.diffusion.flow import LOG_2PI, ProbabilityFlow
from skdiffusion.diffusion.networks import NUMBER, Split, SplitField, SplitsField

MAX_SPLITS = 1024  # whose matrices are in memory at a time


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

    def with_steps(self, n_steps: int) -> SplitFlow:
        """The same flow by so many steps for codes and for samples."""
        return SplitFlow(replace(self.flow, density_steps=n_steps, sample_steps=n_steps))

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
        return self.conditional_log_probs(x, [split], np.zeros(len(x), dtype=int))

    def conditional_log_probs(self, x: np.ndarray, splits: Sequence[Split], which: np.ndarray) -> np.ndarray:
        """The same of samples each of a split of its own, by the number of this among some splits, shape (n,)."""
        out = np.empty(len(x))
        for numbers in slices(len(splits), MAX_SPLITS):
            mine = np.flatnonzero((numbers.start <= which) & (which < numbers.stop))
            out[mine] = self._log_prob(self.field.of(splits[numbers]), x[mine], which[mine] - numbers.start)
        return out

    def _log_prob(self, field: SplitsField, x: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The same of the splits of a field."""
        gaussians, state = field.gaussians, _state_of_targets(field, x, which)
        # The flow counts all coordinates as normal ones, those that stand still too.
        still = state[:, gaussians.targets.shape[1] :]
        constant = 0.5 * (still**2).sum(1) + 0.5 * LOG_2PI * (state.shape[1] - gaussians.targets[which].sum(1))
        return replace(self.flow, field=field).log_prob(state) + constant - gaussians.half_log_det[which]

    def codes(self, x: np.ndarray, split: Split) -> np.ndarray:
        """Standard normal codes of the targets of samples x (n, n_features) given others, shape (n, n_targets).

        That of a single target rises with it: its distribution function is that of the normal distribution there.
        """
        field, which = self.field.of([split]), np.zeros(len(x), dtype=int)
        state = _state_of_targets(field, x, which)
        return replace(self.flow, field=field).to_latent(state)[:, : field.gaussians.targets.shape[1]]

    def draw(self, x: np.ndarray, split: Split, normal: np.ndarray) -> np.ndarray:
        """Targets given others, shape (n, n_targets), from standard normal noise of the same shape.

        Columns of features that are no targets are zero.
        """
        return self.draws(x, [split], np.zeros(len(x), dtype=int), normal)

    def draws(self, x: np.ndarray, splits: Sequence[Split], which: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """The same for samples each of a split of its own, by the number of this among some splits."""
        out = np.empty((len(x), self.field.n_targets))
        for numbers in slices(len(splits), MAX_SPLITS):
            mine = np.flatnonzero((numbers.start <= which) & (which < numbers.stop))
            field = self.field.of(splits[numbers])
            out[mine] = self._draw(field, x[mine], which[mine] - numbers.start, normal[mine])
        return out

    def _draw(self, field: SplitsField, x: np.ndarray, which: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """The same of the splits of a field."""
        gaussians, state = field.gaussians, _initial_state(field, x, which)
        targets = gaussians.targets[which]
        d = targets.shape[1]
        mean = state[:, d : 2 * d].copy()
        state[:, :d] = gaussians.on_axes(np.where(targets, normal, 0.0), which)
        scaled = replace(self.flow, field=field).draw(state)[:, :d] * np.sqrt(gaussians.values[which])
        return np.where(targets, mean + gaussians.from_axes(scaled, which), 0.0)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples of all features from random numbers."""
        return self.draw(np.zeros((len(noise.normal), len(self.field.covariance))), self._everything, noise.normal)


def _state_of_targets(field: SplitsField, x: np.ndarray, which: np.ndarray) -> np.ndarray:
    """What the field follows of complete samples: standardized residuals of the targets before all else."""
    gaussians, state = field.gaussians, _initial_state(field, x, which)
    targets = gaussians.targets[which]
    d = targets.shape[1]
    residual = np.where(targets, x[:, :d] - state[:, d : 2 * d], 0.0)
    state[:, :d] = gaussians.on_axes(residual, which) / np.sqrt(gaussians.values[which])
    return state


def _initial_state(field: SplitsField, x: np.ndarray, which: np.ndarray) -> np.ndarray:
    """What the field follows, without the targets: zeros, the given features beside the means, and the split."""
    gaussians = field.gaussians
    d = gaussians.targets.shape[1]
    still = np.where(gaussians.given[which], x, 0.0)
    still[:, :d] += gaussians.means(x, which)
    return np.concatenate([np.zeros((len(x), d)), still, NUMBER * which[:, None]], axis=1)
