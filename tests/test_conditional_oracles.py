"""Conditionals whose truth is known: closed forms to round-off, and numerical ones on copulas and a ring."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t, norm, t

from benchmarks import conditional as oracles
from benchmarks.targets import ClaytonCopula
from skdiffusion import DiffusionDensityEstimator
from skdiffusion._utils.protocols import Density
from skdiffusion.densities import (
    Blend,
    BlendMarginal,
    GaussianMixtureDensity,
    StudentTDensity,
    TransformedDensity,
    kernel_density,
)
from skdiffusion.preprocessing import Preprocessor
from tests.test_marginals import Opaque, noise_of, random_mixture, random_student

MIXTURES = {
    "mixture, d = 5": lambda rng: random_mixture(rng, 5),
    "mixture, d = 16": lambda rng: random_mixture(rng, 16, k=6),
    "Gaussian, d = 16": lambda rng: random_mixture(rng, 16, k=1),
    "kernel, d = 3": lambda rng: kernel_density(rng.standard_normal((40, 3)), 0.3, rng.uniform(0.5, 1, 40)),
}


class Truth:
    """Conditionals of a density of whitened samples behind a preprocessor, from the formulas of the textbook.

    Parts of a mixture have a weight, a location and a scale matrix in the mapped features; degrees of freedom are those
    of a Student-t, or infinite.
    """

    def __init__(self, preprocessor, density):
        self.preprocessor, root = preprocessor, preprocessor.whitening.inverse
        self.degrees, parts = np.inf, None
        if isinstance(density, StudentTDensity):
            self.degrees, parts = density.degrees, [(1.0, density.location, density.scale)]
        elif isinstance(density, GaussianMixtureDensity):
            parts = list(zip(density.weights, density.means, density.covariances))
        else:
            widths = [h**2 * np.eye(density.n_features) for h in density.bandwidth]
            parts = list(zip(density.weights, density.samples, widths))
        shift = preprocessor.whitening.shift
        self.parts = [(w, m @ root + shift, root.T @ C @ root) for w, m, C in parts]

    def mapped(self, X):
        return np.column_stack([feature.forward(x) for feature, x in zip(self.preprocessor.maps, X.T)])

    def _of(self, location, scale, degrees):
        return multivariate_normal(location, scale) if np.isinf(degrees) else multivariate_t(location, scale, degrees)

    def conditionals(self, y, u):
        """Log-weights, locations, scales and degrees of the parts given the mapped features of one sample but u."""
        o = np.setdiff1d(np.arange(len(y)), u)
        out = []
        for weight, m, C in self.parts:
            gain = np.linalg.solve(C[np.ix_(o, o)], C[np.ix_(o, u)]).T
            location, scale = m[u] + gain @ (y[o] - m[o]), C[np.ix_(u, u)] - gain @ C[np.ix_(o, u)]
            log_weight, degrees = np.log(weight), self.degrees + len(o)
            log_weight += self._of(m[o], C[np.ix_(o, o)], self.degrees).logpdf(y[o])
            if np.isfinite(degrees):
                squared = (y[o] - m[o]) @ np.linalg.solve(C[np.ix_(o, o)], y[o] - m[o])
                scale = scale * (self.degrees + squared) / degrees
            out.append((log_weight, location, scale, degrees))
        log_weights = np.array([part[0] for part in out])
        return [(w, *part[1:]) for w, part in zip(log_weights - logsumexp(log_weights), out)]

    def log_prob(self, X, u):
        slopes = sum(self.preprocessor.maps[j].log_slope(X[:, j]) for j in u)
        found = [
            logsumexp([w + self._of(m, C, nu).logpdf(y[u]) for w, m, C, nu in self.conditionals(y, u)])
            for y in self.mapped(X)
        ]
        return np.array(found) + slopes

    def cdf(self, y, j, values):
        """Of one mapped feature given the others of a sample."""
        return sum(
            np.exp(w)
            * (norm.cdf if np.isinf(nu) else lambda x, nu=nu: t.cdf(x, nu))((values - m[0]) / np.sqrt(C[0, 0]))
            for w, m, C, nu in self.conditionals(y, np.array([j]))
        )


def behind_transforms(rng, make, transform):
    density = make(rng)
    d = density.n_features
    X = rng.standard_normal((300, d)) @ rng.standard_normal((d, d)) / np.sqrt(d)
    X[:, 0] = np.exp(X[:, 0] / 2)
    return TransformedDensity(Preprocessor(X, np.ones(len(X)), transform), density)


CLOSED = {**MIXTURES, "Student-t copula, d = 5": lambda rng: random_student(rng, 5)}


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("transform", [None, "yeo-johnson"])
def test_conditionals_in_closed_form_are_those_of_the_textbook(name, transform, rng):
    density = behind_transforms(rng, CLOSED[name], transform)
    d, truth = density.density.n_features, Truth(density.preprocessor, density.density)
    blend = Blend({"one": density}, {"one": 1.0})
    X = density.sample(noise_of(rng, 20, d)._replace(chi2=rng.chisquare(3.0, 20)))
    for n_unknown in (1, 2, d - 1):
        u = np.sort(rng.permutation(d)[:n_unknown])
        given = BlendMarginal(blend, np.setdiff1d(np.arange(d), u), d).given(X, None)
        assert_allclose(given.conditional_log_prob(X, np.arange(20)), truth.log_prob(X, u), atol=1e-8)


@pytest.mark.parametrize("name", CLOSED)
def test_draws_given_other_features_have_the_distribution_of_the_textbook(name, rng):
    density, n = behind_transforms(rng, CLOSED[name], "yeo-johnson"), 1500
    d, truth = density.density.n_features, Truth(density.preprocessor, density.density)
    X = density.sample(noise_of(rng, 2, d)._replace(chi2=rng.chisquare(3.0, 2)))
    for x, j in zip(X, rng.permutation(d)):
        drawn = density.completed(np.tile(x, (n, 1)), np.delete(np.arange(d), j), noise_of(rng, n, d))[:, j]
        level = np.sort(truth.cdf(truth.mapped(x[None])[0], j, density.preprocessor.maps[j].forward(drawn)))
        assert np.abs(level - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)  # Kolmogorov and Smirnov, 0.1 %


class Target(Density):
    """A density of which nothing but its values is known."""

    def __init__(self, target):
        self.target = target

    def log_prob(self, x):
        return self.target.log_prob(x)


def quantiles_given(name, target, x, levels):
    """Exact conditional quantiles of the last feature of a copula given the others."""
    if name == "clayton3":
        power = 2 + 1 / target.theta
        rest = np.exp(-target.theta * norm.logcdf(x[:-1])).sum() - 1
        return norm.ppf((rest * (levels ** (-1 / power) - 1) + 1) ** (-1 / target.theta))
    R, nu = target.factor @ target.factor.T, target.nu
    T = t.ppf(t.cdf(x, target.dof), nu)
    gain = np.linalg.solve(R[:4, :4], R[:4, 4])
    scale = np.sqrt((1 - gain @ R[:4, 4]) * (nu + T[:4] @ np.linalg.solve(R[:4, :4], T[:4])) / (nu + 4))
    return t.ppf(t.cdf(gain @ T[:4] + scale * t.ppf(levels, nu + 4), nu), target.dof[4])


@pytest.mark.parametrize("name", ["clayton3", "tcopula5"])
def test_oracle_conditionals_by_a_grid_are_those_of_copulas(name, rng):
    target = oracles.ORACLES[name]()
    places = np.linspace(-7, 7, 2001)
    levels, step = norm.cdf(places), norm.pdf(places) * (places[1] - places[0])
    for x in target.sample(5, rng):
        log_given, mean, scale = oracles.oracle_conditional(target, x, len(x) - 1)
        values = quantiles_given(name, target, x, levels)
        assert mean == pytest.approx(values @ step, abs=1e-4)
        assert scale == pytest.approx(np.sqrt((values - mean) ** 2 @ step), rel=1e-3)
        if name == "clayton3":
            assert log_given == pytest.approx(ClaytonCopula(target.theta, 2).log_prob(x[None, :2])[0], abs=1e-5)
        else:
            T = t.ppf(t.cdf(x[:4], target.dof[:4]), target.nu)
            exact = multivariate_t(shape=(target.factor @ target.factor.T)[:4, :4], df=target.nu).logpdf(T)
            exact += (t.logpdf(x[:4], target.dof[:4]) - t.logpdf(T, target.nu)).sum()
            assert log_given == pytest.approx(exact, abs=1e-5)


def test_oracle_conditionals_by_a_grid_are_those_of_a_ring(rng):
    target = oracles.ORACLES["ring2"]()
    for x in target.sample(5, rng):
        log_given, mean, _ = oracles.oracle_conditional(target, x, 1)
        root = np.sqrt(max(target.radii[0] ** 2 - x[0] ** 2, 0.0))
        exact, _ = quad(
            lambda value, x=x: np.exp(target.log_prob(np.array([[x[0], value]]))[0]), 0, 4, points=[root], limit=200
        )
        assert log_given == pytest.approx(np.log(2 * exact), abs=1e-4)
        assert mean == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["clayton3", "tcopula5", "ring2", "mixture8"])
def test_conditionals_by_quadrature_are_the_truth(name, rng):
    """A blend of the truth, of which nothing is known in closed form, and a Student-t that is not asked."""
    target, n = oracles.ORACLES[name](), 40
    X, test = target.sample(400, rng), target.sample(n, rng)
    d = X.shape[1]
    est = DiffusionDensityEstimator(components=["student"], hidden_layer_sizes=(4, 4), n_estimators=1, max_iter=1)
    est.set_params(random_state=0, bounds=None, feature_transform=None).fit(X)
    identity = Preprocessor(np.vstack([np.eye(d), -np.eye(d)]) * np.sqrt(d), np.ones(2 * d)).unwhitened()
    densities = est.blend_.densities | {"diffusion": Opaque(identity, Target(target))}
    est.blend_ = Blend(densities, {"diffusion": 1.0, "student": 0.0})
    j = d - 1
    incomplete = test.copy()
    incomplete[:, j] = np.nan
    log_given, mean, scale = np.array([oracles.oracle_conditional(target, x, j) for x in test]).T
    found = est.conditional(incomplete)
    assert_allclose(est.score_samples(incomplete), log_given, atol=1e-3)
    assert_allclose(found.score_samples(test[:, j]), target.log_prob(test) - log_given, atol=1e-3)
    assert_allclose((found.mean[:, 0] - mean) / scale, 0, atol=1e-3)
    assert_allclose(np.sqrt(found.cov[:, 0, 0]) / scale, 1, atol=1e-3)
    if name in ("clayton3", "tcopula5"):
        levels = np.array([0.05, 0.3, 0.5, 0.9])
        exact = np.stack([quantiles_given(name, target, x, levels) for x in test])
        assert_allclose(found.quantile(levels) / scale[:, None], exact / scale[:, None], atol=5e-3)
        one = est.conditional(incomplete[[0]])
        assert_allclose(one.cdf(exact[0]), levels, atol=1e-3)
        drawn = np.sort(one.sample(2000, random_state=0)[0, :, 0])
        at = np.linspace(0.005, 0.995, 199)
        distance = np.interp(quantiles_given(name, target, test[0], at), drawn, np.arange(1, 2001) / 2000) - at
        assert np.abs(distance).max() < 1.95 / np.sqrt(2000)
    for i in range(5):
        one = est.conditional(incomplete[[i]])
        assert oracles.integral(one, mean[i], scale[i]) == pytest.approx(1, abs=1e-3)
