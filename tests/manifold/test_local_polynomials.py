"""Projection by local polynomials onto sets with known distances."""

import pickle

import numpy as np
import pytest

from skdiffusion.datasets import Sphere, SwissRoll, Torus
from skdiffusion.manifold import LocalPolynomials, fit_local_polynomials, sample_spacing


@pytest.mark.parametrize(
    ("density", "min_gain"), [(Sphere(1), 1e3), (Sphere(2), 1e3), (Torus(), 100), (SwissRoll(), 1e3), (Sphere(4), 10)],
    ids=["circle", "sphere", "torus", "swiss roll", "4-sphere"],
)  # fmt: skip
def test_projection_comes_close_to_the_set(density, min_gain, rng):
    X = density.sample(2000, 0)
    surface = fit_local_polynomials(X, density.dimension, rng)
    noised = density.sample(400, 1) + 0.5 * surface.scale * rng.standard_normal((400, density.n_features))
    assert np.median(density.distance(surface.project(noised))) < np.median(density.distance(noised)) / min_gain


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
    assert sample_spacing(X) == pytest.approx(2 * np.sin(np.pi * ((m + 1) // 2) / 1000), rel=1e-9)


def test_a_pickle_has_the_same_bits(rng):
    X = Sphere(2).sample(300, 0)
    surface = fit_local_polynomials(X, 2, rng)
    y = X + 0.05 * rng.standard_normal(X.shape)
    again = pickle.loads(pickle.dumps(surface))
    np.testing.assert_array_equal(again.project(y), surface.project(y))
