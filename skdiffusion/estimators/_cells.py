"""The mass of the cells that rounded values stand for: a density integrated over them, with its error.

A single rounded feature takes Gauss-Kronrod nodes, the difference of whose two rules is the error, and more of them
where that is large, as at the jumps of step densities. Several take the mean over a few scrambled Sobol sets, the
spread of which is the standard error. The nodes of a sample follow from its own cell, so that the mass of a cell does
not depend on the other samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.patterns import Patterns

N_SETS, SET_SIZE = 4, 16  # of Sobol points
N_PARTS, TOLERANCE = 16, 1e-4  # of a cell, each with its nodes, where the error in nats is larger
BLOCK_NODES = 16_384  # at which the density is evaluated together
# Nodes of the Gauss-Kronrod rule of 15 points on (-1, 1) with its weights, and those of Gauss's rule within it, from
# outside to the middle: Piessens et al. (1983), QUADPACK.
NODES = (
    0.9914553711208126, 0.9491079123427585, 0.8648644233597691, 0.7415311855993944, 0.5860872354676911,
    0.4058451513773972, 0.2077849550078985, 0.0,
)  # fmt: skip
KRONROD = (
    0.0229353220105292, 0.0630920926299786, 0.1047900103222502, 0.1406532597159259, 0.1690047266392679,
    0.1903505780647854, 0.2044329400752989, 0.2094821410847278,
)  # fmt: skip
GAUSS = (0.0, 0.1294849661688697, 0.0, 0.2797053914892767, 0.0, 0.3818300505051189, 0.0, 0.4179591836734694)


class CellMass(NamedTuple):
    """Log-mass of cells, in nats, and its numerical error; arrays of shape (n_samples,)."""

    log_mass: np.ndarray
    error: np.ndarray


def cell_mass(
    log_prob: Callable[[np.ndarray], np.ndarray], X: np.ndarray, low: np.ndarray, high: np.ndarray
) -> CellMass:
    """The mass of the cells around samples.

    Parameters
    ----------
    log_prob : callable
        Log-density of samples, in nats.
    X : array of shape (n_samples, n_features)
        NaN where a value is unknown.
    low, high : arrays of shape (n_samples, n_features)
        Ends of the cells. A feature with equal ends, or NaN, has none.
    """
    out = CellMass(np.empty(len(X)), np.zeros(len(X)))
    wide = high > low
    for rows, features in Patterns.of(np.where(wide, 1.0, np.nan)).parts():
        if not len(features):
            out.log_mass[rows] = log_prob(X[rows])
            continue
        _integrate(log_prob, out, rows, (X, low, high), features, 1)
        if len(features) == 1:
            rough = rows[out.error[rows] > TOLERANCE]
            _integrate(log_prob, out, rough, (X, low, high), features, N_PARTS)
    out.error[np.isneginf(out.log_mass)] = 0.0
    return out


def _integrate(
    log_prob: Callable[[np.ndarray], np.ndarray],
    out: CellMass,
    rows: np.ndarray,
    cells: tuple[np.ndarray, np.ndarray, np.ndarray],
    features: np.ndarray,
    n_parts: int,
) -> None:
    """Write the mass and error of the cells of some samples, wide in some features, to their places."""
    (X, low, high), (nodes, of_mass, of_others) = cells, _rule(len(features), n_parts)
    for block in slices(len(rows), max(1, BLOCK_NODES // len(nodes))):
        some = rows[block]
        start, end = low[np.ix_(some, features)], high[np.ix_(some, features)]
        places = np.repeat(X[some][:, None], len(nodes), axis=1)
        places[:, :, features] = start[:, None] + nodes * (end - start)[:, None]
        terms = log_prob(places.reshape(-1, X.shape[1])).reshape(len(some), -1)
        mean = log_sum_exp(terms + np.log(of_mass), axis=1)
        out.log_mass[some] = mean + np.log(end - start).sum(1)
        ratio = np.exp(terms - np.where(np.isfinite(mean), mean, 0.0)[:, None])
        means = np.stack([(ratio * weights).sum(1) for weights in of_others], axis=1)
        out.error[some] = np.sqrt(((means - 1) ** 2).sum(1) / max(1, len(of_others) * (len(of_others) - 1)))


@cache
def _rule(n_features: int, n_parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes in a unit cell, (n_nodes, n_features), the weights of the mean, (n_nodes,), and those of other estimates of
    it, (n_estimates, n_nodes), from whose spread the error follows; of a single feature in each of some parts."""
    if n_features == 1:
        nodes = np.concatenate([-np.array(NODES), np.array(NODES[-2::-1])])
        of_mass, of_gauss = (np.array([*weights, *weights[-2::-1]]) / 2 for weights in (KRONROD, GAUSS))
        places = (np.arange(n_parts)[:, None] + (nodes + 1) / 2) / n_parts
        return places.reshape(-1, 1), np.tile(of_mass, n_parts) / n_parts, np.tile(of_gauss, n_parts)[None] / n_parts
    sets = [qmc.Sobol(n_features, seed=np.random.default_rng(s)).random(SET_SIZE) for s in range(N_SETS)]
    of_sets = np.repeat(np.eye(N_SETS), SET_SIZE, axis=1) / SET_SIZE
    return np.concatenate(sets), of_sets.mean(0), of_sets
