"""Warnings and errors of skdiffusion, one class for each thing a caller may want to catch.

Errors are scikit-learn's own (``ValueError``, ``NotFittedError``) wherever they fit.
"""

from sklearn.exceptions import ConvergenceWarning

from skdiffusion._utils.collective import LostProcessError

__all__ = [
    "DegenerateDataWarning", "FullDimensionWarning", "InaccurateDensityWarning", "InconsistentVersionWarning",
    "InterruptedFitWarning", "LostProcessError", "UntrainedNetworkWarning", "ZeroDensityWarning",
]  # fmt: skip


class InterruptedFitWarning(UserWarning):
    """A fit was interrupted (Ctrl-C) and kept the best weights found so far."""


class UntrainedNetworkWarning(ConvergenceWarning):
    """A fit was too short for its networks to gain on samples left out, so that they are untrained."""


class DegenerateDataWarning(UserWarning):
    """Features are constant, have ties, are collinear, or have structure too fine for the fit.

    They have no density, or one that depends on the resolution that was chosen for them.
    """


class ZeroDensityWarning(UserWarning):
    """Samples that are scored have density zero, as outside `bounds`: their mean log-density is minus infinity."""


class InaccurateDensityWarning(UserWarning):
    """Too few draws say something of the density of samples with unknown features."""


class FullDimensionWarning(UserWarning):
    """Samples that were expected near a low-dimensional set fill the space."""


class InconsistentVersionWarning(UserWarning):
    """An estimator was saved by another version of skdiffusion."""
