"""The Wasserstein bound: never below what is measured, sharp for Gaussians, and refused where it does not exist."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.ode import solve
from skdiffusion.theory import wasserstein as w2
from tests.theory.oracles import LineMixture, gaussian_distance, grid, line_distance

GRIDS = st.sampled_from(["angle", "log", "power"])
INTEGRATORS = st.sampled_from(w2.INTEGRATORS)


@pytest.mark.parametrize(
    ("weights", "means", "variance", "integrator", "expected"),
    [
        ([1.0], [0.0], 1.0, "ddim", 0.03620), ([1.0], [0.0], 1.0, "vp", 0.07082),
        ([0.5, 0.5], [-1.0, 1.0], 0.5, "ddim", 0.24262), ([0.5, 0.5], [-1.0, 1.0], 0.5, "vp", 0.29456),
    ],
)  # fmt: skip
def test_known_values(weights, means, variance, integrator, expected):
    """Independent figures for 32 steps from 40 to 0.01; the sixth moment of the mixture is exact there."""
    density = w2.mixture_regularity(weights, np.reshape(means, (-1, 1)), [[variance]])
    if len(weights) > 1:
        z = np.random.default_rng(0).standard_normal(2_000_000)
        exact = (np.mean((1.0 + np.sqrt(variance) * z) ** 6)) ** (1 / 6)
        assert density.sixth_moment >= exact
        density = w2.Regularity(density.a, density.M, density.L0, 1, exact)
    assert w2.sampling_bound(density, grid("angle", 32), integrator).total == pytest.approx(expected, rel=2e-3)


@settings(max_examples=40)
@given(
    variances=st.lists(st.floats(0.05, 9.0), min_size=1, max_size=4), n_steps=st.integers(4, 96),
    kind=GRIDS, integrator=INTEGRATORS, last=st.floats(0.005, 0.3),
)  # fmt: skip
def test_never_below_the_distance_for_gaussians(variances, n_steps, kind, integrator, last):
    levels = grid(kind, n_steps, last=last)
    bound = w2.sampling_bound(w2.gaussian_regularity(np.diag(variances)), levels, integrator)
    assert gaussian_distance(variances, levels, integrator) <= bound.total * (1 + 1e-9) + 1e-12


@settings(max_examples=40, deadline=None)
@given(
    share=st.floats(0.05, 0.95), gap=st.floats(0.2, 3.0), variance=st.floats(0.3, 2.0), n_steps=st.integers(4, 64),
    kind=GRIDS, integrator=INTEGRATORS, error=st.sampled_from([0.0, 0.05, 0.3]),
)  # fmt: skip
def test_never_below_the_distance_for_mixtures(share, gap, variance, n_steps, kind, integrator, error):
    """With an injected score error as well: a wave of known size and slope."""
    density = LineMixture([share, 1 - share], [-gap, gap], variance)
    levels = grid(kind, n_steps, first=20.0)
    sizes = error / np.sqrt(1 + levels[:-1] ** 2)

    def score(y, tau):
        return density.score(y, tau) + error / np.sqrt(1 + tau**2) * np.sin(y)

    bound = w2.sampling_bound(
        w2.mixture_regularity([share, 1 - share], [[-gap], [gap]], [[variance]]), levels, integrator,
        w2.SamplerErrors(score=sizes, score_lipschitz=sizes),
    )  # fmt: skip
    assert line_distance(density, levels, integrator, score) <= bound.total * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("n_steps", [8, 32, 128])
@pytest.mark.parametrize("kind", ["angle", "log"])
def test_sharp_for_gaussians(variance, n_steps, kind):
    """E3b: the ratio of bound and distance of DDIM is in [1, 1.01]."""
    levels = grid(kind, n_steps)
    bound = w2.sampling_bound(w2.gaussian_regularity([[variance]]), levels).total
    assert 1 - 1e-9 <= bound / gaussian_distance([variance], levels, "ddim") <= 1.01


def test_the_start_is_carried_through():
    density, levels = w2.gaussian_regularity(np.eye(2)), grid("angle", 40)
    with_start = w2.sampling_bound(density, levels, errors=w2.SamplerErrors(start=0.5))
    without = w2.sampling_bound(density, levels)
    assert with_start.start == pytest.approx(0.5 * np.prod(
        1 - w2.step_coefficient("ddim", levels[:-1], levels[1:]) / (1 + levels[:-1] ** 2)
    ))  # fmt: skip
    assert with_start.discretization == without.discretization
    assert without.start == without.score == 0
    assert with_start.total == with_start.start + with_start.discretization


def test_the_last_denoising_step_is_covered():
    levels = np.append(grid("angle", 31, 40.0, 0.1), 0.0)
    bound = w2.sampling_bound(w2.gaussian_regularity([[1.0]]), levels).total
    assert bound == pytest.approx(0.03696, rel=0.05)
    assert gaussian_distance([1.0], levels, "ddim") <= bound * (1 + 1e-9)


@given(gap=st.floats(0.1, 2.0), variance=st.floats(0.2, 2.0), share=st.floats(0.1, 0.9), tau=st.floats(0.0, 3.0))
def test_propagation_of_the_constants(gap, variance, share, tau):
    """The curvature of the noised distribution lies between the two bounds at every level."""
    density = LineMixture([share, 1 - share], [-gap, gap], variance)
    constants = w2.mixture_regularity([share, 1 - share], [[-gap], [gap]], [[variance]])
    y = np.linspace(-6, 6, 601)
    slope = np.gradient(density.score(y, tau), y)[1:-1]
    assert slope.max() <= -constants.concavity(tau) + 1e-3
    assert slope.min() >= -constants.smoothness(tau) - 1e-3


def test_frozen_coefficients_are_those_of_the_steppers():
    """The package's own DDIM and frozen-score steppers do these steps."""
    density = LineMixture([0.3, 0.7], [-1.0, 0.8], 0.36)
    start, stop = 0.9, 0.4
    y = np.linspace(-2, 2, 7)

    class Field(VelocityField):
        def __call__(self, z, theta, divergence=False):
            score = density.score(z[:, 0] / np.cos(theta), np.tan(theta))[:, None]
            # Velocity of z = x cos + e sin from the score in y.
            tau = np.tan(theta)
            denoised = z / np.cos(theta) + tau**2 * score
            return (denoised - z * np.cos(theta)) / np.sin(theta), None

    thetas = [np.arctan(start), np.arctan(stop)]
    for stepper, integrator in (("ddim", "ddim"), ("frozen-score", "vp")):
        out = solve(Field(), y[:, None] * np.cos(thetas[0]), thetas, stepper).z[:, 0] / np.cos(thetas[1])
        expected = y + w2.step_coefficient(integrator, start, stop) * density.score(y, start)
        np.testing.assert_allclose(out, expected, rtol=1e-10)


