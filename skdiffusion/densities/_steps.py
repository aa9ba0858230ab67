r"""Densities of one feature that are constant between steps: averages of Pólya trees.

A tree halves an interval again and again. At every node the density is constant over it, with probability 1/2, or the
mass is shared between its halves by a symmetric beta distribution. The posterior mean is known in closed form, in one
pass up and one down the tree, and it is as fine as the samples say: broad where the density is even, narrow at edges
and in detail. That is what kernels of one width lack, which must be narrow everywhere or blur the edges.

The density of a tree has steps where the tree divides. It is averaged over intervals of many places, so that the steps
fall everywhere, and over intervals that end at the smallest and at the largest sample, beyond which there is nothing.

References
----------
Wong and Ma (2010), Optional Pólya tree and Bayesian inference.
Willems, Shtarkov and Tjalkens (1995), The context-tree weighting method.
Scott (1985), Averaged shifted histograms.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaln, ndtr

from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._stacking import choose_component

CONCENTRATION = 0.5  # of the beta distributions: Jeffreys' prior of a share
LOG_STOP = np.log(0.5)  # prior probability that the density is constant over a node, and that it is not
MIN_DEPTH, MAX_DEPTH = 6, 13  # halvings of the range of the samples
FINER = 3  # halvings beyond one cell for each sample
N_PLACES = 16  # of the intervals that reach beyond the samples
GOLDEN = (np.sqrt(5) - 1) / 2  # its multiples fall evenly on all scales


class StepDensity(Density):
    """Density of one feature that is constant on cells of equal width, and zero beyond them.

    Parameters
    ----------
    start : float
        Left end of the first cell.
    width : float
    shares : array of shape (n_cells,)
        Mass of every cell, of sum 1.
    """

    _saved = ("n_features", "start", "width", "shares")

    def __init__(self, start: float, width: float, shares: np.ndarray):
        self.start, self.width, self.shares, self.n_features = float(start), float(width), shares, 1

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X (n_samples, 1), in nats, shape (n_samples,); -inf beyond the cells."""
        place = np.floor((X[:, 0] - self.start) / self.width)
        inside = (place >= 0) & (place < len(self.shares))
        mass = np.where(inside, self.shares[np.where(inside, place, 0).astype(int)], 0.0)
        with np.errstate(divide="ignore"):
            return np.log(mass) - np.log(self.width)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density: zero between the steps."""
        return np.zeros_like(X)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers: the uniform ones choose the cells."""
        cell = choose_component(self.shares, noise.uniform)
        return self.start + self.width * (cell[:, None] + ndtr(noise.normal))


def fit_steps(x: np.ndarray, weights: np.ndarray) -> StepDensity:
    """The average of the Pólya trees of samples x (n_samples,), not all of one value, with positive weights.

    A quarter of the trees each halve the range of the samples, twice this range from its left end on, the same to its
    right end, and intervals of that length in other places. The range reaches beyond the samples by the mean distance
    between two of them.
    """
    n = effective_number(weights)
    low, high = float(x.min()), float(x.max())
    n_cells = 2 ** int(np.clip(np.ceil(np.log2(n)) + FINER, MIN_DEPTH, MAX_DEPTH))
    beyond = (high - low) / n
    width = (high - low + 2 * beyond) / n_cells
    start = low - beyond - n_cells * width
    place = np.clip(((x - start) / width).astype(int), 0, 3 * n_cells - 1)
    counts = np.bincount(place, weights * (n / weights.sum()), 3 * n_cells)
    others = np.round(n_cells * ((GOLDEN * np.arange(1, N_PLACES + 1)) % 1)).astype(int)
    shares = np.zeros(3 * n_cells)
    for starts, length in ((n_cells,), n_cells), ((n_cells,), 2 * n_cells), ((0,), 2 * n_cells), (others, 2 * n_cells):
        trees = posterior_shares(np.stack([counts[i : i + length] for i in starts]))
        for i, tree in zip(starts, trees):
            shares[i : i + length] += tree / (4 * len(starts))
    return StepDensity(start, width, shares / shares.sum())


def posterior_shares(counts: np.ndarray) -> np.ndarray:
    """Mean mass of every cell under the posterior of a Pólya tree on the cells.

    Parameters
    ----------
    counts : array of shape (n_trees, n_cells)
        Samples of each cell; the number of cells is a power of two.

    Returns
    -------
    ndarray of shape (n_trees, n_cells)
        Of sum 1 over the cells.
    """
    n_trees, levels = len(counts), [counts]
    while levels[-1].shape[1] > 1:
        levels.append(levels[-1].reshape(n_trees, -1, 2).sum(2))
    halves = [level.reshape(n_trees, -1, 2) for level in levels[:-1]]
    # Up: the evidence of each node, relative to a constant density over it, and the probability of that.
    evidence, constant = np.zeros_like(counts), []
    for half, total in zip(halves, levels[1:]):
        a, b = np.moveaxis(half + CONCENTRATION, 2, 0)
        divided = betaln(a, b) - betaln(CONCENTRATION, CONCENTRATION) + total * np.log(2)
        divided += evidence.reshape(n_trees, -1, 2).sum(2)
        evidence = LOG_STOP + np.logaddexp(0.0, divided)
        constant.append(np.exp(LOG_STOP - evidence))
    # Down: the mass of each node if it is reached, that it is reached, and the mass from where the trees above end.
    mass, reached, known = np.ones((3, n_trees, 1))
    known = np.zeros_like(known)
    for half, total, stop in zip(halves[::-1], levels[:0:-1], constant[::-1]):
        known = np.repeat((known + reached * stop * mass) / 2, 2, axis=1)
        share = (half + CONCENTRATION) / (total[:, :, None] + 2 * CONCENTRATION)
        mass = (mass[:, :, None] * share).reshape(n_trees, -1)
        reached = np.repeat(reached * (1 - stop), 2, axis=1)
    return known + reached * mass
