"""The density on a set, against von Mises-Fisher densities."""

import numpy as np
import pytest

from skdiffusion.datasets import Sphere
from skdiffusion.manifold import IntrinsicDensity, fit_local_polynomials


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "seed"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_intrinsic_density(dimension, seed, rng):
    """Within 0.05 nats (mean absolute error) on the von Mises-Fisher circle and sphere at n = 10000."""
    density = Sphere(dimension, density="vmf")
    surface = fit_local_polynomials(density.sample(10_000, seed), dimension, rng)
    fresh = density.sample(1000, 50 + seed)
    estimate = IntrinsicDensity(surface, rng).log_prob(fresh)
    assert np.abs(estimate - density.log_prob(fresh)).mean() < 0.05


def test_intrinsic_density_of_a_uniform_circle(rng):
    circle = Sphere(1)
    density = IntrinsicDensity(fit_local_polynomials(circle.sample(3000, 0), 1, rng), rng)
    assert np.abs(density.log_prob(circle.sample(200, 1)) + np.log(2 * np.pi)).mean() < 0.15
