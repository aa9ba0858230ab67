"""What a fitted blend of a table with categories or atoms says of samples with unknown features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Blend, TableDensity
from skdiffusion.estimators._unknown import MIN_EFFECTIVE, N_DRAWS, noise_of_samples, occurrences
from skdiffusion.exceptions import InaccurateDensityWarning

BLOCK_SAMPLES = 64  # incomplete samples whose draws are in memory at a time


@dataclass(frozen=True)
class UnknownValues:
    """What the blend of a table says of samples some values of which are unknown.

    The components in closed form sum over unknown states and integrate over unknown values exactly. For the diffusion
    they are the proposal of importance sampling.

    Parameters
    ----------
    blend : Blend
        Of `TableDensity`.
    n_features : int
    """

    blend: Blend
    n_features: int

    def _parts(self) -> tuple[list[str], list[str]]:
        """Names of the components of some weight that are in closed form, and of the others."""
        used = [name for name, weight in self.blend.weights.items() if weight > 0]
        closed = [name for name in used if self._density(name).in_closed_form]
        return closed, [name for name in used if name not in closed]

    def _density(self, name: str) -> TableDensity:
        density = self.blend.densities[name]
        assert isinstance(density, TableDensity)
        return density

    def _closed(self) -> Blend:
        """The blend of the components in closed form alone."""
        closed, _ = self._parts()
        if not closed:
            raise ValueError(
                "Unknown features of a table with categories or atoms take a component in closed form, which "
                "components=None leaves out: fit with components='auto'."
            )
        return self.blend.restricted(closed)[0]

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of the known features of incomplete samples, in nats: 0 where none is known."""
        closed, others = self._parts()
        out = np.zeros(len(X))
        some = np.flatnonzero(~np.isnan(X).all(1))
        if not others:
            out[some] = self.blend.log_prob(X[some])
            return out
        least = np.inf
        for start in range(0, len(some), BLOCK_SAMPLES):
            rows = some[start : start + BLOCK_SAMPLES]
            out[rows], effective = self._estimated(X[rows], others)
            least = min(least, effective)
        if least < MIN_EFFECTIVE:
            warn_user(
                f"The log-densities of some samples with unknown features rest on {least:.0f} effective draws of "
                f"{N_DRAWS}: they may be off by {np.sqrt(1 / max(least, 1)):.1f} nats and more.",
                InaccurateDensityWarning,
            )
        return out

    def _estimated(self, X: np.ndarray, others: list[str]) -> tuple[np.ndarray, float]:
        """Log-densities by draws from the components in closed form, and the least effective number of draws."""
        proposal = self._closed()
        noise = noise_of_samples(X, N_DRAWS, 0)
        repeated = np.repeat(X, N_DRAWS, axis=0)
        complete = self._drawn(proposal, repeated, noise)
        known = proposal.log_prob(X)
        log_proposal = proposal.log_prob(complete)
        share = sum(weight for name, weight in self.blend.weights.items() if name not in others)
        terms = [np.log(share) + known if share > 0 else np.full(len(X), -np.inf)]
        effective = np.inf
        for name in others:
            log_ratio = (self._density(name).log_prob(complete) - log_proposal).reshape(len(X), N_DRAWS)
            terms.append(np.log(self.blend.weights[name]) + known + log_sum_exp(log_ratio, axis=1) - np.log(N_DRAWS))
            weights = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
            effective = min(effective, float((weights.sum(1) ** 2 / (weights**2).sum(1)).min()))
        return log_sum_exp(np.stack(terms, axis=1), axis=1), effective

    def completed(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool = False) -> np.ndarray:
        """Completed samples, (n_samples, n_draws, n_features), from the components in closed form."""
        proposal, out = self._closed(), np.repeat(X[:, None], n_draws, axis=1)
        incomplete = np.flatnonzero(np.isnan(X).any(1))
        numbers = occurrences(X)
        for start in range(0, len(incomplete), BLOCK_SAMPLES):
            rows = incomplete[start : start + BLOCK_SAMPLES]
            noise = noise_of_samples(X[rows], n_draws, seed + 1, numbers[rows])
            drawn = self._drawn(proposal, np.repeat(X[rows], n_draws, axis=0), noise, fixed)
            out[rows] = drawn.reshape(len(rows), n_draws, self.n_features)
        return out

    def _drawn(self, blend: Blend, X: np.ndarray, noise: SampleNoise, fixed: bool = False) -> np.ndarray:
        """Samples completed by a component that what is known of each chooses."""
        names = list(blend.densities)
        log_prob = np.stack([self._density(name).log_prob(X) for name in names], axis=1)
        with np.errstate(divide="ignore"):
            log_weights = np.log([blend.weights[name] for name in names])
        log_share = log_weights + (0.0 if fixed else log_prob)
        share = np.exp(log_share - log_sum_exp(log_share, axis=1)[:, None])
        assert noise.choice is not None
        chosen = np.minimum((np.cumsum(share, axis=1) <= noise.choice[:, None]).sum(1), len(names) - 1)
        out = X.copy()
        for k, name in enumerate(names):
            mine = np.flatnonzero(chosen == k)
            if len(mine):
                out[mine] = self._density(name).completed(X[mine], noise.take(mine))
        return out
