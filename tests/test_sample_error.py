"""The numerical error of samples that the flow states."""

from dataclasses import replace

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.flow import ProbabilityFlow


@pytest.mark.parametrize(
    ("stepper", "n_steps"),
    [("euler", 16), ("ab2", 16), ("ddim", 24), ("heun", 16), ("2m", 24), (None, 16), (None, 24), (None, 32)],
)
def test_the_stated_error_is_the_true_error_of_a_mixture(stepper, n_steps):
    density = GaussianMixtureDensity([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], 0.15 * np.stack([np.eye(2)] * 2))
    flow = ProbabilityFlow(density, 0.01, 1.55, sample_stepper=stepper, sample_steps=n_steps)
    noise = np.random.default_rng(0).standard_normal((300, 2))
    fine = replace(flow, sample_stepper="rk4").draw(noise, n_steps=800)
    true = np.sqrt(((flow.draw(noise) - fine) ** 2).sum(1).mean())
    assert flow.sample_error(noise) == pytest.approx(true, rel=0.1)


def test_the_stated_error_falls_with_the_steps_and_with_the_weight_of_the_components():
    rng = np.random.default_rng(0)
    X = rng.choice([-2.0, 2.0], (400, 2)) + 0.3 * rng.normal(size=(400, 2))
    given = {
        "hidden_layer_sizes": (16, 16),
        "n_estimators": 1,
        "feature_transform": None,
        "max_iter": 100,
        "random_state": 0,
    }
    errors = [
        DiffusionDensityEstimator(**given, components=None, n_steps=n).fit(X).sample_error(random_state=0)
        for n in (4, 16, 64)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0
    blend = DiffusionDensityEstimator(**given, n_steps=4).fit(X)
    stated, share = blend.sample_error(100, random_state=0), blend.component_weights_["diffusion"]
    assert stated == blend.sample_error(100, random_state=0)
    blend.component_weights_ = {**blend.component_weights_, "diffusion": 1.0}
    assert stated == pytest.approx(np.sqrt(share) * blend.sample_error(100, random_state=0))
    with pytest.raises(ValueError, match="'n_samples'"):
        blend.sample_error(0)
