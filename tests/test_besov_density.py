"""Densities of exact smoothness: they integrate to one, are as smooth as they say, and diffuse exactly."""

import numpy as np
import pytest
from scipy.stats import kstest

from skdiffusion.datasets import BesovDensity


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("s", [0.5, 1.0, 2.5])
def test_it_integrates_to_one_and_is_bounded_below(s, d):
    distribution = BesovDensity(s, d)
    x, log_mass = distribution._quadrature()
    assert np.exp(log_mass).sum() == pytest.approx(1.0, abs=1e-10)
    assert np.exp(distribution.log_prob(x)).min() >= 0.1 / 2**d - 1e-12
    assert distribution.log_prob(np.full((1, d), 1.5))[0] == -np.inf


@pytest.mark.parametrize(
    ("s", "slope", "tolerance"), [(0.5, 0.5, 0.15), (1.0, 1.0, 0.12), (1.5, 1.5, 0.1), (2.5, 2.5, 0.1)]
)
def test_the_smoothness_is_exact(s, slope, tolerance):
    """The fourth-order modulus of continuity falls as h**s and no faster, in the mean over random signs."""
    slopes = []
    for seed in range(4):
        distribution = BesovDensity(s, sign_seed=seed)
        steps = 2.0 ** -np.arange(3.0, 8.0)
        moduli = []
        for h in steps:
            x = np.linspace(-1, 1 - 4 * h, 20_001)
            values = [distribution.density((x + i * h)[:, None]) for i in range(5)]
            difference = values[0] - 4 * values[1] + 6 * values[2] - 4 * values[3] + values[4]
            moduli.append(np.sqrt((difference**2).mean()))
        slopes.append(np.polyfit(np.log(steps), np.log(moduli), 1)[0])
    assert np.mean(slopes) == pytest.approx(slope, abs=tolerance)


def test_samples_follow_the_density():
    distribution = BesovDensity(1.0)
    X = distribution.sample(20_000, random_state=0)
    grid = np.linspace(-1, 1, 40_001)
    cdf = np.concatenate(
        [[0.0], np.cumsum((distribution.density(grid[:, None])[1:] + distribution.density(grid[:, None])[:-1]) / 2)]
    )
    cdf *= grid[1] - grid[0]
    assert kstest(X[:, 0], lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3
    np.testing.assert_array_equal(distribution.sample(10, random_state=1), distribution.sample(10, random_state=1))
    assert BesovDensity(1.0, 2).sample(500, random_state=0).shape == (500, 2)
    assert distribution.sample(0).shape == (0, 1)


@pytest.mark.parametrize("theta", [0.02, 0.3, 1.2])
def test_diffused_density_and_score(theta):
    distribution = BesovDensity(0.7, n_levels=5)
    cos, sin = np.cos(theta), np.sin(theta)
    z = np.array([[-0.9], [0.1], [0.55]])
    log_density, score = distribution.diffused(z, theta)
    for point, value in zip(z[:, 0], log_density):
        x = np.linspace(-1, 1, 400_001)
        heights = distribution.density(x[:, None]) * np.exp(-0.5 * ((point - cos * x) / sin) ** 2)
        whole = (heights.sum() - (heights[0] + heights[-1]) / 2) * (x[1] - x[0])
        assert value == pytest.approx(np.log(whole / (sin * np.sqrt(2 * np.pi))), abs=1e-6)
    eps = 1e-5
    slope = (distribution.diffused(z + eps, theta)[0] - distribution.diffused(z - eps, theta)[0]) / (2 * eps)
    np.testing.assert_allclose(score[:, 0], slope, rtol=1e-5, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'smoothness'"):
        BesovDensity(3.0)
    with pytest.raises(ValueError, match="'n_features'"):
        BesovDensity(1.0, 3)
