"""Clipped scores: bounded noise, with the divergence and the Jacobian of the clipped field."""

import numpy as np
import pytest
import torch

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField
from skdiffusion.theory.besov import clipping_level

LIMIT = 0.8


@pytest.fixture
def fields(rng):
    network = FilmEnsemble(3, (8, 6), "tanh", 2)
    network.flat += 0.4 * torch.as_tensor(rng.standard_normal(network.flat.shape), dtype=torch.float32)
    return NetworkField(network, precision="double"), NetworkField(network, LIMIT)


@pytest.mark.parametrize("theta", [0.1, 0.7, 1.4])
def test_only_noise_beyond_the_limit_is_changed(theta, fields, rng):
    z = 2 * rng.standard_normal((60, 3))
    free, clipped = (z * np.sin(theta) - f(z, theta)[0] * np.cos(theta) for f in fields)
    assert (np.abs(free) > LIMIT).any()
    assert (np.abs(free) < LIMIT).any()
    np.testing.assert_allclose(clipped, np.clip(free, -LIMIT, LIMIT), atol=1e-5)


@pytest.mark.parametrize("theta", [0.1, 0.7, 1.4])
def test_divergence_and_jacobian_are_those_of_the_clipped_field(theta, fields, rng):
    z, field, step = 2 * rng.standard_normal((60, 3)), fields[1], 1e-6
    numerical = [(field(z + step * e, theta)[0] - field(z - step * e, theta)[0]) / (2 * step) for e in np.eye(3)]
    numerical = np.stack(numerical, axis=2)
    np.testing.assert_allclose(field.jacobian(z, theta), numerical, atol=2e-6)
    np.testing.assert_allclose(field(z, theta, True)[1], np.trace(numerical, axis1=1, axis2=2), atol=1e-5)


def test_the_estimator_knows_the_number_of_samples(rng):
    X = rng.standard_normal((200, 2))
    given = {"max_iter": 5, "components": None, "random_state": 0, "n_steps": 40}
    est = DiffusionDensityEstimator(score_clip="auto", **given).fit(X)
    assert est.blend_.densities["diffusion"].density.field.noise_limit == clipping_level(200)
    assert DiffusionDensityEstimator(score_clip=0.5, **given).fit(X).blend_.densities[
        "diffusion"
    ].density.field.noise_limit == clipping_level(200, 0.5)
    # C = 2 is not reached by the score of a Gaussian.
    plain = DiffusionDensityEstimator(**given).fit(X)
    np.testing.assert_allclose(est.score_samples(X), plain.score_samples(X), atol=1e-4)
    # Gradients of a density whose score is clipped all over.
    tight = DiffusionDensityEstimator(score_clip=0.2, **given).fit(X)
    step = 1e-5
    numerical = [(tight.score_samples(X[:9] + step * e) - tight.score_samples(X[:9] - step * e)) / (2 * step)
                 for e in np.eye(2)]  # fmt: skip
    np.testing.assert_allclose(tight.score_function(X[:9]), np.stack(numerical, 1), atol=2e-3)


@pytest.mark.parametrize(
    "given", [{"score_clip": 0.6}, {"n_intervals": 3}, {"n_intervals": 2, "score_clip": 0.6}], ids=str
)
def test_the_density_still_integrates_to_one(given, rng):
    """The divergence is that of the field that is followed, clipped and switched."""
    X = 0.4 * rng.standard_normal((300, 1)) + rng.choice([-1.0, 1.0], (300, 1))
    est = DiffusionDensityEstimator(
        (16, 16), n_estimators=1, max_iter=60, components=None, n_steps=160, random_state=0, **given
    ).fit(X)
    u = np.linspace(-14, 14, 8001)  # to half a million: a clipped flow behind a feature transform has long tails
    density = np.exp(est.score_samples(np.sinh(u)[:, None]))
    assert np.trapezoid(density * np.cosh(u), u) == pytest.approx(1.0, abs=3e-3)
