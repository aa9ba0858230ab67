"""Samples with unknown features, which NaN marks, under a fitted blend: their log-densities, and completed samples.

Samples of one pattern of unknown features go together. The random numbers of a sample follow from its known features:
what is said of it does not depend on the other samples. Equal samples are completed by different draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import NoiseStream, SampleNoise
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import (
    Blend,
    BlendMarginal,
    GivenBlend,
    TransformedDensity,
    blend_log_density,
    completed_together,
    given_together,
)
from skdiffusion.exceptions import InaccurateDensityWarning

N_DRAWS, MANY_DRAWS = 64, 2048  # of importance sampling, for each sample, and at most where these tell too little
PANEL_DRAWS, PANEL_NODES = 2, 256  # that a quadrature starts from, and nodes that it takes or so
MAX_UNKNOWN, MAX_FEATURES = 6, 12  # beyond both, importance sampling is not to be trusted
MIN_EFFECTIVE = 30  # draws of equal weight, below which a density is inaccurate
NODES_FOR_ONE = 4  # draws for each effective one, that are enough to choose among
RESERVE = 1.5  # times the draws that seem enough, where more are taken
BLOCK_NODES = 16384  # of the samples that are worked on at a time


class Question(NamedTuple):
    """Samples of one pattern of unknown features, by their numbers, for which as many draws are taken."""

    samples: np.ndarray
    features: np.ndarray  # that are known
    n_draws: int


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
        out, some = np.zeros(len(X)), np.flatnonzero(~np.isnan(X).all(1))
        if self._in_closed_form == self._used:
            for part in slices(len(some)):
                out[some[part]] = self._closed_log_prob(X[some[part]])
            return out
        for given, samples in self.given(X[some], 0):
            out[some[samples]] = given.log_prob
        return out

    def _closed_log_prob(self, X: np.ndarray) -> np.ndarray:
        """The same of samples of which something is known, where all components know it in closed form."""
        table = np.empty((len(X), len(self._used)))
        for k, name in enumerate(self._used):
            density = self.blend.densities[name]
            assert isinstance(density, TransformedDensity)
            table[:, k] = density.known_log_prob(X)
        return blend_log_density(table, np.array([self.blend.weights[name] for name in self._used]))

    def given(
        self, X: np.ndarray, seed: int, n_draws: int = N_DRAWS, least: float = MIN_EFFECTIVE, all_summed: bool = False
    ) -> Iterator[tuple[GivenBlend, np.ndarray]]:
        """The blend given what is known of samples, in blocks of one pattern, each with the numbers of its samples.

        Samples of which the draws tell less than `least` effective ones have more of them. Where these are fewer than a
        density takes, to choose among, a single unknown feature is drawn as several are.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            With NaN in some, not all, features of every sample.
        seed : int
        n_draws : int
        least : float
        all_summed : bool
            As of `BlendMarginal`.

        Raises
        ------
        ValueError
            If more features are unknown than can be integrated over.

        Warns
        -----
        InaccurateDensityWarning
            If many draws still tell too little.
        """
        n_unknown = np.isnan(X).sum(1).max(initial=0)
        if self._too_many(n_unknown) and len(self._in_closed_form) < len(self._used):
            raise ValueError(
                f"{n_unknown} of {self.n_features} features are unknown in some samples: with more than "
                f"{MAX_FEATURES} features, at most {MAX_UNKNOWN} can be integrated over to an accuracy that can be "
                "trusted. Fit the estimator with fit_conditionals=True, whose networks answer for any number, or give "
                "more of them."
            )
        left = [Question(samples, features, n_draws) for samples, features in Patterns.of(X).parts()]
        fewest = np.inf
        while left:
            again: list[Question] = []
            for block in self._blocks(left):
                marginals = [
                    BlendMarginal(self.blend, q.features, self.n_features, all_summed, least < MIN_EFFECTIVE)
                    for q in block
                ]
                noises = [self._noise(X[q.samples], m, q.n_draws, seed) for q, m in zip(block, marginals)]
                answers = given_together([(m, X[q.samples], noise) for m, q, noise in zip(marginals, block, noises)])
                for question, given in zip(block, answers):
                    settled, more = enough(question, given, least)
                    again += more
                    if settled.any():
                        fewest = min(fewest, given.effective_number[settled].min())
                        yield (given if settled.all() else given.take(settled)), question.samples[settled]
            left = again
        if fewest < least:
            warn_user(
                f"What is said of some samples with unknown features rests on {fewest:.0f} effective draws of "
                f"{MANY_DRAWS}: log-densities may be off by {np.sqrt(1 / max(fewest, 1)):.1f} nats and more. Fewer "
                "unknown features are known better.",
                InaccurateDensityWarning,
            )

    @staticmethod
    def _noise(X: np.ndarray, marginal: BlendMarginal, n_draws: int, seed: int) -> SampleNoise | None:
        """Random numbers of the draws for every sample, where any are taken."""
        if not marginal.summed:
            return None
        return noise_of_samples(X, n_draws if marginal.draws_nodes else PANEL_DRAWS, seed)

    def _blocks(self, questions: list[Question]) -> Iterator[list[Question]]:
        """The questions, parted where they are of many samples, in lists of few enough nodes."""
        block: list[Question] = []
        n_nodes = 0
        for samples, features, n_draws in questions:
            cost = PANEL_NODES if self.n_features - len(features) == 1 else n_draws
            for part in slices(len(samples), max(1, BLOCK_NODES // cost)):
                if block and n_nodes + cost * len(samples[part]) > BLOCK_NODES:
                    yield block
                    block, n_nodes = [], 0
                block.append(Question(samples[part], features, n_draws))
                n_nodes += cost * len(samples[part])
        if block:
            yield block

    def _too_many(self, n_unknown: int | np.ndarray) -> bool | np.ndarray:
        """Whether draws are too few for so many unknown features."""
        return (n_unknown > MAX_UNKNOWN) & (self.n_features > MAX_FEATURES)

    @property
    def _used(self) -> list[str]:
        """Names of the components of some weight."""
        return [name for name, weight in self.blend.weights.items() if weight > 0]

    @property
    def _in_closed_form(self) -> list[str]:
        """Names of those in closed form."""
        return [name for name in self._used if getattr(self.blend.densities[name], "in_closed_form", False)]

    def _of_closed_forms(self) -> UnknownFeatures:
        """The same of the components in closed form alone, where there are any."""
        names = self._in_closed_form
        return replace(self, blend=self.blend.restricted(names)[0]) if names else self

    def completed(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool = False) -> np.ndarray:
        """Completed samples, (n_samples, n_draws, n_features): unknown features are drawn given the known ones.

        Fewer draws are a prefix of more, from the same number of nodes. Of many features that are unknown together the
        components in closed form alone are asked.
        """
        out, number = np.repeat(X[:, None], n_draws, axis=1), occurrences(X)
        n_unknown, least = np.isnan(X).sum(1), min(MIN_EFFECTIVE, n_nodes // NODES_FOR_ONE)
        for i in np.flatnonzero(n_unknown == self.n_features):
            out[i] = self.blend.draw(n_draws, self.n_features, seed_of_sample(X[i], seed, number[i]))
        some = (n_unknown > 0) & (n_unknown < self.n_features)
        many = self._too_many(n_unknown)
        for asked, which in ((self, some & ~many), (self._of_closed_forms(), some & many)):
            mine = np.flatnonzero(which)
            for block in batches(asked.given(X[mine], seed, n_nodes, least), n_draws):
                parts = []
                for given, samples in block:
                    noise = noise_of_samples(given.X, n_draws, seed + 1, number[mine[samples]])
                    parts.append((given, noise, np.repeat(np.arange(len(given.X)), n_draws)))
                for (_, samples), drawn in zip(block, completed_together(parts, fixed)):
                    out[mine[samples]] = drawn.reshape(-1, n_draws, self.n_features)
        return out


def enough(question: Question, given: GivenBlend, least: float) -> tuple[np.ndarray, list[Question]]:
    """Of which samples the draws tell enough, or as many as may be taken do not, and what is asked of the others."""
    number = given.effective_number
    settled = (number >= least) | (question.n_draws >= MANY_DRAWS)
    wanted = RESERVE * question.n_draws * least / np.maximum(number, 1e-300)
    powers = np.ceil(np.log2(np.maximum(np.minimum(wanted, MANY_DRAWS) / question.n_draws, 2.0)))
    wanted = np.minimum(question.n_draws * 2**powers, MANY_DRAWS).astype(int)
    numbers = np.unique(wanted[~settled]).tolist()
    return settled, [Question(question.samples[~settled & (wanted == n)], question.features, n) for n in numbers]


def batches(
    blocks: Iterator[tuple[GivenBlend, np.ndarray]], n_draws: int
) -> Iterator[list[tuple[GivenBlend, np.ndarray]]]:
    """Blocks in lists of few enough nodes and draws."""
    batch, n = [], 0
    for given, samples in blocks:
        batch.append((given, samples))
        n += max(len(samples) * n_draws, 0 if given.nodes is None else len(given.nodes.X))
        if n >= BLOCK_NODES:
            yield batch
            batch, n = [], 0
    if batch:
        yield batch


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
