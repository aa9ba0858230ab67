"""What a fitted blend of a table with categories or atoms says of samples with unknown features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Blend, TableDensity
from skdiffusion.estimators._unknown import MANY_DRAWS, MIN_EFFECTIVE, N_DRAWS, noise_of_samples, occurrences
from skdiffusion.exceptions import InaccurateDensityWarning

BLOCK_DRAWS = 8192  # completed samples that are in memory at a time
MAX_COMBINATIONS = 1024  # of unknown categories, over which the density is summed


@dataclass(frozen=True)
class UnknownValues:
    """What the blend of a table says of samples some values of which are unknown.

    The components in closed form sum over unknown states and integrate over unknown values exactly. So does the whole
    blend where categories alone are unknown. Else they are the proposal of importance sampling for the diffusion.

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
        out, least = np.zeros(len(X)), np.inf
        _, others = self._parts()
        for rows, known in Patterns.of(X).parts():
            states = self._combinations(np.setdiff1d(np.arange(self.n_features), known))
            if not len(known):
                continue
            if not others:
                out[rows] = self.blend.log_prob(X[rows])
            elif states is not None:
                out[rows] = self._summed(X[rows], states)
            else:
                out[rows], effective = self._estimated(X[rows], others)
                least = min(least, effective)
        if least < MIN_EFFECTIVE:
            warn_user(
                f"The log-densities of some samples with unknown features rest on {least:.0f} effective draws of "
                f"{MANY_DRAWS}: they may be off by {np.sqrt(1 / max(least, 1)):.1f} nats and more.",
                InaccurateDensityWarning,
            )
        return out

    def _combinations(self, unknown: np.ndarray) -> np.ndarray | None:
        """All values of unknown categories, (n_combinations, n_features) with NaN elsewhere; None where a number is
        unknown too, or they are too many."""
        categories = next(iter(self.blend.densities.values())).columns.categories  # type: ignore[attr-defined]
        if not all(j in categories for j in unknown):
            return None
        # One more stands for all categories that are not known.
        values = [np.append(categories[j], categories[j].max() + 1) for j in unknown]
        if np.prod([float(len(v)) for v in values]) > MAX_COMBINATIONS:
            return None
        every = np.stack([v.ravel() for v in np.meshgrid(*values, indexing="ij")], axis=1)
        out = np.full((len(every), self.n_features), np.nan)
        out[:, unknown] = every
        return out

    def _summed(self, X: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Log-densities of samples, summed over the values of their unknown categories."""
        out, step = np.empty(len(X)), max(1, BLOCK_DRAWS // len(states))
        for rows in slices(len(X), step):
            block = np.repeat(X[rows], len(states), axis=0)
            complete = np.where(np.isnan(block), np.tile(states, (len(X[rows]), 1)), block)
            out[rows] = log_sum_exp(self.blend.log_prob(complete).reshape(-1, len(states)), axis=1)
        return out

    def _estimated(self, X: np.ndarray, others: list[str]) -> tuple[np.ndarray, float]:
        """Log-densities by draws from the components in closed form, more of them where few tell too little, and the
        least effective number of draws."""
        out, effective = np.empty(len(X)), np.zeros(len(X))
        for n_draws in (N_DRAWS, MANY_DRAWS):
            left = np.flatnonzero(effective < MIN_EFFECTIVE)
            for block in slices(len(left), BLOCK_DRAWS // n_draws):
                rows = left[block]
                out[rows], effective[rows] = self._by_draws(X[rows], others, n_draws)
        return out, float(effective.min())

    def _by_draws(self, X: np.ndarray, others: list[str], n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities by so many draws from the components in closed form, and the effective number of these."""
        proposal, shape = self._closed(), (len(X), n_draws)
        complete = self._drawn(proposal, np.repeat(X, n_draws, axis=0), noise_of_samples(X, n_draws, 0))
        known, log_proposal = proposal.log_prob(X), proposal.log_prob(complete)
        share = sum(weight for name, weight in self.blend.weights.items() if name not in others)
        terms, effective = [np.log(share) + known], np.full(len(X), np.inf)
        for name in others:
            log_ratio = (self._density(name).log_prob(complete) - log_proposal).reshape(shape)
            terms.append(np.log(self.blend.weights[name]) + known + log_sum_exp(log_ratio, axis=1) - np.log(n_draws))
            weights = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
            effective = np.minimum(effective, weights.sum(1) ** 2 / (weights**2).sum(1))
        return log_sum_exp(np.stack(terms, axis=1), axis=1), effective

    def completed(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool = False) -> np.ndarray:
        """Completed samples, (n_samples, n_draws, n_features), from the components in closed form."""
        proposal, out = self._closed(), np.repeat(X[:, None], n_draws, axis=1)
        incomplete = np.flatnonzero(np.isnan(X).any(1))
        numbers = occurrences(X)
        for block in slices(len(incomplete), max(1, BLOCK_DRAWS // max(1, n_draws))):
            rows = incomplete[block]
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
