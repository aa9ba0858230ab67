r"""Mixtures of products: a Gaussian of the present values times tables of the states in every component.

.. math:: p(c, x) = \sum_k \pi_k\,N(x; m_k, S_k)\prod_j r_{kj}(c_j)

The features at an atom are absent from x, so that the Gaussian is that of the others. Sums over unknown states and
integrals over unknown values leave out their factors: densities of incomplete samples are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from skdiffusion._utils.blocks import slices
from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrix
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import AxesSplit
from skdiffusion.densities._mixture import LOG_2PI, gaussian_regression, symmetric_root
from skdiffusion.densities._stacking import choose_component
from skdiffusion.densities._state_tables import without_other
from skdiffusion.densities._table_density import StateDensity, StateNoise

BLOCK_SAMPLES = 1024  # whose terms are in memory at a time


class ProductMixture(StateDensity):
    """A mixture of products of a Gaussian and of tables.

    Parameters
    ----------
    weights : array of shape (n_components,)
        Non-negative; their scale does not matter.
    means : array of shape (n_components, n_numeric)
    covariances : array of shape (n_components, n_numeric, n_numeric)
    tables : list of arrays of shape (n_components, n_states)
        Probabilities of the states of every column, positive.
    with_other : bool array of shape (n_stated,)
        Which tables end with the mass of the categories that are not known.
    """

    _saved = ("weights", "means", "covariances", "tables", "with_other")
    in_closed_form = True

    def __init__(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        covariances: np.ndarray,
        tables: list[np.ndarray],
        with_other: np.ndarray,
    ):
        self.weights, self.means, self.covariances = weights / weights.sum(), means, covariances
        self.tables, self.with_other = tables, with_other
        self._blocks: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._saved}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._blocks = {}

    def _block(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For some features: coordinates in which every component is standard, side by side, their centers, and
        constants with the weights."""
        key = features.tobytes()
        if key not in self._blocks:
            log_weights, n = np.log(self.weights), len(features)
            if not n:
                self._blocks[key] = np.empty((0, 0)), np.empty(0), log_weights
                return self._blocks[key]
            roots = np.linalg.cholesky(self.covariances[:, features][:, :, features])
            inverses, k = np.linalg.inv(roots), len(self.weights)
            centers = np.einsum("kij,kj->ki", inverses, self.means[:, features])
            log_roots = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(1)
            matrix = inverses.transpose(2, 0, 1).reshape(n, k * n)
            self._blocks[key] = matrix, centers.ravel(), log_weights - log_roots - 0.5 * n * LOG_2PI
        return self._blocks[key]

    def log_joint(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Log-densities of what is known under the components, with their weights, (n_samples, n_components)."""
        out, k = np.empty((len(states), len(self.weights))), len(self.weights)
        for rows, features in Patterns.of(z).parts():
            matrix, centers, constants = self._block(features)
            out[rows] = constants
            if len(features):
                scaled = samples_times_matrix(z[np.ix_(rows, features)], matrix) - centers
                scaled = scaled.reshape(len(rows), k, len(features))
                out[rows] -= 0.5 * np.einsum("nkj,nkj->nk", scaled, scaled)
        for table, state in zip(self.tables, states.T):
            known = state >= 0
            out[known] += np.log(table).T[state[known]]
        return out

    def _by_block(self, states: np.ndarray, z: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Blocks of samples with their `log_joint` and log-densities."""
        for block in slices(len(states), BLOCK_SAMPLES):
            log_joint = self.log_joint(states[block], z[block])
            yield block, log_joint, log_sum_exp(log_joint, axis=1)

    def log_prob(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        out = np.empty(len(states))
        for block, _, log_prob in self._by_block(states, z):
            out[block] = log_prob
        return out

    def sample(self, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        component = choose_component(self.weights, noise.uniform)
        return self._drawn(component, np.full(noise.states.shape, -1), np.full(noise.normal.shape, np.nan), noise)

    def completed(self, states: np.ndarray, z: np.ndarray, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        component = np.empty(len(states), dtype=int)
        for block, log_joint, log_prob in self._by_block(states, z):
            share = np.exp(log_joint - log_prob[:, None])
            component[block] = choose_component(share, noise.uniform[block])
        return self._drawn(component, states, z, noise)

    def state_table(self, k: int) -> np.ndarray:
        return self.weights @ self.tables[k]

    def _drawn(
        self, component: np.ndarray, states: np.ndarray, z: np.ndarray, noise: StateNoise
    ) -> tuple[np.ndarray, np.ndarray]:
        """Samples of known components, with what is unknown drawn from these."""
        states, z = states.copy(), z.copy()
        for j, table in enumerate(self.tables):
            seen = without_other(table, bool(self.with_other[j]))
            rows = np.flatnonzero(states[:, j] < 0)
            states[rows, j] = choose_component(seen[component[rows]], noise.states[rows, j])
        identity = np.eye(z.shape[1])
        for rows, features in Patterns.of(z).parts():
            others = np.setdiff1d(np.arange(z.shape[1]), features)
            axes = AxesSplit(identity[:, features], identity[:, others])
            for k in np.unique(component[rows]) if len(others) else ():
                own = rows[component[rows] == k]
                gain, covariance = gaussian_regression(self.covariances[k], axes)
                centered = z[np.ix_(own, features)] - self.means[k, features]
                mean = self.means[k, others] + samples_times_matrix(centered, gain)
                normal = noise.normal[np.ix_(own, others)]
                z[np.ix_(own, others)] = mean + samples_times_matrix(normal, symmetric_root(covariance))
        return states, z
