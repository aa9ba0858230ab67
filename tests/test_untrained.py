"""Networks that early stopping leaves untrained: fits say so where more steps may help, and how much networks gain."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator, Options, load
from skdiffusion.exceptions import UntrainedNetworkWarning
from skdiffusion.metrics import make_sample_scorer

SHORT = {"max_iter": 20, "n_estimators": 2, "components": None, "feature_transform": None, "random_state": 0}


@pytest.fixture(scope="module")
def wine():
    X = load_wine().data
    return X[np.random.default_rng(0).permutation(len(X))[:89]]


def groups(n, seed):
    """Two groups, which no Gaussian is like."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)) + np.where(rng.random(n) < 0.5, -3.0, 3.0)[:, None]


def test_a_fit_that_is_too_short_for_its_networks_names_the_remedy(wine):
    fits = []
    for sizes in ((16, 16), (48, 48)):
        with pytest.warns(UntrainedNetworkWarning, match="raise 'max_iter'") as caught:
            fits.append(DiffusionDensityEstimator(sizes, **SHORT).fit(wine))
        assert {w.filename for w in caught} == {__file__}
        assert issubclass(UntrainedNetworkWarning, ConvergenceWarning)  # what filters of scikit-learn's users name
    assert [est.network_gain_ for est in fits] == [0, 0]
    np.testing.assert_array_equal(fits[0].sample(50, 1), fits[1].sample(50, 1))


def test_a_fit_without_time_names_that_limit(wine):
    with pytest.warns(UntrainedNetworkWarning, match="raise 'max_fit_seconds'"):
        DiffusionDensityEstimator(**SHORT | {"max_iter": "auto"}, max_fit_seconds=1e-3).fit(wine)


@pytest.mark.parametrize("options", [None, Options(n_training_steps=60, patience=50)], ids=["default", "patience over"])
def test_networks_that_patience_has_left_untrained_suit_gaussian_samples(options, wine):
    """More steps were of no use: the gain alone tells."""
    gaussian = np.random.default_rng(0).standard_normal((89, 13))
    for X in (gaussian, wine):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UntrainedNetworkWarning)
            est = DiffusionDensityEstimator(**SHORT | {"max_iter": "auto"}, options=options).fit(X)
        assert est.network_gain_ == 0


def test_no_fit_warns_that_keeps_its_last_weights(wine):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntrainedNetworkWarning)
        est = DiffusionDensityEstimator(**SHORT, early_stopping=False).fit(wine)
    assert est.network_gain_ != 0


def test_a_fit_that_goes_on_from_trained_networks_does_not_warn():
    est = DiffusionDensityEstimator(**SHORT | {"max_iter": 200}, warm_start=True).fit(groups(200, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntrainedNetworkWarning)
        est.set_params(max_iter=1).fit(groups(200, 0))
    assert est.network_gain_ > 0.1


def test_the_gain_is_that_over_a_gaussian_on_fresh_samples():
    X, fresh = groups(400, 0), groups(2000, 1)
    est = DiffusionDensityEstimator(**SHORT | {"max_iter": "auto"}).fit(X)
    gaussian = multivariate_normal(X.mean(0), np.cov(X.T)).logpdf(fresh).mean()
    gain = (est.score(fresh) - gaussian) / 3
    assert gain > 0.15
    assert est.network_gain_ == pytest.approx(gain, abs=0.06)


def test_the_gain_is_in_nats_a_feature_whatever_the_units_and_weights():
    X = groups(200, 0)
    est = DiffusionDensityEstimator(**SHORT | {"max_iter": 200})
    gain = est.fit(X).network_gain_
    assert est.fit(1000 * X).network_gain_ == pytest.approx(gain, abs=0.02)
    assert est.fit(X, sample_weight=np.full(200, 3.0)).network_gain_ == pytest.approx(gain, abs=1e-6)


def test_the_gain_is_saved_and_pickled(tmp_path):
    est = DiffusionDensityEstimator(**SHORT | {"max_iter": 200}).fit(groups(200, 0))
    est.save(tmp_path / "file")
    assert load(tmp_path / "file").network_gain_ == pickle.loads(pickle.dumps(est)).network_gain_ == est.network_gain_


def test_the_gain_follows_a_stream():
    est = DiffusionDensityEstimator(**SHORT).fit(groups(200, 0))
    before = est.network_gain_
    est.set_params(max_iter=400).partial_fit(groups(200, 1))
    assert est.network_gain_ > before + 0.02


@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
def test_a_manifold_says_so_too(wine, tmp_path):
    with pytest.warns(UntrainedNetworkWarning, match="raise 'max_iter'") as caught:
        est = ManifoldDiffusionEstimator(support="linear", max_iter=20, random_state=0).fit(wine)
    assert {w.filename for w in caught if w.category is UntrainedNetworkWarning} == {__file__}
    est.save(tmp_path / "file")
    assert load(tmp_path / "file").network_gain_ == est.network_gain_ == est.estimator_.network_gain_ == 0


def test_a_search_over_network_size_sees_it_by_likelihood_and_by_wasserstein_distance():
    X = make_moons(150, noise=0.1, random_state=0)[0]
    search = GridSearchCV(
        DiffusionDensityEstimator(**SHORT | {"max_iter": "auto"}),
        {"hidden_layer_sizes": [(2, 2), (8, 8), (32, 32)]},
        scoring=make_sample_scorer(["wasserstein_1", "mean_log_likelihood"], n_samples=75, X_ref=X),
        refit="mean_log_likelihood",
        cv=KFold(2, shuffle=True, random_state=0),
    ).fit(X)
    for name in ("neg_wasserstein_1", "mean_log_likelihood"):
        scores = search.cv_results_[f"mean_test_{name}"]
        assert len(set(scores)) == 3
        assert scores[0] < scores[2]
