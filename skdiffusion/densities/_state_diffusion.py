"""The diffusion of a table: the probability of the state times the flow of the present values given it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion.densities._products_em import ProductSamples, ProductSetting, one_hot
from skdiffusion.densities._state_chain import StateChain
from skdiffusion.densities._table_density import StateDensity, StateNoise
from skdiffusion.diffusion.state_flow import StateFlow, StateRegression
from skdiffusion.preprocessing import Columns

RIDGE = 1.0  # samples without an effect that every indicator has beforehand


@dataclass(frozen=True)
class StateDiffusion(StateDensity):
    """The probability of the state times the density of the present values given it.

    Parameters
    ----------
    chain : StateChain
    flow : StateFlow or None
        None where no column is numeric.
    columns : Columns
    """

    chain: StateChain
    flow: StateFlow | None
    columns: Columns

    def log_prob(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        out = self.chain.log_prob(states)
        if self.flow is not None:
            out += self.flow.log_prob(z, one_hot(states, self.columns.n_states))
        return out

    def state_table(self, k: int) -> np.ndarray:
        """The smoothed table of the samples of the fit."""
        return self.chain.steps[k].table

    def sample(self, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        states = self.chain.sample(noise.states)
        if self.flow is None:
            return states, noise.normal
        given = one_hot(states, self.columns.n_states)
        return states, self.flow.sample(self.columns.present(states), given, noise.normal)


def fit_state_regression(
    z: np.ndarray, given: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> tuple[StateRegression, np.ndarray, np.ndarray]:
    """The ridge regression of every feature on the indicators of the state, where the feature is present.

    Returns
    -------
    regression : StateRegression
        Its covariance is that of residuals left out.
    residuals, residuals_left_out : arrays of shape (n_samples, n_numeric)
        NaN where features are absent; the latter of regressions that were fitted without each sample.
    """
    d = z.shape[1]
    coefficients, residuals, left_out = np.zeros((given.shape[1], d)), *np.full((2, *z.shape), np.nan)
    w = weights / weights.max()
    for j in range(d):
        rows = ~np.isnan(z[:, j])
        own, root = given[rows], np.sqrt(w[rows])[:, None]
        inverse = np.linalg.inv((own * root).T @ (own * root) + RIDGE * np.eye(given.shape[1]))
        coefficients[:, j] = inverse @ (own.T @ (w[rows] * z[rows, j]))
        residuals[rows, j] = z[rows, j] - own @ coefficients[:, j]
        leverage = w[rows] * np.einsum("ni,ij,nj->n", own, inverse, own, optimize=True)
        left_out[rows, j] = residuals[rows, j] / (1 - np.minimum(leverage, 0.99))
    nothing = np.empty((len(z), 0), dtype=int)
    samples = ProductSamples(nothing, left_out, weights, nothing[0], nothing[0].astype(bool))
    gaussian, _ = samples.fit(ProductSetting(1, 0.0), rng)
    return StateRegression(coefficients, gaussian.covariances[0]), residuals, left_out
