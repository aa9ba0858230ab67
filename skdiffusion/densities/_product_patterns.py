r"""Gaussians of the present features of many patterns at once, and the expected moments of all features.

The log-density of a Gaussian is linear in the terms 1, x, x_i x_j, and the absent features have expectations that are
linear in the present ones. With zeros in the place of absent features every pattern has the same terms, so that what
follows from the parameters is computed for all patterns of a block and all components together.
"""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.patterns import Patterns
from skdiffusion.densities._mixture import LOG_2PI
from skdiffusion.densities._sweeps import SweepPlan

BLOCK_NUMBERS = 2**16  # of the matrices of a block of patterns, which stay in the cache of a processor


class PatternBlock:
    """Patterns whose matrices are in memory at a time.

    Parameters
    ----------
    present : bool array of shape (n_patterns, n_features)
    ends : int array of shape (n_patterns + 1,)
        Where the samples of each pattern begin among samples in the order of their patterns, and where the last end.
    """

    def __init__(self, present: np.ndarray, ends: np.ndarray):
        self.plan, self.samples = SweepPlan(present), slice(ends[0], ends[-1])
        self.present = present[self.plan.order]
        self.parts = [slice(ends[i], ends[i + 1]) for i in self.plan.order]
        d, absent = present.shape[1], ~self.present.T
        self.pairs, self.places = np.triu_indices(d), _places(d)
        self.both_absent = (absent[:, None] & absent).astype(np.float64)


def pattern_blocks(patterns: Patterns, n_components: int) -> list[PatternBlock]:
    """The patterns of samples, in blocks."""
    known = patterns.known
    ends = np.searchsorted(np.sort(patterns.which), np.arange(len(known) + 1))
    size = max(1, BLOCK_NUMBERS // (n_components * max(1, known.shape[1]) ** 2))
    starts = range(0, len(known), size)
    return [PatternBlock(known[i : i + size], ends[i : i + size + 1]) for i in starts]


def gaussian_terms(z: np.ndarray) -> np.ndarray:
    """The terms 1, z, z_i z_j for i <= j of samples, with zeros for NaN."""
    x, (i, j) = np.nan_to_num(z), np.triu_indices(z.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, i] * x[:, j]])


class PatternGaussians:
    """The Gaussians of the components, of the present features of every pattern of a block.

    Parameters
    ----------
    block : PatternBlock
    weights : array of shape (n_components,)
    means : array of shape (n_components, n_features)
    covariances : array of shape (n_components, n_features, n_features)
    """

    def __init__(self, block: PatternBlock, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        self.block, self.log_weights = block, np.log(weights)
        self.means = means.T[:, None]  # these arrays have axes (features, patterns, components)
        self.present = block.present.T[:, :, None]
        self.swept, self.log_dets = block.plan.swept(covariances)
        self.known_means = self.means * self.present
        # -C_oo^-1 m_o of present features, and C_uo C_oo^-1 m_o of absent ones.
        self.products = np.einsum("ijpk,jpk->ipk", self.swept, self.known_means)

    def add_log_densities(self, log_joint: np.ndarray, terms: np.ndarray) -> None:
        """Add log w_k N(x; m_k, C_k) to those of the samples of the block, (n_samples, n_components)."""
        coefficients = self._coefficients()
        for p, part in enumerate(self.block.parts):
            log_joint[part] += terms[part] @ coefficients[:, p]

    def _coefficients(self) -> np.ndarray:
        """Of the terms, (n_terms, n_patterns, n_components)."""
        d = len(self.means)
        i, j = self.block.pairs
        out = np.empty((1 + d + len(i), *self.log_dets.shape))
        n_present = self.present.sum(0)
        out[0] = self.log_weights - 0.5 * (self.log_dets + n_present * LOG_2PI)
        out[0] += 0.5 * (self.known_means * self.products).sum(0)
        np.negative(self.products, out=out[1 : 1 + d])
        np.multiply(self.swept[i, j], np.where(i == j, 0.5, 1.0)[:, None, None], out=out[1 + d :])
        return out

    def add_moments(self, first: np.ndarray, second: np.ndarray, weighted: np.ndarray, terms: np.ndarray) -> None:
        """Add the expected sums of x and x x' over the samples of the block under every component.

        Shapes (n_components, n_features), (n_components, n_features, n_features), and (n_samples, n_components) of
        the weighted responsibilities.
        """
        (k, d), n_patterns = first.shape, len(self.block.parts)
        sums = np.empty((k, n_patterns, terms.shape[1]))
        for p, part in enumerate(self.block.parts):
            sums[:, p] = weighted[part].T @ terms[part]
        gains = self._gains()
        products = sums.take(self.block.places, axis=-1) @ gains
        first += products[:, :, 0].sum(1)
        side_by_side = (k, n_patterns * (1 + d), d)
        second += gains.reshape(side_by_side).transpose(0, 2, 1) @ products.reshape(side_by_side)
        second += np.einsum("ijpk,ijp,kp->kij", self.swept, self.block.both_absent, sums[..., 0])

    def _gains(self) -> np.ndarray:
        """Expectations of all features as products of (1, x) with these, (n_components, n_patterns, 1 + n_features,
        n_features): columns of the identity for present features."""
        d, n_patterns, k = self.known_means.shape
        out = np.empty((k, n_patterns, 1 + d, d))
        out[:, :, 0] = np.where(self.present, 0.0, self.means - self.products).transpose(2, 1, 0)
        out[:, :, 1:] = np.where(self.block.present[:, None], np.eye(d), self.swept.transpose(3, 2, 0, 1))
        return out


def _places(d: int) -> np.ndarray:
    """Where the products of (1, x) with itself are among the terms of d features, (1 + d, 1 + d)."""
    i, j = np.triu_indices(1 + d)
    out = np.empty((1 + d, 1 + d), dtype=int)
    out[i, j] = out[j, i] = np.arange(len(i))
    return out
