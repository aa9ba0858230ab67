"""Diffused mixtures and kernel densities: score, divergence and denoiser against the derivatives of the log-density."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion.densities import GaussianKernelDensity, GaussianMixtureDensity
from tests.conftest import draw, gradient_of

LEVELS = [(1.0, 0.0), (0.8, 0.6), (1.0, 30.0), (1e-3, 1.0), (1.0, 1e-3)]


def some_kernel_density(bandwidth=0.3):
    return GaussianKernelDensity(np.random.default_rng(3).standard_normal((40, 3)), bandwidth)


def densities():
    rng = np.random.default_rng(5)
    roots = rng.standard_normal((5, 3, 3)) * 0.4
    wide = GaussianMixtureDensity(rng.random(5) + 0.1, rng.standard_normal((5, 3)), roots @ roots.transpose(0, 2, 1))
    return {"mixture": wide, "kernel": some_kernel_density(), "kernels": some_kernel_density(np.linspace(0.3, 0.6, 40))}


@pytest.mark.parametrize("name", ["mixture", "kernel", "kernels"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_score_and_divergence_are_derivatives_of_the_log_density(name, alpha, sigma):
    density = densities()[name]
    noise = np.random.default_rng(0).standard_normal((30, 3))
    x = alpha * draw(density, 30) + sigma * noise
    # Differences over a length in proportion to the narrowest scale of the noised distribution.
    narrow = np.hypot(alpha * (0.02 if name == "mixture" else 0.3), sigma)
    step = 1e-4 * narrow
    score = density.score(x, alpha, sigma)
    assert_allclose(
        gradient_of(lambda v: density.log_prob(v, alpha, sigma), x, step), score, rtol=2e-5, atol=2e-6 / narrow
    )
    jacobian = gradient_of(lambda v: density.score(v, alpha, sigma), x, step)
    assert_allclose(
        np.trace(jacobian, axis1=1, axis2=2), density.divergence(x, alpha, sigma), rtol=2e-5, atol=2e-5 / narrow**2
    )


@pytest.mark.parametrize("name", ["mixture", "kernel", "kernels"])
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS[1:])
def test_denoiser_agrees_with_tweedie(name, alpha, sigma):
    density = densities()[name]
    x = alpha * draw(density, 30) + sigma * np.random.default_rng(1).standard_normal((30, 3))
    tweedie = (x + sigma**2 * density.score(x, alpha, sigma)) / alpha
    assert_allclose(density.denoised(x, alpha, sigma), tweedie, atol=1e-9)


def test_kernel_density_is_the_mixture_of_its_kernels(rng):
    z = rng.standard_normal((25, 3))
    for bandwidth in (0.3, np.linspace(0.1, 0.6, 40)):
        density = some_kernel_density(bandwidth)
        covariances = np.eye(3) * np.square(density.bandwidth)[:, None, None]
        twin = GaussianMixtureDensity(density.weights, density.samples, covariances)
        for theta in (0.01, 0.5, 1.55):
            for ours, expected in zip(density(z, theta, True), twin(z, theta, True)):
                assert_allclose(ours, expected, rtol=1e-10, atol=1e-10)


def test_blocks_of_samples_change_nothing(rng):
    density = some_kernel_density()
    x = rng.standard_normal((50, 3))
    whole = density.moments(x, 0.7, 0.7)
    parts = density.moments(x, 0.7, 0.7, block_numbers=500)
    assert_allclose(parts.log_prob, whole.log_prob, rtol=1e-13)
    assert_allclose(parts.mean_u, whole.mean_u, rtol=1e-12)


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_far_samples_stay_finite(mixture, distance):
    x = np.array([[distance, -distance]])
    moments = mixture.moments(x, 1.0, 1e-3)
    for value in (moments.log_prob, moments.mean_u, moments.denoised, moments.laplacian):
        assert np.isfinite(value).all(), value
