"""Incomplete samples of a fit are completed without the kernels at their own draws."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdiffusion import DiffusionDensityEstimator, DiffusionImputer, load
from skdiffusion.densities import Blend, GaussianKernelDensity, KernelSources, TransformedDensity

SMALL = {"hidden_layer_sizes": (8, 8), "n_estimators": 1, "max_iter": 1, "random_state": 0}
N_DRAWS = 19  # between the least and the greatest of which 90 % of the values lie where draws are as these


def surface(n, seed):
    """Noisy samples near a curved surface in five dimensions, where kernels have most of the weight, with gaps."""
    rng = np.random.default_rng(seed)
    X = np.sin(rng.uniform(-3, 3, (n, 2)) @ np.random.default_rng(9).standard_normal((2, 5)))
    X += 0.05 * rng.standard_normal(X.shape)
    deleted = rng.random(X.shape) < 0.2
    deleted[deleted.all(1), 0] = False
    return X, np.where(deleted, np.nan, X)


def covered(draws, X, gaps):
    inside = (draws.min(0) <= X) & (draws.max(0) >= X)
    return inside[np.isnan(gaps)].mean()


@pytest.fixture(scope="module")
def fitted():
    """A fit whose answers are those of kernels a fifth as wide as they were, which overfit."""
    est = DiffusionDensityEstimator(components=["kernel", "student"], **SMALL)
    est.fit(surface(250, 0)[1])
    blend = est.conditional_blend_
    kernel = blend.densities["kernel"]
    narrow = GaussianKernelDensity(kernel.density.samples, kernel.density.bandwidth / 5, kernel.density.weights)
    blend = blend.replaced("kernel", TransformedDensity(kernel.preprocessor, narrow))
    shares = dict.fromkeys(blend.weights, 0.0) | {"kernel": 0.99, "student": 0.01}
    est.conditional_blend_ = Blend(blend.densities, shares)
    return est


def test_every_kernel_has_the_code_of_the_sample_that_it_completes(fitted):
    gaps = surface(250, 0)[1]
    kernel, sources = fitted.conditional_blend_.densities["kernel"], fitted._kernel_sources
    assert len(sources.codes) == len(kernel.density.samples)
    at, n_kernels = fitted._replay.given, np.bincount(np.unique(sources.codes, return_inverse=True)[1])
    for sample in gaps[np.isnan(gaps).any(1)][:20]:
        known, code = ~np.isnan(sample), KernelSources.of(sample[None], np.zeros(1, dtype=int)).codes[0]
        assert np.count_nonzero((at[:, known] == sample[known]).all(1)) == 1
        assert np.count_nonzero(sources.codes == code) == 3
    assert set(n_kernels) == {1, 3}  # of complete and of incomplete samples


def test_samples_of_the_fit_are_told_from_others_by_all_that_is_known(fitted):
    (X, gaps), sources = surface(250, 0), fitted._kernel_sources
    incomplete = np.isnan(gaps).any(1)
    parts = sources.parts_of(gaps)
    assert (parts >= 0).all()
    assert len(np.unique(parts[incomplete])) == 10
    assert (sources.parts_of(np.nextafter(gaps, np.inf)) == -1).all()
    assert (sources.parts_of(X[incomplete]) == -1).all()  # with their values they are others
    assert_array_equal(sources.parts_of(np.where(gaps == 0, -0.0, gaps)), parts)
    assert sources.without(fitted.conditional_blend_, -1) is fitted.conditional_blend_
    left = sources.without(fitted.conditional_blend_, 3).densities["kernel"].density
    assert len(left.samples) == np.count_nonzero(sources.codes % 10 != 3)
    one = KernelSources(np.full(5, 7))
    assert one.without(fitted.conditional_blend_, 7) is fitted.conditional_blend_  # no kernel would be left


def test_intervals_of_the_samples_of_a_fit_are_as_wide_as_those_of_others(fitted):
    """Samples of the fit and fresh ones are exchangeable: the share of their values in intervals is the same."""
    (X, gaps), (others, other_gaps) = surface(250, 0), surface(250, 1)
    own, fresh = (covered(fitted.impute(g, n_draws=N_DRAWS), x, g) for x, g in ((X, gaps), (others, other_gaps)))
    n = min(np.isnan(gaps).sum(), np.isnan(other_gaps).sum())
    error = np.sqrt(2 * fresh * (1 - fresh) / n)
    assert abs(own - fresh) < 3 * error
    # With the kernels at their own draws, which the conditional density has, they would be far narrower.
    sources, fitted._kernel_sources = fitted._kernel_sources, None
    try:
        repeated = covered(fitted.impute(gaps, n_draws=N_DRAWS), X, gaps)
        assert_array_equal(fitted.impute(other_gaps[:9]), draws_of_others(fitted, sources, other_gaps[:9]))
    finally:
        fitted._kernel_sources = sources
    assert repeated < min(own, fresh) - 2 * error


def draws_of_others(est, sources, X):
    est._kernel_sources = sources
    try:
        return est.impute(X)
    finally:
        est._kernel_sources = None


def test_samples_of_the_fit_are_completed_alone_as_among_others(fitted, tmp_path):
    X = np.vstack([surface(250, 0)[1][:6], surface(4, 3)[1]])
    together = fitted.impute(X, random_state=1)
    assert_array_equal(together, np.concatenate([fitted.impute(x[None], random_state=1) for x in X]))
    fitted.save(tmp_path / "fit.skd")
    assert_array_equal(load(tmp_path / "fit.skd").impute(X, random_state=1), together)


def test_a_complete_fit_and_a_table_have_none(fitted):
    X, gaps = surface(60, 0)
    est = DiffusionDensityEstimator(**SMALL).fit(gaps)
    assert est._kernel_sources is not None
    assert est.fit(X)._kernel_sources is None
    imputer = DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0).fit(gaps)
    assert (imputer.estimator_._kernel_sources.parts_of(gaps) >= 0).all()
