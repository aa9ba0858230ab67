"""The Student-t: density against scipy's, fits of heavy and light tails."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import multivariate_t

from skdiffusion.densities import StudentTDensity, fit_student_t
from tests.conftest import gradient_of


def test_student_density_is_scipys_and_its_score_the_gradient(rng):
    density = StudentTDensity(np.array([1.0, -1.0]), np.array([[1.0, 0.3], [0.3, 2.0]]), 4.0)
    x = 3 * rng.standard_normal((20, 2))
    assert_allclose(density.log_prob(x), multivariate_t(density.location, density.scale, df=4).logpdf(x), rtol=1e-12)
    assert_allclose(gradient_of(density.log_prob, x), density.score(x), rtol=1e-6, atol=1e-8)


def test_student_density_is_finite_however_far():
    density = StudentTDensity(np.zeros(2), np.eye(2), 3.0)
    far = np.array([[1e200, 0.0], [-1e300, 1e300]])
    assert_allclose(density.log_prob(far)[0], density.log_prob([[1e100, 0.0]])[0] - 5 * np.log(1e100), rtol=1e-12)
    assert np.isfinite(density.log_prob(far)).all()
    assert np.isfinite(density.log_prob([[0.0, 0.0]])).all()


def test_student_fit_finds_heavy_tails(rng):
    x = multivariate_t(np.zeros(3), np.eye(3), df=3).rvs(4000, random_state=1)
    fitted = fit_student_t(x, np.ones(len(x)))
    assert fitted.degrees in (2.0, 3.0, 4.0)
    assert_allclose(fitted.scale, np.eye(3), atol=0.15)
    light = fit_student_t(rng.standard_normal((4000, 3)), np.ones(4000))
    assert light.degrees == 20.0


def test_student_survives_more_features_than_samples_and_collinear_ones(rng):
    x = rng.standard_normal((6, 10))
    x[:, 1] = x[:, 0]
    assert np.isfinite(fit_student_t(x, np.ones(6)).log_prob(100 * x)).all()
