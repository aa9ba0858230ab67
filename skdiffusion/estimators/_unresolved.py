"""Whether a fitted blend resolves the densest part of every feature."""

from __future__ import annotations

import numpy as np

from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Blend, TransformedDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.exceptions import DegenerateDataWarning

DENSE_SHARE, DENSE_WIDTH = 0.05, 0.1254  # of the samples, and the standard deviations that hold them if they are normal
MIN_DENSE_SAMPLES = 20  # fewer may be near each other by chance
MIN_WEIGHT = 0.05  # of a mixture that counts
MAX_SAMPLES = 5000  # that are looked at
RESOLVED = 2.0  # dense scales that the narrowest part of a component may have


def densest_scale(z: np.ndarray) -> np.ndarray:
    """Standard deviation of a normal distribution as dense as the densest samples of each feature, (n_features,)."""
    count = min(max(MIN_DENSE_SAMPLES, int(DENSE_SHARE * len(z))), len(z) - 1)
    ordered = np.sort(z, axis=0)
    normal_width = DENSE_WIDTH * count / len(z) / DENSE_SHARE
    return (ordered[count:] - ordered[:-count]).min(0) / normal_width


def warn_of_unresolved_features(X: np.ndarray, blend: Blend) -> None:
    """Warn of features in which many samples lie within less than the diffusion and the mixtures can resolve."""
    X = X[:: -(-len(X) // MAX_SAMPLES)]
    resolved = np.zeros(X.shape[1], dtype=bool)
    for name, behind in blend.densities.items():
        assert isinstance(behind, TransformedDensity)
        if isinstance(behind.density, ProbabilityFlow):
            narrowest = float(np.tan(behind.density.theta_min))
        elif name.endswith("mixture") and blend.weights[name] >= MIN_WEIGHT:
            narrowest = behind.narrowest
        else:
            continue
        z, _ = behind.preprocessor.unwhitened().transform(X)
        resolved |= RESOLVED * densest_scale(z) >= narrowest
    if not resolved.all():
        warn_user(
            f"Features {np.flatnonzero(~resolved).tolist()} have structure that this fit does not resolve: many of "
            "their values lie within a tiny part of their standard deviation. feature_transform='auto' takes "
            "logarithms and narrows empty gaps where that helps; else map these features to one scale before the fit.",
            DegenerateDataWarning,
        )
