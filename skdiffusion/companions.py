"""Laws placed in the user's columns: a preprocessor and a density on its whitened rows.

The members of a stack share this interface: ``log_density(X)``, ``score(X)`` and
``sample_from_noise(noise, uniforms, chi2)``, all in the units of the columns.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlacedLaw:
    """A closed-form law behind a preprocessor.

    Parameters
    ----------
    preprocessor : Preprocessor
    law : object
        With ``log_density(z)``, ``score(z)`` and ``sample_from_noise``.
    """

    preprocessor: object
    law: object

    def log_density(self, X):
        """Log-density of rows X within the bounds, nats, shape (n,)."""
        z, log_det = self.preprocessor.transform(X)
        return self.law.log_density(z) + log_det

    def score(self, X):
        """Gradient of the log-density, shape (n, d)."""
        z, _ = self.preprocessor.transform(X)
        return self.preprocessor.pull_back(X, self.law.score(z))

    def sample_from_noise(self, noise, uniforms, chi2):
        """Rows from standard normal noise (n, d); `uniforms` choose components, `chi2` sets t radii."""
        mixing = chi2 if hasattr(self.law, "degrees") else uniforms
        return self.preprocessor.inverse_transform(self.law.sample_from_noise(noise, mixing))


@dataclass(frozen=True)
class PlacedFlow:
    """A probability flow behind a preprocessor."""

    preprocessor: object
    flow: object

    def log_density(self, X):
        """Log-density of rows X within the bounds, nats, shape (n,)."""
        z, log_det = self.preprocessor.transform(X)
        return self.flow.log_density(z) + log_det

    def score(self, X):
        """Gradient of the log-density, shape (n, d)."""
        z, _ = self.preprocessor.transform(X)
        return self.preprocessor.pull_back(X, self.flow.log_density_gradient(z))

    def sample_from_noise(self, noise, uniforms, chi2):
        """Rows from standard normal noise (n, d)."""
        return self.preprocessor.inverse_transform(self.flow.sample_from_noise(noise))


def student_chi2(rng, n_samples, degrees):
    """Chi-square draws of a Student-t, one a row, the same for a prefix of the rows."""
    return rng.chisquare(degrees, n_samples) if degrees else np.ones(n_samples)
