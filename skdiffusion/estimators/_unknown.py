"""Samples with unknown features, which NaN marks, under a fitted blend: their log-densities, and completed samples.

Samples of one pattern of unknown features go together. The random numbers of a sample follow from its known features:
what is said of it does not depend on the other samples. Equal samples are completed by different draws.
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
        out = np.zeros(len(X))
        for rows, features in patterns(X):
            if len(features):
                for given, some in self.given(X[rows], features, 0):
                    out[rows[some]] = given.log_prob
        return out

    def given(
        self, X: np.ndarray, features: np.ndarray, seed: int, n_draws: int = N_DRAWS, all_summed: bool = False
    ) -> Iterator[tuple[GivenBlend, np.ndarray]]:
        """The blend given what is known of samples of one pattern, in blocks, each with the numbers of its samples.

        Samples of which the draws tell too little have more of them.

        Raises
        ------
        ValueError
            If more features are unknown than can be integrated over.

        Warns
        -----
        InaccurateDensityWarning
            If many draws still tell too little.
        """
        n_unknown, least = self.n_features - len(features), np.inf
        marginal = BlendMarginal(self.blend, features, self.n_features, all_summed)
        if not marginal.in_closed_form and self._too_many(n_unknown):
            raise ValueError(
                f"{n_unknown} of {self.n_features} features are unknown in some samples: with more than "
                f"{MAX_FEATURES} features, at most {MAX_UNKNOWN} can be integrated over to an accuracy that can be "
                "trusted. Fit the estimator with fit_conditionals=True, whose networks answer for any number, or give "
                "more of them."
            )
        left = np.arange(len(X))
        for number in (PANEL_DRAWS if n_unknown == 1 else n_draws, MANY_DRAWS):
            again = [left[:0]]
            for block in slices(len(left), max(1, BLOCK_NODES // number)):
                rows = left[block]
                given = marginal.given(X[rows], noise_of_samples(X[rows], number, seed))
                enough = given.effective_number >= MIN_EFFECTIVE
                if number < MANY_DRAWS and not enough.all():
                    again.append(rows[~enough])
                    given, rows = given.take(enough), rows[enough]
                least = min(least, given.effective_number.min(initial=np.inf))
                if len(rows):
                    yield given, rows
            left = np.concatenate(again)
        if least < MIN_EFFECTIVE:
            warn_user(
                f"What is said of some samples with unknown features rests on {least:.0f} effective draws of "
                f"{MANY_DRAWS}: log-densities may be off by {np.sqrt(1 / max(least, 1)):.1f} nats and more. Fewer "
                "unknown features are known better.",
                InaccurateDensityWarning,
            )

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
        out, number = np.repeat(X[:, None], n_draws, axis=1), occurrences(X)
        for rows, features in patterns(X):
            if not len(features):
                for i in rows:
                    out[i] = self.blend.draw(n_draws, self.n_features, seed_of_sample(X[i], seed, number[i]))
            elif len(features) < self.n_features:
                asked = self._in_closed_form() if self._too_many(self.n_features - len(features)) else self
                for given, some in asked.given(X[rows], features, seed, n_nodes):
                    noise = noise_of_samples(given.X, n_draws, seed + 1, number[rows[some]])
                    owner = np.repeat(np.arange(len(given.X)), n_draws)
                    out[rows[some]] = given.completed(noise, owner, fixed).reshape(-1, n_draws, self.n_features)
        return out


def occurrences(X: np.ndarray) -> np.ndarray:
    """How many samples before each one are equal to it, shape (n_samples,); unknown features are equal."""
    values = np.hstack([np.where(np.isnan(X), 0.0, X), np.isnan(X)])
    place = np.unique(values, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], place[order])
    out = np.empty(len(X), dtype=int)
    out[order] = np.arange(len(X)) - first
    return out


def seed_of_sample(x: np.ndarray, seed: int, number: int = 0) -> int:
    """A seed that follows from a sample, the places of its unknown features, another seed and a number."""
    words = np.where(np.isnan(x), np.nan, x + 0.0).view(np.uint32)  # one NaN, one zero
    return int(np.random.SeedSequence([seed, int(number), *words.tolist()]).generate_state(1, np.uint64)[0])


def noise_of_samples(X: np.ndarray, n_draws: int, seed: int, numbers: np.ndarray | None = None) -> SampleNoise:
    """Random numbers for so many draws for every sample, those of one sample side by side.

    Equal samples have the same ones but for numbers that tell them apart.
    """
    numbers = np.zeros(len(X), dtype=int) if numbers is None else numbers
    seeds = [seed_of_sample(x, seed, number) for x, number in zip(X, numbers)]
    parts = [NoiseStream(one, X.shape[1]).take(n_draws) for one in seeds]
    return SampleNoise._make(None if part[0] is None else np.concatenate(part) for part in zip(*parts))
