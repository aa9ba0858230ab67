"""One network for all splits of the features: the exact Gaussian at first, normalized, and trained in the one loop."""

import itertools
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import SplitDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import NUMBER, Split, SplitField, SplitGaussians, SplitsField, split_network
from skdiffusion.diffusion.networks._split_kernels import Runs
from skdiffusion.diffusion.options import NetworkOptions
from skdiffusion.diffusion.split import SplitFlow
from skdiffusion.diffusion.split_fitting import all_splits_network, split_plan
from skdiffusion.diffusion.training import SplitPlan, TrainingPlan, TrainingSets, random_splits, train_splits
from skdiffusion.diffusion.training._split_batches import SplitBatches, SplitSpace, SplitTensors
from skdiffusion.preprocessing import BoundaryRegion, Preprocessor

THETA = float(np.arctan(0.01)), float(np.arctan(20.0))


def random_covariance(rng, n):
    root = rng.standard_normal((n, n))
    return root @ root.T + 0.1 * np.eye(n)


def network(n_features, n_targets, rng, trained=False, width=16):
    """Networks that are zero, or have random last layers as if they were trained."""
    net = split_network(n_features, n_targets, (width, width), "silu", 2)
    net.initialize(rng, 1.0, 1.2)
    if trained:
        weight, film = net.views(net.flat)[-1]
        weight.copy_(torch.as_tensor(0.3 * rng.standard_normal(tuple(weight.shape))))
        film.copy_(torch.as_tensor(0.1 * rng.standard_normal(tuple(film.shape))))
    return net


def flow_of(net, covariance, n_steps=32):
    flow = ProbabilityFlow(SplitField(net, covariance), *THETA, density_steps=n_steps, sample_steps=n_steps)
    return SplitFlow(flow)


def all_splits(n_features, n_targets):
    """All splits with a target."""
    for roles in itertools.product(range(3), repeat=n_features):
        targets, given = (np.flatnonzero(np.array(roles) == role) for role in (1, 2))
        if len(targets) and targets.max() < n_targets:
            yield Split.of(targets, given)


@pytest.mark.parametrize(("n_features", "n_targets"), [(3, 3), (4, 2)])
def test_a_zero_network_is_the_gaussian_of_every_split(n_features, n_targets):
    rng = np.random.default_rng(n_features)
    C = random_covariance(rng, n_features)
    flow = flow_of(network(n_features, n_targets, rng), C)
    x = 2 * rng.standard_normal((5, n_features))
    for split in all_splits(n_features, n_targets):
        u, g = (np.array(part, dtype=int) for part in split)
        regression = np.linalg.solve(C[np.ix_(g, g)], C[np.ix_(g, u)])
        mean, covariance = x[:, g] @ regression, C[np.ix_(u, u)] - C[np.ix_(u, g)] @ regression
        expected = [multivariate_normal.logpdf(y, m, covariance) for y, m in zip(x[:, u], mean)]
        assert_allclose(flow.conditional_log_prob(x, split), expected, atol=1e-8)
        # Noise becomes the mean and the root of the covariance.
        still = flow.draw(x, split, np.zeros((5, n_targets)))
        assert_allclose(still[:, u], mean, atol=1e-8)
        moved = np.zeros((5, n_targets))
        moved[:, u] = normal = rng.standard_normal((5, len(u)))
        values, axes = np.linalg.eigh(covariance)
        assert_allclose(flow.draw(x, split, moved)[:, u], mean + normal @ (axes * np.sqrt(values)) @ axes.T, atol=1e-8)


def test_features_that_are_absent_are_not_read():
    rng = np.random.default_rng(0)
    flow = flow_of(network(4, 4, rng, trained=True), random_covariance(rng, 4))
    x, split = rng.standard_normal((3, 4)), Split((0, 2), (3,))
    other = x.copy()
    other[:, 1] = 100.0
    assert_array_equal(flow.conditional_log_prob(x, split), flow.conditional_log_prob(other, split))
    assert_array_equal(flow.draw(x, split, x), flow.draw(other, split, x))


