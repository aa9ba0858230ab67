"""The samples of a training run: which of them a member learns from, and in what order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from skdiffusion.diffusion.training._stream import SampleBlocks


class SampleStream:
    """Endless shuffled passes over the samples of one member, in which a sample comes as often as its weight asks."""

    def __init__(self, indices: np.ndarray, sample_weight: np.ndarray, rng: np.random.Generator) -> None:
        self.indices, self.rng = indices, rng
        self.cumulative = np.cumsum(sample_weight) / np.sum(sample_weight)
        self.is_even = bool((sample_weight == sample_weight[:1]).all())
        self.buffer = np.empty(0, dtype=np.int64)

    def take(self, count: int) -> np.ndarray:
        """The indices of the next `count` samples."""
        n, passes = len(self.indices), [self.buffer]
        for _ in range(-(-max(0, count - len(self.buffer)) // n)):
            # Systematic resampling: with equal weights every sample comes exactly once a pass.
            chosen, start = self.indices, self.rng.random()
            if not self.is_even:
                u = (np.arange(n) + start) / n
                chosen = chosen[np.minimum(np.searchsorted(self.cumulative, u, side="right"), n - 1)]
            passes.append(self.rng.permutation(chosen))
        known = np.concatenate(passes)
        self.buffer = known[count:]
        return known[:count]


@dataclass(frozen=True)
class TrainingSets:
    """Samples, and which of them each member learns from.

    Parameters
    ----------
    samples : tensor of shape (n_samples, d)
        Of the type of the network and on its device.
    sample_weight : ndarray of shape (n_samples,)
        Non-negative; a sample is drawn as often as its weight asks.
    training, validation : sequence of int arrays
        For each member, the indices of the samples that it learns from, and of those that choose its weights, if any.
    noised : bool tensor of shape (n_samples, d), optional
        Entries that get noise and are learned. The others are given: they stay as they are at every noise level, and
        what a network says of them does not count.
    blocks : SampleBlocks, optional
        Where members learn from more samples than these, which then only validate them.
    """

    samples: torch.Tensor
    sample_weight: np.ndarray
    training: Sequence[np.ndarray]
    validation: Sequence[np.ndarray] = ()
    noised: torch.Tensor | None = None
    blocks: SampleBlocks | None = None

    def streams(self, index_sets: Sequence[np.ndarray], rng: np.random.Generator) -> list[SampleStream]:
        """Streams of the samples of each index set."""
        return [SampleStream(indices, self.sample_weight[indices], rng) for indices in index_sets]
