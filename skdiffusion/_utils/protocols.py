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
    choice : array of shape (n_samples,), optional
        Uniform, chooses the component of a blend.
    """

    normal: np.ndarray
    uniform: np.ndarray | None = None
    chi2: np.ndarray | None = None
    choice: np.ndarray | None = None

    def take(self, which: np.ndarray) -> SampleNoise:
        """The numbers of some of the samples."""
        return SampleNoise(*(None if part is None else part[which] for part in self))


class NoiseStream:
    """Endless random numbers for samples: fewer of them are a prefix of more.

    Parameters
    ----------
    seed : int or None
        None takes fresh entropy.
    n_features : int
    degrees : float or None
        Degrees of freedom of the chi-square numbers; None draws none.
    """

    def __init__(self, seed: int | None, n_features: int, degrees: float | None = None):
        self.n_features, self.degrees = n_features, degrees
        # A stream for each kind of number: none depends on how many samples are drawn at a time.
        self._streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]

    def take(self, n_samples: int) -> SampleNoise:
        """The numbers of the next samples."""
        normal, choice, uniform, chi2 = self._streams
        return SampleNoise(
            normal.standard_normal((n_samples, self.n_features)),
            uniform.random(n_samples),
            None if self.degrees is None else chi2.chisquare(self.degrees, n_samples),
            choice.random(n_samples),
        )


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