@pytest.mark.parametrize("split", [Split((0, 2), (1,)), Split((1,), (0, 2, 3)), Split((0, 1, 2))])
def test_the_divergence_is_that_of_the_targets(split):
    rng = np.random.default_rng(1)
    net = network(4, 3, rng, trained=True).to(torch.float64)
    targets, given = split.masks(4, 3)
    gaussians = SplitGaussians.of(random_covariance(rng, 4), targets[None], given[None])
    field = SplitsField(net, (1,), gaussians)
    state = torch.as_tensor(rng.standard_normal((5, 8)))
    state[:, :3] *= torch.as_tensor(targets)
    state[:, -1] = 0.0
    for theta in (0.05, 0.7):
        velocity, trace = field(state, theta, True)
        jacobian = torch.stack(
            [torch.autograd.functional.jacobian(lambda s, t=theta: field(s[None], t)[0][0], s) for s in state]
        )
        assert_allclose(trace, jacobian.diagonal(dim1=1, dim2=2).sum(1), atol=1e-12)
        assert velocity[:, :3].abs().max() > 0.01
        assert (velocity[:, 3:] == 0).all()
        turned = velocity[:, :3].numpy() @ gaussians.axes[0].T
        assert_allclose(turned[:, ~targets], 0, atol=1e-14)


def test_conditionals_of_any_network_integrate_to_one_and_are_what_is_drawn():
    rng = np.random.default_rng(2)
    flow = flow_of(network(3, 3, rng, trained=True), random_covariance(rng, 3), 64)
    split, n = Split((1,), (0, 2)), 4001
    x = np.tile(rng.standard_normal(3), (n, 1))
    values = x[:, 1] = np.linspace(-15, 15, n)
    density = np.exp(flow.conditional_log_prob(x, split))
    step = values[1] - values[0]
    assert density.sum() * step == pytest.approx(1, abs=1e-3)
    gaussian = np.exp(flow_of(network(3, 3, rng), flow.field.covariance).conditional_log_prob(x, split))
    assert np.abs(density - gaussian).max() > 0.02 * gaussian.max()
    drawn = np.sort(flow.draw(x[:2000], split, rng.standard_normal((2000, 3)))[:, 1])
    levels = np.interp(drawn, values, np.cumsum(density) * step)
    assert np.abs(levels - (np.arange(2000) + 0.5) / 2000).max() < 1.95 / np.sqrt(2000)


def test_a_sample_has_the_same_bits_alone():
    rng = np.random.default_rng(3)
    flow = flow_of(network(5, 5, rng, trained=True, width=32), random_covariance(rng, 5))
    x, normal = rng.standard_normal((500, 5)), rng.standard_normal((500, 5))
    split = Split((0, 3), (1, 4))
    together, drawn = flow.conditional_log_prob(x, split), flow.draw(x, split, normal)
    for i in (0, 255, 499):
        one = slice(i, i + 1)
        assert_array_equal(flow.conditional_log_prob(x[one], split), together[one])
        assert_array_equal(flow.draw(x[one], split, normal[one]), drawn[one])


def test_samples_of_many_splits_go_together():
    """Each as if it were alone, to the bit, also where solutions are refined."""
    rng = np.random.default_rng(11)
    coarse = flow_of(network(5, 4, rng, trained=True, width=32), random_covariance(rng, 5), 8)
    flow = SplitFlow(replace(coarse.flow, tolerance=1e-4))
    splits = list(all_splits(5, 4))
    assert len(splits) > 128
    x = 2 * rng.standard_normal((300, 5))
    which = np.concatenate([np.arange(len(splits)), rng.integers(4, size=300 - len(splits))])
    rng.shuffle(which)
    together = flow.conditional_log_probs(x, splits, which)
    for k in range(len(splits)):
        assert_array_equal(flow.conditional_log_prob(x[which == k], splits[k]), together[which == k])
    assert not np.array_equal(coarse.conditional_log_probs(x, splits, which), together)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_of_a_block_has_the_product_of_its_matrix(seed):
    rng = np.random.default_rng(seed)
    which, rows = rng.choice([-1, 3, 4, 5, 7, 30], 61), torch.as_tensor(rng.standard_normal((2, 61, 3)))
    matrices = torch.as_tensor(rng.standard_normal((31, 2, 3, 3)))
    runs = Runs.of(which, (4, 8, 16), 2)
    assert {part.stop - part.start for part, _ in runs.whole} <= {16, 32}  # of both members
    expected = torch.einsum("mni,nmij->mnj", rows, matrices[torch.as_tensor(which)])
    expected[:, torch.as_tensor(which == -1)] = 0.0
    assert_allclose(runs.products(rows, matrices), expected, atol=1e-12)


