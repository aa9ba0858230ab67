r"""Mixture density networks: weights, means and scales of normal distributions as smooth functions of the inputs.

Where the target changes smoothly with its inputs, networks that raise the log-density itself need fewer samples than
trees, and than networks that learn to denoise.

References
----------
Bishop (1994), Mixture density networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax

from skdiffusion._utils.numerics import samples_times_matrix
from skdiffusion.densities.predictive._distributions import NormalMixtures

LOG_SCALES = (-7.0, 3.0)  # of the parts, in standard deviations of the target


@dataclass(frozen=True)
class MixtureNetworks:
    """The mean of the densities of several networks of two hidden layers.

    Parameters
    ----------
    weights : tuple of three arrays of shape (n_networks, n_in, n_out)
        Of the layers; the last has the log-weights, the means and the log-scales of the parts, one after another.
    offsets : tuple of three arrays of shape (n_networks, 1, n_out)
    log_scales : pair of float
        Ends of the log-scales of the parts.
    """

    weights: tuple[np.ndarray, ...]
    offsets: tuple[np.ndarray, ...]
    log_scales: tuple[float, float]

    def given(self, design: np.ndarray) -> NormalMixtures:
        """The distributions of the target given the columns of samples (n, n_columns)."""
        n_networks = len(self.weights[0])
        log_weights, means, log_scales = (
            np.concatenate(parts, axis=1)
            for parts in zip(*(np.split(self._outputs(m, design), 3, axis=1) for m in range(n_networks)))
        )
        shape = len(design), n_networks, -1
        shares = np.exp(log_softmax(log_weights.reshape(shape), axis=2)) / n_networks
        return NormalMixtures(shares.reshape(means.shape), means, np.exp(np.clip(log_scales, *self.log_scales)))

    def alone(self, m: int) -> MixtureNetworks:
        """Network m alone."""
        own = slice(m, m + 1)
        weights, offsets = (tuple(part[own] for part in parts) for parts in (self.weights, self.offsets))
        return MixtureNetworks(weights, offsets, self.log_scales)

    def _outputs(self, m: int, design: np.ndarray) -> np.ndarray:
        """What network m says of columns, (n_samples, 3 n_parts)."""
        out, last = design, len(self.weights) - 1
        for layer, (weight, offset) in enumerate(zip(self.weights, self.offsets)):
            out = samples_times_matrix(out, weight[m]) + offset[m]
            if layer < last:
                out = out * expit(out)
        return out
