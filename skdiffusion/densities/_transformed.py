"""Distributions placed in the user's features: a preprocessor and a distribution on its whitened samples.

Closed-form distributions and the probability flow share one interface: ``log_density(z)``, ``score(z)`` and
``sample_from_noise(noise, mixing)``.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TransformedDensity:
    """A distribution behind a preprocessor: a member of the blend, in the units of the features.

    Parameters
    ----------
    preprocessor : Preprocessor
    density : object
        With ``log_density(z)``, ``score(z)`` and ``sample_from_noise(noise, mixing)``.
    """

    preprocessor: object
    density: object

    def log_prob(self, X):
        """Log-density of samples X within the bounds, nats, shape (n,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.preprocessor.transform(X)
            log_density = self.density.log_prob(z) + log_det
        # A sample so far out that a map or the flow overflows has no density here; the Student-t covers it.
        return np.where(np.isnan(log_density), -np.inf, log_density)

    def score(self, X):
        """Gradient of the log-density, shape (n, d)."""
        z, _ = self.preprocessor.transform(X)
        return self.preprocessor.pull_back(X, self.density.score(z))

    def sample_from_noise(self, noise, uniforms, chi2):
        """Samples from standard normal noise (n, d); `uniforms` choose components, `chi2` sets t radii."""
        mixing = chi2 if hasattr(self.density, "degrees") else uniforms
        return self.preprocessor.inverse_transform(self.density.sample_from_noise(noise, mixing))


def student_chi2(rng, n_samples, degrees):
    """Chi-square draws of a Student-t, one a sample, the same for a prefix of the samples."""
    return rng.chisquare(degrees, n_samples) if degrees else np.ones(n_samples)
