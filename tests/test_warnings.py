"""Warnings point to the caller's line, through scikit-learn's wrappers too."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdiffusion
from skdiffusion import ManifoldDiffusionEstimator
from skdiffusion._utils.warnings import warn_user
from skdiffusion.exceptions import FullDimensionWarning, InconsistentVersionWarning

CALLS = {
    "fit": lambda est, X: est.fit(X),
    "pipeline": lambda est, X: make_pipeline(StandardScaler(), est).fit(X),
    "cross-validation": lambda est, X: cross_val_score(est, X, cv=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warning_of_fit_names_the_file_that_called_it(call, rng):
    est = ManifoldDiffusionEstimator(max_iter=1, hidden_layer_sizes=(8, 8), n_estimators=1, random_state=0)
    with pytest.warns(FullDimensionWarning) as caught:
        call(est, rng.normal(size=(60, 2)))
    assert {w.filename for w in caught if w.category is FullDimensionWarning} == {__file__}


def test_a_warning_of_another_version_names_the_file_that_loads(tmp_path):
    written = skdiffusion.__version__.encode()
    other = b"9" * len(written)
    data = pickle.dumps(ManifoldDiffusionEstimator()).replace(written, other)
    joblib.dump(ManifoldDiffusionEstimator(), tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes().replace(written, other))
    for read in (lambda: pickle.loads(data), lambda: joblib.load(tmp_path / "file")):
        with pytest.warns(InconsistentVersionWarning) as caught:
            read()
        assert [w.filename for w in caught] == [__file__]


def test_a_warning_from_nowhere_else_is_given_all_the_same():
    """Where every frame is passed over, as in a worker process, the outermost one is named."""
    scope = {"__name__": "skdiffusion.nowhere", "warn_user": warn_user, "np": np}
    exec(compile("def f(): warn_user('told', UserWarning)", "nowhere.py", "exec"), scope)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scope["f"]()
    assert [(str(w.message), w.filename) for w in caught] == [("told", __file__)]
