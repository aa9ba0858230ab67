"""Means, covariances, quantiles and distribution functions of unknown numbers of a table, given the other columns.

One unknown number is integrated over by the trapezoidal rule: its nodes are draws from the components in closed form,
and then as many at equal steps of the distribution function that follows, which finds peaks that these do not know.
Atoms are jumps. Several unknown numbers take the weighted mean over draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion.estimators._known_values import component_shares
from skdiffusion.estimators._tables import BLOCK_DRAWS, UnknownValues

N_CONDITIONAL, N_MARGINAL = 192, 64  # first nodes: draws given the known features, and whatever they are
BEYOND = 2.0 ** np.arange(-6, 2)  # and nodes so many ranges of these outside them, for the tails
N_FINER = 256  # nodes of the second pass
N_DRAWS = 512  # of several unknown numbers


class NumberCurve(NamedTuple):
    """The distribution of one unknown number given a sample."""

    nodes: np.ndarray  # rising
    levels: np.ndarray  # distribution function of the values at no atom, from 0 to their probability
    atoms: np.ndarray  # rising
    masses: np.ndarray  # their probabilities
    moments: np.ndarray  # mean, and mean square about it

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """Distribution function, which is continuous from the right."""
        below = np.interp(x, self.nodes, self.levels, left=0.0)
        return below + np.append(0.0, np.cumsum(self.masses))[np.searchsorted(self.atoms, x, side="right")]

    def quantile(self, q: np.ndarray) -> np.ndarray:
        """Quantiles; a jump is that of its atom."""
        before = np.interp(self.atoms, self.nodes, self.levels, left=0.0)
        values = np.concatenate([self.nodes, self.atoms, self.atoms])
        total = np.append(0.0, np.cumsum(self.masses))
        of_nodes = self.levels + total[np.searchsorted(self.atoms, self.nodes, side="right")]
        levels = np.concatenate([of_nodes, before + total[:-1], before + total[1:]])
        order = np.lexsort([levels, values])
        return np.interp(q, levels[order], values[order])


def number_curves(
    values: UnknownValues, given: np.ndarray, j: int, atoms: np.ndarray, fixed: bool
) -> list[NumberCurve]:
    """The distribution of one unknown number given each sample.

    Parameters
    ----------
    values : UnknownValues
    given : array of shape (n_given, n_features)
        With NaN in the one feature.
    j : int
        Its number.
    atoms : array
        Its rising atoms.
    fixed : bool
        Whether components have the weights of the fit.
    """
    weights = values.component_weights
    nodes = np.hstack([values.draws(given, N_CONDITIONAL)[:, :, j], _marginal_nodes(values, len(given), j, atoms)])
    nodes = np.where(np.isin(nodes, atoms), np.nan, nodes)
    low, high = np.nanmin(nodes, axis=1, keepdims=True), np.nanmax(nodes, axis=1, keepdims=True)
    nodes = np.sort(np.hstack([nodes, low - BEYOND * (high - low), high + BEYOND * (high - low)]), axis=1)  # NaN last
    at_nodes, at_atoms = (
        _at_values(values, given, j, nodes),
        _at_values(values, given, j, np.tile(atoms, (len(given), 1))),
    )
    finer = np.empty((len(given), N_FINER))
    steps = (np.arange(N_FINER) + 0.5) / N_FINER
    for i, x in enumerate(nodes):
        kept = ~np.isnan(x)
        curve = _curve(x[kept], at_nodes[i, kept], atoms, at_atoms[i], weights, fixed)
        finer[i] = np.interp(steps * curve.levels[-1], curve.levels, curve.nodes)
    nodes = np.hstack([nodes, finer])
    at_nodes = np.concatenate([at_nodes, _at_values(values, given, j, finer)], axis=1)
    out = []
    for i, x in enumerate(nodes):
        kept = np.argsort(x)[: int((~np.isnan(x)).sum())]
        out.append(_curve(x[kept], at_nodes[i, kept], atoms, at_atoms[i], weights, fixed))
    return out


def _marginal_nodes(values: UnknownValues, n: int, j: int, atoms: np.ndarray) -> np.ndarray:
    """The same nodes for every given sample, all at no atom: the conditional draws of a sample may all be at some."""
    x = values.draws(np.full((1, values.n_features), np.nan), 16 * N_MARGINAL)[0, :, j]
    x = x[~np.isin(x, atoms)]
    nodes = np.quantile(x, np.linspace(0, 1, N_MARGINAL)) if len(x) else atoms[-1] + np.arange(1.0, 3.0)
    return np.tile(nodes, (n, 1))


def _at_values(values: UnknownValues, given: np.ndarray, j: int, x: np.ndarray) -> np.ndarray:
    """Log-densities of given samples with values of one feature, (n_given, n_values, n_components); -inf at NaN."""
    flat = np.repeat(given, x.shape[1], axis=0)
    flat[:, j] = x.ravel()
    out, known = np.full((len(flat), len(values.component_weights)), -np.inf), np.flatnonzero(~np.isnan(flat[:, j]))
    for block in slices(len(known), BLOCK_DRAWS):
        out[known[block]] = values.at(flat[known[block]])
    return out.reshape(*x.shape, out.shape[1])


def _curve(
    x: np.ndarray, at_nodes: np.ndarray, atoms: np.ndarray, at_atoms: np.ndarray, weights: np.ndarray, fixed: bool
) -> NumberCurve:
    """The distribution from log-densities under the components at rising nodes and at the atoms."""
    top = np.max(np.vstack([at_nodes, at_atoms]), axis=0)
    shift = np.where(np.isfinite(top), top, 0.0)
    density, masses = np.exp(at_nodes - shift), np.exp(at_atoms - shift)
    width = np.diff(x)[:, None]
    parts = (density[1:] + density[:-1]) / 2 * width
    total = parts.sum(0) + masses.sum(0)
    with np.errstate(divide="ignore"):
        known = (np.log(total) + shift)[None]
    share = component_shares(known, weights, fixed)[0] / np.where(total > 0, total, 1.0)
    mass, at = parts @ share, masses @ share
    middle = (x[1:] + x[:-1]) / 2
    mean = mass @ middle + at @ atoms
    # Within an interval the density is nearly constant: a twelfth of the square of its length.
    square = mass @ ((middle - mean) ** 2 + width[:, 0] ** 2 / 12) + at @ (atoms - mean) ** 2
    return NumberCurve(x, np.append(0.0, np.cumsum(mass)), atoms, at, np.array([mean, square]))


def moments_of_draws(values: UnknownValues, given: np.ndarray, fixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Means (n_given, n_unknown) and covariances of several unknown numbers given each sample."""
    unknown = np.flatnonzero(np.isnan(given[0]))
    known = values.known(given)
    mean, cov = np.empty((len(given), len(unknown))), np.empty((len(given), len(unknown), len(unknown)))
    for block in slices(len(given), max(1, BLOCK_DRAWS // N_DRAWS)):
        nodes = values.draws(given[block], N_DRAWS)
        flat, owner = nodes.reshape(-1, given.shape[1]), np.repeat(np.arange(len(given))[block], N_DRAWS)
        log_weight = known.conditional(values.at(flat), owner, fixed) - values.log_drawn(flat)
        log_weight = log_weight.reshape(len(nodes), N_DRAWS)
        weight = np.exp(log_weight - log_sum_exp(log_weight, axis=1)[:, None])
        x = nodes[:, :, unknown]
        mean[block] = (weight[:, :, None] * x).sum(1)
        centered = x - mean[block][:, None]
        cov[block] = (weight[:, :, None, None] * centered[:, :, :, None] * centered[:, :, None]).sum(1)
    return mean, cov
