"""Gradients of log-densities against automatic differentiation through the whole solver, and sample by sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skdiffusion.densities import Blend, GaussianMixtureDensity, StudentTDensity, TransformedDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, NetworkField, SwitchedNetworks
from skdiffusion.diffusion.networks._reference import GaussianReference
from skdiffusion.diffusion.ode import STEPPERS, solve, solver_table
from skdiffusion.preprocessing import Preprocessor


def ensemble(d, layers, activation, rng, n_members=2):
    network = FilmEnsemble(d, layers, activation, n_members)
    network.initialize(rng, 1.5, 1.2)
    network.flat += 0.2 * torch.as_tensor(rng.standard_normal(network.flat.shape), dtype=torch.float32)
    return network


def flow_of(field, stepper="ab4", n_steps=12):
    return ProbabilityFlow(field, 0.05, 1.55, stepper, density_steps=n_steps, tolerance=0.0)


def differentiated(flow, x):
    """The gradient by reverse differentiation through the solver."""
    z = torch.as_tensor(x).requires_grad_(True)
    thetas = flow._knots(flow.density_steps, flow.stepper)
    end = solve(flow.network_field.tensor_flow_field, z, thetas, flow.stepper, divergence=True)
    (-0.5 * end.z.square().sum() - end.log_density_change.sum()).backward()
    return z.grad.numpy()


@pytest.mark.parametrize("stepper", STEPPERS)
def test_every_stepper(stepper, rng):
    flow = flow_of(NetworkField(ensemble(3, (7, 6), "silu", rng), precision="double"), stepper)
    x = rng.standard_normal((20, 3))
    log_p, score = flow.log_prob_and_score(x)
    np.testing.assert_array_equal(log_p, flow.log_prob(x))
    np.testing.assert_allclose(score, differentiated(flow, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ["silu", "gelu", "tanh", "relu"])
@pytest.mark.parametrize("layers", [(9,), (8, 6), (5, 6, 7), (4, 4, 4, 4)], ids=len)
def test_every_depth_and_activation(layers, activation, rng):
    flow = flow_of(NetworkField(ensemble(4, layers, activation, rng, 3), precision="double"))
    x = rng.standard_normal((20, 4))
    np.testing.assert_allclose(flow.score(x), differentiated(flow, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("limit", [None, 0.7], ids=["free", "clipped"])
@pytest.mark.parametrize("relative", [None, True, False])
def test_every_reference(relative, limit, rng):
    covariance = np.corrcoef(rng.standard_normal((3, 6)) + rng.standard_normal(6))
    reference = None if relative is None else GaussianReference(covariance, relative)
    flow = flow_of(NetworkField(ensemble(3, (8, 8), "silu", rng), limit, reference, "double"))
    x = rng.standard_normal((20, 3))
    np.testing.assert_allclose(flow.score(x), differentiated(flow, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("stepper", ["abm4", "abm3", "ab4", "rk4", "2m"])
def test_networks_that_switch(stepper, rng):
    parts = [ensemble(2, (6, 5), "silu", rng) for _ in range(3)]
    flow = flow_of(NetworkField(SwitchedNetworks(parts, (0.3, 0.9)), precision="double"), stepper)
    x = rng.standard_normal((20, 2))
    np.testing.assert_allclose(flow.score(x), differentiated(flow, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [(64, 64), (32, 32, 32)], ids=len)
def test_a_gradient_does_not_depend_on_the_other_samples(layers, rng):
    """In single precision, where the trial of the architecture has chosen the blocks."""
    flow = flow_of(NetworkField(ensemble(3, layers, "silu", rng, 4)))
    assert flow.network_field.network.dtype == torch.float32
    x = rng.standard_normal((700, 3))
    whole = flow.score(x)
    np.testing.assert_allclose(whole, differentiated(flow, x), rtol=1e-3, atol=1e-4)
    for part in (slice(0, 1), slice(3, 6), slice(0, 40), slice(100, 700)):
        np.testing.assert_array_equal(flow.score(x[part]), whole[part])


def test_a_refined_sample_has_the_gradient_of_its_own_steps(rng):
    field = NetworkField(ensemble(2, (8, 8), "silu", rng), precision="double")
    flow = replace(flow_of(field, n_steps=6), tolerance=1e-3)
    x = rng.standard_normal((60, 2))
    log_p, taken = flow.refined_log_density(x)
    assert len(np.unique(taken)) > 1
    for n_steps in np.unique(taken):
        mine = taken == n_steps
        expected = differentiated(replace(flow, density_steps=int(n_steps)), x[mine])
        np.testing.assert_allclose(flow.score(x)[mine], expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(flow.log_prob_and_score(x)[0], log_p)


def test_the_weights_of_one_step_of_euler():
    table = solver_table("euler", (0.5, 0.7, 1.0), ())
    np.testing.assert_allclose(table.start, 1.0)
    np.testing.assert_allclose(table.velocities, [[0, 0], [-0.2, 0], [-0.2, -0.3]], atol=1e-12)
    np.testing.assert_allclose(table.traces, [0.2, 0.3], atol=1e-12)


def test_the_gradient_of_a_blend(rng):
    """It is that of its log-density, and a component of weight zero is never asked."""
    X = rng.standard_normal((50, 2))
    plain = TransformedDensity(Preprocessor(X, np.ones(50)), StudentTDensity(np.zeros(2), np.eye(2), 3.0))
    mixture = GaussianMixtureDensity([0.4, 0.6], [[0, 0], [1, 1]], [np.eye(2), 0.3 * np.eye(2)])
    blend = Blend({"a": plain, "none": None, "b": mixture}, {"a": 0.3, "none": 0.0, "b": 0.7})
    step = 1e-6 * np.eye(2)
    numerical = [(blend.log_prob(X + e) - blend.log_prob(X - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(blend.score(X), np.stack(numerical, 1), atol=1e-6)
