"""Nodes: places with weights at which a joint density is summed up over the features that are unknown.

The density of the given features of a sample is the sum over its nodes of their weights times the joint density there,

.. math:: p(x_o) = \\int p(x_o, x_u)\\,dx_u \\approx \\sum_s \\omega_s\\,p(x_o, x_{u,s}) .

One unknown feature takes a quadrature. Several take draws from a proposal q in closed form, of weights
:math:`1 / (S\\,q(x_{u,s} \\mid x_o))`: importance sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import PchipInterpolator

from skdiffusion._utils.numerics import log_sum_exp_by_owner

TAIL_EDGES = np.array([-12.0, -3.0, 0.0, 3.0, 12.0])  # of the first panels, in standard deviations
LADDER = 16.0 ** np.arange(-4, 2)  # distances from every draw to further ends: peaks may be of any width and place
NARROWER = 64.0  # times, at most, that a peak is narrower than the density of a draw says
MAX_HALVINGS = 24  # of a panel
PANEL_TOLERANCE = 3e-4  # of the sum, by which that of a panel may be off
# The rule of Gauss and Kronrod (7, 15) on [-1, 1]: places and weights from the middle outwards, as in QUADPACK
# (Piessens et al., 1983); every other place, from the middle on, is one of the rule of Gauss with seven nodes.
_HALF_PLACES = [
    0.0, 0.207784955007898467600689403773245, 0.405845151377397166906606412076961, 0.586087235467691130294144838693136,
    0.741531185599394439863864773280788, 0.864864423359769072789712788640926, 0.949107912342758524526189684047851,
    0.991455371120812639206854697526329,
]  # fmt: skip
_HALF_WEIGHTS = [
    0.209482141084727828012999174891714, 0.204432940075298892414161999234649, 0.190350578064785409913256402421014,
    0.169004726639267902826583426598550, 0.140653259715525918745189590510238, 0.104790010322250183839876322541518,
    0.063092092629978553290700663189204, 0.022935322010529224963732008058970,
]  # fmt: skip
PLACES = np.concatenate([-np.array(_HALF_PLACES[:0:-1]), _HALF_PLACES])
WEIGHTS = np.concatenate([_HALF_WEIGHTS[:0:-1], _HALF_WEIGHTS])
GAUSS = np.zeros(15)
GAUSS[1::2] = legendre.leggauss(7)[1]
# Integrals of a polynomial from -1 to the places, from its values there.
_INTEGRALS = legendre.legval(PLACES, legendre.legint(np.eye(15), lbnd=-1)).T
CUMULATIVE = _INTEGRALS @ np.linalg.inv(legendre.legvander(PLACES, 14))
N_BETWEEN = 4  # places of a distribution function for every node


@dataclass(frozen=True)
class Nodes:
    """Places and weights for every sample, those of one sample side by side."""

    X: np.ndarray  # (n_nodes, n_features), complete samples
    owner: np.ndarray  # (n_nodes,), the sample of a node, rising
    log_weight: np.ndarray  # (n_nodes,)
    n_samples: int
    drawn: bool  # from a proposal; else those of a quadrature
    error: np.ndarray  # (n_samples,), of the sums of a quadrature, in parts of them

    def log_terms(self, log_prob: np.ndarray) -> np.ndarray:
        """Logarithms of the terms of the sums of a density, given at the nodes."""
        return self.log_weight + log_prob

    def log_sum(self, log_prob: np.ndarray) -> np.ndarray:
        """Logarithm of the sum of a density over the nodes of every sample, shape (n_samples,)."""
        return log_sum_exp_by_owner(self.log_terms(log_prob), self.owner, self.n_samples)

    def shares(self, log_prob: np.ndarray) -> np.ndarray:
        """Shares of the nodes in these sums, shape (n_nodes,)."""
        terms, total = self.log_terms(log_prob), self.log_sum(log_prob)[self.owner]
        return np.where(np.isneginf(total), 0.0, np.exp(terms - np.where(np.isneginf(total), 0.0, total)))

    def effective_number(self, log_prob: np.ndarray) -> np.ndarray:
        """The number of nodes of equal share that tell as much about the sum of a density, shape (n_samples,)."""
        squares = np.bincount(self.owner, self.shares(log_prob) ** 2, self.n_samples)
        return np.where(squares > 0, 1 / np.where(squares > 0, squares, 1.0), 0.0)

    def mean(self, values: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Means, by shares of the nodes, of values (n_nodes, n_values), shape (n_samples, n_values)."""
        sums = [np.bincount(self.owner, shares * column, self.n_samples) for column in values.T]
        return np.stack(sums, axis=1) if sums else np.empty((self.n_samples, 0))


