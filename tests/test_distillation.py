"""A density of one evaluation per sample: the masked network, its density, its training and the estimator."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture

import skdiffusion
from skdiffusion import DiffusionDensityEstimator, DistilledDensityEstimator
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.autoregressive import AutoregressiveDensity
from skdiffusion.diffusion.networks import MaskedNetwork
from skdiffusion.diffusion.training import DistillationPlan, distill

SMALL = {"hidden_layer_sizes": (16, 16), "max_iter": 5, "n_estimators": 2, "random_state": 0}
SHORT = {"n_draws": 3000, "max_iter": 60}


def network(d, seed=0, sizes=(24, 24), n_components=5, noise=0.3):
    """A masked network whose parameters are not small."""
    net = MaskedNetwork(d, sizes, n_components, np.random.default_rng(seed))
    net.flat += noise * torch.randn(net.flat.shape, generator=torch.Generator().manual_seed(seed))
    return net


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_feature_sees_only_those_before_it(d):
    net = network(d, sizes=(7, 7, 9))
    layers, position = net.layers(net.masks()), np.argsort(net.order)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: torch.stack(net.conditionals(x[None], layers))[:, 0], torch.randn(d)
    )
    seen = jacobian.abs().amax((0, 2)).numpy() > 0  # feature by the one it sees
    np.testing.assert_array_equal(seen, position[None, :] < position[:, None])


def test_the_density_integrates_to_one():
    density, nodes = AutoregressiveDensity(network(2, noise=0.15)), np.linspace(-15, 15, 1501)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    assert np.exp(density.log_prob(grid)).sum() * (nodes[1] - nodes[0]) ** 2 == pytest.approx(1.0, abs=2e-4)


def test_codes_invert_and_carry_the_density():
    density, z = AutoregressiveDensity(network(3)), np.random.default_rng(1).normal(size=(600, 3))
    codes = density.to_latent(z)
    np.testing.assert_allclose(density.from_latent(codes), z, atol=1e-10)
    # A feature's code follows from it alone, given those before: the Jacobian is a triangle.
    log_det, h = 0.0, 1e-5
    for j in range(3):
        apart = np.zeros(3)
        apart[j] = h
        log_det += np.log((density.to_latent(z + apart)[:, j] - density.to_latent(z - apart)[:, j]) / (2 * h))
    np.testing.assert_allclose(stats.norm.logpdf(codes).sum(1) + log_det, density.log_prob(z), atol=2e-4)


def test_codes_of_far_samples_keep_their_digits():
    density = AutoregressiveDensity(MaskedNetwork(1, (4,), 1, np.random.default_rng(0)))
    (weight, mean, scale), z = density._conditionals(np.zeros((1, 1))), np.array([[-20.0], [15.0]])
    assert weight == 1
    np.testing.assert_allclose(density.to_latent(z), (z - mean[0]) / scale[0], rtol=1e-9)
    np.testing.assert_allclose(density.from_latent(density.to_latent(z)), z, rtol=1e-9)


def test_samples_are_of_the_density():
    density, rng = AutoregressiveDensity(network(3)), np.random.default_rng(2)
    noise = rng.standard_normal((4000, 3))
    samples = density.sample(SampleNoise(noise))
    codes = density.to_latent(samples)
    for j in range(3):
        assert stats.kstest(codes[:, j], "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(codes.T) - np.eye(3)).max() < 0.07
    np.testing.assert_array_equal(density.sample(SampleNoise(noise[:50])), samples[:50])


def test_score_is_the_gradient_and_samples_stand_alone():
    density, z = AutoregressiveDensity(network(4)), np.random.default_rng(3).normal(size=(700, 4))
    one = np.concatenate([density.log_prob(z[i : i + 1]) for i in (0, 511, 512, 699)])
    np.testing.assert_allclose(density.log_prob(z)[[0, 511, 512, 699]], one, rtol=1e-6, atol=1e-6)
    h, numerical = 1e-2, np.empty((5, 4))
    for j in range(4):
        apart = np.eye(4)[j] * h
        numerical[:, j] = (density.log_prob(z[:5] + apart) - density.log_prob(z[:5] - apart)) / (2 * h)
    np.testing.assert_allclose(density.score(z)[:5], numerical, rtol=0.02, atol=0.02)
    assert density.log_prob(z[:0]).shape == (0,)
    assert density.to_latent(z[:0]).shape == density.from_latent(z[:0]).shape == (0, 4)


def test_training_finds_a_mixture():
    target = GaussianMixtureDensity([0.3, 0.7], [[-1, 0], [0.5, 0.5]], [np.diag([0.05, 0.5]), [[0.5, 0.3], [0.3, 0.4]]])
    rng = np.random.default_rng(0)
    draws, fresh = (target.sample(SampleNoise(rng.standard_normal((n, 2)), rng.random(n))) for n in (20_000, 5000))
    net = MaskedNetwork(2, (48, 48), 6, rng)
    before = (target.log_prob(fresh) - AutoregressiveDensity(net).log_prob(fresh)).mean()
    curve = distill(net, draws, target.log_prob(draws), DistillationPlan(n_steps=1000), rng)
    gap = target.log_prob(fresh) - AutoregressiveDensity(net).log_prob(fresh)
    assert before > 0.2
    assert -0.001 < gap.mean() < 0.003
    assert np.mean(curve[-20:]) == pytest.approx(gap.mean(), abs=0.003)


@pytest.fixture(scope="module")
def pair():
    X = np.random.default_rng(0).gamma(2.0, size=(300, 2))
    teacher = DiffusionDensityEstimator(**SMALL, bounds=(0, np.inf)).fit(X)
    return X, teacher, teacher.distill(n_draws=20_000, n_training_steps=300)


def test_distilled_density_is_near_its_teachers(pair):
    X, teacher, student = pair
    fresh = teacher.sample(6000, random_state=9)
    gap = teacher.score_samples(fresh) - student.score_samples(fresh)
    assert student.divergence_ < 0.03
    assert student.divergence_ == pytest.approx(gap.mean(), abs=5 * student.divergence_error_)
    assert student.score(X) == pytest.approx(teacher.score(X), abs=0.05)
    nodes = np.linspace(1e-3, 25, 900)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    assert np.exp(student.score_samples(grid)).sum() * (nodes[1] - nodes[0]) ** 2 == pytest.approx(1.0, abs=0.01)
    assert np.isneginf(student.score_samples([[-1.0, 1.0]]))
    np.testing.assert_allclose(student.from_latent(student.to_latent(X)), X, rtol=1e-6)
    for a, b in zip(student.sample(4000, random_state=1).T, fresh.T):
        assert stats.ks_2samp(a, b).pvalue > 1e-4


def test_components_of_weight_stay_as_they_are(pair):
    _, teacher, student = pair
    least = {"student": 0, "mixture": 0.02, "mapped_mixture": 0.02}  # 0.1 elsewhere
    heavy = {k for k, w in teacher.component_weights_.items() if k != "diffusion" and w >= least.get(k, 0.1)}
    assert set(student.blend_.densities) == {"autoregressive"} | heavy
    assert sum(student.component_weights_.values()) == pytest.approx(1.0)
    assert all(student.blend_.densities[k] is teacher.blend_.densities[k] for k in heavy)
    assert all(student.component_weights_[k] == teacher.component_weights_[k] for k in heavy)


def test_a_far_sample_costs_no_more_than_the_heavy_tail(pair):
    _, _, student = pair
    far = np.array([[1e4, 1e4]])
    tail = student.blend_.densities["student"].log_prob(far) + np.log(student.component_weights_["student"])
    assert student.score_samples(far) >= tail - 1e-9


def test_a_teacher_without_weight_on_its_flow_is_distilled(pair):
    X, teacher, _ = pair
    teacher = clone(teacher).fit(X)
    teacher.component_weights_ = {k: float(k == "student") for k in teacher.component_weights_}
    student = teacher.distill(**SHORT)
    np.testing.assert_allclose(student.score_samples(X), teacher.score_samples(X))
    assert student.divergence_ == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(student.to_latent(X)).all()


def test_fit_is_the_teachers_fit_and_distil(pair):
    X, _, _ = pair
    teacher = DiffusionDensityEstimator(**SMALL, components=None)
    whole = DistilledDensityEstimator(teacher, **SHORT, random_state=0).fit(X)
    np.testing.assert_array_equal(
        whole.score_samples(X), clone(teacher).fit(X).distill(**SHORT, random_state=0).score_samples(X)
    )
    assert list(whole.component_weights_) == ["autoregressive"]
    assert len(whole.loss_curve_) == SHORT["max_iter"]


def test_files_frames_and_clones(pair, tmp_path):
    X, _, student = pair
    student.save(tmp_path / "student.skd")
    back = skdiffusion.load(tmp_path / "student.skd")
    np.testing.assert_array_equal(back.score_samples(X), student.score_samples(X))
    np.testing.assert_array_equal(back.sample(20, random_state=3), student.sample(20, random_state=3))
    assert clone(back).get_params()["estimator__max_iter"] == SMALL["max_iter"]
    frame = pd.DataFrame(X, columns=["a", "b"])
    named = DiffusionDensityEstimator(**SMALL, components=None).fit(frame).distill(**SHORT)
    assert list(named.sample(3).columns) == list(named.feature_names_in_) == ["a", "b"]
    assert named.score_samples(frame).shape == (300,)


def test_bad_input_is_named(pair):
    X, teacher, _ = pair
    with pytest.raises(NotFittedError):
        DiffusionDensityEstimator().distill()
    with pytest.raises(ValueError, match="'estimator' parameter must be a DiffusionDensityEstimator"):
        DistilledDensityEstimator(GaussianMixture()).fit(X)
    with pytest.raises(ValueError, match="'n_draws'"):
        teacher.distill(n_draws=1)
    with pytest.raises(ValueError, match="'max_iter'"):
        teacher.distill(max_iter=0)
    with pytest.raises(ValueError, match="'hidden_layer_sizes'"):
        DistilledDensityEstimator(teacher, hidden_layer_sizes=(8, 0)).fit(X)
