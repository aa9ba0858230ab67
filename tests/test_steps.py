"""Densities of one feature that are constant between steps, and the components that only a single feature has."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import betaln
from sklearn.neighbors import KernelDensity

from skdiffusion import DiffusionDensityEstimator, load
from skdiffusion._utils.protocols import NoiseStream
from skdiffusion.densities import ComponentOptions, StepDensity, fit_steps, mixture_by_bic, stacking_weights
from skdiffusion.densities._steps import posterior_shares
from skdiffusion.diffusion.fitting import member_sets
from skdiffusion.estimators._resolve import resolve_options
from skdiffusion.preprocessing import Resolution, TrainingData

SMALL = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "max_iter": 20}


def whole_tree(counts):
    """Evidence and mean masses of a tree, by recursion: the definition."""
    n = counts.sum()
    if len(counts) == 1:
        return 0.0, np.ones(1)
    half = len(counts) // 2
    (left, below), (right, above) = whole_tree(counts[:half]), whole_tree(counts[half:])
    a, b = counts[:half].sum() + 0.5, counts[half:].sum() + 0.5
    divided = betaln(a, b) - betaln(0.5, 0.5) + n * np.log(2) + left + right
    stop = 1 / (1 + np.exp(divided))
    shares = np.concatenate([below * a, above * b]) / (a + b)
    return np.log(0.5) + np.logaddexp(0, divided), stop / len(counts) + (1 - stop) * shares


def test_the_shares_are_the_posterior_mean_of_the_tree(rng):
    counts = np.stack([rng.poisson(2.0, 32), np.r_[np.zeros(24), rng.poisson(9.0, 8)], np.zeros(32)]).astype(float)
    shares = posterior_shares(counts)
    assert_allclose(shares, [whole_tree(c)[1] for c in counts], rtol=1e-10)
    assert_allclose(shares[2], 1 / 32)  # without samples, the prior


@pytest.mark.parametrize("n", [40, 400])
def test_the_density_has_mass_one_and_follows_the_units(rng, n):
    x, w = rng.exponential(size=n), rng.uniform(0.5, 1.5, n)
    density = fit_steps(x, w)
    centers = density.start + density.width * (np.arange(len(density.shares)) + 0.5)
    assert_allclose(np.exp(density.log_prob(centers[:, None])).sum() * density.width, 1)
    assert_array_equal(density.log_prob(np.array([[-1e9], [1e9]])), [-np.inf, -np.inf])
    moved = fit_steps(4.0 * x - 8.0, 3 * w)
    assert_allclose(moved.log_prob(4.0 * x[:, None] - 8.0), density.log_prob(x[:, None]) - np.log(4), atol=1e-6)


@pytest.mark.parametrize("gap", [0, 1])
def test_edges_and_steps_are_sharper_than_those_of_kernels(rng, gap):
    def draw(n):
        return rng.random(n) + (1 + gap) * rng.integers(2, size=n)

    x, new = draw(1000), draw(20_000)
    excess = np.log(0.5) - fit_steps(x, np.ones(1000)).log_prob(new[:, None])
    scores = [KernelDensity(bandwidth=h).fit(x[:, None]).score(new[:, None]) / 20_000 for h in (0.01, 0.03, 0.1)]
    # Beyond the smallest and the largest sample, where the density may be zero, lie few new samples.
    assert np.isfinite(excess).mean() > 0.995
    assert excess[np.isfinite(excess)].mean() < 0.5 * (np.log(0.5) - max(scores))


def test_samples_are_of_the_density(rng):
    density = fit_steps(np.r_[rng.random(300), 5 + rng.normal(size=100)], np.ones(400))
    draws = density.sample(NoiseStream(0, 1).take(50_000))
    assert draws.shape == (50_000, 1)
    counts = np.bincount(((draws[:, 0] - density.start) / density.width).astype(int), minlength=len(density.shares))
    coarse = slice(None, None, 96)
    expected = np.add.reduceat(density.shares, np.arange(len(counts))[coarse])
    found = np.add.reduceat(counts, np.arange(len(counts))[coarse]) / 50_000
    assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / 50_000))


def test_the_gradient_is_zero_between_steps():
    density = StepDensity(0.0, 0.5, np.array([0.25, 0.75]))
    X = np.array([[0.2], [0.7], [3.0]])
    assert_allclose(density.log_prob(X), [np.log(0.5), np.log(1.5), -np.inf])
    assert_array_equal(density.score(X), np.zeros((3, 1)))


def test_the_criterion_finds_the_gaussians_that_there_are(rng):
    z = np.r_[rng.normal(size=160), 1.5 + 0.02 * rng.normal(size=40)][:, None]
    choice = mixture_by_bic(z, np.ones(200), rng)
    assert choice.setting == (2, ComponentOptions().weakest_prior)
    normal = mixture_by_bic(rng.normal(size=(200, 1)), np.ones(200), rng)
    assert normal.setting.n_components == 1
    assert mixture_by_bic(z[:2], np.ones(2), rng).setting.n_components == 1  # too few for more
    assert mixture_by_bic(z, np.ones(200), rng, max_seconds=0.0).setting.n_components == 1


def test_one_column_has_steps_in_its_blend_and_several_have_none(rng, tmp_path):
    X = rng.random((400, 2))
    one = DiffusionDensityEstimator(random_state=0, **SMALL).fit(X[:, :1])
    assert one.component_weights_["steps"] > 0.5
    assert "bic_mixture" in one.component_weights_
    # The exact density is zero nats: kernels and Gaussians lose 0.04 and more at the edges.
    assert one.score(rng.random((5000, 1))) > -0.02
    assert ((one.sample(2000, random_state=0) > -0.1) & (one.sample(2000, random_state=0) < 1.1)).mean() > 0.99
    one.save(tmp_path / "one")
    assert_array_equal(load(tmp_path / "one").score_samples(X[:, :1]), one.score_samples(X[:, :1]))
    both = DiffusionDensityEstimator(random_state=0, **SMALL).fit(X)
    assert not {"steps", "bic_mixture"} & set(both.component_weights_)
    few = DiffusionDensityEstimator(random_state=0, **SMALL).fit(X[:20, :1])
    assert "steps" not in few.component_weights_


def test_a_member_that_stops_apart_learns_from_neither_fold(rng):
    X, folds = rng.normal(size=(80, 1)), tuple(np.array_split(rng.permutation(80), 8))
    data = TrainingData(X, np.ones(80), folds, 8, None, rng, Resolution.of(X))
    training, choosing = member_sets(data, 8, stops_apart=True)
    for m in range(8):
        following = folds[(m + 1) % 8]
        assert_array_equal(choosing[m], following)
        assert_array_equal(training[m], np.setdiff1d(np.arange(80), np.r_[folds[m], following]))
    two = replace(data, folds=(folds[0], np.setdiff1d(np.arange(80), folds[0])))
    for few, apart in ((data, False), (two, True)):  # of two folds none would be left to learn from
        training, choosing = member_sets(few, 2, stops_apart=apart)
        assert_array_equal(choosing[1], few.folds[1])
        assert_array_equal(training[1], np.setdiff1d(np.arange(80), few.folds[1]))


@pytest.mark.parametrize(("shape", "apart"), [((200, 1), True), ((200, 2), False), ((2000, 1), False)])
def test_members_stop_apart_on_few_samples_of_one_feature(shape, apart):
    assert resolve_options(DiffusionDensityEstimator(), shape, torch.device("cpu")).stops_apart is apart


def test_prior_samples_draw_the_weights(rng):
    L = np.log(rng.uniform(0.5, 2.0, (50, 3)))
    assert_allclose(stacking_weights(L, None, None, np.zeros(3)), stacking_weights(L))
    # The mode of the posterior: of each component, the responsibilities of the samples and its own prior samples.
    prior = np.array([0.0, 2.0, 1.0])
    weights = stacking_weights(L, None, None, prior)
    shares = np.exp(L) * weights
    shares /= shares.sum(1, keepdims=True)
    assert_allclose(weights, (shares.sum(0) + prior) / 53, atol=1e-6)
    assert_allclose(stacking_weights(L, np.full(50, 7.0), None, prior), weights)
    # A component without prior samples that is better by chance on one sample of three does not have them all.
    better = np.log([[2.0, 1.0]] * 3)
    assert_allclose(stacking_weights(better)[0], 1, atol=1e-3)
    assert stacking_weights(better, prior_samples=np.array([0.0, 1.0]))[0] < 0.6


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_far_sample_outside_the_cells_is_left_to_the_other_components(rng):
    X = np.r_[rng.random(99), 1e4][:, None]
    est = DiffusionDensityEstimator(components=["steps"], random_state=0, **SMALL).fit(X)
    assert np.isfinite(est.score_samples(X)).all()
    assert np.isfinite(DiffusionDensityEstimator(random_state=0, **SMALL).fit(X).score_samples(X * 10)).all()
