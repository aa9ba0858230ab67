"""Log-densities along the flow against densities known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.schedules import PROCESSES
from skdiffusion.diffusion.solver_steps import choose_sample_steps, choose_steps, wide_samples
from tests.conftest import draw

SIGMA_MIN = 0.01


def standardized(density):
    """The density moved to mean 0 and covariance I, the coordinates in which the prior of the flow is exact."""
    mean = density.weights @ density.means
    second = np.einsum("k,kij->ij", density.weights, density.covariances) + (density.means - mean).T @ (
        (density.means - mean) * density.weights[:, None]
    )
    values, axes = np.linalg.eigh(second)
    root = axes / np.sqrt(values)
    return GaussianMixtureDensity(density.weights, (density.means - mean) @ root, root.T @ density.covariances @ root)


def make_flow(density, horizon=5000.0, **given):
    return ProbabilityFlow(density, np.arctan(SIGMA_MIN), np.arctan(horizon), **given)


def smoothed(density, x, sigma=SIGMA_MIN):
    theta = np.arctan(sigma)
    return density.log_prob(x, np.cos(theta), np.sin(theta))


def test_closed_form_density_on_a_fine_grid(mixture):
    density = standardized(mixture)
    x = draw(density, 200)
    flow = make_flow(density, density_steps=512, tolerance=0.0)
    assert_allclose(flow.log_prob(x), smoothed(density, x), atol=1e-6)


@pytest.mark.parametrize("name", ["vp", "ve", "subvp", "flow"])
def test_the_density_does_not_depend_on_the_process(name, mixture):
    """A process only sets the horizon, where the prior of whitened data is nearly exact."""
    density = standardized(mixture)
    x = draw(density, 100)
    horizon = min(float(PROCESSES[name]().ratio(1.0)), 200.0)
    flow = make_flow(density, horizon, density_steps=128, tolerance=0.0)
    assert_allclose(flow.log_prob(x), smoothed(density, x), atol=1e-3)
    assert abs(flow.log_prob(x) - smoothed(density, x)).mean() < 1e-4


@pytest.mark.parametrize("steps", [8, 16])
def test_the_error_estimate_is_within_a_factor_two_in_the_mean(steps, mixture):
    density = standardized(mixture)
    x = draw(density, 500)
    flow = make_flow(density, density_steps=steps, tolerance=0.0)
    truth = np.abs(flow.log_prob(x) - smoothed(density, x)).mean()
    assert truth / 2 < flow.log_density_error(x).mean() < 2 * truth


def test_codes_invert_and_are_standard_normal(mixture):
    density = standardized(mixture)
    x = draw(density, 4000)
    flow = make_flow(density, density_steps=128)
    codes = flow.to_latent(x)
    assert_allclose(flow.from_latent(codes), x, atol=1e-3)
    assert_allclose(codes.mean(0), 0, atol=0.06)
    assert_allclose(np.cov(codes.T), np.eye(2), atol=0.08)


def peaks(d, n_peaks, narrow):
    """Equal separated peaks, `narrow` times as wide as the standard deviation of a feature."""
    side = np.arange(n_peaks) - (n_peaks - 1) / 2
    means = side[:, None] if d == 1 else np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    means = means / means.std(0)
    return GaussianMixtureDensity(np.ones(len(means)), means, np.tile(narrow**2 * np.eye(d), (len(means), 1, 1)))


@pytest.mark.parametrize(("n_peaks", "narrow"), [(8, 0.05), (8, 0.01), (25, 0.01)])
def test_separated_narrow_peaks_stay_normalized(n_peaks, narrow, rng):
    """Few explicit steps put mass between peaks: at narrow = 0.01 the density by 24 steps integrates to 4."""
    density = peaks(1, n_peaks, narrow)
    flow = replace(make_flow(density, 20.0), theta_min=np.arctan(0.2 * narrow))
    flow = choose_steps(flow, draw(density, 200), wide_samples(1, rng, 300))
    x = np.linspace(-3, 3, 8001)[:, None]
    mass = np.exp(flow.log_prob(x)).sum() * (x[1, 0] - x[0, 0])
    assert mass == pytest.approx(1.0, abs=2e-3)


def test_sampling_steps_are_doubled_until_samples_converge(rng):
    density = peaks(1, 8, 0.05)
    noise = rng.standard_normal((200, 1))
    flow = choose_sample_steps(make_flow(density, 20.0, sample_steps=4), noise)
    assert flow.sample_steps > 4
    finest = flow.draw(noise, n_steps=2048)
    assert np.sqrt(((flow.draw(noise) - finest) ** 2).mean()) < 0.06


@pytest.mark.parametrize(("n_steps", "stepper"), [(12, "abm3"), (23, "abm3"), (24, "abm4"), (50, "abm4")])
def test_samples_of_many_steps_are_of_higher_order(mixture, n_steps, stepper, rng):
    flow, noise = make_flow(standardized(mixture), 20.0), rng.standard_normal((50, 2))
    expected = replace(flow, sample_stepper=stepper).draw(noise, n_steps=n_steps)
    np.testing.assert_array_equal(flow.draw(noise, n_steps=n_steps), expected)
    kept = replace(flow, sample_stepper="euler").draw(noise, n_steps=n_steps)
    assert np.abs(kept - expected).max() > 1e-3


def test_a_far_sample_is_finite(mixture):
    density = standardized(mixture)
    far = np.array([[60.0, -60.0]])
    assert np.isfinite(make_flow(density).log_prob(far)).all()
