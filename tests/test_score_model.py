"""Predictions of a score model against a closed-form density, under every process."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion.diffusion.schedules import PROCESSES
from skdiffusion.diffusion.score_model import ScoreModel
from tests.conftest import draw

processes = pytest.mark.parametrize("process", [cls() for cls in PROCESSES.values()], ids=list(PROCESSES))


@processes
@pytest.mark.parametrize("t", [0.02, 0.3, 0.9])
def test_every_prediction_agrees_with_the_closed_form(process, t, mixture, rng):
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    x = alpha * draw(mixture, 50) + sigma * rng.standard_normal((50, 2))
    model = ScoreModel(mixture, process)
    score = mixture.score(x, alpha, sigma)
    denoised, noise = mixture.denoised(x, alpha, sigma), -sigma * score
    assert_allclose(model.score(x, t), score, rtol=1e-10, atol=1e-10)
    assert_allclose(model.noise(x, t), noise, rtol=1e-10, atol=1e-10)
    assert_allclose(model.denoised(x, t), denoised, rtol=1e-10, atol=1e-10)
    assert_allclose(alpha * model.denoised(x, t) + sigma * model.noise(x, t), x, rtol=1e-10, atol=1e-10)
    velocity = process.d_alpha(t) * denoised + process.d_sigma(t) * noise
    assert_allclose(model.velocity(x, t), velocity, rtol=1e-9, atol=1e-9)
    assert_allclose(model.divergence(x, t), mixture.divergence(x, alpha, sigma), rtol=1e-9, atol=1e-9)


@processes
def test_velocity_and_score_satisfy_the_continuity_equation(process, mixture, rng):
    """d log p_t / dt = -div v - v . score, with div v by finite differences."""
    t, h = 0.4, 1e-5
    model = ScoreModel(mixture, process)
    x = rng.standard_normal((20, 2))
    log_p = lambda s: mixture.log_prob(x, float(process.alpha(s)), float(process.sigma(s)))  # noqa: E731
    velocity = model.velocity(x, t)
    divergence = sum(
        (model.velocity(x + h * e, t) - model.velocity(x - h * e, t))[:, j] / (2 * h) for j, e in enumerate(np.eye(2))
    )
    change = (log_p(t + h) - log_p(t - h)) / (2 * h)
    assert_allclose(change, -divergence - (velocity * model.score(x, t)).sum(1), rtol=1e-5, atol=1e-6)
