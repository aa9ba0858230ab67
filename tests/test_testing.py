"""The contract of densities: ours satisfy it, scikit-learn's deviate as known, broken ones are caught."""

import numpy as np
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from skdiffusion import DiffusionDensityEstimator, StackedDensityEstimator
from skdiffusion.compose import make_density_pipeline
from skdiffusion.testing import check_density_estimator


def failures(estimator, skip=()):
    results = check_density_estimator(estimator, on_fail=None, skip=skip)
    return {r["check_name"] for r in results if r["status"] == "failed"}


def test_ours_satisfy_the_contract():
    assert failures(DiffusionDensityEstimator(max_iter=3, n_estimators=1, random_state=0)) == set()


@pytest.mark.slow
def test_ours_satisfy_the_contract_with_defaults():
    assert failures(DiffusionDensityEstimator(random_state=0)) == set()
    assert failures(DiffusionDensityEstimator(components=None, random_state=0), skip=["sample_weight"]) == set()


def test_the_stack_satisfies_it_but_takes_no_weights():
    # The bandwidth of the kernel component has the units of the features.
    assert failures(StackedDensityEstimator(random_state=0)) == {"sample_weight", "affine_equivariance"}


def test_the_known_deviations_of_scikit_learn():
    assert failures(KernelDensity(bandwidth=0.3)) == {"score_is_mean", "affine_equivariance"}
    mixture = GaussianMixture(2, random_state=0)
    assert failures(mixture) == {"sample_is_array", "seeded_sampling", "sample_weight"}
    check_density_estimator(mixture, skip=["sample_is_array", "seeded_sampling", "sample_weight"])


def test_a_pipeline_makes_the_kernel_density_equivariant():
    pipe = make_density_pipeline(StandardScaler(), KernelDensity(bandwidth=0.1))
    assert failures(pipe, skip=["sample_weight"]) == set()


class Gaussian(DensityMixin, BaseEstimator):
    """A correct density estimator, to be broken."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        self.mean_ = np.average(X, axis=0, weights=w)
        self.covariance_ = np.atleast_2d(np.cov(X.T, aweights=w))
        self.extra_ = 0.0
        return self

    def score_samples(self, X):
        return stats.multivariate_normal(self.mean_, self.covariance_).logpdf(X).reshape(-1) + self.extra_

    def score(self, X, y=None):
        return float(self.score_samples(X).mean())

    def sample(self, n_samples=1, random_state=None):
        rng = check_random_state(random_state)
        return rng.multivariate_normal(self.mean_, self.covariance_, n_samples).reshape(n_samples, -1)


class Inflated(Gaussian):
    def score_samples(self, X):
        return super().score_samples(X) + 0.05


class WideSamples(Gaussian):
    def sample(self, n_samples=1, random_state=None):
        return self.mean_ + 1.2 * (super().sample(n_samples, random_state) - self.mean_)


class Tuple(Gaussian):
    def sample(self, n_samples=1, random_state=None):
        return super().sample(n_samples, random_state), np.zeros(n_samples)


class OneSeed(Gaussian):
    def sample(self, n_samples=1, random_state=None):
        return super().sample(n_samples, 0)


class Sum(Gaussian):
    def score(self, X, y=None):
        return float(self.score_samples(X).sum())


class BatchDependent(Gaussian):
    def score_samples(self, X):
        return super().score_samples(X) + 1e-5 * np.std(X)


class Unseeded(Gaussian):
    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.mean_ = self.mean_ + 1e-3 * np.random.default_rng().standard_normal(X.shape[1])
        return self


class FixedWidth(Gaussian):
    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.covariance_ = self.covariance_ + np.eye(X.shape[1])
        return self


class Underflowing(Gaussian):
    def score_samples(self, X):
        with np.errstate(divide="ignore"):
            return np.log(np.exp(super().score_samples(X)))


class WeightsIgnored(Gaussian):
    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, y)


def test_a_correct_estimator_passes():
    # It fits one broad Gaussian to two clusters: what is checked is consistency, not a good fit.
    assert failures(Gaussian(), skip=["sample_weight"]) == set()


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        (Inflated(), "normalized"),
        (WideSamples(), "samples_agree"),
        (Tuple(), "sample_is_array"),
        (OneSeed(), "seeded_sampling"),
        (Sum(), "score_is_mean"),
        (BatchDependent(), "independent_samples"),
        (Unseeded(), "fit_repeats"),
        (FixedWidth(), "affine_equivariance"),
        (Underflowing(), "finite_far_away"),
        (WeightsIgnored(), "sample_weight"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_each_broken_estimator_is_caught_by_its_check(broken, caught):
    assert caught in failures(broken)
    with pytest.raises(AssertionError, match="fails the check"):
        check_density_estimator(broken)


@pytest.mark.parametrize("arguments", [{"on_fail": "warn"}, {"skip": ["weights"]}, {"skip": "normalized"}])
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=f"'{next(iter(arguments))}'"):
        check_density_estimator(Gaussian(), **arguments)


def test_a_skipped_check_is_reported():
    results = check_density_estimator(Gaussian(), skip="sample_weight")
    assert [r["check_name"] for r in results if r["status"] == "skipped"] == ["sample_weight"]
    assert {r["status"] for r in results} == {"passed", "skipped"}
