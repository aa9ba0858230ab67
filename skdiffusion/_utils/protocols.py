"""What every density can do, and the random numbers that become its samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SampleNoise(NamedTuple):
    """Random numbers that a density turns into samples, one set for each sample.

    Parameters
    ----------
    normal : array of shape (n_samples, n_features)
        Standard normal.
    uniform : array of shape (n_samples,), optional
        Chooses the component of a mixture, the kernel or the order of a regression.
    chi2 : array of shape (n_samples,), optional
        Chi-square with the degrees of freedom of a Student-t: the radius of its samples.
    """

    normal: np.ndarray
    uniform: np.ndarray | None = None
    chi2: np.ndarray | None = None

    def take(self, which: np.ndarray) -> SampleNoise:
        """The numbers of some of the samples."""
        return SampleNoise(*(None if part is None else part[which] for part in self))


class Density:
    """Base of every density: closed forms, the flow, the density behind a preprocessor and the blend.

    A density of its own gives `log_prob`, `score` and `sample`. It never looks at the other samples of a call: the
    value of a sample has the same bits in every batch.
    """

    degrees: float | None = None  # of freedom of the chi-square numbers in `SampleNoise`; None needs none
    narrowest: float = 1.0  # smallest standard deviation of a part that carries data, in the units of the samples

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X (n_samples, n_features), in nats, shape (n_samples,)."""
        raise NotImplementedError

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        raise NotImplementedError

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, shape (n_samples, n_features)."""
        raise NotImplementedError


class LatentDensity(Density):
    """A density with a map to independent standard normal codes, and back."""

    def to_latent(self, X: np.ndarray) -> np.ndarray:
        """Codes of samples, shape (n_samples, n_features)."""
        raise NotImplementedError

    def from_latent(self, codes: np.ndarray) -> np.ndarray:
        """Samples of codes, the inverse of `to_latent`."""
        raise NotImplementedError
