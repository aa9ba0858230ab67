"""Invariants of the flow on closed-form densities: nothing here is trained."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.ode import STEPPERS, log_snr_grid, solve
from skdiffusion.diffusion.schedules import PROCESSES
from tests.strategies import standardized_mixtures

START, STOP = np.arctan(0.05), np.arctan(20.0)
seeds = st.integers(0, 2**32 - 1)


def noise(density, n, seed):
    return np.random.default_rng(seed).standard_normal((n, density.n_features))


@given(standardized_mixtures(), seeds, st.sampled_from(sorted(STEPPERS)))
def test_more_steps_only_come_closer(density, seed, name):
    """Samples converge with more steps: their median error at three quarters of the stated order or more.

    Errors of opposite signs can cancel at few steps, from which four times as many then gain less: from one of the two
    numbers of steps, the order must be seen. The mean square converges at half the order or more if one sample is left
    out: where the flow separates two components, 80 steps are too few for any order.
    """
    z, order = noise(density, 30, seed), STEPPERS[name].order
    exact = solve(density, z, log_snr_grid(1000, START, STOP)[::-1], "rk4").z
    errors = [
        np.sqrt(((solve(density, z, log_snr_grid(n, START, STOP)[::-1], name).z - exact) ** 2).mean(1))
        for n in (20, 80, 320)
    ]
    medians = [np.median(e) for e in errors]
    assert any(more <= few / 4 ** (0.75 * order) + 1e-6 for few, more in zip(medians, medians[1:]))
    few, more, _ = (np.sqrt((e**2).mean()) for e in errors)
    assert more <= few + 1e-6
    few, more, _ = (np.sqrt((np.sort(e)[:-1] ** 2).mean()) for e in errors)
    assert more <= few / 4 ** (order / 2) + 1e-6


@given(standardized_mixtures(), seeds)
def test_time_reversal(density, seed):
    z = noise(density, 20, seed)
    grid = log_snr_grid(200, START, STOP)
    back = solve(density, z, grid[::-1], "rk4", divergence=True)
    again = solve(density, back.z, grid, "rk4", divergence=True)
    assert_allclose(again.z, z, atol=1e-4)
    assert_allclose(again.log_density_change, -back.log_density_change, atol=1e-3)


@given(standardized_mixtures(), seeds, st.sampled_from(sorted(PROCESSES)), st.sampled_from(sorted(PROCESSES)))
def test_a_step_between_two_noise_levels_does_not_depend_on_the_process(density, seed, one, other):
    """Times of two processes with the same angles give the same samples."""
    grids = []
    for name in (one, other):
        process = PROCESSES[name]()
        times = process.ratio_to_time(np.tan(np.linspace(0.2, 1.3, 9)))
        grids.append(process.angle(times))
    z = noise(density, 10, seed)
    assert_allclose(solve(density, z, grids[0]).z, solve(density, z, grids[1]).z, atol=1e-9)


@given(standardized_mixtures(), seeds, st.integers(1, 19))
def test_samples_do_not_depend_on_the_other_samples_or_their_order(density, seed, k):
    flow = ProbabilityFlow(density, START, STOP)
    z = noise(density, 20, seed)
    whole = flow.draw(z)
    assert_allclose(flow.draw(z[:k]), whole[:k], atol=1e-9)
    order = np.random.default_rng(seed).permutation(20)
    assert_allclose(flow.log_prob(whole[order]), flow.log_prob(whole)[order], atol=1e-9)


@given(standardized_mixtures(), seeds)
def test_rotating_the_density_rotates_the_samples(density, seed):
    d = density.n_features
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    turned = GaussianMixtureDensity(
        density.weights, density.means @ rotation, rotation.T @ density.covariances @ rotation
    )
    z = noise(density, 15, seed)
    ours = ProbabilityFlow(turned, START, STOP).draw(z @ rotation)
    assert_allclose(ours, ProbabilityFlow(density, START, STOP).draw(z) @ rotation, atol=1e-8)


@given(standardized_mixtures(max_features=2), seeds)
def test_log_densities_of_samples_are_those_of_the_density(density, seed):
    flow = ProbabilityFlow(density, START, np.arctan(200.0), density_steps=64, sample_steps=64)
    x = flow.draw(noise(density, 30, seed))
    truth = density.log_prob(x, np.cos(START), np.sin(START))
    assert np.abs(flow.log_prob(x) - truth).mean() < 5e-3


@given(standardized_mixtures(), seeds, st.integers(0, 30))
def test_a_prefix_of_component_draws_is_a_prefix_of_samples(density, seed, k):
    rng = np.random.default_rng(seed)
    z, u = rng.standard_normal((30, density.n_features)), rng.random(30)
    assert_array_equal(density.sample(SampleNoise(z[:k], u[:k])), density.sample(SampleNoise(z, u))[:k])
