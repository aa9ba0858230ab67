"""Dimension and projection against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from skdiffusion._utils.protocols import SampleNoise, VelocityField
from skdiffusion.datasets import Sphere, Subspace, SwissRoll, Torus
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.manifold import (
    IntrinsicDensity,
    LocalPolynomials,
    denoiser_jacobian,
    dimension_spectrum,
    fit_local_polynomials,
    flipd,
    linear_dimension,
    plateau_dimension,
    sample_spacing,
)


class Oracle(VelocityField):
    """A closed-form distribution with the Jacobian of its velocity, by central differences."""

    def __init__(self, law):
        self.density = law

    def __call__(self, z, theta, divergence=False):
        return self.density(z, theta, divergence)

    def jacobian(self, z, theta, step=1e-5):
        eye = np.eye(z.shape[1])
        columns = [
            (self.density(z + step * e, theta)[0] - self.density(z - step * e, theta)[0]) / (2 * step) for e in eye
        ]
        return np.stack(columns, axis=2)


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
    law = Oracle(GaussianMixtureDensity([1.0], np.zeros((1, 3)), np.diag(variances)[None]))
    theta = 0.3
    J = denoiser_jacobian(law, rng.standard_normal((4, 3)), theta)
    a2, s2 = np.cos(theta) ** 2, np.sin(theta) ** 2
    expected = a2 * variances / (a2 * variances + s2)
    np.testing.assert_allclose(J, np.tile(np.diag(expected), (4, 1, 1)), atol=1e-8)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_dimension_of_a_degenerate_mixture(k, rng):
    """Both estimates from the exact score of a mixture on a k-dimensional subspace of R^6."""
    frame = np.linalg.qr(rng.standard_normal((6, k)))[0]
    means = rng.standard_normal((3, k)) @ frame.T
    covariance = 0.5 * frame @ frame.T + 1e-8 * np.eye(6)
    law = Oracle(GaussianMixtureDensity([0.3, 0.3, 0.4], means, np.stack([covariance] * 3)))
    z = law.density.sample(SampleNoise(rng.standard_normal((100, 6)), rng.random(100)))
    assert plateau_dimension(dimension_spectrum(law, z, rng)) == k
    assert np.median(flipd(law, z, 0.03)) == pytest.approx(k, abs=0.1)


@given(st.integers(1, 5), st.integers(6, 24), st.floats(0.0, 0.2), st.integers(0, 1000))
@example(5, 6, 0.1953125, 0)
def test_linear_dimension(k, d, noise, seed):
    if d - k == 1:
        noise *= 0.75  # a single direction is noise only from a ratio of 25 in the variances on
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((1000, k)) @ np.linalg.qr(rng.standard_normal((d, k)))[0].T
    X += noise * rng.standard_normal(X.shape)
    variances = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 1000
    found, variance = linear_dimension(variances, 1000)
    if 0 < noise < 1e-5:
        return  # below round-off of a direction or above it: either is right
    assert found == k
    assert variance == pytest.approx(noise**2, rel=0.15, abs=1e-12)


def test_clusters_that_look_like_points_have_no_vote():
    spectrum = np.zeros((7, 10, 2))
    spectrum[4:] = 0.9
    assert plateau_dimension(spectrum) == 2
    assert plateau_dimension(np.zeros((7, 10, 2))) == 1


def test_a_full_density_keeps_all_directions(rng):
    for variances in (np.ones(6), np.array([4.0, 2.0, 1.0, 0.5]), np.array([9.0, 1.0])):
        X = rng.standard_normal((500, len(variances))) * np.sqrt(variances)
        values = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 500
        assert linear_dimension(values, 500) == (len(variances), 0.0)


@pytest.mark.parametrize(
    ("law", "min_gain"), [(Sphere(1), 1e3), (Sphere(2), 1e3), (Torus(), 100), (SwissRoll(), 1e3), (Sphere(4), 10)],
    ids=["circle", "sphere", "torus", "swiss roll", "4-sphere"],
)  # fmt: skip
def test_projection_comes_close_to_the_set(law, min_gain, rng):
    X = law.sample(2000, 0)
    surface = fit_local_polynomials(X, law.dimension, rng)
    noised = law.sample(400, 1) + 0.5 * surface.scale * rng.standard_normal((400, law.n_features))
    assert np.median(law.distance(surface.project(noised))) < np.median(law.distance(noised)) / min_gain


def test_order_of_the_local_polynomials():
    """Theory E2a: the distance falls as reach**2, **4 and **6 for degrees 1, 2 and 4 (slopes within 0.4)."""
    circle = Sphere(1)
    angle = 2 * np.pi * np.arange(4096) / 4096
    X = np.column_stack([np.cos(angle), np.sin(angle)])
    y = circle.sample(200, 1)
    reach = np.array([160, 240, 320])
    for degree, order in ((1, 2), (2, 4), (4, 6)):
        surfaces = [LocalPolynomials(X, 1, 1e-9, degree, samples_per_term=m / (degree + 1)) for m in reach]
        errors = [np.median(circle.distance(surface.project(y))) for surface in surfaces]
        slope = np.polyfit(np.log(reach), np.log(errors), 1)[0]
        assert slope == pytest.approx(order, abs=0.4), (degree, slope)


def test_projection_is_sample_by_sample(rng):
    X = Sphere(2).sample(500, 0)
    surface = LocalPolynomials(X, 2, 0.2, 2)
    y = X[:50] + 0.05 * rng.standard_normal((50, 3))
    whole = surface.project(y)
    np.testing.assert_allclose(np.concatenate([surface.project(y[i : i + 1]) for i in range(50)]), whole, atol=1e-10)
    assert surface.project(np.empty((0, 3))).shape == (0, 3)


def test_tangent_spaces(rng):
    X = Sphere(2).sample(2000, 0)
    surface = fit_local_polynomials(X, 2, rng)
    y = Sphere(2).sample(100, 1)
    tangent = surface.tangent(y)
    np.testing.assert_allclose(tangent.transpose(0, 2, 1) @ tangent, np.tile(np.eye(2), (100, 1, 1)), atol=1e-10)
    assert np.abs(np.einsum("nd,ndk->nk", y, tangent)).max() < 0.1


def test_spacing_of_a_circle():
    angle = 2 * np.pi * np.arange(1000) / 1000
    X = np.column_stack([np.cos(angle), np.sin(angle)])
    m = int(np.ceil(2.4 * np.log(1000)))
    assert sample_spacing(X, 1) == pytest.approx(2 * np.sin(np.pi * ((m + 1) // 2) / 1000), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "seed"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_intrinsic_density(dimension, seed, rng):
    """Within 0.05 nats (mean absolute error) on the von Mises-Fisher circle and sphere at n = 10000."""
    law = Sphere(dimension, density="vmf")
    surface = fit_local_polynomials(law.sample(10_000, seed), dimension, rng)
    fresh = law.sample(1000, 50 + seed)
    estimate = IntrinsicDensity(surface, rng).log_prob(fresh)
    assert np.abs(estimate - law.log_prob(fresh)).mean() < 0.05


def test_intrinsic_density_of_a_uniform_circle(rng):
    law = Sphere(1)
    density = IntrinsicDensity(fit_local_polynomials(law.sample(3000, 0), 1, rng), rng)
    assert np.abs(density.log_prob(law.sample(200, 1)) + np.log(2 * np.pi)).mean() < 0.15


def test_a_subspace_has_a_jacobian_of_its_rank():
    law = Subspace(2, 5)
    assert np.linalg.matrix_rank(law.sample(100, 0)) == 2