@pytest.mark.parametrize("which", [[], [-1, -1]])
def test_rows_without_a_matrix_have_none(which):
    runs = Runs.of(np.array(which, dtype=int), (4, 16), 2)
    assert (runs.products(torch.ones(2, len(which), 3), torch.ones(1, 2, 3, 3)) == 0).all()


def test_targets_beyond_one_part_count_too():
    """The divergence of eleven targets, which three groups of matrices make up, is that of the Jacobian."""
    rng = np.random.default_rng(12)
    net = network(11, 11, rng, trained=True).to(torch.float64)
    targets = np.stack([np.arange(11) % 3 > 0, np.arange(11) < 4, np.ones(11, dtype=bool)])
    gaussians = SplitGaussians.of(random_covariance(rng, 11), targets, ~targets)
    field = SplitsField(net, (1,), gaussians)
    state = torch.as_tensor(rng.standard_normal((6, 23)))
    state[:, -1] = NUMBER * torch.tensor([0, 1, 2, 2, 0, 1]).double()
    _, trace = field(state, 0.4, True)
    for s, found in zip(state, trace):
        jacobian = torch.autograd.functional.jacobian(lambda x: field(x[None], 0.4)[0][0], s)
        assert_allclose(found, jacobian.diagonal().sum(), atol=1e-12)


def test_random_splits_have_the_shares_of_the_plan():
    plan = SplitPlan(n_steps=1, joint_share=0.3, marginal_share=0.2, absent_share=0.4)
    targets, given = random_splits(np.random.default_rng(0), 20_000, (7, 5), plan)
    given, given_only = given[:, :5], given[:, 5:]
    assert not (targets & given).any()
    joint = targets.all(1)
    marginal = ~given.any(1) & ~joint
    complete = (targets | given).all(1) & ~joint
    assert abs(joint.mean() - 0.3) < 0.02
    # A single feature that is left can only be given.
    assert abs(marginal.mean() - 0.2) < 0.02
    assert abs(complete.mean() - (0.1 + 0.4 / 4)) < 0.02
    assert abs(given_only.all(1).mean() - (0.6 + 0.4 / 4)) < 0.02
    assert (targets.sum(1) >= 1).all()
    sizes = np.bincount(targets[marginal].sum(1), minlength=5)[1:]
    assert sizes.min() > 0.8 * sizes.max()


def test_the_noise_of_a_mirrored_batch_cancels():
    rng = np.random.default_rng(0)
    samples = torch.as_tensor(rng.standard_normal((50, 3)))
    sets, plan = TrainingSets(samples, np.ones(50), [np.arange(50)] * 2, []), SplitPlan(n_steps=4, batch_size=48)
    for mirrored in (True, False):
        batches = SplitBatches(sets, SplitSpace(np.eye(3), 3), replace(plan, n_levels=4, mirrored=mirrored), rng)
        batches.draw(2)
        (seen, target, weight), cos, sin = batches[1][1], batches._cos[1][:, None, None], batches._sin[1][:, None, None]
        assert seen.shape == (2, 4, 12, 12)
        # Of uncorrelated features: of residuals r, noised to r cos + e sin, the targets are r sin - e cos.
        residual, noise = (
            part[..., :6, :] + part[..., 6:, :]
            for part in (seen[..., :3] * cos + target * sin, seen[..., :3] * sin - target * cos)
        )
        assert torch.equal(noise.abs().max() < 1e-12, torch.tensor(mirrored))
        if mirrored:
            assert_allclose(residual, 2 * (seen[..., :3] * cos + target * sin)[..., :6, :], atol=1e-12)
            assert torch.equal(seen[..., :6, 3:], seen[..., 6:, 3:])
            assert torch.equal(weight[:6], weight[6:])


