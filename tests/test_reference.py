"""Isotropic noise on correlated features, beside a Gaussian of their covariance: closed forms, and the estimator."""

import io

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skdiffusion import DiffusionDensityEstimator, Options, load
from skdiffusion._utils.protocols import VelocityField
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.fitting import Coordinates, references
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import FilmEnsemble, GaussianReference, NetworkField, WhitenedField
from skdiffusion.diffusion.training import TrainingPlan, TrainingSets
from skdiffusion.diffusion.training._batches import ValidationDraws
from skdiffusion.manifold import denoiser_jacobian
from skdiffusion.preprocessing import Preprocessor

C = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.8], [0.3, 0.8, 1.0]])
both = pytest.mark.parametrize("relative", [False, True], ids=["whole", "departure"])


class ExactField(VelocityField):
    """The velocity of a closed-form density in the place of a network's."""

    def __init__(self, density, reference):
        self.density, self.reference = density, reference

    def blocks(self, samples):
        yield slice(0, len(samples)), torch.as_tensor(samples)

    def __call__(self, z, theta, divergence=False):
        velocity, trace = self.density(z.numpy(), theta, divergence)
        return torch.as_tensor(velocity), None if trace is None else torch.as_tensor(trace)

    @property
    def flow_field(self):
        return WhitenedField(self, self.reference)


def network_field(rng, reference, spread=0.2, limit=None, precision="auto"):
    network = FilmEnsemble(3, (8, 8), "silu", 2).to(torch.float64)
    network.flat.copy_(torch.as_tensor(spread * rng.standard_normal(tuple(network.flat.shape))))
    return NetworkField(network, limit, reference, precision)


def correlated_samples(rng, n=1200, d=6, noise=0.05):
    """A bent curve in the first two features, and further features that repeat them with independent noise."""
    u = rng.standard_normal(n)
    first = np.column_stack([u, u**2 - 1 + 0.3 * rng.standard_normal(n)])
    return np.column_stack([first, *(first[:, j % 2] + noise * rng.standard_normal(n) for j in range(d - 2))])


@pytest.mark.parametrize("horizon", [1.2, 1.52])
def test_the_flow_of_an_exact_field_has_the_exact_density(rng, horizon):
    # A mixture of covariance C: the standard normal end is matched in two moments at any horizon.
    spread = 0.4 * C
    arm = np.linalg.cholesky(0.6 * C)
    means = np.sqrt(3) * np.concatenate([arm.T, -arm.T])
    density = GaussianMixtureDensity(np.ones(6), means, np.tile(spread, (6, 1, 1)))
    reference = GaussianReference(C, False)
    y = means[rng.integers(6, size=40)] + rng.standard_normal((40, 3)) @ np.linalg.cholesky(spread).T
    w = y @ np.linalg.inv(reference.root)
    theta = 1e-3
    flow = ProbabilityFlow(ExactField(density, reference), theta, horizon, density_steps=96, tolerance=0.0)
    expected = density.log_prob(y) + 0.5 * np.linalg.slogdet(C)[1]
    # At the nearer horizon the distribution is not yet normal, but has its first two moments.
    assert_allclose(flow.log_prob(w), expected, atol=3e-4 if horizon > 1.5 else 0.05)
    assert_allclose(flow.from_latent(flow.to_latent(w)), w, atol=1e-5)


def test_an_untrained_departure_is_the_gaussian_to_round_off(rng):
    flow = ProbabilityFlow(network_field(rng, GaussianReference(C, True), spread=0.0), 1e-3, 1.4)
    w = rng.standard_normal((20, 3))
    assert_allclose(flow.log_prob(w), -0.5 * (w**2).sum(1) - 1.5 * np.log(2 * np.pi), rtol=1e-12)
    assert_allclose(flow.draw(w), w, rtol=1e-12)


