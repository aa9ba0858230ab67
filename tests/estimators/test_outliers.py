"""The outlier detector: signs, the share of outliers, and samples that must not be learned."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.mixture import GaussianMixture
from sklearn.utils import get_tags

from skdiffusion import DiffusionDensityEstimator, DiffusionOutlierDetector

SMALL = DiffusionDensityEstimator((8, 8), max_iter=5, n_estimators=2, random_state=0)


def contaminated(n_outliers=15):
    """Standard normal samples, a tight cluster of outliers after them, and which ones these are."""
    rng = np.random.default_rng(0)
    outliers = rng.normal(size=(n_outliers, 3)) * 0.2 + [4.0, -4.0, 4.0]
    return np.concatenate([rng.normal(size=(200, 3)), outliers]), np.arange(200 + n_outliers) >= 200


def test_signs_and_share():
    X, _ = contaminated()
    est = DiffusionOutlierDetector(SMALL, contamination=0.1).fit(X)
    assert np.mean(est.predict(X) == -1) == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(est.decision_function(X), est.score_samples(X) - est.offset_)
    np.testing.assert_array_equal(est.predict(X) == -1, est.decision_function(X) < 0)
    far, near = est.score_samples([[9.0, 9.0, -9.0], [0.0, 0.0, 0.0]])
    assert far < near


def test_auto_leaves_a_hundredth_of_its_own_density_outside():
    X, _ = contaminated(0)
    est = DiffusionOutlierDetector(SMALL, random_state=0).fit(X)
    assert np.mean(est.predict(est.estimator_.sample(4000, random_state=7)) == -1) == pytest.approx(0.01, abs=0.006)


def test_a_cluster_of_outliers_is_not_learned():
    """A mixture gives the cluster a component of its own; the detector must not."""
    X, is_outlier = contaminated()
    log_density = GaussianMixture(3, random_state=0).fit(X).score_samples(X)
    assert average_precision_score(is_outlier, -log_density) < 0.5
    est = DiffusionOutlierDetector(GaussianMixture(3, random_state=0), random_state=0).fit(X)
    assert average_precision_score(is_outlier, -est.score_samples(X)) > 0.95


def test_few_samples_are_all_used():
    X, _ = contaminated(0)
    est = DiffusionOutlierDetector(GaussianMixture(1), random_state=0).fit(X[:12])
    np.testing.assert_allclose(est.estimator_.means_[0], X[:12].mean(0))


def test_bad_parameters_are_named():
    X, _ = contaminated()
    with pytest.raises(ValueError, match="contamination"):
        DiffusionOutlierDetector(SMALL, contamination=0.7).fit(X)
    with pytest.raises(ValueError, match="estimator"):
        DiffusionOutlierDetector("kde").fit(X)


def test_incomplete_samples_are_ranked_by_what_is_known():
    X, is_outlier = contaminated()
    rng = np.random.default_rng(1)
    gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    est = DiffusionOutlierDetector(SMALL, contamination=0.07).fit(gaps)
    assert np.mean(est.predict(gaps) == -1) == pytest.approx(0.07, abs=0.01)
    assert average_precision_score(is_outlier, -est.score_samples(gaps)) > 0.8
    few = np.array([[6.0, np.nan, np.nan], [0.0, np.nan, np.nan], [np.nan, np.nan, np.nan], [0.0, 0.0, np.nan]])
    assert est.predict(few).tolist() == [-1, 1, 1, 1]
    twice = est.score_samples(np.vstack([few, few]))
    np.testing.assert_array_equal(twice[:4], twice[4:])
    np.testing.assert_array_equal(twice[1:2], est.score_samples(few[1:2]))


def test_nan_is_taken_where_the_estimator_takes_it():
    assert get_tags(DiffusionOutlierDetector()).input_tags.allow_nan
    assert not get_tags(DiffusionOutlierDetector(GaussianMixture())).input_tags.allow_nan
    with pytest.raises(ValueError, match="DiffusionImputer"):
        DiffusionOutlierDetector(GaussianMixture(), contamination=0.1).fit([[0.0, np.nan], [1.0, 2.0]])
