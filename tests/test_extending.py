"""What the documentation says about extending: one file, and a line or two."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score

from skdiffusion import DiffusionDensityEstimator
from skdiffusion._utils.validation import StrOptions
from skdiffusion.densities import GaussianMixtureDensity
from skdiffusion.diffusion.flow import ProbabilityFlow
from skdiffusion.diffusion.networks._activations import ACTIVATIONS, Activation
from skdiffusion.diffusion.ode import STEPPERS
from skdiffusion.diffusion.ode._steppers import Stepper
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
    assert est.members_["diffusion"].density.theta_min == pytest.approx(0.05 * np.pi / 2)
    assert np.isfinite(est.score_samples(samples())).all()


def test_a_stepper(monkeypatch):
    """A multistep method of order 5 is one sample of the table, and converges at its order."""
    monkeypatch.setitem(STEPPERS, "ab5", Stepper(5, "velocity", True, 1))
    density = GaussianMixtureDensity(np.array([0.4, 0.6]), np.array([[-1.0], [0.7]]), np.full((2, 1, 1), 0.3))
    noise = np.random.default_rng(0).standard_normal((200, 1))

    def draw(n_steps, stepper="ab5"):
        return ProbabilityFlow(density, 0.05, 1.5, sample_stepper=stepper).draw(noise, n_steps=n_steps)

    exact = draw(4096, "rk4")
    errors = [np.abs(draw(n) - exact).mean() for n in (96, 256)]
    assert np.log2(errors[0] / errors[1]) / np.log2(256 / 96) == pytest.approx(5, abs=0.5)


def median_gap(X, Y):
    """Distance of the medians."""
    return float(np.abs(np.median(X, axis=0) - np.median(Y, axis=0)).sum())


def test_a_metric(monkeypatch):
    monkeypatch.setitem(SAMPLE_METRICS, "median_gap", median_gap)
    scorer = make_sample_scorer("median_gap", n_samples=50)
    scores = cross_val_score(DiffusionDensityEstimator(**SMALL), samples(), scoring=scorer, cv=2)
    assert (scores <= 0).all()


def test_an_activation(monkeypatch):
    def value(p, out=None, kept=None):
        return torch.log1p(torch.exp(p), out=out), torch.sigmoid(p, out=kept)

    monkeypatch.setitem(ACTIVATIONS, "softplus", Activation(value, lambda p, value, kept, out=None: kept))
    monkeypatch.setitem(
        DiffusionDensityEstimator._parameter_constraints, "activation", [StrOptions(set(ACTIVATIONS))]
    )  # fmt: skip
    est = DiffusionDensityEstimator(activation="softplus", **SMALL).fit(samples())
    assert np.isfinite(est.score_samples(samples())).all()