def test_the_velocity_of_the_reference_is_that_of_its_density(rng):
    reference, density = GaussianReference(C, True), GaussianMixtureDensity([1.0], np.zeros((1, 3)), C[None])
    z = rng.standard_normal((1, 2, 4, 3))
    theta = np.array([0.2, 1.1])
    ours = reference.velocity(torch.as_tensor(z), *(torch.as_tensor(f(theta)) for f in (np.cos, np.sin)))
    for k in range(2):
        expected, trace = density(z[0, k], theta[k], True)
        assert_allclose(ours[0, k], expected, atol=1e-12)
        matrix, own_trace, root, inverse = reference.matrices(theta[k], torch.zeros(1, dtype=torch.float64))
        assert_allclose(z[0, k] @ matrix.numpy()[:3, :3], expected, atol=1e-12)
        assert_allclose(trace, own_trace, rtol=1e-12)
        assert_allclose(root @ inverse, np.diag([1.0, 1, 1, 0]), atol=1e-12)


@both
@pytest.mark.parametrize("limit", [None, 0.7])
def test_divergence_and_jacobian_are_those_of_finite_differences(rng, relative, limit):
    field = network_field(rng, GaussianReference(C, relative), limit=limit, precision="double")
    for f in (field, field.flow_field):
        z, theta, h = torch.as_tensor(rng.standard_normal((9, 3))), 0.8, 1e-5
        steps = h * torch.eye(3, dtype=torch.float64)
        slopes = [(f(z + s, theta)[0] - f(z - s, theta)[0]) / (2 * h) for s in steps]
        assert_allclose(f(z, theta, True)[1], sum(s[:, j] for j, s in enumerate(slopes)), atol=1e-6)
    z = rng.standard_normal((9, 3))
    for sample, jacobian in zip(z, field.jacobian(z, 0.8)):
        shifted = np.array([field(np.stack([sample + s, sample - s]), 0.8)[0] for s in steps.numpy()])
        assert_allclose(jacobian, ((shifted[:, 0] - shifted[:, 1]) / (2 * h)).T, atol=1e-6)


def test_correlation_is_no_tangent_direction(rng):
    narrow = C * 0.001 + 0.999  # three features that are nearly one
    field = network_field(rng, GaussianReference(narrow, True), spread=0.0)
    assert_allclose(denoiser_jacobian(field, np.zeros((2, 3)), 0.3), np.tile(np.eye(3), (2, 1, 1)), atol=1e-8)


@both
def test_the_loss_of_a_zero_network_is_what_the_gaussian_leaves(rng, relative):
    reference = GaussianReference(C, relative)
    samples = rng.standard_normal((4000, 3)) @ reference.root
    plan = TrainingPlan(n_steps=1, reference=reference if relative else None, sigma_range=(0.3, 3.0))
    tensor = torch.as_tensor(samples, dtype=torch.float64)
    everything = [np.arange(4000)]
    draws = ValidationDraws(TrainingSets(tensor, np.ones(4000), everything, everything), plan, rng)
    zero, theta = (draws.target.square().mean((2, 3)) + draws.noise_floor)[0].numpy(), draws.angles
    noised = reference.values * np.cos(theta[:, None]) ** 2 + np.sin(theta[:, None]) ** 2
    left = (reference.values / noised).mean(1)
    assert_allclose(zero, left if relative else np.ones(len(theta)), rtol=0.15)
    assert_allclose(zero.mean(), left.mean() if relative else 1.0, rtol=0.02)


def test_unwhitened_features_keep_their_correlations(rng):
    X = correlated_samples(rng) * np.array([3.0, 1, 1, 5, 1, 1])
    space = Preprocessor(X, np.ones(len(X)), 1.0)
    unwhitened = space.unwhitened()
    z, log_det = unwhitened.transform(X)
    assert_allclose(z.std(0), 1.0, rtol=1e-6)
    assert np.abs(np.corrcoef(z.T) - np.eye(6)).max() > 0.9
    assert_allclose(unwhitened.inverse_transform(z), X, atol=1e-6)
    w, whitened_log_det = space.transform(X)
    assert_allclose(z, w @ np.linalg.inv(space.whitening.matrix) / space.whitening.scale, atol=1e-6)
    assert_allclose(whitened_log_det - log_det, -0.5 * np.linalg.slogdet(space.whitening.correlation)[1], rtol=1e-9)