def test_optimal_levels():
    """For a standard Gaussian they are uniform in the angle, and N(eps) = pi**2 / (8 eps)."""
    levels, total = w2.optimal_levels(w2.gaussian_regularity([[1.0]]), 32, 1e4, 1e-4)
    np.testing.assert_allclose(np.arctan(levels), np.linspace(np.arctan(1e4), np.arctan(1e-4), 33), atol=2e-3)
    assert total**2 / 2 == pytest.approx(np.pi**2 / 8, rel=1e-3)
    mixture = w2.mixture_regularity([0.3, 0.7], [[-1.2], [0.8]], [[0.36]])
    best = w2.sampling_bound(mixture, w2.optimal_levels(mixture, 64, 40.0, 0.01)[0]).total
    assert best <= min(w2.sampling_bound(mixture, grid(kind, 64)).total for kind in ("angle", "log", "power")) * 1.01


@pytest.mark.parametrize(("variance", "predicted"), [(0.25, 12), (1.0, 24), (4.0, 46)])
def test_suggested_steps_are_needed_and_enough(variance, predicted):
    density = w2.gaussian_regularity([[variance]])
    advice = w2.suggest_steps(0.05, density, first=40.0)
    assert abs(advice.n_steps - predicted) <= 2
    assert gaussian_distance([variance], advice.levels, "ddim") <= 0.05
    fewer = w2.optimal_levels(density, advice.n_steps - 1, 40.0, 0.01)[0]
    assert w2.sampling_bound(density, fewer).total > 0.05 >= advice.bound.total


