"""The same estimators on a GPU: as on the CPU, up to round-off. Without one these tests run on the CPU alone."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skdiffusion import DiffusionDensityEstimator, DiffusionRegressor, ManifoldDiffusionEstimator, Options, load
from skdiffusion.diffusion.training._denoising import Denoising

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
DEVICES = ["cpu", GPU]
ROUND_OFF = 2e-3  # nats of a flow in single precision


def samples(n=400, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, 3))
    X[:, 1:] += 0.5 * X[:, :-1] ** 2
    return X


def small(device, **given):
    chosen = {"hidden_layer_sizes": (16, 16), "n_estimators": 2, "random_state": 0, "n_steps": 16, "max_iter": 30}
    return DiffusionDensityEstimator(**(chosen | given), device=device)


@pytest.fixture(scope="module", params=DEVICES)
def fitted(request):
    return small(request.param).fit(samples())


def test_the_fit_is_as_good_as_that_of_the_cpu(fitted):
    assert fitted.score(samples(2000, 1)) == pytest.approx(small("cpu").fit(samples()).score(samples(2000, 1)), abs=0.1)


def test_a_density_gives_the_same_on_another_device(fitted, tmp_path):
    fitted.save(tmp_path / "model.skd")
    there = load(tmp_path / "model.skd").set_params(device="cpu")
    X = samples(50, 2)
    assert_allclose(there.score_samples(X), fitted.score_samples(X), atol=ROUND_OFF)
    assert_allclose(there.sample(50, random_state=0), fitted.sample(50, random_state=0), atol=ROUND_OFF)
    latent = there.to_latent(X)
    assert_allclose(latent, fitted.to_latent(X), atol=ROUND_OFF)
    assert_allclose(fitted.from_latent(latent), X, atol=10 * ROUND_OFF)


def test_questions_about_some_features_given_others(fitted):
    given = np.array([0.5, np.nan, np.nan])
    drawn = fitted.sample(200, given=given, random_state=0)
    assert_array_equal(drawn[:, 0], 0.5)
    conditional = fitted.conditional(given)
    assert abs(np.ravel(conditional.mean)[0] - 0.125) < 0.6  # half its square, of a feature of unit scale
    assert np.isfinite(conditional.score_samples(samples(20, 3)[:, 1:])).all()


@pytest.mark.parametrize("device", DEVICES)
def test_splits_are_trained_there(device):
    X = samples()
    X[::3, 1] = np.nan
    est = small(device, max_iter=5).fit(X)
    assert est.conditional_blend_ is not None
    assert np.isfinite(est.score_samples(X)).all()


@pytest.mark.parametrize("device", DEVICES)
def test_training_waits_for_no_result_between_reports(device):
    """In the steps between two reports nothing goes from the device to the host."""
    options = Options(n_training_steps=60, n_pilot_steps=5, fine_tune=False)
    est = small(device, max_iter="auto", components=None, feature_transform=None, options=options)
    gradient = Denoising.gradient

    def watched(self, step, n_steps):
        if device != "cuda" or step % self.plan.check_every == 0:
            return gradient(self, step, n_steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return gradient(self, step, n_steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Denoising, "gradient", watched)
        est.fit(samples())
    assert est.loss_curve_[-1, 0] == 60


@pytest.mark.parametrize("device", DEVICES)
def test_other_estimators(device):
    X = samples(200)
    regressor = DiffusionRegressor(max_iter=5, random_state=0, device=device).fit(X[:, :2], X[:, 2])
    assert np.isfinite(regressor.log_prob(X[:, :2], X[:, 2])).all()
    manifold = ManifoldDiffusionEstimator(1, "linear", max_iter=2, random_state=0, device=device)
    assert manifold.fit(X[:, :1] * [1.0, 2.0]).sample(10, random_state=0).shape == (10, 2)
