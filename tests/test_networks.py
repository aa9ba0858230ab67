import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

from skdiffusion.diffusion.networks import ACTIVATIONS, FilmEnsemble, NetworkField, Passes
from skdiffusion.diffusion.networks._film import noise_features

architectures = pytest.mark.parametrize("hidden", [(12, 7), (9,), (8, 6, 5), (5, 7, 4, 6)], ids=str)
activations = pytest.mark.parametrize("activation", list(ACTIVATIONS))


def make(hidden, activation="silu", d=3, members=2, dtype=torch.float64):
    network = FilmEnsemble(d, hidden, activation, members, dtype, "cpu")
    rng = np.random.default_rng(0)
    network.flat.copy_(torch.as_tensor(0.4 * rng.standard_normal(network.flat.shape)))
    return network


@architectures
@activations
def test_divergence_is_the_trace_of_the_jacobian(hidden, activation, rng):
    network = make(hidden, activation)
    evaluate = network.evaluator()
    z = torch.as_tensor(rng.standard_normal((6, 3)))
    velocity, divergence = evaluate(z, 0.7, divergence=True)
    assert_allclose(velocity, evaluate(z, 0.7)[0], rtol=1e-12, atol=1e-14)  # by other passes
    jacobian = torch.autograd.functional.jacobian(lambda v: evaluate(v, 0.7)[0].sum(0), z)
    assert_allclose(divergence, torch.einsum("ini->n", jacobian.permute(0, 1, 2)), rtol=1e-12, atol=1e-12)


PLAIN = {"silu": F.silu, "gelu": F.gelu, "tanh": torch.tanh, "relu": torch.relu}


def plain_velocity(network, flat, z, features):
    """The formula of the module, layer by layer."""
    *hidden, (weight, offset) = network.views(flat)
    h = z
    for w, b, film in hidden:
        gain, shift = (features @ film)[:, :, None].chunk(2, -1)
        h = PLAIN[network.activation]((1 + gain) * (h @ w[:, None] + b[:, None]) + shift)
    return h @ weight[:, None] + (features @ offset)[:, :, None]


@architectures
@activations
def test_velocity_and_gradient_are_those_of_automatic_differentiation(hidden, activation, rng):
    network = make(hidden, activation)
    passes = Passes(network, 4, 5)
    features = noise_features([0.1, 0.5, 1.0, 1.4], torch.float64, "cpu")
    for _ in range(2):  # the second time with buffers in use
        z = torch.as_tensor(rng.standard_normal((2, 4, 5, 3)))
        weight = torch.as_tensor(rng.standard_normal((2, 4, 5, 3)))
        flat = network.flat.clone().requires_grad_(True)
        velocity = plain_velocity(network, flat, z, features)
        (expected,) = torch.autograd.grad((velocity * weight).sum(), flat)
        assert_allclose(passes.velocity(z, features), velocity.detach(), rtol=1e-10, atol=1e-12)
        assert_allclose(passes.gradient(weight), expected, rtol=1e-10, atol=1e-12)
        network.flat.add_(0.1)


@architectures
def test_the_evaluator_is_the_mean_of_the_members(hidden, rng):
    network = make(hidden, members=3)
    z = torch.as_tensor(rng.standard_normal((5, 3)))
    features = noise_features(0.6, torch.float64, "cpu")
    by_member = Passes(network, 1, 5).velocity(z.expand(3, 1, 5, 3), features)[:, 0]
    assert_allclose(network.evaluator()(z, 0.6)[0], by_member.mean(0), rtol=1e-12, atol=1e-13)


def test_a_fresh_network_is_zero():
    network = FilmEnsemble(4, (16, 16), "silu", 2, torch.float32, "cpu")
    network.initialize(np.random.default_rng(0), 2.0, 1.0)
    velocity, divergence = network.evaluator()(torch.ones(3, 4), 0.5, divergence=True)
    assert not velocity.any()
    assert not divergence.any()


def test_float32_samples_do_not_depend_on_their_company(rng):
    field = NetworkField(make((32, 32), d=5, dtype=torch.float32))
    z = rng.standard_normal((700, 5))
    velocity, divergence = field(z, 0.4, divergence=True)
    order = rng.permutation(700)
    shuffled = field(z[order], 0.4, divergence=True)
    alone = field(z[123:124], 0.4, divergence=True)
    tolerance = 0.0 if field.network.dtype == torch.float32 else 1e-12
    assert_allclose(shuffled[0], velocity[order], rtol=0, atol=tolerance)
    assert_allclose(shuffled[1], divergence[order], rtol=0, atol=tolerance)
    assert_allclose(alone[1], divergence[123:124], rtol=0, atol=tolerance)


def test_float32_is_close_to_float64(rng):
    network = make((32, 32), d=5)
    z = torch.as_tensor(rng.standard_normal((50, 5)))
    exact, narrow = network.evaluator()(z, 0.4, True), NetworkField(network)(z.numpy(), 0.4, True)
    for a, b in zip(exact, narrow):
        assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_noise_features_clamp_beyond_the_trained_range():
    far = noise_features([np.arctan(20.0), np.arctan(500.0)], torch.float64, "cpu")
    assert_allclose(far[0], far[1])


@pytest.mark.parametrize("d", [1, 3, 20])
def test_a_sample_has_the_same_bits_in_blocks_of_every_size(d, rng):
    network = make((32, 32), d=d, members=2, dtype=torch.float32)
    network.flat += 0.3 * torch.as_tensor(rng.standard_normal(network.flat.shape), dtype=torch.float32)
    field = NetworkField(network)
    z = rng.standard_normal((600, d))
    whole = field(z, 0.5, True)
    for count in (1, 9, 40, 200, 257, 385):
        for part, all_samples in zip(field(z[:count], 0.5, True), whole):
            np.testing.assert_array_equal(part, all_samples[:count])


def test_where_large_blocks_change_bits_smaller_ones_are_taken(monkeypatch):
    monkeypatch.setattr(
        "skdiffusion.diffusion.networks._field._sizes_of_same_bits",
        lambda field, sizes: () if sizes[-1] > 256 else sizes,
    )
    field = NetworkField(make((8, 8), dtype=torch.float32))
    assert field.network.dtype == torch.float32
    assert field._sizes == (16, 64, 256)


def test_where_bits_depend_on_the_place_the_field_is_in_double_precision(monkeypatch, rng):
    monkeypatch.setattr("skdiffusion.diffusion.networks._field._sizes_of_same_bits", lambda *args: ())
    field = NetworkField(make((8, 8), dtype=torch.float32))
    assert field.network.dtype == torch.float64
    z = rng.standard_normal((20, 3))
    assert_allclose(field(z[:3], 0.5)[0], field(z, 0.5)[0][:3], rtol=1e-13)
