"""Dimensions by the score, against closed forms."""

import numpy as np
import pytest
import torch

from skdiffusion._utils.protocols import SampleNoise, VelocityField
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.manifold import (
    anisotropic_dimension,
    denoiser_jacobian,
    dimension_spectrum,
    flipd,
    local_dimension,
    plateau_dimension,
    support_dimension,
)


class Oracle(VelocityField):
    """The velocity field of a closed-form density, with its Jacobian by central differences."""

    def __init__(self, density):
        self.density = density

    def __call__(self, z, theta, divergence=False):
        return self.density(z, theta, divergence)

    def jacobian(self, z, theta, step=1e-5):
        eye = np.eye(z.shape[1])
        columns = [
            (self.density(z + step * e, theta)[0] - self.density(z - step * e, theta)[0]) / (2 * step) for e in eye
        ]
        return np.stack(columns, axis=2)


def mixture_near_a_subspace(k, rng, noise=1e-4):
    """A mixture in R^6 on a subspace of k dimensions, but for this noise, and samples of it."""
    frame = np.linalg.qr(rng.standard_normal((6, k)))[0]
    means = rng.standard_normal((3, k)) @ frame.T
    covariance = 0.5 * frame @ frame.T + noise**2 * np.eye(6)
    density = GaussianMixtureDensity([0.3, 0.3, 0.4], means, np.stack([covariance] * 3))
    return Oracle(density), lambda n: density.sample(SampleNoise(rng.standard_normal((n, 6)), rng.random(n)))


@pytest.mark.parametrize("layers", [(7,), (8, 6), (5, 6, 7)])
def test_the_jacobian_of_a_network(layers, rng):
    network = FilmEnsemble(4, layers, "silu", 3)
    network.initialize(rng, 2.0, 1.2)
    network.flat += 0.3 * torch.as_tensor(rng.standard_normal(network.flat.shape), dtype=torch.float32)
    field = NetworkField(network)
    z = rng.standard_normal((5, 4))
    J = field.jacobian(z, 0.4)
    np.testing.assert_allclose(np.trace(J, axis1=1, axis2=2), field(z, 0.4, True)[1], rtol=1e-4, atol=1e-4)
    wide = NetworkField(network, precision="double")
    numerical = np.stack([(wide(z + 1e-5 * e, 0.4)[0] - wide(z - 1e-5 * e, 0.4)[0]) / 2e-5 for e in np.eye(4)], axis=2)
    np.testing.assert_allclose(wide.jacobian(z, 0.4), numerical, atol=1e-8)


def test_the_jacobian_of_a_gaussian_has_its_known_eigenvalues(rng):
    variances = np.array([1.0, 0.25, 0.01])
    density = Oracle(GaussianMixtureDensity([1.0], np.zeros((1, 3)), np.diag(variances)[None]))
    theta = 0.3
    J = denoiser_jacobian(density, rng.standard_normal((4, 3)), theta)
    a2, s2 = np.cos(theta) ** 2, np.sin(theta) ** 2
    expected = a2 * variances / (a2 * variances + s2)
    np.testing.assert_allclose(J, np.tile(np.diag(expected), (4, 1, 1)), atol=1e-8)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_dimension_of_a_degenerate_mixture(k, rng):
    """Both estimates from the exact score of a mixture on a k-dimensional subspace of R^6, and that of every sample."""
    field, draw = mixture_near_a_subspace(k, rng)
    z = draw(100)
    assert plateau_dimension(dimension_spectrum(field, z, rng)) == k
    assert np.median(flipd(field, z, 0.03)) == pytest.approx(k, abs=0.1)
    assert np.mean(local_dimension(field, z, rng) == k) > 0.9


def test_clusters_that_look_like_points_have_no_vote():
    spectrum = np.zeros((7, 10, 2))
    spectrum[4:] = 0.9
    assert plateau_dimension(spectrum) == 2
    assert plateau_dimension(np.zeros((7, 10, 2))) == 1


def test_local_dimension_is_sample_by_sample(rng):
    field, draw = mixture_near_a_subspace(2, rng)
    z = draw(20)
    whole = local_dimension(field, z, np.random.default_rng(0))
    one_by_one = [local_dimension(field, z[[i]], np.random.default_rng(0))[0] for i in range(20)]
    np.testing.assert_array_equal(one_by_one, whole)


def mixture_along_a_circle(rng, noise, n_parts=60):
    """Gaussians side by side along a circle in R^3, tilted, with this noise across, and samples of it."""
    angles = 2 * np.pi * np.arange(n_parts) / n_parts
    frame = np.linalg.qr(rng.standard_normal((3, 2)))[0]
    centers, tangents = (
        np.stack(pair, axis=1) @ frame.T
        for pair in ((np.cos(angles), np.sin(angles)), (-np.sin(angles), np.cos(angles)))
    )
    covariances = 0.06**2 * tangents[:, :, None] * tangents[:, None] + noise**2 * np.eye(3)
    density = GaussianMixtureDensity(np.full(n_parts, 1 / n_parts), centers, covariances)
    return Oracle(density), lambda n: density.sample(SampleNoise(rng.standard_normal((n, 3)), rng.random(n)))


@pytest.mark.parametrize(("noise", "expected"), [(0.003, 1), (0.4, None)])
def test_the_dimension_of_a_support_that_only_the_score_shows(noise, expected, rng):
    field, draw = mixture_along_a_circle(rng, noise)
    X = draw(600)
    assert np.linalg.matrix_rank(X) == 3
    assert support_dimension(X, field, X, rng) == expected


def test_a_bend_between_two_scales_is_no_thin_direction(rng):
    """Around the narrow part all eigenvalues fall alike as the noise grows, and only most of them are small."""
    wide_and_narrow = np.stack([np.eye(2), 1e-3 * np.eye(2)])
    density = GaussianMixtureDensity([0.05, 0.95], np.zeros((2, 2)), wide_and_narrow)
    X = density.sample(SampleNoise(rng.standard_normal((600, 2)), rng.random(600)))
    spectrum = dimension_spectrum(Oracle(density), X[:100], rng)
    assert np.median((spectrum > 0.5).sum(2)) < 2
    assert anisotropic_dimension(spectrum) is None
    assert support_dimension(X, Oracle(density), X, rng) is None


def test_thin_directions_are_those_of_one_sample_at_two_levels():
    spectrum = np.ones((4, 10, 3))
    assert anisotropic_dimension(spectrum) is None
    spectrum[2, :6, 1:] = 0.2
    assert anisotropic_dimension(spectrum) is None
    spectrum[1, :6, 2:] = 0.2
    assert anisotropic_dimension(spectrum) == 1
    spectrum[:, :6] = 0.2
    assert anisotropic_dimension(spectrum) is None


def test_samples_that_fill_the_space_have_no_support_of_lower_dimension(rng):
    field, draw = mixture_near_a_subspace(2, rng, noise=0.5)
    X = draw(600)
    assert support_dimension(X, field, X, rng) is None


def test_collinear_features_need_no_score(rng):
    X = rng.standard_normal((600, 2)) @ rng.standard_normal((2, 5)) + 3.0
    assert support_dimension(X, None, X, None) == 2


def test_few_samples_or_one_feature_tell_no_dimension(rng):
    _, draw = mixture_near_a_subspace(2, rng)
    for X in (draw(12), draw(499), rng.standard_normal((600, 1))):
        assert support_dimension(X, None, X, None) is None
