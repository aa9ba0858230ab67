"""Samples with unknown features, which NaN marks, under a fitted blend: their log-densities, and completed samples.

Samples of one pattern of unknown features go together. The random numbers of a sample follow from its known features:
what is said of it does not depend on the other samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.protocols import NoiseStream, SampleNoise
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Blend, BlendMarginal, GivenBlend
from skdiffusion.exceptions import InaccurateDensityWarning

N_DRAWS, MANY_DRAWS = 128, 2048  # of importance sampling, for each sample, and where these tell too little
PANEL_DRAWS = 2  # that a quadrature starts from
MAX_UNKNOWN, MAX_FEATURES = 6, 12  # beyond both, importance sampling is not to be trusted
MIN_EFFECTIVE = 30  # draws of equal weight, below which a density is inaccurate
BLOCK_NODES = 16384  # of the samples that are worked on at a time


def patterns(X: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples of every pattern of unknown features, and the features that are known, both by their numbers."""
    unknown = np.isnan(X)
    rows, which = np.unique(unknown, axis=0, return_inverse=True)
    for k, row in enumerate(rows):
        yield np.flatnonzero(which.ravel() == k), np.flatnonzero(~row)


@dataclass(frozen=True)
class UnknownFeatures:
    """What a blend says of samples some features of which are unknown.

    Parameters
    ----------
    blend : Blend
    n_features : int
    """

    blend: Blend
    n_features: int

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of the known features of incomplete samples, in nats: 0 where none is known."""
        out, least = np.zeros(len(X)), np.inf
        for rows, features in patterns(X):
            if not len(features):
                continue
            for given, block in self.given(X[rows], features, 0):
                log_prob, effective = given.log_prob, given.effective_number
                few = np.flatnonzero(effective < MIN_EFFECTIVE)
                for more, part in self.given(given.X[few], features, 0, MANY_DRAWS):
                    log_prob[few[part]], effective[few[part]] = more.log_prob, more.effective_number
                out[rows[block]], least = log_prob, min(least, effective.min(initial=np.inf))
        if least < MIN_EFFECTIVE:
            warn_user(
                f"The log-densities of some samples with unknown features rest on {least:.0f} effective draws of "
                f"{MANY_DRAWS}, and may be off by {np.sqrt(1 / max(least, 1)):.1f} nats. Fewer unknown features are "
                "known better.",
                InaccurateDensityWarning,
            )
        return out

    def given(
        self, X: np.ndarray, features: np.ndarray, seed: int, n_draws: int = N_DRAWS, all_summed: bool = False
    ) -> Iterator[tuple[GivenBlend, slice]]:
        """The blend given the known features of samples of one pattern, in blocks of samples.

        Raises
        ------
        ValueError
            If more features are unknown than can be integrated over.
        """
        marginal, n_unknown = (
            BlendMarginal(self.blend, features, self.n_features, all_summed),
            self._n_unknown(features),
        )
        if marginal.summed and self._too_many(n_unknown):
            raise ValueError(
                f"{n_unknown} of {self.n_features} features are unknown in some samples: with more than "
                f"{MAX_FEATURES} features, at most {MAX_UNKNOWN} can be integrated over to an accuracy that can be "
                "trusted. Fit the estimator to fewer features, or give more of them."
            )
        n_draws = PANEL_DRAWS if n_unknown == 1 else n_draws
        for block in slices(len(X), max(1, BLOCK_NODES // n_draws)):
            yield marginal.given(X[block], noise_of_samples(X[block], n_draws, seed)), block

    def _n_unknown(self, features: np.ndarray) -> int:
        return self.n_features - len(features)

    def _too_many(self, n_unknown: int) -> bool:
        """Whether draws are too few for so many unknown features."""
        return n_unknown > MAX_UNKNOWN and self.n_features > MAX_FEATURES

    def _in_closed_form(self) -> UnknownFeatures:
        """The same of the components in closed form alone."""
        used = [name for name, weight in self.blend.weights.items() if weight > 0]
        names = [n for n in used if getattr(self.blend.densities[n], "in_closed_form", False)]
        return self if len(names) in (0, len(used)) else replace(self, blend=self.blend.restricted(names)[0])

    def completed(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool = False) -> np.ndarray:
        """Completed samples, (n_samples, n_draws, n_features): unknown features are drawn given the known ones.

        Fewer draws are a prefix of more, from the same number of nodes. Of many features that are unknown together the
        components in closed form alone are asked.
        """
        out = np.repeat(X[:, None], n_draws, axis=1)
        for rows, features in patterns(X):
            if not len(features):
                for i in rows:
                    out[i] = self.blend.draw(n_draws, self.n_features, seed_of_sample(X[i], seed))
            elif len(features) < self.n_features:
                asked = self._in_closed_form() if self._too_many(self._n_unknown(features)) else self
                for given, block in asked.given(X[rows], features, seed, n_nodes):
                    noise = noise_of_samples(given.X, n_draws, seed + 1)
                    owner = np.repeat(np.arange(len(given.X)), n_draws)
                    out[rows[block]] = given.completed(noise, owner, fixed).reshape(-1, n_draws, self.n_features)
        return out


def seed_of_sample(x: np.ndarray, seed: int) -> int:
    """A seed that follows from a sample, the places of its unknown features and another seed."""
    words = np.where(np.isnan(x), np.nan, x + 0.0).view(np.uint32)  # one NaN, one zero
    return int(np.random.SeedSequence([seed, *words.tolist()]).generate_state(1, np.uint64)[0])


def noise_of_samples(X: np.ndarray, n_draws: int, seed: int) -> SampleNoise:
    """Random numbers for so many draws for every sample, those of one sample side by side."""
    parts = [NoiseStream(seed_of_sample(x, seed), X.shape[1]).take(n_draws) for x in X]
    return SampleNoise._make(None if part[0] is None else np.concatenate(part) for part in zip(*parts))
