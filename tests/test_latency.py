"""Scoring leaves an estimator as it was, to the last attribute, and one sample is not solved among hundreds."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest

from skdiffusion import DiffusionDensityEstimator, load
from skdiffusion._utils import validation

METHODS = ["score_samples", "score_function", "score", "to_latent", "from_latent", "log_density_error"]


@pytest.fixture(scope="module")
def fitted():
    X = np.random.default_rng(0).standard_normal((200, 3))
    X[:, 1] += X[:, 0] ** 2
    return DiffusionDensityEstimator(max_iter=20, hidden_layer_sizes=(32, 32), random_state=0).fit(X), X


@pytest.mark.parametrize("method", METHODS)
def test_scoring_changes_no_attribute(method, fitted):
    est, X = fitted
    before, names, data = joblib.hash(est), dict(vars(est)), pickle.dumps(est)
    getattr(est, method)(X[:5])
    getattr(est, method)(X[:1])
    assert vars(est).keys() == names.keys()
    assert all(vars(est)[name] is value for name, value in names.items())
    assert joblib.hash(est) == before
    assert pickle.dumps(est) == data


@pytest.mark.parametrize("method", METHODS[:2])
def test_one_sample_has_its_value_among_others_and_after_loading(method, fitted, tmp_path):
    est, X = fitted
    est.save(tmp_path / "model")
    whole = getattr(est, method)(X)
    again = load(tmp_path / "model")
    for k in (0, 7, 199):
        np.testing.assert_allclose(getattr(est, method)(X[k : k + 1])[0], whole[k], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(getattr(again, method)(X[k : k + 1]), getattr(est, method)(X[k : k + 1]))


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_sample_has_the_bits_that_it_has_among_others_in_every_component(method):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.standard_normal((200, 3)), 5 + 0.3 * rng.standard_normal((100, 3))])
    X[:, 2] = X[:, 0] ** 2 + 0.1 * X[:, 2]
    est = DiffusionDensityEstimator(max_iter=10, hidden_layer_sizes=(16, 16), random_state=0).fit(X)
    assert min(est.component_weights_[name] for name in ("mixture", "student", "regression")) > 0
    whole = getattr(est, method)(X)
    for n in (1, 2, 7, 8, 9, 100):
        np.testing.assert_array_equal(getattr(est, method)(X[-n:]), whole[-n:], err_msg=str(n))


@pytest.mark.parametrize("n", [1, 3, 4])
def test_few_samples_go_in_a_small_block(n, fitted):
    est, X = fitted
    field = est.score_model().field
    assert next(len(block) for _, block in field.blocks(X[:n])) == field.block_sizes[0]
    assert field.block_sizes[0] <= 16


def test_an_array_that_scikit_learn_would_return_as_it_is_needs_no_validation(fitted, monkeypatch):
    """Its checks take a tenth of the time of a single sample; what they refuse or change they still see."""
    est, X = fitted
    asked = []
    through = validation.sklearn_validation.validate_data

    def counted(*args, **kwargs):
        asked.append(args)
        return through(*args, **kwargs)

    monkeypatch.setattr(validation.sklearn_validation, "validate_data", counted)
    expected = est.score_samples(X[:3].tolist())
    assert len(asked) == 1
    np.testing.assert_array_equal(est.score_samples(X[:3]), expected)
    est.score_samples(X[:3].astype(np.float32))
    assert len(asked) == 1
    for wrong, message in (
        (X[:, :2], "2 features"),
        (X[0], "1D array"),
        (X[:0], "0 sample"),
        (X[:3] + 1j, "Complex"),
        (np.full((1, 3), np.inf), "infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            est.score_samples(wrong)
    est.score_samples(np.ones((2, 3), dtype=int))
    assert len(asked) == 6


def test_an_array_without_the_names_of_a_fit_still_warns():
    X = np.random.default_rng(0).standard_normal((60, 2))
    est = DiffusionDensityEstimator((8,), max_iter=2, random_state=0).fit(pd.DataFrame(X, columns=["a", "b"]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.score_samples(X[:1])