def distribution_curve(values: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function of one feature of one sample, whose nodes are those of a quadrature.

    Within a panel the density is a polynomial; between its nodes the function rises as PCHIP does.

    Parameters
    ----------
    values, shares : arrays of shape (n_nodes,)
        Of the nodes; shares have the sum 1.

    Returns
    -------
    values, levels : arrays of shape (n_places,)
        Rising.
    """
    parts = shares.reshape(-1, 15)
    order = np.argsort(values.reshape(-1, 15)[:, 7])
    ends = np.cumsum(parts[order].sum(1))
    levels = (ends - parts[order].sum(1))[:, None] + (parts[order] / WEIGHTS) @ CUMULATIVE.T
    levels = np.maximum.accumulate(np.clip(levels.ravel(), 0.0, 1.0))
    values = values.reshape(-1, 15)[order].ravel()
    last = np.append(np.diff(values) > 0, True)  # of equal values, as at a bound
    values, levels = values[last], levels[last]
    if len(values) < 3:
        return values, levels
    steps = np.diff(values)[:, None] * np.arange(N_BETWEEN) / N_BETWEEN
    places = np.append((values[:-1, None] + steps).ravel(), values[-1])
    return places, np.maximum.accumulate(PchipInterpolator(values, levels)(places))


@dataclass(frozen=True)
class _Panels:
    """Intervals of one coordinate for many samples."""

    owner: np.ndarray  # (n_panels,)
    low: np.ndarray
    high: np.ndarray

    def take(self, which: np.ndarray) -> _Panels:
        return _Panels(self.owner[which], self.low[which], self.high[which])

    def halves(self) -> _Panels:
        """Both halves of every panel, side by side."""
        middle = (self.low + self.high) / 2
        low, high = np.stack([self.low, middle], axis=1), np.stack([middle, self.high], axis=1)
        return _Panels(np.repeat(self.owner, 2), low.ravel(), high.ravel())

    @property
    def places(self) -> np.ndarray:
        """Nodes of every panel, (n_panels, 15)."""
        return ((self.high + self.low)[:, None] + (self.high - self.low)[:, None] * PLACES) / 2

    @property
    def half_width(self) -> np.ndarray:
        return (self.high - self.low) / 2


def adaptive_panels(
    table: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], draws: np.ndarray, log_density: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of a quadrature of a density in one coordinate, for many samples.

    Panels are halved until the rules of 7 and of 15 nodes agree. That draws from something like the density are among
    their ends lets no narrow peak slip between the nodes.

    Parameters
    ----------
    table : callable
        ``table(owner, places)``: log-density of samples of these numbers at these places, (n_places,), and what else
        is known there, (n_places, n_values).
    draws : array of shape (n_samples, n_draws)
    log_density : array of shape (n_samples, n_draws)
        Of the draws: where it is low, nothing narrow is looked for beside them.

    Returns
    -------
    owner, places, log_weight : arrays of shape (n_nodes,)
        Owners rise.
    values : array of shape (n_nodes, n_values)
    error : array of shape (n_samples,)
        Sums of the differences of both rules, in parts of the sum.
    """
    n = len(draws)
    with np.errstate(over="ignore"):
        narrow = LADDER < np.minimum(np.exp(-log_density)[:, :, None] / NARROWER, 1.0)
    wide = (LADDER > 1) & (np.abs(draws)[:, :, None] < -TAIL_EDGES[1])
    steps = np.where(narrow | wide, 0.0, LADDER)
    beside = (draws[:, :, None] + np.concatenate([-steps, steps], axis=2)).reshape(n, -1)
    draws = np.concatenate([draws, beside], axis=1)
    ends = np.sort(np.concatenate([np.tile(TAIL_EDGES, (n, 1)), draws], axis=1), axis=1)
    panels = _Panels(np.repeat(np.arange(n), ends.shape[1] - 1), ends[:, :-1].ravel(), ends[:, 1:].ravel())
    panels = panels.take(panels.high > panels.low)
    top = np.full(n, -np.inf)  # of the log-densities of every sample so far
    parts: list[tuple[_Panels, np.ndarray]] = []
    settled, error = np.zeros(n), np.zeros(n)
    for halving in range(MAX_HALVINGS + 1):
        log_density, values = table(np.repeat(panels.owner, 15), panels.places.ravel())
        by_panel = log_density.reshape(-1, 15)
        if not halving:
            np.maximum.at(top, panels.owner, by_panel.max(1))
            top = np.where(np.isfinite(top), top, 0.0)
        density = np.exp(np.minimum(by_panel - top[panels.owner, None], 600.0)) * panels.half_width[:, None]
        sums, gaps = density @ WEIGHTS, np.abs(density @ (WEIGHTS - GAUSS))
        total = settled + np.bincount(panels.owner, sums, n)
        rough = gaps > PANEL_TOLERANCE * total[panels.owner]
        if halving == MAX_HALVINGS:
            rough[:] = False
        settled += np.bincount(panels.owner[~rough], sums[~rough], n)
        error += np.bincount(panels.owner[~rough], gaps[~rough], n)
        parts.append((panels.take(~rough), values.reshape(len(by_panel), 15, -1)[~rough]))
        panels = panels.take(rough).halves()
        if not len(panels.owner):
            break
    kept = _Panels(*(np.concatenate([getattr(p, name) for p, _ in parts]) for name in ("owner", "low", "high")))
    order = np.argsort(kept.owner, kind="stable")
    kept, values = kept.take(order), np.concatenate([v for _, v in parts])[order]
    log_weight = np.log(kept.half_width)[:, None] + np.log(WEIGHTS)
    relative = error / np.where(settled > 0, settled, 1.0)
    return (
        np.repeat(kept.owner, 15), kept.places.ravel(), log_weight.ravel(),
        values.reshape(-1, values.shape[-1]), relative,
    )  # fmt: skip
