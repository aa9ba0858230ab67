"""What the components of the blend of a table say of the known features of samples, and their shares given these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion.densities import blend_log_density


def component_shares(log_prob: np.ndarray, weights: np.ndarray, fixed: bool) -> np.ndarray:
    """Weights of components given features of which they have these log-densities, (n_samples, n_components), or those
    of the fit.

    A component under which the given features have no density has no weight.
    """
    possible = np.where(np.isneginf(log_prob), 0.0, weights)
    if fixed:
        return possible / possible.sum(1, keepdims=True)
    with np.errstate(divide="ignore"):
        terms = np.log(possible) + log_prob
    return np.exp(terms - log_sum_exp(terms, axis=1)[:, None])


def conditional_log_prob(
    complete: np.ndarray, known: np.ndarray, weights: np.ndarray, owner: np.ndarray, fixed: bool
) -> np.ndarray:
    """Log-densities, (n,), of some features given others, from those of components of both, (n, n_components), and of
    the others, (n_known, n_components), one of which is the owner of each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(np.isneginf(complete), -np.inf, complete - known[owner])
        return log_sum_exp(terms + np.log(component_shares(known, weights, fixed))[owner], axis=1)


@dataclass(frozen=True)
class KnownValues:
    """What the components of a blend say of the known features of samples, in closed form first."""

    component_log_prob: np.ndarray  # (n_samples, n_components)
    weights: np.ndarray  # (n_components,), of the fit
    effective_draws: np.ndarray  # (n_samples, n_others), of the components behind those in closed form
    n_draws: np.ndarray  # (n_samples,), infinite where sums are exact

    @property
    def log_prob(self) -> np.ndarray:
        """Log-density of the blend, in nats, shape (n_samples,)."""
        return blend_log_density(self.component_log_prob, self.weights)

    @property
    def effective_number(self) -> np.ndarray:
        """Draws of equal weight that tell as much as those taken, shape (n_samples,); infinite without any."""
        return self.effective_draws.min(1, initial=np.inf)

    def standard_error(self, fixed: bool = False) -> np.ndarray:
        """Numerical error of the log-density in nats, (n_samples,): of a mean of ratios, in parts of it."""
        number = np.maximum(self.effective_draws, 1e-300)
        error = np.sqrt(np.maximum(1 / number - 1 / self.n_draws[:, None], 0.0))
        shares = self.shares(fixed)[:, self.component_log_prob.shape[1] - number.shape[1] :]
        return (shares * error).sum(1)

    def shares(self, fixed: bool = False) -> np.ndarray:
        """Weights of the components given the features, or those of the fit: see `component_shares`."""
        return component_shares(self.component_log_prob, self.weights, fixed)

    def conditional(self, complete: np.ndarray, owner: np.ndarray, fixed: bool = False) -> np.ndarray:
        """Log-densities of the other features given the known ones, in nats, shape (n,).

        Parameters
        ----------
        complete : array of shape (n, n_components)
            Log-densities of complete samples under the components.
        owner : array of shape (n,)
            The sample that each of them completes.
        fixed : bool, default=False
            Whether components have the weights of the fit.
        """
        return conditional_log_prob(complete, self.component_log_prob, self.weights, owner, fixed)
