"""What the documentation says about extending the package: one file, and a line or two."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks import ACTIVATIONS, Activation
from skdiffusion.diffusion.ode import STEPPERS, multistep, one_step
from skdiffusion.diffusion.schedules import Process
from skdiffusion.metrics import SAMPLE_METRICS, make_sample_scorer

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 3, "n_estimators": 2, "random_state": 0}


def samples():
    return np.random.default_rng(0).normal(size=(90, 2))


@dataclass(frozen=True)
class Cosine(Process):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""

    def alpha(self, t):
        return np.cos(np.pi / 2 * np.asarray(t, dtype=float))

    def sigma(self, t):
        return np.sin(np.pi / 2 * np.asarray(t, dtype=float))

    def d_alpha(self, t):
        return -np.pi / 2 * self.sigma(t)

    def d_sigma(self, t):
        return np.pi / 2 * self.alpha(t)

    def ratio_to_time(self, tau):
        return 2 / np.pi * np.arctan(tau)


def test_a_process():
    est = DiffusionDensityEstimator(process=Cosine(), t_min=0.05, **SMALL).fit(samples())
    assert est.blend_.densities["diffusion"].density.theta_min == pytest.approx(0.05 * np.pi / 2)
    assert np.isfinite(est.score_samples(samples())).all()


def midpoint(field, z, log_p, s, t):
    """The explicit midpoint rule, of order 2 in two evaluations."""
    divergence, h = log_p is not None, t - s
    slope, _ = field(z, s, divergence)
    slope, trace = field(z - h / 2 * slope, (s + t) / 2, divergence)
    return z - h * slope, log_p + h * trace if divergence else None, None


NEW_STEPPERS = {"ab5": multistep(5, "velocity"), "midpoint": one_step(2, midpoint, stages=2)}


@pytest.fixture(params=NEW_STEPPERS)
def stepper(request, monkeypatch):
    """The name of a stepper that has just been added to the table."""
    monkeypatch.setitem(STEPPERS, request.param, NEW_STEPPERS[request.param])
    return request.param


def test_a_stepper(stepper):
    """A new method is one entry of the table, and converges at its order."""
    density = GaussianMixtureDensity(np.array([0.4, 0.6]), np.array([[-1.0], [0.7]]), np.full((2, 1, 1), 0.3))
    noise = np.random.default_rng(0).standard_normal((200, 1))

    def draw(n_steps, stepper):
        return ProbabilityFlow(density, 0.05, 1.5, sample_stepper=stepper).draw(noise, n_steps=n_steps)

    exact = draw(4096, "rk4")
    errors = [np.abs(draw(n, stepper) - exact).mean() for n in (96, 256)]
    assert np.log2(errors[0] / errors[1]) / np.log2(256 / 96) == pytest.approx(STEPPERS[stepper].order, abs=0.5)


def test_an_estimator_with_a_new_stepper(stepper):
    est = DiffusionDensityEstimator(**SMALL, solver=stepper, n_steps=64).fit(samples())
    flow = est.blend_.densities["diffusion"].density
    assert flow.stepper == flow.sample_stepper == stepper
    expected = DiffusionDensityEstimator(**SMALL, solver="rk4", n_steps=64).fit(samples()).score_samples(samples())
    np.testing.assert_allclose(est.score_samples(samples()), expected, atol=0.02)


def median_gap(X, Y):
    """Distance of the medians."""
    return float(np.abs(np.median(X, axis=0) - np.median(Y, axis=0)).sum())


def test_a_metric(monkeypatch):
    monkeypatch.setitem(SAMPLE_METRICS, "median_gap", median_gap)
    scorer = make_sample_scorer("median_gap", n_samples=50)
    scores = cross_val_score(DiffusionDensityEstimator(**SMALL), samples(), scoring=scorer, cv=2)
    assert (scores <= 0).all()


def softplus(p, out=None, kept=None):
    return torch.log1p(torch.exp(p), out=out), torch.sigmoid(p, out=kept)


def softplus_slope(p, value, kept, out=None):
    return kept


def test_an_activation(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "softplus", Activation(softplus, softplus_slope))
    est = DiffusionDensityEstimator(activation="softplus", **SMALL).fit(samples())
    assert est.score_model().field.network.activation == "softplus"
    assert np.isfinite(est.score_samples(samples())).all()


@pytest.mark.parametrize("given", [{"activation": "softplus"}, {"solver": "midpoint"}], ids=str)
def test_what_is_not_in_the_table_is_refused(given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"'{name}' parameter .*Got '{value}'"):
        DiffusionDensityEstimator(**given, **SMALL).fit(samples())
