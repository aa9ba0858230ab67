"""Principal directions, and how many of them are more than noise."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skdiffusion.datasets import Subspace
from skdiffusion.manifold import linear_dimension, principal_directions


def test_principal_directions_have_signs_of_their_own(rng):
    """Orthonormal, in descending order, and the same whichever way the samples are mirrored."""
    X = rng.standard_normal((50, 4)) * [1.0, 4.0, 2.0, 3.0]
    X -= X.mean(0)
    directions, variances = principal_directions(X)
    np.testing.assert_allclose(directions @ directions.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(((X @ directions.T) ** 2).mean(0), variances)
    assert (np.diff(variances) < 0).all()
    assert (directions[np.arange(4), np.abs(directions).argmax(1)] > 0).all()
    np.testing.assert_allclose(principal_directions(-X)[0], directions, atol=1e-12)


@given(st.integers(1, 5), st.integers(6, 24), st.floats(0.0, 0.2), st.integers(0, 1000))
@example(5, 6, 0.1953125, 0)
def test_linear_dimension(k, d, noise, seed):
    if d - k == 1:
        noise *= 0.75  # a single direction is noise only from a ratio of 25 in the variances on
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((1000, k)) @ np.linalg.qr(rng.standard_normal((d, k)))[0].T
    X += noise * rng.standard_normal(X.shape)
    variances = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 1000
    found, variance = linear_dimension(variances, 1000)
    if 0 < noise < 1e-5:
        return  # below round-off of a direction or above it: either is right
    assert found == k
    assert variance == pytest.approx(noise**2, rel=0.15, abs=1e-12)


def test_a_full_density_keeps_all_directions(rng):
    for variances in (np.ones(6), np.array([4.0, 2.0, 1.0, 0.5]), np.array([9.0, 1.0])):
        X = rng.standard_normal((500, len(variances))) * np.sqrt(variances)
        values = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2 / 500
        assert linear_dimension(values, 500) == (len(variances), 0.0)


def test_samples_of_a_subspace_have_its_rank():
    assert np.linalg.matrix_rank(Subspace(2, 5).sample(100, 0)) == 2
