"""ManifoldDiffusionEstimator: identities to round-off, support found, samples on it."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.datasets import Sphere, Subspace
from skdiffusion.exceptions import DegenerateDataWarning, FullDimensionWarning
from skdiffusion.metrics import memorized_excess, novelty, subspace_error

SMALL = {"max_iter": 4, "hidden_layer_sizes": (8, 8), "n_estimators": 1, "random_state": 0}


@pytest.fixture(scope="module")
def circle():
    density = Sphere(1, n_features=5)
    return density, ManifoldDiffusionEstimator(max_iter=100, random_state=0).fit(density.sample(500, 0))


@pytest.fixture(scope="module")
def plane():
    density = Subspace(2, 8, noise=0.05)
    X = density.sample(400, 0)
    return density, X, ManifoldDiffusionEstimator(support="linear", **SMALL).fit(X)


@settings(max_examples=6)
@given(seed=st.integers(0, 100), floor=st.floats(1e-3, 0.5), k=st.integers(1, 3), noise=st.sampled_from([0.0, 0.1]))
def test_across_a_linear_support_samples_are_exact(seed, floor, k, noise):
    """Whatever the network: the stated deviation at the stopping time, and none after the last step."""
    X = Subspace(k, 7, noise=noise, rotation_seed=seed).sample(120, seed)
    est = ManifoldDiffusionEstimator(k, "linear", noise_floor=floor, **{**SMALL, "max_iter": 1}).fit(X)
    across = np.eye(7) - est.components_.T @ est.components_
    stated = np.sqrt(est.noise_variance_ + floor**2)
    samples = est.sample(2000, random_state=1, denoise=False) - est.mean_
    residual = samples @ across
    assert np.sqrt((residual**2).sum() / (2000 * (7 - k))) == pytest.approx(stated, rel=0.03)
    # To round-off: the residual is the noise drawn, times the stated deviation.
    unit = (est.sample(50, random_state=1, denoise=False) - est.sample(50, random_state=1)) / stated
    other = clone(est).set_params(noise_floor=2 * floor).fit(X)
    doubled = other.sample(50, random_state=1, denoise=False) - other.sample(50, random_state=1)
    np.testing.assert_allclose(doubled, unit * np.sqrt(est.noise_variance_ + 4 * floor**2), atol=1e-10)
    assert np.abs((est.sample(200, random_state=2) - est.mean_) @ across).max() < 1e-12


def test_the_density_of_a_linear_support_is_exact_across(plane):
    density, X, est = plane
    U = est.transform(X)
    variance = est.noise_variance_ + est.noise_floor_**2
    residual = ((X - est.project(X)) ** 2).sum(1)
    expected = est.estimator_.score_samples(U) - residual / (2 * variance) - 3 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(est.score_samples(X), expected, rtol=1e-9)
    np.testing.assert_allclose(est.intrinsic_log_density(X), est.estimator_.score_samples(U))
    assert est.score(X) == pytest.approx(expected.mean())


def test_transform_and_back(plane):
    density, X, est = plane
    U = est.transform(X)
    assert U.shape == (400, 2)
    np.testing.assert_allclose(est.inverse_transform(U), est.project(X), atol=1e-12)
    np.testing.assert_allclose(est.project(est.project(X)), est.project(X), atol=1e-12)
    np.testing.assert_allclose(est.components_ @ est.components_.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(est.distance(X), np.linalg.norm(X - est.project(X), axis=1), atol=1e-12)
    assert est.noise_variance_ == pytest.approx(0.05**2, rel=0.1)
    assert est.intrinsic_dimension_ == 2
    np.testing.assert_allclose(np.abs(PCA(2).fit(X).components_ @ est.components_.T).max(1), 1.0, atol=0.3)
    with pytest.raises(ValueError, match="codes"):
        est.inverse_transform(np.zeros((3, 4)))


@pytest.mark.parametrize(("n", "eta"), [(500, 0.05), (500, 0.2), (100, 0.05)])
def test_subspace_error_is_that_of_the_formula(n, eta):
    """Theory 5.2 and E5c: E|VV' - AA'|^2 = 2 (D - k)/n sum(eta^2/l + eta^4/l^2), within a factor 1.5."""
    errors, predicted = [], []
    for seed in range(8):
        density = Subspace(2, 16, noise=eta, rotation_seed=seed)
        X = density.sample(n, seed)
        est = ManifoldDiffusionEstimator(2, "linear", **{**SMALL, "max_iter": 1}).fit(X)
        errors.append(subspace_error(est.components_.T, density.frame))
        latent = np.linalg.eigvalsh(np.cov((Subspace(2, 16, rotation_seed=seed).sample(n, seed) @ density.frame).T))
        predicted.append(2 * 14 / n * (eta**2 / latent + eta**4 / latent**2).sum())
    assert 1 / 1.5 < np.mean(errors) / np.mean(predicted) < 1.5


def test_a_circle_is_found_and_sampled(circle):
    density, est = circle
    assert est.intrinsic_dimension_ == 1
    assert est.support_ == "nonlinear"
    assert est.components_.shape == (2, 5)
    assert est.flipd_dimension_ == pytest.approx(1.0, abs=0.5)
    train, fresh, draws = density.sample(500, 0), density.sample(500, 1), est.sample(2000, random_state=3)
    assert np.median(density.distance(draws)) < 1e-5
    assert 0.8 < novelty(draws, train, fresh) < 1.2
    assert memorized_excess(draws, train, fresh) < 0.1
    np.testing.assert_array_equal(est.sample(30, random_state=3), draws[:30])


def test_the_geometry_of_a_circle(circle):
    density, est = circle
    X = density.sample(100, 5)
    away = density.project(X) * 1.05
    assert np.abs(est.project(away) - X).max() < 1e-3
    np.testing.assert_allclose(est.distance(away), 0.05, atol=1e-3)
    tangent = est.tangent_space(X)
    assert tangent.shape == (100, 5, 1)
    assert np.abs(np.einsum("nd,ndk->nk", X, tangent)).max() < 0.05
    assert np.median(est.local_dimension(X)) == 1
    assert not hasattr(est, "transform")
    assert np.abs(est.intrinsic_log_density(X) + np.log(2 * np.pi)).mean() < 0.3


def test_dimension_of_a_disc_joined_by_a_line():
    rng = np.random.default_rng(0)
    disc = np.column_stack([rng.uniform(-2.5, -0.5, 600), rng.uniform(-1, 1, 600), np.zeros(600)])
    line = rng.uniform(0.3, 2.3, (300, 1)) * [1.0, 0.0, 0.8]
    est = ManifoldDiffusionEstimator(hidden_layer_sizes=(64, 64), n_estimators=1, max_iter=200, random_state=0)
    dimension = est.fit(np.concatenate([disc, line])).local_dimension(np.concatenate([disc, line]))
    assert np.mean(dimension[:600] == 2) > 0.85
    assert np.mean(dimension[600:] == 1) > 0.9


def test_samples_far_away_have_answers(circle):
    density, est = circle
    far = density.sample(4, 0) * np.array([[10], [1e3], [1e8], [1e200]])
    np.testing.assert_allclose(est.distance(far), np.array([9, 999, 1e8 - 1, 1e200]), rtol=1e-2)
    assert density.distance(est.project(far)).max() < 1e-2
    assert (np.diff(est.score_samples(far)) <= 0).all() or np.isneginf(est.score_samples(far)[1:]).any()
    assert est.score_samples(far).max() < est.score_samples(density.sample(50, 1)).min()
    for values in (est.intrinsic_log_density(far), est.local_dimension(far), est.tangent_space(far)):
        assert np.isfinite(values).all()


def test_the_density_of_a_circle_is_proper(circle):
    """Smoothed at the noise floor it integrates to 1 over R^5, by importance sampling around the set."""
    density, est = circle
    rng = np.random.default_rng(0)
    centers, spread = density.sample(4000, 9), 2 * est.noise_floor_
    samples = centers + spread * rng.standard_normal(centers.shape)
    # The distribution of a circle plus noise, in closed form up to the Bessel function.
    from scipy.special import ive

    plane = samples @ density.frame
    radius, variance = np.linalg.norm(plane, axis=1), spread**2
    across = ((samples - plane @ density.frame.T) ** 2).sum(1)
    log_q = np.log(ive(0, radius / variance)) - (radius - 1) ** 2 / (2 * variance) - across / (2 * variance)
    log_q -= 2.5 * np.log(2 * np.pi * variance)
    ratio = np.exp(est.score_samples(samples) - log_q)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio)) + 0.02


def test_samples_that_fill_the_space_behave_as_the_plain_estimator(rng):
    X = rng.normal(size=(150, 2))
    est = ManifoldDiffusionEstimator(**SMALL)
    with pytest.warns(FullDimensionWarning, match="fill all 2 features"):
        est.fit(X)
    assert est.support_ == "full"
    assert est.intrinsic_dimension_ == 2
    np.testing.assert_array_equal(est.project(X), X)
    np.testing.assert_array_equal(est.distance(X), 0)
    plain = est.estimator_
    assert isinstance(plain, DiffusionDensityEstimator)
    np.testing.assert_allclose(est.intrinsic_log_density(X), est.score_samples(X))
    assert est.sample(5, random_state=0).shape == (5, 2)


@pytest.mark.parametrize("density", [Subspace(2, 5), Sphere(2)], ids=["plane", "sphere"])
def test_the_plain_estimator_points_here(density):
    X = density.sample(1000, 0)
    with pytest.warns(DegenerateDataWarning, match=f"dimension 2 of {density.n_features}.*ManifoldDiffusionEstimator"):
        DiffusionDensityEstimator(components=None, n_estimators=1, random_state=0).fit(X)


def narrow_clusters(rng):
    return np.outer(rng.integers(3, size=1000), [1.0, 0.6]) + 0.01 * rng.normal(size=(1000, 2))


FILLING = {
    "two clusters": lambda rng: np.concatenate([rng.normal(size=(500, 3)) * 0.2, rng.normal(size=(500, 3)) * 0.2 + 2]),
    "two scales": lambda rng: rng.normal(size=(1000, 2)) * np.where(rng.random(1000) < 0.05, 1.0, 0.01)[:, None],
    "narrow clusters on a line": narrow_clusters,
    "heavy tails": lambda rng: rng.standard_t(2, (1000, 2)),
}


@pytest.mark.parametrize("draw", FILLING.values(), ids=FILLING)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_plain_estimator_is_silent_on_samples_that_fill_the_space(draw, seed):
    X = draw(np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = DiffusionDensityEstimator(components=None, n_estimators=1, n_steps=8, random_state=seed).fit(X)
    assert np.isfinite(est.score(X))


def test_seeds_clones_and_pickles(plane):
    density, X, est = plane
    again = clone(est).fit(X)
    np.testing.assert_array_equal(again.score_samples(X[:20]), est.score_samples(X[:20]))
    np.testing.assert_array_equal(again.sample(9), est.sample(9))
    assert not np.array_equal(est.sample(9, random_state=1), est.sample(9, random_state=2))
    loaded = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(loaded.sample(9, random_state=1), est.sample(9, random_state=1))
    np.testing.assert_array_equal(
        est.sample(40, random_state=4, denoise=False)[:7], est.sample(7, random_state=4, denoise=False)
    )


def test_samples_and_features_may_be_few():
    line = np.outer(np.arange(6.0), np.ones(9))
    est = ManifoldDiffusionEstimator(**SMALL).fit(line)
    assert est.intrinsic_dimension_ == 1
    assert np.isfinite(est.score_samples(line)).all()
    assert est.sample(3).shape == (3, 9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": 4}, "span 3 dimensions"),
        ({"support": "curved"}, "support"),
        ({"noise_floor": -1.0}, "noise_floor"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"device": "abacus"}, "device"),
    ],
)
def test_bad_parameters_are_named_and_lose_nothing(parameters, message, rng):
    X = rng.normal(size=(60, 3))
    est = ManifoldDiffusionEstimator(2, "linear", **SMALL).fit(X)
    before = est.score_samples(X)
    with pytest.raises(ValueError, match=message):
        est.set_params(**parameters).fit(X)
    est.set_params(**ManifoldDiffusionEstimator(2, "linear", **SMALL).get_params())
    np.testing.assert_array_equal(est.score_samples(X), before)


def test_bad_samples_are_named(rng):
    with pytest.raises(ValueError, match="the same"):
        ManifoldDiffusionEstimator(**SMALL).fit(np.ones((5, 3)))
    with pytest.raises(ValueError, match="distinct samples"):
        ManifoldDiffusionEstimator(2, "nonlinear", **SMALL).fit(rng.normal(size=(4, 3)))
    with pytest.raises(NotFittedError):
        ManifoldDiffusionEstimator().sample()
    with pytest.raises(ValueError, match="n_samples"):
        ManifoldDiffusionEstimator(1, "linear", **SMALL).fit(rng.normal(size=(20, 3))).sample(-1)
    with pytest.raises(AttributeError) as error:
        ManifoldDiffusionEstimator().transform(np.ones((2, 2)))
    assert "linear support only" in str(error.value.__cause__)
