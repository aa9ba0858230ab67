r"""The blend: :math:`p(x) = \sum_k w_k p_k(x)` of the densities of several components."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._stacking import blend_log_density, choose_component


@dataclass(frozen=True)
class Blend(Density):
    """A mixture of densities with fixed weights.

    Parameters
    ----------
    densities : dict of str to Density
        Components by name.
    weights : dict of str to float
        Of the same names; non-negative, sum 1. A component of weight zero is never evaluated.
    """

    densities: dict[str, Density]
    weights: dict[str, float]

    @property
    def _weights(self) -> np.ndarray:
        return np.array(list(self.weights.values()))

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the chi-square numbers that samples take."""
        return next((d.degrees for d in self.densities.values() if d.degrees is not None), None)

    def component_log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of every component, shape (n_samples, n_components); -inf for those of weight zero."""
        out = np.full((len(X), len(self.densities)), -np.inf)
        for k, (name, density) in enumerate(self.densities.items()):
            if self.weights[name] > 0:
                out[:, k] = density.log_prob(X)
        return out

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X, in nats, shape (n_samples,)."""
        return blend_log_density(self.component_log_prob(X), self._weights)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        L, weights = self.component_log_prob(X), self._weights
        share = weights * np.exp(L - blend_log_density(L, weights)[:, None])
        components = enumerate(self.densities.values())
        return sum(share[:, [k]] * density.score(X) for k, density in components if weights[k] > 0)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, of which `choice` chooses the component."""
        choice = choose_component(self._weights, noise.choice)
        out = np.empty_like(noise.normal)
        for k, density in enumerate(self.densities.values()):
            mine = choice == k
            if mine.any():
                out[mine] = density.sample(noise.take(mine))
        return out

    def restricted(self, names: Collection[str]) -> tuple[Blend, float]:
        """The blend of some components alone, their weights scaled to sum 1, and their share of the whole."""
        share = sum(self.weights[name] for name in names)
        weights = {name: self.weights[name] / share if share else 1 / len(names) for name in names}
        return Blend({name: self.densities[name] for name in names}, weights), share

    def replaced(self, name: str, density: Density) -> Blend:
        """The same blend with another density in the place of a component."""
        return Blend({**self.densities, name: density}, self.weights)
