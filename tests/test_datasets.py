"""Distributions on manifolds: their distances, projections and densities against one another and against integrals."""

import numpy as np
import pytest
from scipy.special import gammaln

from skdiffusion.datasets import Capsule, Sphere, Subspace, SwissRoll, Torus

DENSITIES = {
    "circle": lambda **k: Sphere(1, **k),
    "sphere": lambda **k: Sphere(2, **k),
    "4-sphere": lambda **k: Sphere(4, **{"n_features": 12, **k}),
    "torus": lambda **k: Torus(**k),
    "capsule": lambda **k: Capsule(**k),
    "swiss roll": lambda **k: SwissRoll(**k),
}


CASES = [(name, density) for name in DENSITIES for density in ("uniform", "kinked")]
CASES += [(name, "vmf") for name in ("circle", "sphere", "4-sphere")]


@pytest.mark.parametrize(("name", "density"), CASES)
def test_samples_lie_on_the_set(name, density):
    distribution = DENSITIES[name](density=density)
    X = distribution.sample(500, 3)
    assert X.shape == (500, distribution.n_features)
    assert distribution.distance(X).max() < 1e-8
    assert np.isfinite(distribution.log_prob(X)).all()
    np.testing.assert_array_equal(X, distribution.sample(500, 3))


@pytest.mark.parametrize("name", DENSITIES)
def test_the_projection_is_the_nearest_point(name, rng):
    distribution = DENSITIES[name](n_features=12)
    X = distribution.sample(200, 0) + 0.05 * rng.standard_normal((200, 12))
    P = distribution.project(X)
    assert distribution.distance(P).max() < 1e-8
    others = distribution.sample(20_000, 1)
    from scipy.spatial import cKDTree

    nearest = cKDTree(others).query(X)[0]
    assert (distribution.distance(X) <= nearest + 1e-9).all()


def test_known_distances():
    np.testing.assert_allclose(Sphere(2).distance([[0, 0, 3.0], [0.2, 0, 0]]), [2.0, 0.8])
    np.testing.assert_allclose(Torus().distance([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]), [0.4, 0.6, np.sqrt(2) - 0.4])
    np.testing.assert_allclose(Subspace(2, 5).distance(np.zeros((1, 5))), [0.0], atol=1e-12)


@pytest.mark.parametrize(("name", "density"), CASES)
def test_densities_integrate_to_one(name, density):
    """By uniform samples: the mean of the density relative to the uniform one is 1."""
    distribution, uniform = DENSITIES[name](density=density), DENSITIES[name]()
    X = uniform.sample(40_000, 0)
    ratio = np.exp(distribution.log_prob(X) - uniform.log_prob(X))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 200 + 1e-9


@pytest.mark.parametrize("density", ["kinked", "vmf"])
def test_samples_follow_the_density(density):
    distribution = Sphere(2, density=density)
    X, U = distribution.sample(40_000, 0), Sphere(2).sample(40_000, 1)
    weight = np.exp(distribution.log_prob(U) - Sphere(2).log_prob(U))
    for moment in (lambda Y: Y[:, 0], lambda Y: np.abs(Y[:, 0]), lambda Y: Y[:, 1] ** 2):
        assert moment(X).mean() == pytest.approx((weight * moment(U)).mean(), abs=0.02)


def test_volumes():
    assert Sphere(1).log_prob(np.eye(2))[0] == pytest.approx(-np.log(2 * np.pi))
    assert Sphere(2).log_prob(np.eye(3))[0] == pytest.approx(-np.log(4 * np.pi))
    area = np.log(2) + 2.5 * np.log(np.pi) - gammaln(2.5)
    assert Sphere(4).log_prob(np.eye(5))[0] == pytest.approx(-area)


def test_noise_and_rotation(rng):
    distribution = Sphere(1, n_features=6, noise=0.1, rotation_seed=3)
    X = distribution.sample(5000, 0)
    assert np.linalg.norm(X - X @ distribution.frame @ distribution.frame.T, axis=1).std() > 0
    assert np.sqrt(((X - X @ distribution.frame @ distribution.frame.T) ** 2).sum(1).mean() / 4) == pytest.approx(
        0.1, rel=0.05
    )
    np.testing.assert_allclose(distribution.frame.T @ distribution.frame, np.eye(2), atol=1e-12)


def test_the_latent_density_does_not_depend_on_the_features():
    a, b = Subspace(2, 4), Subspace(2, 64)
    np.testing.assert_allclose(a.sample(50, 0) @ a.frame, b.sample(50, 0) @ b.frame, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sphere(2, n_features=2), "n_features"),
        (lambda: Torus(density="vmf"), "density"),
        (lambda: SwissRoll(noise=-1.0), "noise"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("density", ["uniform", "kinked"])
def test_a_capsule_has_its_distance_area_and_density(density):
    capsule = Capsule(4, density)
    X = capsule.sample(20_000, 0)
    assert capsule.distance(X).max() < 1e-12
    inner = X @ capsule.frame
    assert (np.abs(inner[:, 2]) < 0.5).mean() == pytest.approx(0.5, abs=0.02 if density == "uniform" else 0.05)
    # By importance of the density, samples have the whole area, 2 pi.
    assert np.exp(-capsule.log_prob(X)).mean() == pytest.approx(2 * np.pi, rel=0.02)
