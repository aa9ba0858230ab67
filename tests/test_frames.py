"""Estimators fitted on frames give frames back."""

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator, StackedDensityEstimator
from skdiffusion.compose import draw_samples

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 3, "n_estimators": 2, "random_state": 0}


def columns():
    rng = np.random.default_rng(0)
    return {
        "height": rng.normal(size=80).astype(np.float32),
        "count": rng.poisson(4, size=80),
        "small": rng.integers(0, 250, size=80).astype(np.uint8),
        "flag": rng.random(80) < 0.4,
        "weight": rng.gamma(2.0, size=80),
    }


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_comes_back(library):
    module = pytest.importorskip(library)
    frame = module.DataFrame(columns())
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    drawn = est.sample(60, random_state=1)
    assert type(drawn) is type(frame)
    assert list(drawn.columns) == list(frame.columns)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert np.isfinite(np.asarray(drawn["weight"])).all()
    plain = est.sample(60, random_state=1, as_frame=False)
    assert isinstance(plain, np.ndarray)
    np.testing.assert_allclose(np.asarray(drawn["weight"]), plain[:, 4])
    np.testing.assert_array_equal(np.asarray(drawn["count"]), np.round(plain[:, 1]))
    assert isinstance(draw_samples(est, 5, 0), np.ndarray)
    # What comes back can go in.
    assert np.isfinite(est.score_samples(drawn)).all()


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
def test_the_manifold_estimator_does_too(library):
    module = pytest.importorskip(library)
    frame = module.DataFrame({k: v for k, v in columns().items() if k in ("height", "weight")})
    est = ManifoldDiffusionEstimator(support="linear", **SMALL).fit(frame)
    assert type(est.sample(4)) is type(frame)
    assert isinstance(est.sample(4, as_frame=False), np.ndarray)


def test_a_blend_does_too():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({k: v for k, v in columns().items() if k in ("height", "weight")})
    blend = StackedDensityEstimator(random_state=0).fit(frame)
    assert list(blend.sample(4).columns) == ["height", "weight"]
    assert isinstance(blend.sample(4, as_frame=False), np.ndarray)


def test_nullable_dtypes_of_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns()).astype({"count": "Int64", "flag": "boolean", "weight": "Float64"})
    drawn = DiffusionDensityEstimator(**SMALL).fit(frame).sample(10)
    assert list(drawn.dtypes) == list(frame.dtypes)


def test_arrays_stay_arrays():
    X = np.column_stack([columns()["height"], columns()["weight"]])
    est = DiffusionDensityEstimator(**SMALL).fit(X)
    assert isinstance(est.sample(3), np.ndarray)
    with pytest.raises(ValueError, match="fitted on an array"):
        est.sample(3, as_frame=True)
    with pytest.raises(ValueError, match="as_frame"):
        est.sample(3, as_frame="yes")


def test_wrong_and_reordered_features_are_errors():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns())[["height", "weight"]]
    est = DiffusionDensityEstimator(**SMALL).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        est.score_samples(frame[["weight", "height"]])
    with pytest.raises(ValueError, match="feature names"):
        est.score_samples(frame.rename(columns={"height": "length"}))
