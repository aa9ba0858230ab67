"""The flow on arrays, with the noise level folded into its matrices, against the flow on tensors."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField, SwitchedNetworks
from skdiffusion.diffusion.networks import _folded as folded

ARCHITECTURES = [((32, 24), 3, 4), ((12, 16, 20), 2, 3), ((16, 16), 1, 1)]  # layers, features, members
C = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]])


def ensemble(hidden, d, members, activation="silu"):
    network = FilmEnsemble(d, hidden, activation, members)
    network.flat.copy_(torch.as_tensor(0.4 * np.random.default_rng(0).standard_normal(network.flat.shape)))
    return network


@pytest.mark.parametrize(("hidden", "d", "members"), ARCHITECTURES, ids=str)
@pytest.mark.parametrize("relative", [None, False, True])
def test_it_is_the_flow_on_tensors_in_double_precision(hidden, d, members, relative, rng):
    reference = None if relative is None or d == 1 else GaussianReference(C[:d, :d], relative)
    network = ensemble(hidden, d, members)
    flow = NetworkField(network, None, reference, precision="single").flow_field
    exact = NetworkField(network, None, reference, precision="double").array_flow_field
    assert isinstance(flow, folded.FoldedFlow)
    w, by_velocity, by_trace = rng.standard_normal((20, d)), rng.standard_normal((20, d)), rng.standard_normal(20)
    for theta in (0.05, 0.8, 1.4):
        found, expected = flow(w, theta, True), exact(w, theta, True)
        for a, b in zip(found, expected):
            assert a.dtype == np.float64
            assert_allclose(a, b, rtol=1e-4, atol=3e-6)
        assert_allclose(flow(w, theta)[0], expected[0], rtol=1e-4, atol=3e-6)
        assert_allclose(
            flow.pull_back(w, theta, by_velocity, by_trace),
            exact.pull_back(w, theta, by_velocity, by_trace),
            rtol=1e-4, atol=2e-5,
        )  # fmt: skip


@pytest.mark.parametrize(("hidden", "d", "members"), ARCHITECTURES, ids=str)
def test_gradients_have_the_same_bits_in_blocks_of_every_size(hidden, d, members, rng):
    field = NetworkField(ensemble(hidden, d, members))
    assert field.network.dtype == torch.float32
    n = field.block_sizes[-1]
    w, by_velocity, by_trace = rng.standard_normal((n, d)), rng.standard_normal((n, d)), rng.standard_normal(n)
    whole = field.flow_field.pull_back(w, 0.4, by_velocity, by_trace)
    for size in field.block_sizes:
        last = slice(n - size, n)
        part = field.flow_field.pull_back(w[last], 0.4, by_velocity[last], by_trace[last])
        assert_array_equal(part, whole[last])


def test_only_the_newest_levels_are_kept(monkeypatch, rng):
    network = ensemble((8, 8), 3, 2)
    of_a_level = 16 * network.evaluator().layers[0][0].numel()
    monkeypatch.setattr(folded, "MAX_BYTES", 2 * of_a_level)
    flow, w = NetworkField(network, precision="single").flow_field, rng.standard_normal((4, 3))
    first = [flow(w, theta, True) for theta in (0.1, 0.5, 0.9)]
    assert list(flow._levels) == [0.5, 0.9]
    again = [flow(w, theta, True) for theta in (0.1, 0.5, 0.9)]
    for before, after in zip(first, again):
        assert_array_equal(np.column_stack(before), np.column_stack(after))


def test_wide_networks_stay_on_tensors():
    """The matrices of the levels of a call would not be kept, and to fold them again costs more than it saves."""
    assert isinstance(NetworkField(ensemble((96, 96), 8, 4), precision="single").flow_field, folded.FoldedFlow)
    assert not isinstance(NetworkField(ensemble((256, 256), 8, 8), precision="single").flow_field, folded.FoldedFlow)


@pytest.mark.parametrize(
    "given",
    [{"precision": "double"}, {"noise_limit": 3.0}, {"activation": "gelu"}, {"hidden": (8,)}],
    ids=lambda given: next(iter(given)),
)
def test_what_cannot_be_folded_stays_on_tensors(given):
    hidden, activation = given.pop("hidden", (8, 8)), given.pop("activation", "silu")
    field = NetworkField(ensemble(hidden, 3, 2, activation), **{"precision": "single", **given})
    assert not isinstance(field.flow_field, folded.FoldedFlow)


def test_every_interval_of_switched_networks_has_its_own(rng):
    parts = [ensemble((8, 8), 3, 2), ensemble((6, 6), 3, 2)]
    field, w = NetworkField(SwitchedNetworks(parts, [0.5]), precision="single"), rng.standard_normal((4, 3))
    for theta, part in ((0.2, parts[0]), (0.5, parts[1]), (1.0, parts[1])):
        expected = NetworkField(part, precision="single").flow_field(w, theta)[0]
        assert_array_equal(field.flow_field(w, theta)[0], expected)
        assert_array_equal(field.at(theta).flow_field(w, theta)[0], expected)


@pytest.mark.filterwarnings("error")
def test_a_far_sample_overflows_in_silence_and_leaves_the_others_alone(rng):
    flow = ProbabilityFlow(NetworkField(ensemble((8, 8), 2, 2), precision="single"), 0.01, 1.52, density_steps=4)
    far = np.array([[1e39, 0.0], [0.0, 1.0]])
    log_prob, score = flow.log_prob_and_score(far)
    assert_array_equal(np.isnan(log_prob), [True, False])
    assert_array_equal(log_prob[1], flow.log_prob(far[1:])[0])
    assert_array_equal(score[1], flow.score(far[1:])[0])
    assert np.isnan(flow.to_latent(far)[0]).all()
