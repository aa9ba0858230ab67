"""Networks of the velocity: divergence, gradients, and bits that do not depend on the batch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

from skdiffusion._utils.protocols import VelocityField
from skdiffusion.diffusion.networks import (
    ACTIVATIONS,
    Activation,
    FilmEnsemble,
    GaussianReference,
    NetworkField,
    Passes,
    SwitchedNetworks,
    noise_features,
)
from skdiffusion.diffusion.networks._bits import sizes_of_same_bits

architectures = pytest.mark.parametrize("hidden", [(12, 7), (9,), (8, 6, 5), (5, 7, 4, 6)], ids=str)
activations = pytest.mark.parametrize("activation", list(ACTIVATIONS))


def make(hidden, activation="silu", d=3, members=2, dtype=torch.float64):
    network = FilmEnsemble(d, hidden, activation, members).to(dtype)
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
    network = FilmEnsemble(4, (16, 16), "silu", 2)
    network.initialize(np.random.default_rng(0), 2.0, 1.0)
    velocity, divergence = network.evaluator()(torch.ones(3, 4), 0.5, divergence=True)
    assert not velocity.any()
    assert not divergence.any()


def test_float32_samples_do_not_depend_on_the_other_samples(rng):
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


class Unsteady(VelocityField):
    """Bits that change in blocks of more than `limit` samples."""

    def __init__(self, limit):
        self.limit = limit

    def __call__(self, z, theta, divergence=False):
        velocity = z * (1.0 if len(z) > self.limit else 1.0 + 1e-15)
        return velocity, velocity.sum(1) if divergence else None


class Placed(VelocityField):
    """Bits that depend on the place of a sample."""

    def __call__(self, z, theta, divergence=False):
        return z + 1e-14 * torch.arange(len(z))[:, None], None


SIZES = (16, 64, 256, 384)


@pytest.mark.parametrize(
    ("field", "sizes", "expected"),
    [(Unsteady(0), SIZES, SIZES), (Unsteady(32), SIZES, (64, 256, 384)), (Unsteady(256), SIZES, (384,)),
     (Unsteady(256), SIZES[:3], SIZES[:3]), (Placed(), SIZES, ())],
)  # fmt: skip
def test_block_sizes_are_those_that_keep_bits(field, sizes, expected, rng):
    assert sizes_of_same_bits(field, torch.as_tensor(rng.standard_normal((sizes[-1], 3))), sizes) == expected


def unsteady_activation(from_size):
    """A hyperbolic tangent that depends on the place of a sample in blocks of `from_size` or more."""

    def value(p, out=None, kept=None):
        return torch.tanh(p) + 1e-6 * (p.shape[1] >= from_size) * torch.arange(p.shape[1])[:, None], kept

    return Activation(value, lambda p, value, kept, out=None: 1 - value * value)


@pytest.mark.parametrize(
    ("from_size", "dtype", "largest"),
    [(1000, torch.float32, 256), (200, torch.float32, 64), (1, torch.float64, 256)],
    ids=["steady", "in large blocks", "everywhere"],
)
def test_single_precision_is_for_blocks_that_keep_bits(from_size, dtype, largest, monkeypatch, rng):
    monkeypatch.setitem(ACTIVATIONS, "unsteady", unsteady_activation(from_size))
    field = NetworkField(make((8, 8), "unsteady", dtype=torch.float32))
    assert field.network.dtype == dtype
    assert [len(block) for _, block in field.blocks(rng.standard_normal((2 * largest, 3)))] == [largest, largest]


def test_switched_networks_need_blocks_that_suit_all_of_them(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "unsteady", unsteady_activation(200))
    parts = [make((8, 8), dtype=torch.float32), make((8, 8), "unsteady", dtype=torch.float32)]
    for order in (parts, parts[::-1]):
        field = NetworkField(SwitchedNetworks(order, [0.5]))
        assert next(len(block) for _, block in field.blocks(np.zeros((1000, 3)))) == 64


def test_bits_are_proved_once_for_an_architecture(monkeypatch):
    """Not for every member, every set of weights or every copy; but for other widths, members and references."""
    calls = []

    def value(p, out=None, kept=None):
        calls.append(len(p))
        return torch.tanh(p, out=out), kept

    monkeypatch.setitem(ACTIVATIONS, "noted", Activation(value, lambda p, value, kept, out=None: 1 - value * value))

    def tried(network, *given):
        calls.clear()
        NetworkField(network, *given)
        return bool(calls)

    network = make((8, 8), "noted", members=3, dtype=torch.float32)
    other = network.with_flat(torch.zeros_like(network.flat))
    assert [tried(n) for n in (network, other, network.member(0), network.member(2))] == [True, False, True, False]
    near, far = (GaussianReference(np.eye(3) + c * (1 - np.eye(3)), False) for c in (0.1, 0.9))
    assert [tried(network, None, reference) for reference in (near, far)] == [True, False]
    assert tried(network, None, GaussianReference(np.eye(3), True))
    assert tried(make((8, 9), "noted", members=3, dtype=torch.float32))


def test_in_double_precision_samples_do_not_depend_on_the_other_samples(rng):
    field = NetworkField(make((8, 8), dtype=torch.float32), precision="double")
    assert field.network.dtype == torch.float64
    z = rng.standard_normal((20, 3))
    assert_allclose(field(z[:3], 0.5)[0], field(z, 0.5)[0][:3], rtol=1e-13)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="'activation' must be one of .*silu.*Got 'sin'"):
        FilmEnsemble(2, (8, 8), "sin")
    with pytest.raises(ValueError, match="'precision' must be one of .*Got 'half'"):
        NetworkField(FilmEnsemble(2, (8, 8)), precision="half")