def test_targets_are_departures_from_the_gaussian_of_the_split():
    """Their mean given everything that the network sees vanishes for Gaussian samples."""
    rng = np.random.default_rng(4)
    C, n = random_covariance(rng, 3), 200_000
    targets, given = np.array([[True, False, True]]), np.array([[False, True, False]])
    tensors = SplitTensors(SplitGaussians.of(C, targets, given), torch.zeros(1, dtype=torch.float64))
    x = torch.as_tensor(rng.multivariate_normal(np.zeros(3), C, n))[None, None]
    e, theta = torch.as_tensor(rng.standard_normal((1, 1, n, 3))), torch.tensor([0.6], dtype=torch.float64)
    noised = tensors.noised(x, e, theta.cos(), theta.sin(), torch.zeros(n, dtype=torch.long))
    seen, target = noised.seen[0, 0], noised.target[0, 0]
    assert (target[:, 1] == 0).all()
    assert (seen[:, 6:] == torch.tensor([1.0, 0, 1, 0, 1, 0])).all()
    assert_allclose(seen[:, 4], x[0, 0, :, 1])
    for moment in (seen[:, [0, 2, 4]], torch.ones(n, 1, dtype=torch.float64)):
        products = (target[:, :, None] * moment[:, None]).numpy()
        assert (np.abs(products.mean(0)) <= 5 * products.std(0) / np.sqrt(n)).all()
    assert_allclose(noised.weight[0], [np.sqrt(1.5), 0, np.sqrt(1.5)])


def bent(rng, n):
    x = rng.standard_normal(n)
    return np.column_stack([x, x**2 / np.sqrt(2) - np.sqrt(0.5) + 0.3 * rng.standard_normal(n)])


def trained(X, seed, n_steps=300):
    rng = np.random.default_rng(seed)
    C, n = np.cov(X.T), len(X)
    net = split_network(2, 2, (32, 32), "silu", 2)
    net.initialize(rng, 2.0, 1.2)
    folds = np.array_split(rng.permutation(n), 2)
    sets = TrainingSets(torch.as_tensor(X, dtype=torch.float32), np.ones(n), folds, folds[::-1])
    plan = SplitPlan(n_steps=n_steps, patience=n_steps, batch_size=256, learning_rate=5e-3)
    result = train_splits(net, sets, C, plan, rng)
    return flow_of(result.network, C), result


def test_training_learns_what_a_gaussian_lacks_and_repeats():
    X = bent(np.random.default_rng(5), 600)
    flow, result = trained(X, 0)
    assert result.validation_curve[-1][1] < 0.9 * result.validation_curve[0][1]
    test = bent(np.random.default_rng(6), 400)
    gaussian = flow_of(network(2, 2, np.random.default_rng(0)), flow.field.covariance)
    for split in (Split((1,), (0,)), Split((0,), (1,)), Split((0, 1)), Split((1,))):
        gain = flow.conditional_log_prob(test, split) - gaussian.conditional_log_prob(test, split)
        assert gain.mean() > 3 * gain.std() / 20, split
    again, _ = trained(X, 0)
    assert torch.equal(flow.field.network.flat, again.field.network.flat)
    assert not torch.equal(flow.field.network.flat, trained(X, 1, 100)[0].field.network.flat)


@pytest.mark.parametrize(
    ("sizes", "n_members", "n_samples", "expected"),
    [
        ((96, 96), 4, 1000, ((64, 64), 4)),
        ((96, 96), 4, 2000, ((96, 96), 4)),
        ((64, 64), 8, 500, ((64, 64), 4)),
        ((16,), 2, 500, ((16, 16), 2)),
        ((128, 96), 6, 500, ((128, 128), 6)),  # what a user asked for
    ],
)
def test_networks_of_all_splits_are_smaller_ensembles_by_default(sizes, n_members, n_samples, expected):
    found = all_splits_network(NetworkOptions(sizes, n_members), (n_samples, 6))
    assert (found.hidden_layer_sizes, found.n_members) == expected


@pytest.mark.parametrize(("n_samples", "expected"), [(100, 800), (320, 1250), (512, 1600), (5000, 1600)])
def test_networks_of_all_splits_take_more_steps_but_for_a_thousand_passes(n_samples, expected):
    plan = split_plan(TrainingPlan(n_steps=800, batch_size=256, patience=200), n_samples)
    assert plan.n_steps == expected
    assert plan.patience == round(expected / 4)
    assert (plan.mirrored, plan.n_levels, plan.decay_fraction) == (True, 16, 0.7)
    assert plan.trial_fraction * expected == pytest.approx(200)  # as many steps as of one density


