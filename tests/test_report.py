"""The verdict on a fit agrees with densities whose faults are known."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator

from skdiffusion import DiffusionDensityEstimator
from skdiffusion.inspection import FitReport

D = 3


class Normal(BaseEstimator):
    """A normal density of a given standard deviation."""

    n_features_in_ = D

    def __init__(self, scale=1.0):
        self.scale = scale

    def score_samples(self, X):
        return multivariate_normal(np.zeros(D), self.scale**2 * np.eye(D)).logpdf(X)

    def sample(self, n_samples=1, random_state=None):
        return np.random.default_rng(random_state).normal(0, self.scale, (n_samples, D))


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(5).normal(size=(1000, D))


def test_the_true_density_is_calibrated_and_gains_nothing_over_a_gaussian(samples):
    report = FitReport.from_estimator(Normal(), samples)
    assert report.n_samples == 1000
    assert report.log_density.value == pytest.approx(Normal().score_samples(samples).mean())
    assert abs(report.gain.value) < 0.01
    assert abs(report.overconfidence.value) < 3 * report.overconfidence.standard_error
    assert report.half_mass.value == pytest.approx(0.5, abs=0.06)
    assert "no more than a Gaussian" in report.verdict[0]
    assert "calibrated" in report.verdict[1]
    assert "does not distinguish" in report.verdict[2]
    assert report.losses == {}


@pytest.mark.parametrize(("scale", "word"), [(0.7, "over-confident"), (1.5, "too wide")])
def test_a_wrong_scale_is_named(samples, scale, word):
    report = FitReport.from_estimator(Normal(scale), samples)
    # E log p of own samples less that of the samples: D (1 / scale^2 - 1) / 2 nats.
    exact = D * (1 / scale**2 - 1) / 2
    assert abs(report.overconfidence.value - exact) < 4 * report.overconfidence.standard_error
    assert word in report.verdict[1]
    assert "classifier distinguishes" in report.verdict[2]


def test_components_and_what_is_lost_without_them(samples):
    est = DiffusionDensityEstimator(hidden_layer_sizes=(8, 8), max_iter=2, n_estimators=2, random_state=0)
    X = np.exp(samples[:400])
    est.fit(X[:250])
    report = FitReport.from_estimator(est, X[250:], n_generated=500)
    used = {name for name, weight in est.component_weights_.items() if weight > 0}
    assert set(report.losses) == used
    name = min(used, key=est.component_weights_.get)
    rest, _ = est.blend_.restricted(used - {name})
    assert report.losses[name] == pytest.approx(est.score(X[250:]) - rest.log_prob(X[250:]).mean())
    assert report.gain.value > 0.5  # log-normal samples are no Gaussian
    assert "more than a Gaussian" in report.verdict[0]
    for value in (*used, f"{report.log_density.value:.2f}", *report.verdict):
        assert value in str(report)


def test_a_component_alone_cannot_be_left_out(samples):
    est = DiffusionDensityEstimator(components=None, hidden_layer_sizes=(8, 8), max_iter=1, random_state=0)
    report = FitReport.from_estimator(est.fit(samples[:100]), samples[100:200], n_generated=200)
    assert list(report.losses.values()) == [np.inf]


def test_refusals(samples):
    with pytest.raises(ValueError, match="at least 20. Leave out more"):
        FitReport.from_estimator(Normal(), samples[:19])
    with pytest.raises(ValueError, match="4 features"):
        FitReport.from_estimator(Normal(), np.ones((30, 4)))
    bounded = DiffusionDensityEstimator(
        components=None, bounds=(0, np.inf), hidden_layer_sizes=(8, 8), max_iter=1, random_state=0
    )
    bounded.fit(np.abs(samples[:100]))
    with pytest.raises(ValueError, match="have density zero"):
        FitReport.from_estimator(bounded, samples[100:200])
