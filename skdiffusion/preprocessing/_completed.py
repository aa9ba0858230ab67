r"""Completed samples that stand for incomplete ones, and what densities of them say of the part that was observed.

Where the unknown features of a sample were drawn from a density g given the known ones, a density p of complete samples
has at the known features

.. math:: p(x_o) \approx \frac1S \sum_{s=1}^S \frac{p(x_o, x_u^s)}{g(x_u^s \mid x_o)},

without bias, whatever g is. The log-densities of completed samples themselves would favor a p that is like g.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skdiffusion._utils.numerics import effective_number, log_sum_exp_by_owner


@dataclass(frozen=True)
class CompletedSamples:
    """The samples that completed ones stand for, of which a fold holds all or none.

    Parameters
    ----------
    source : int array of shape (n_completed,)
        The sample that each one stands for, by its number; equal ones side by side.
    log_proposal : array of shape (n_completed,)
        Log-density, given the known features, from which the others were drawn, in nats; 0 of complete samples.
    known : bool array of shape (n_completed, n_features)
        Which features were known.
    """

    source: np.ndarray
    log_proposal: np.ndarray
    known: np.ndarray

    def take(self, kept: np.ndarray) -> CompletedSamples:
        """Some of them."""
        return CompletedSamples(self.source[kept], self.log_proposal[kept], self.known[kept])

    def shifted(self, log_density: np.ndarray) -> CompletedSamples:
        """The same with other units: the log-densities of completed samples, (n_completed,), are so much greater."""
        return replace(self, log_proposal=self.log_proposal + log_density)

    def _sources(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first completed one of every source among some of them, in their order, and the source of each."""
        _, first, inverse = np.unique(self.source[samples], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), dtype=int)
        rank[order] = np.arange(len(order))
        return first[order], rank[inverse.ravel()]

    def first(self, samples: np.ndarray) -> np.ndarray:
        """The first of every source among some completed ones, by their numbers."""
        return samples[self._sources(samples)[0]]

    def all_of(self, samples: np.ndarray) -> np.ndarray:
        """All completed ones that stand for the same samples as some of them do."""
        return np.flatnonzero(np.isin(self.source, self.source[samples]))

    def whole_weight(self, weight: np.ndarray) -> np.ndarray:
        """Weights of the sources of all completed ones, (n_completed,), from those of these."""
        place = np.unique(self.source, return_inverse=True)[1].ravel()
        return np.bincount(place, weight)[place]

    def observed(self, log_prob: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Log-densities of what is known of the sources, in the order of `first`, from those of completed ones."""
        first, owner = self._sources(samples)
        total = log_sum_exp_by_owner(log_prob - self.log_proposal[samples], owner, len(first))
        return total - np.log(np.bincount(owner, minlength=len(first)))

    def mean(self, values: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Means of values of completed ones over those of each source, in the order of `first`."""
        first, owner = self._sources(samples)
        return np.bincount(owner, values) / np.bincount(owner, minlength=len(first))

    def information(self, weight: np.ndarray) -> float:
        """Share of their effective number that the completed ones of some weights are worth."""
        whole = self.whole_weight(weight)[self.first(np.arange(len(weight)))]
        return effective_number(whole) / effective_number(weight)