def test_given_only_features_are_learned_from():
    """A category that is given, never a target, shifts the one target."""
    rng = np.random.default_rng(7)
    c = np.where(rng.random(600) < 0.5, -1.0, 1.0)
    X = np.column_stack([np.abs(c + 1) + 0.2 * rng.standard_normal(600) * (2 + c), c])
    X = (X - X.mean(0)) / X.std(0)
    C = 0.999 * np.cov(X.T) + 0.001 * np.eye(2)
    net = split_network(2, 1, (32, 32), "silu", 1)
    net.initialize(rng, 2.0, 1.2)
    sets = TrainingSets(torch.as_tensor(X, dtype=torch.float32), np.ones(600), [np.arange(400)], [np.arange(400, 600)])
    plan = SplitPlan(n_steps=400, patience=400, batch_size=256, learning_rate=5e-3, sigma_range=(0.005, 20.0))
    flow = flow_of(train_splits(net, sets, C, plan, rng).network, C)
    gain = flow.conditional_log_prob(X[400:], Split((0,), (1,))) - flow_of(network(2, 1, rng), C).conditional_log_prob(
        X[400:], Split((0,), (1,))
    )
    assert gain.mean() > 0.1


@pytest.fixture(scope="module")
def density():
    """Behind transforms, with bounds."""
    rng = np.random.default_rng(8)
    X = np.exp(0.4 * rng.multivariate_normal(np.zeros(3), 0.5 + 0.5 * np.eye(3), 500))
    bounds = np.zeros(3), np.full(3, np.inf)
    preprocessor = Preprocessor(X, np.ones(500), "yeo-johnson", bounds)
    net = network(3, 3, rng, trained=True)
    return SplitDensity(preprocessor.unwhitened(), flow_of(net, preprocessor.whitening.correlation)), X


def test_densities_behind_transforms_integrate_to_one(density):
    split, X = density
    values, marginal = np.linspace(1e-4, 12, 6001), split.marginal(np.array([1]))
    step = values[1] - values[0]
    assert np.exp(marginal.log_prob(values[:, None])).sum() * step == pytest.approx(1, abs=2e-3)
    complete = np.tile(X[0], (len(values), 1))
    complete[:, 1] = values
    given = np.array([0, 2])
    conditional = split.given(given).log_prob(complete) - split.marginal(given).log_prob(complete[:, given])
    assert np.exp(conditional).sum() * step == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("near_bound", [False, True])
def test_marginals_together_are_those_alone(density, near_bound):
    """Also where samples near bounds are spread over nodes."""
    split, X = density
    preprocessor = copy(split.preprocessor)
    preprocessor.regions = (BoundaryRegion(0, 0.0, 1.0, 1.0, 0.01, 2.0, 0.5),) if near_bound else ()
    split = replace(split, preprocessor=preprocessor)
    assert (X[:16, 0] < 1).any()
    known = np.random.default_rng(0).random((60, 3)) < 0.6
    known |= ~known.any(1)[:, None]
    found = split.known_log_prob(np.where(known, X[:60], np.nan))
    for pattern in np.unique(known, axis=0):
        mine, features = (known == pattern).all(1), np.flatnonzero(pattern)
        expected = split.marginal(features).log_prob(X[:60][mine][:, features])
        assert_allclose(found[mine], expected, rtol=0, atol=1e-7)


def test_completed_samples_keep_what_is_given_and_follow_the_conditional(density):
    split, X = density
    rng, given, n = np.random.default_rng(9), np.array([0, 2]), 2000
    X = np.tile(X[1], (n, 1))
    noise = SampleNoise(rng.standard_normal((n, 3)), rng.random(n), None, rng.random(n), rng.random((n, 3)))
    out = split.completed(X, given, noise)
    assert_array_equal(out[:, given], X[:, given])
    values = np.linspace(1e-4, 12, 6001)
    complete = np.tile(X[0], (len(values), 1))
    complete[:, 1] = values
    conditional = np.exp(split.given(given).log_prob(complete) - split.marginal(given).log_prob(complete[:, given]))
    levels = np.interp(np.sort(out[:, 1]), values, np.cumsum(conditional) * (values[1] - values[0]))
    assert np.abs(levels - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n) + 2e-3


def test_steps_that_are_given_are_taken():
    rng = np.random.default_rng(10)
    flow = flow_of(network(2, 2, rng, trained=True), random_covariance(rng, 2))
    coarse = SplitFlow(replace(flow.flow, density_steps=4, tolerance=0.0))
    x = rng.standard_normal((20, 2))
    assert np.abs(coarse.log_prob(x) - flow.log_prob(x)).max() > 1e-6
    assert len(flow.members()) == 2
