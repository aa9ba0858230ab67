"""Blocks of samples that do not fit into memory, shuffled, for the steps of a training run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from skdiffusion._utils.collective import collective
from skdiffusion.preprocessing import LeftOutOfStream, Reservoir


class SampleBlocks:
    """Endless passes over a source, in which blocks are drawn from a pool of samples.

    The pool begins with the reservoir, a random part of all, so that training starts at once. Before a block is drawn
    from it, it is filled up with samples that are read part by part, in random order where the source allows that. All
    members of an ensemble share the blocks, each without the samples that it leaves out, in an order of its own.

    Each of several processes has a pool of the samples that it reads itself. It draws a part of every block that is as
    large as its share of all samples makes it by chance, and all exchange these parts.

    Parameters
    ----------
    reservoir : Reservoir
    left_out : LeftOutOfStream
    place : callable
        ``place(X, rng) -> z``: samples in the coordinates of the networks, NaN where they are of no use.
    n_wanted : int
        Samples that the run is planned to see. Where a pass has more, and its parts are coarse, a random share of each
        part is taken, so that all parts are seen.
    rng : numpy Generator
    """

    def __init__(
        self,
        reservoir: Reservoir,
        left_out: LeftOutOfStream,
        place: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        n_wanted: int,
        rng: np.random.Generator,
    ) -> None:
        self.reservoir, self.left_out, self.place = reservoir, left_out, place
        self.rng, self._own_rng = rng, collective().generator(rng)
        sizes = np.array(collective().every(reservoir.own.n_samples), dtype=float)
        self._sizes = sizes / sizes.sum()  # of the processes
        first, numbers = reservoir.own.first, reservoir.numbers
        own = slice(*np.searchsorted(numbers, [first, first + reservoir.own.n_samples]))
        self._X, self._numbers = reservoir.X[own], numbers[own]
        self._n_kept = len(self._X)
        self.share = 1.0 if reservoir.own.source.is_fine else min(1.0, n_wanted / reservoir.n_samples)
        self._parts = self._passes()

    def take(self, shape: tuple[int, int], n_targets: int, deadline: float = np.inf) -> tuple[torch.Tensor, np.ndarray]:
        """A block of samples, and for some steps those that every member sees.

        Parameters
        ----------
        shape : (n_steps, n_samples)
            Of the samples that a member learns from.
        n_targets : int
            Samples of the block, at least those that it learns from, that a member sees in a step.
        deadline : float
            Moment of `Collective.clock` from which samples come again and none is read.

        Returns
        -------
        samples : tensor of shape (n_block, n_features)
        picks : int array of shape (n_steps, n_members, n_targets)
        """
        n_steps, n_samples = shape
        counts = self.rng.multinomial(max(n_steps * n_samples, n_targets), self._sizes)
        count, own_deadline = collective().own(counts.tolist()), collective().own_moment(deadline)
        z, out = zip(*collective().each(lambda: self._placed(*self._draw(count, own_deadline))))
        starts = np.arange(n_steps)[:, None] * n_samples + np.arange(n_targets)
        members = np.concatenate(out, axis=1)
        picks = np.stack([self._order(own)[starts % np.count_nonzero(~own)] for own in members], axis=1)
        return torch.as_tensor(np.concatenate(z)), picks

    def _placed(self, X: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples in the coordinates of the networks, float32, and which of them each member leaves out."""
        z = self.place(X, self._own_rng)
        return z.astype(np.float32), self.left_out(X, numbers) | ~np.isfinite(z).all(1)

    def _order(self, out: np.ndarray) -> np.ndarray:
        """The samples that are not left out, in random order."""
        kept = np.flatnonzero(~out)
        if not len(kept):
            raise ValueError(
                "A block of X holds copies of samples that are left out, and no other samples to train on: drop the "
                "copies, and give their numbers as 'sample_weight' of an array in memory."
            )
        return self.rng.permutation(kept)

    def _draw(self, count: int, deadline: float) -> tuple[np.ndarray, np.ndarray]:
        """Random samples of the pool and their numbers; they leave it while there is time to fill it."""
        parts, n_pool, wanted = [(self._X, self._numbers)], len(self._X), self._n_kept + count
        in_time = True
        while n_pool < wanted and (in_time := time.perf_counter() < deadline):
            parts.append(next(self._parts))
            n_pool += len(parts[-1][0])
        self._X, self._numbers = (np.concatenate(part) for part in zip(*parts))
        chosen = self._own_rng.choice(n_pool, min(count, n_pool), replace=False)
        block = self._X[chosen], self._numbers[chosen]
        if in_time:
            kept = np.ones(n_pool, dtype=bool)
            kept[chosen] = False
            self._X, self._numbers = self._X[kept], self._numbers[kept]
        return block

    def _passes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Samples of the source and their numbers, part by part, pass after pass."""
        own, rng, drawn = self.reservoir.own, self._own_rng, self.reservoir.numbers
        is_first = True
        while True:
            n_read = 0
            for start, chunk in own.source.shuffled(rng):
                X, first = own.reader.numbers(chunk, start), own.first + start
                numbers = first + np.arange(len(X))
                n_read += len(X)
                kept = np.ones(len(X), dtype=bool) if self.share == 1 else rng.random(len(X)) < self.share
                if is_first:  # those of the reservoir are in the pool
                    kept[drawn[np.searchsorted(drawn, first) : np.searchsorted(drawn, first + len(X))] - first] = False
                yield X[kept], numbers[kept]
            self._check(n_read)
            is_first = False

    def _check(self, n_read: int) -> None:
        """Raise ValueError if a pass had other samples than the first one."""
        own = self.reservoir.own
        if not n_read or (own.is_complete and n_read != own.n_samples):
            raise ValueError(
                f"X had {own.n_samples} samples when it was read first and {n_read} in a later pass: a file "
                "must not be written to during the fit, and a callable must return a new iterator over the same number "
                "of samples at each call."
            )
