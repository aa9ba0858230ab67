r"""Samples near a bound, drawn anew: the density there is that of a shape, whatever the tail of the model says.

A feature of depth v in a `BoundaryRegion` is drawn anew with probability 1 - v, from the density 2 (1 - v) on [0, 1].
Of a density p this makes

.. math:: \tilde p(v) = v\,p(v) + 2 (1 - v) \int_0^1 (1 - v')\,p(v')\,dv',

in which the other features stay as they are. It is normalized as p is, and continuous where the region ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import whole_vectors
from skdiffusion._utils.numerics import log_sum_exp_by_owner
from skdiffusion.preprocessing import BoundaryRegion

N_NODES = 7  # of the integral over a region: the density of a network has ripples in its tails
MAX_REGIONS = 2  # of one sample: one that lies in more of them, in a corner, keeps its density
_roots, _weights = np.polynomial.legendre.leggauss(N_NODES)
# v = r^2: the density of the model may go to zero or to infinity at v = 0.
NODES = ((_roots + 1) / 2) ** 2
LOG_NODE_WEIGHTS = np.log(_weights * np.sqrt(NODES) * (1 - NODES))  # of p(v) at the nodes in the integral


def _depths(regions: Sequence[BoundaryRegion], X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths of samples in all regions and whether they are drawn anew there, arrays (n_regions, n_samples)."""
    depth = np.stack([region.depth(X[:, region.feature]) for region in regions])
    inside = depth < 1
    return depth, inside & (inside.sum(0) <= MAX_REGIONS)


@dataclass(frozen=True)
class BoundaryNodes:
    """Places at which a density is known, for the densities of samples some of which are drawn anew.

    The density of a sample is the sum over its nodes of their weights times the density there.
    """

    X: np.ndarray  # (n_nodes, n_features)
    owner: np.ndarray  # (n_nodes,), the number of the sample
    log_weight: np.ndarray  # (n_nodes,)
    gradient: np.ndarray  # (n_nodes, n_features), of `log_weight` in the features of the sample
    kept: np.ndarray  # (n_nodes, n_features), bool: features that are those of the sample
    n_samples: int

    @classmethod
    def of(cls, regions: Sequence[BoundaryRegion], X: np.ndarray) -> BoundaryNodes:
        """The nodes of samples: one of a sample outside all regions."""
        n = len(X)
        nodes = cls(X, np.arange(n), np.zeros(n), np.zeros(X.shape), np.ones(X.shape, dtype=bool), n)
        depths, inside = _depths(regions, X)
        for region, depth, within in zip(regions, depths, inside):
            nodes = nodes._spread(region, depth, within)
        return nodes

    def _spread(self, region: BoundaryRegion, depths: np.ndarray, inside: np.ndarray) -> BoundaryNodes:
        """The nodes, those of samples inside a region weighted down and spread over it as well."""
        which, j = np.flatnonzero(inside[self.owner]), region.feature
        x, v = self.X[which, j], depths[self.owner[which]]
        log_slope = region.log_slope(x)
        d_depth = region.sign * np.exp(log_slope)
        log_weight, gradient = self.log_weight.copy(), self.gradient.copy()
        log_weight[which] += np.log(v)
        gradient[which, j] += d_depth / v

        repeated = np.repeat(which, N_NODES)
        X, kept, new_gradient = self.X[repeated], self.kept[repeated], self.gradient[repeated]
        places = region.value(NODES)
        X[:, j], kept[:, j] = np.tile(places, len(which)), False
        share = np.log(2 * (1 - v)) + log_slope
        new = self.log_weight[which, None] + share[:, None] + (LOG_NODE_WEIGHTS - region.log_slope(places))
        new_gradient[:, j] += np.repeat(region.curvature(x) - d_depth / (1 - v), N_NODES)
        return BoundaryNodes(
            np.concatenate([self.X, X]),
            np.concatenate([self.owner, self.owner[repeated]]),
            np.concatenate([log_weight, new.ravel()]),
            np.concatenate([gradient, new_gradient]),
            np.concatenate([self.kept, kept]),
            self.n_samples,
        )

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples (n_places, n_features) among which every node is, and the number of each node among them.

        All samples in a region of a single feature have the same nodes there.
        """
        if self.X.shape[1] > 1 or len(self.X) == self.n_samples:
            return self.X, np.arange(len(self.X))
        places, which = np.unique(self.X[:, 0], return_inverse=True)
        return whole_vectors(places[:, None]), which

    def log_prob(self, log_prob: np.ndarray) -> np.ndarray:
        """Log-densities of the samples, shape (n_samples,), from those of the nodes."""
        return log_sum_exp_by_owner(self.log_weight + log_prob, self.owner, self.n_samples)

    def score(self, log_prob: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Gradients of the log-densities of the samples, (n_samples, n_features), from both of the nodes."""
        share = np.exp(self.log_weight + log_prob - self.log_prob(log_prob)[self.owner])
        terms = share[:, None] * (np.where(self.kept, score, 0.0) + self.gradient)
        return np.stack([np.bincount(self.owner, column, self.n_samples) for column in terms.T], axis=1)

    def chosen(self, log_prob: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """One node of every sample, chosen by its part in the density of the sample, shape (n_samples, n_features)."""
        order = np.argsort(self.owner, kind="stable")
        owner = self.owner[order]
        share = np.exp(self.log_weight + log_prob - self.log_prob(log_prob)[self.owner])[order]
        sums = np.cumsum(share)
        first = np.searchsorted(owner, np.arange(self.n_samples))
        before = sums[first] - share[first]
        last = np.searchsorted(owner, np.arange(self.n_samples), side="right") - 1
        place = np.searchsorted(sums, before + uniform * (sums[last] - before), side="right")
        return self.X[order[np.clip(place, first, last)]]


def redrawn(regions: Sequence[BoundaryRegion], X: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Samples, those near bounds drawn anew by uniform random numbers (n_samples, n_features)."""
    out = X.copy()
    for region, v, inside in zip(regions, *_depths(regions, X)):
        u, j = uniform[:, region.feature], region.feature
        anew = inside & (u < 1 - v)
        out[anew, j] = region.value(1 - np.sqrt(1 - u[anew] / (1 - v[anew])))
    return out