def test_noise_follows_features_only_where_they_are_correlated(rng):
    whitening = Preprocessor(rng.standard_normal((500, 4)), np.ones(500)).whitening
    assert references(whitening, 0.05) == []
    whitening = Preprocessor(correlated_samples(rng), np.ones(1200)).whitening
    whole, departure = references(whitening, 0.05)
    assert [whole.relative, departure.relative] == [False, True]
    assert_allclose(departure.function(departure.values), whitening.correlation, atol=1e-10)


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "departure"])
def fitted(request):
    """A small fit whose noise follows the features, and its samples."""
    X = correlated_samples(np.random.default_rng(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "skdiffusion.estimators._stages.choose_coordinates",
            lambda data, p, _: Coordinates(p[0], GaussianReference(p[0].whitening.correlation, request.param)),
        )
        est = DiffusionDensityEstimator(max_iter=30, components=None, random_state=0).fit(X)
    assert est.score_model().field.reference.relative == request.param
    return est, X


def test_the_estimator_is_consistent_in_those_coordinates(fitted):
    est, X = fitted
    samples = X[:5]
    assert_allclose(est.score_samples(X[:300])[:5], est.score_samples(samples), rtol=0, atol=0)
    assert_allclose(est.from_latent(est.to_latent(samples)), samples, atol=0.02)
    h = 1e-5
    shifts = h * np.eye(X.shape[1])
    slope = [(est.score_samples(samples + s) - est.score_samples(samples - s)) / (2 * h) for s in shifts]
    scores = est.blend_.densities["diffusion"].score(samples)
    assert_allclose(scores, np.transpose(slope), rtol=0.05, atol=0.05 * np.abs(scores).max())
    sample = est.sample(2000, random_state=0)
    assert_allclose(np.corrcoef(sample.T), np.corrcoef(X.T), atol=0.1)


def test_files_copies_and_more_training_keep_the_reference(fitted, tmp_path):
    est, X = fitted
    expected = est.score_samples(X[:20])
    est.save(tmp_path / "model.skd")
    loaded = load(tmp_path / "model.skd")
    assert np.array_equal(loaded.score_samples(X[:20]), expected)
    buffer = io.BytesIO()
    joblib.dump(est, buffer)
    buffer.seek(0)
    again = joblib.load(buffer)
    assert np.array_equal(again.score_samples(X[:20]), expected)
    more = again.partial_fit(X)
    assert more.score_model().field.reference.relative == est.score_model().field.reference.relative
    assert more.score_samples(X).mean() > est.score_samples(X).mean() - 1.0
    warm = again.set_params(warm_start=True).fit(X)
    assert warm.score_model().field.reference is more.score_model().field.reference


def test_noisy_features_of_few_factors_choose_a_reference_and_gain_by_it():
    loadings = np.random.default_rng(7).standard_normal((2, 16))

    def samples(n, seed):
        rng = np.random.default_rng(seed)
        u = rng.standard_normal(n)
        factors = np.column_stack([u, u**2 - 1 + 0.2 * rng.standard_normal(n)])
        return factors @ loadings + 0.3 * rng.standard_normal((n, 16))

    train, test = samples(400, 0), samples(1000, 100)
    chosen = DiffusionDensityEstimator(components=None, random_state=0).fit(train)
    assert chosen.score_model().field.reference is not None
    never = Options(min_correlation_gain=np.inf)
    whitened = DiffusionDensityEstimator(components=None, random_state=0, options=never).fit(train)
    assert whitened.score_model().field.reference is None
    assert chosen.score(test) > whitened.score(test) + 0.1
