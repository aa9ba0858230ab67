"""Distributions with known answers, shared by all tests."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import GaussianMixtureDensity

settings.register_profile(
    "suite", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], max_examples=25
)
settings.load_profile("suite")


@pytest.fixture
def rng():
    return np.random.default_rng(20260)


@pytest.fixture
def mixture():
    """Two unequal anisotropic components in the plane."""
    return GaussianMixtureDensity(
        [0.3, 0.7], [[-1.2, 0.3], [0.7, -0.4]], [[[0.3, 0.1], [0.1, 0.5]], [[0.2, -0.05], [-0.05, 0.1]]]
    )


def draw(density, n, seed=0):
    """Samples of a closed-form distribution."""
    rng = np.random.default_rng(seed)
    return density.sample(SampleNoise(rng.standard_normal((n, density.n_features)), rng.random(n)))


def gradient_of(function, x, step=1e-5):
    """Central differences of a function (n, d) -> (n, ...) along every feature, shape (n, ..., d)."""
    eye = np.eye(x.shape[1])
    return np.stack([(function(x + step * e) - function(x - step * e)) / (2 * step) for e in eye], axis=-1)
