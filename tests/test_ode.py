"""Steppers and grids on closed-form densities: orders, round trips and textbook formulas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.ode import GRIDS, STEPPERS, equidistributed_grid, log_snr_grid, solve
from tests.conftest import draw

START, STOP = np.arctan(0.02), np.arctan(20.0)
steppers = pytest.mark.parametrize("name", list(STEPPERS))


@pytest.fixture
def reference(mixture, rng):
    """Samples at the data end and where the converged flow takes them."""
    z = np.cos(START) * draw(mixture, 100) + np.sin(START) * rng.standard_normal((100, 2))
    return z, solve(mixture, z, log_snr_grid(1500, START, STOP), "rk4", divergence=True)


def test_the_log_density_change_is_exact_on_a_fine_grid(mixture, reference):
    z, end = reference
    truth = mixture.log_prob(end.z, np.cos(STOP), np.sin(STOP)) - mixture.log_prob(z, np.cos(START), np.sin(START))
    assert_allclose(end.log_density_change, truth, atol=1e-10)


@steppers
def test_observed_order_of_samples_and_log_densities(name, mixture, reference):
    z, end = reference
    counts = np.array([80, 160, 320])
    sample_error, density_error = [], []
    for n in counts:
        back = solve(mixture, end.z, log_snr_grid(n, START, STOP)[::-1], name, divergence=True)
        sample_error.append(np.sqrt(((back.z - z) ** 2).mean()))
        density_error.append(np.abs(back.log_density_change + end.log_density_change).mean())
    order = STEPPERS[name].order
    observed = -np.polyfit(np.log(counts), np.log(sample_error), 1)[0]
    # The errors of predictions, of an order more and many times as large, hide those of corrections for long.
    assert -0.15 < observed - order < (0.6 if STEPPERS[name].closing else 0.15), observed
    observed = -np.polyfit(np.log(counts), np.log(density_error), 1)[0]
    assert observed > order - 0.15, observed


@steppers
def test_forward_and_back_returns_the_start(name, mixture, rng):
    """The round trip closes at the stepper's order: 8 times the steps, at least 8^(order - 0.5) closer."""
    z = draw(mixture, 50)
    gap = []
    for n in (40, 320):
        grid = log_snr_grid(n, START, STOP)
        there = solve(mixture, z, grid, name).z
        gap.append(np.sqrt(((solve(mixture, there, grid[::-1], name).z - z) ** 2).mean()))
    assert gap[1] < gap[0] / 8 ** (STEPPERS[name].order - 0.5), gap


def test_corrected_steps_have_a_fraction_of_the_error_of_predictions(mixture, reference):
    z, end = reference
    errors = {}
    for name, n in (("ab4", 25), ("abm4", 24)):  # as many evaluations
        change = solve(mixture, z, GRIDS["log-snr"](n, START, STOP), name, divergence=True).log_density_change
        errors[name] = np.abs(change - end.log_density_change).mean()
    assert errors["abm4"] < 0.5 * errors["ab4"]


def test_a_bell_grid_is_denser_in_the_middle(mixture, reference):
    x = np.log(np.tan(GRIDS["bell"](40, START, STOP)))
    steps = np.diff(x)
    middle = np.abs((x[1:] + x[:-1]) / 2).argmin()
    # 1 + 1.5 there, hardly more than 1 at the ends
    assert_allclose(steps[0] / steps[middle], 2.5 / (1 + 1.5 * np.exp(-(((x[0] + x[1]) / 2) ** 2) / 8)), rtol=0.02)
    assert steps[middle] == steps.min()
    z, end = reference
    errors = {}
    for grid in ("log-snr", "bell"):
        change = solve(mixture, z, GRIDS[grid](20, START, STOP), "abm4", divergence=True).log_density_change
        errors[grid] = np.abs(change - end.log_density_change).mean()
    assert errors["bell"] < errors["log-snr"]


@pytest.mark.parametrize("name", ["euler", "rk4", "ab2", "ab4", "abm3", "abm4"])
def test_a_standard_gaussian_is_solved_exactly_in_one_step(name):
    density = GaussianMixtureDensity([1.0], [np.zeros(3)], [np.eye(3)])
    z = np.random.default_rng(0).standard_normal((5, 3))
    out = solve(density, z, [START, STOP], name, divergence=True)
    assert_allclose(out.z, z, atol=1e-14)
    assert_allclose(out.log_density_change, 0.0, atol=1e-13)


def test_ddim_is_its_textbook_formula(mixture, rng):
    """x_t = (alpha_t / alpha_s) x_s - sigma_t (e^h - 1) eps, h the rise of log(alpha / sigma)."""
    z, s, t = rng.standard_normal((10, 2)), 0.9, 0.6
    velocity, _ = mixture(z, s)
    noise = np.sin(s) * z - np.cos(s) * velocity
    h = np.log(np.tan(s)) - np.log(np.tan(t))
    expected = np.cos(t) / np.cos(s) * z - np.sin(t) * np.expm1(h) * noise
    assert_allclose(solve(mixture, z, [s, t], "ddim").z, expected, atol=1e-13)


def test_frozen_score_is_its_textbook_formula(mixture, rng):
    """The VP exponential integrator x_t = (alpha_t/alpha_s) x_s + (alpha_t/alpha_s - 1) score."""
    z, s, t = rng.standard_normal((10, 2)), 0.9, 0.6
    score = mixture.score(z, np.cos(s), np.sin(s))
    ratio = np.cos(t) / np.cos(s)
    assert_allclose(solve(mixture, z, [s, t], "frozen-score").z, ratio * z + (ratio - 1) * score, atol=1e-12)


@pytest.mark.parametrize("name", list(GRIDS))
def test_grids_rise_from_end_to_end(name):
    grid = GRIDS[name](17, START, STOP)
    assert grid[0] == START
    assert grid[-1] == STOP
    assert len(grid) == 18
    assert (np.diff(grid) > 0).all()


def test_the_optimal_grid_of_a_standard_gaussian_is_the_angle_grid():
    """sqrt(G Y) is constant in the angle there (Kremling et al.; theory of the W2 bound)."""
    grid = equidistributed_grid(12, START, STOP, lambda theta: np.ones_like(theta))
    assert_allclose(grid, GRIDS["angle"](12, START, STOP), atol=1e-4)


def test_unknown_stepper_names_the_choices(mixture):
    with pytest.raises(ValueError, match="'stepper' must be one of .*rk4.*Got 'dopri5'"):
        solve(mixture, np.zeros((1, 2)), [START, STOP], "dopri5")


class Counted(VelocityField):
    """A field that counts its evaluations."""

    def __init__(self, field):
        self.field, self.count = field, 0

    def __call__(self, z, theta, divergence=False):
        self.count += 1
        return self.field(z, theta, divergence)


@steppers
def test_a_step_takes_the_stated_number_of_evaluations(name, mixture):
    field = Counted(mixture)
    solve(field, np.zeros((2, 2)), log_snr_grid(10, START, STOP), name)
    assert field.count == 10 * STEPPERS[name].stages + STEPPERS[name].closing


@steppers
@pytest.mark.parametrize("divergence", [True, False])
def test_errors_are_estimated_by_the_steppers_that_say_so(name, divergence, mixture, rng):
    out = solve(mixture, rng.standard_normal((3, 2)), log_snr_grid(10, START, STOP), name, divergence)
    assert (out.error is not None) == (divergence and STEPPERS[name].estimates_error)
    assert (out.log_density_change is not None) == divergence