def test_advice_without_a_density():
    advice = w2.suggest_steps(0.05)
    assert advice.n_steps == 25
    assert advice.bound is None
    assert gaussian_distance([1.0], advice.levels, "ddim") < 0.06


def test_refusals():
    covariances = np.array([np.diag([1.0, 4.0]), np.diag([4.0, 1.0])])
    with pytest.raises(ValueError, match="different covariances"):
        w2.mixture_regularity([0.5, 0.5], np.zeros((2, 2)), covariances)
    with pytest.raises(ValueError, match="positive definite"):
        w2.gaussian_regularity([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="fall from step to step"):
        w2.sampling_bound(w2.gaussian_regularity([[1.0]]), [0.1, 1.0])
    with pytest.raises(ValueError, match="integrator"):
        w2.step_coefficient("rk4", 1.0, 0.5)
    with pytest.raises(ValueError, match="doubling"):
        w2.suggest_steps(0.01, w2.mixture_regularity([0.5, 0.5], [[-2.0], [2.0]], [[0.04]]), max_steps=500)
    with pytest.raises(ValueError, match="'error'"):
        w2.suggest_steps(0.0)
    with pytest.raises(ValueError, match="a > 0"):
        w2.Regularity(0.0, 0.0, 1.0, 1, 1.0)
    with pytest.raises(ValueError, match="'max_steps'"):
        w2.suggest_steps(5e-324)
    with pytest.raises(ValueError, match="beyond round-off"):
        w2.mixture_regularity([1.0], [[0.0, 1.0]], [[2.6e-281, -1.6e-138], [-1.6e-138, 1.0e5]])
    with pytest.raises(ValueError, match="rescale"):
        w2.mixture_regularity([0.5, 0.5], [[-1e200], [1e200]], [[1.0]])


def test_suggested_steps_are_the_fewest_from_one_up():
    density = w2.gaussian_regularity([[1.0]])
    one = w2.sampling_bound(density, w2.optimal_levels(density, 1, 3.0, 0.5)[0]).total
    assert w2.suggest_steps(1.01 * one, density, first=3.0, last=0.5).n_steps == 1
    assert w2.suggest_steps(0.99 * one, density, first=3.0, last=0.5).n_steps == 2
    needed = w2.suggest_steps(0.02, density, first=3.0, last=0.5).n_steps
    assert w2.suggest_steps(0.02, density, first=3.0, last=0.5, max_steps=needed).n_steps == needed
    with pytest.raises(ValueError, match=f"No {needed - 1} steps"):
        w2.suggest_steps(0.02, density, first=3.0, last=0.5, max_steps=needed - 1)


def test_why_anisotropic_mixtures_are_refused():
    """The curvature of log p grows without bound: there is no Lipschitz constant to return."""
    precisions = [np.diag([1.0, 0.25]), np.diag([0.25, 1.0])]

    def log_density(x):
        return np.logaddexp(*(-0.5 * np.einsum("...i,ij,...j", x, P, x) for P in precisions))

    largest = []
    for r in (1.0, 3.0, 10.0, 30.0):
        step, x = 1e-3, np.array([r, r])
        hessian = np.empty((2, 2))
        for i in range(2):
            for j in range(2):
                e, f = step * np.eye(2)[i], step * np.eye(2)[j]
                signs = (
                    log_density(x + e + f) - log_density(x + e - f) - log_density(x - e + f) + log_density(x - e - f)
                )
                hessian[i, j] = signs / (4 * step**2)
        largest.append(np.linalg.eigvalsh(hessian)[-1])
    np.testing.assert_allclose(largest, [-0.34, 1.9, 27.5, 252], rtol=0.05)


def test_bounded_densities_plus_noise():
    constants = w2.bounded_regularity(2.0, [[0.5]])
    mixture = w2.mixture_regularity([0.5, 0.5], [[-1.0], [1.0]], [[0.5]])
    assert constants.M == pytest.approx(mixture.M)
    assert constants.sixth_moment >= mixture.sixth_moment
