"""Jacobians against finite differences; densities in the units of the input."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import special, stats
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from skdiffusion import DiffusionDensityEstimator, StackedDensityEstimator
from skdiffusion.compose import (
    DensityPipeline,
    draw_samples,
    inverse_samples,
    log_abs_det_jacobian,
    make_density_pipeline,
)
from tests.conftest import gradient_of

SMALL = {"max_iter": 2, "hidden_layer_sizes": (8, 8), "n_estimators": 1, "random_state": 0}


class Cube(TransformerMixin, BaseEstimator):
    """A transformer from elsewhere that follows the open protocol."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X**3

    def inverse_transform(self, Z):
        return np.cbrt(Z)

    def log_abs_det_jacobian(self, X):
        return (np.log(3) + 2 * np.log(np.abs(X))).sum(1)


TRANSFORMERS = {
    "standard": StandardScaler(),
    "standard, no scale": StandardScaler(with_std=False),
    "min-max": MinMaxScaler((-2, 5)),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(unit_variance=True),
    "robust, no scale": RobustScaler(with_scaling=False),
    "pca": PCA(),
    "pca, whitened": PCA(whiten=True),
    "yeo-johnson": PowerTransformer(),
    "yeo-johnson, raw": PowerTransformer(standardize=False),
    "box-cox": PowerTransformer("box-cox"),
    "quantile": QuantileTransformer(n_quantiles=40),
    "quantile, normal": QuantileTransformer(n_quantiles=40, output_distribution="normal"),
    "log": FunctionTransformer(np.log),
    "identity": FunctionTransformer(),
    "columns": ColumnTransformer(
        [("a", make_pipeline(FunctionTransformer(np.log), StandardScaler()), [2, 0])], remainder="passthrough"
    ),
    "pipeline": make_pipeline(StandardScaler(), PCA(whiten=True)),
    "protocol": Cube(),
}


@pytest.fixture
def positive(rng):
    return np.exp(rng.normal(size=(400, 3)) * [0.5, 1.0, 0.3] + [0.0, 1.0, -1.0])


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_jacobian_and_inverse(name, positive):
    t = clone(TRANSFORMERS[name]).fit(positive)
    middle = positive[(np.abs(stats.zscore(np.log(positive))) < 1.5).all(1)][:40]
    numerical = np.linalg.slogdet(gradient_of(t.transform, middle, 1e-6))[1]
    known = log_abs_det_jacobian(t, middle)
    # A sample within the step of a quantile has two slopes.
    assert np.median(np.abs(known - numerical)) < 1e-7
    assert np.mean(np.abs(known - numerical) < 1e-6) > 0.9
    np.testing.assert_allclose(inverse_samples(t, t.transform(middle)), middle, rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [np.log, np.log1p, np.log2, np.log10, np.exp, np.expm1, np.sqrt, np.cbrt, np.arcsinh, np.sinh, np.arctan, np.tanh,
     np.arctanh, special.logit, special.expit],
)  # fmt: skip
def test_known_functions(function, rng):
    X = rng.uniform(0.1, 0.9, (30, 2))
    t = FunctionTransformer(function).fit(X)
    numerical = np.linalg.slogdet(gradient_of(t.transform, X, 1e-6))[1]
    np.testing.assert_allclose(log_abs_det_jacobian(t, X), numerical, atol=1e-7)
    np.testing.assert_allclose(inverse_samples(t, t.transform(X)), X, rtol=1e-9)


def test_a_repeated_quantile_is_no_density():
    X = np.array([0.0] * 30 + list(np.linspace(1, 2, 30)))[:, None]
    t = QuantileTransformer(n_quantiles=20).fit(X)
    assert np.isfinite(log_abs_det_jacobian(t, [[1.5]])).all()
    assert np.isneginf(log_abs_det_jacobian(t, [[2.5], [-0.5]])).all()


@pytest.mark.parametrize(
    "steps",
    [
        (StandardScaler(),),
        (PCA(whiten=True),),
        (MinMaxScaler(), PowerTransformer()),
    ],
    ids=["standard", "pca", "min-max, yeo-johnson"],
)
def test_densities_integrate_to_one(steps, positive):
    X = np.log(positive[:, :2])
    pipe = make_density_pipeline(*steps, GaussianMixture(2, random_state=0)).fit(X)
    low, high = X.min(0) - 3, X.max(0) + 3
    axes = [np.linspace(a, b, 401) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(pipe.score_samples(grid)).sum() * np.prod((high - low) / 400)
    assert mass == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("density", ["normal", "uniform"])
def test_behind_quantiles_the_mass_is_that_of_the_range(density, rng):
    X = rng.normal(size=(400, 1))
    pipe = make_density_pipeline(
        QuantileTransformer(n_quantiles=50, output_distribution=density), GaussianMixture(1)
    ).fit(X)
    nodes = X.min() + np.ptp(X) * (np.arange(200_001) + 0.5) / 200_001
    mass = np.exp(pipe.score_samples(nodes[:, None])).mean() * np.ptp(X)
    low, high = pipe[:-1].transform([[X.min()], [X.max()]])[:, 0]
    model = stats.norm(pipe[-1].means_[0, 0], np.sqrt(pipe[-1].covariances_[0, 0, 0]))
    assert mass == pytest.approx(model.cdf(high) - model.cdf(low), abs=1e-4)


def test_the_scaler_does_not_change_the_score(positive):
    X, test = positive[:300], positive[300:]
    plain = GaussianMixture(1, reg_covar=0).fit(X).score(test)
    for scaler in (StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler(), PCA(whiten=True)):
        pipe = make_density_pipeline(scaler, GaussianMixture(1, reg_covar=0)).fit(X)
        assert pipe.score(test) == pytest.approx(plain, abs=1e-8)
        assert Pipeline(pipe.steps).score(test) != pytest.approx(plain, abs=0.1)


def test_the_score_of_a_kernel_density_is_a_mean(positive):
    pipe = make_density_pipeline(StandardScaler(), KernelDensity(bandwidth=0.3)).fit(positive)
    assert pipe.score(positive) == pytest.approx(pipe.score_samples(positive).mean())
    weights = np.arange(len(positive))
    expected = np.average(pipe.score_samples(positive), weights=weights)
    assert pipe.score(positive, sample_weight=weights) == pytest.approx(expected)


def test_a_grid_over_preprocessing_finds_the_logarithm(rng):
    X = np.exp(rng.normal(size=(300, 2)))
    grid = {"map": [StandardScaler(), FunctionTransformer(np.log), MinMaxScaler((0, 1e-3))]}
    model = GaussianMixture(1, reg_covar=1e-12)
    right = GridSearchCV(DensityPipeline([("map", "passthrough"), ("model", model)]), grid).fit(X)
    wrong = GridSearchCV(Pipeline([("map", "passthrough"), ("model", model)]), grid).fit(X)
    assert right.best_params_["map"].get_params().get("func") is np.log
    assert isinstance(wrong.best_params_["map"], MinMaxScaler)
    assert right.best_score_ == pytest.approx(stats.lognorm(1).logpdf(X).sum(1).mean(), abs=0.05)


def test_samples_are_in_the_units_of_the_input(positive):
    pipe = make_density_pipeline(FunctionTransformer(np.log), GaussianMixture(1, random_state=0)).fit(positive)
    samples = pipe.sample(2000, random_state=3)
    assert samples.shape == (2000, 3)
    np.testing.assert_allclose(np.median(samples, 0), np.median(positive, 0), rtol=0.2)
    np.testing.assert_array_equal(samples, pipe.sample(2000, random_state=3))
    assert not np.array_equal(samples, pipe.sample(2000, random_state=4))
    np.testing.assert_array_equal(pipe.sample(5), pipe.sample(5))  # the mixture has a seed of its own


def test_the_diffusion_estimator_behind_a_scaler(positive):
    names = ["a", "b", "c"]
    frame = pd.DataFrame(positive[:100], columns=names)
    columns = ColumnTransformer([("log", FunctionTransformer(np.log), ["c", "a"])], remainder=StandardScaler())
    pipe = make_density_pipeline(columns, DiffusionDensityEstimator(**SMALL)).fit(frame)
    assert np.isfinite(pipe.score(frame))
    assert pipe.sample(7, random_state=0).shape == (7, 3)
    assert (pipe.sample(500, random_state=0)[["a", "c"]] > 0).all(axis=None)
    np.testing.assert_allclose(pipe.feature_scale_, positive[:100].std(0))


def test_samples_without_an_image_have_density_zero(positive):
    pipe = make_density_pipeline(FunctionTransformer(np.log), StandardScaler(), GaussianMixture(1)).fit(positive)
    samples = positive[:3].copy()
    samples[1, 0] = -1.0
    out = pipe.score_samples(samples)
    assert np.isneginf(out[1])
    assert np.isfinite(out[[0, 2]]).all()
    np.testing.assert_array_equal(out[[0, 2]], pipe.score_samples(samples[[0, 2]]))


def test_draws_without_a_preimage_are_drawn_again(rng):
    """A power of 3 (Yeo-Johnson) has images above -0.5 only on the negative side."""
    X = 1 - rng.exponential(0.02, (300, 1))
    power = PowerTransformer(standardize=False).fit(X)
    assert power.lambdas_[0] > 2
    for pipe in (DensityPipeline, Pipeline):
        fitted = pipe([("power", PowerTransformer()), ("model", KernelDensity(bandwidth=5.0))]).fit(X)
        samples = draw_samples(fitted, 500, 0)
        assert samples.shape == (500, 1)
        assert np.isfinite(samples).all()
    never = make_density_pipeline(PowerTransformer(standardize=False), KernelDensity(bandwidth=1e-3)).fit(X)
    never[-1].fit(np.full((3, 1), -1e6))
    with pytest.raises(ValueError, match="no preimage"):
        never.sample(3, random_state=0)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Normalizer(), "not known"),
        (PCA(2), "2 of 3 directions"),
        (MinMaxScaler(clip=True), "clip"),
        (FunctionTransformer(np.square), "square"),
        (ColumnTransformer([("a", StandardScaler(), [0, 1])]), "drops"),
        (ColumnTransformer([("a", StandardScaler(), [0, 1, 2]), ("b", StandardScaler(), [2])]), "twice"),
        (make_pipeline(StandardScaler(), PCA(1)), "directions"),
    ],
)
def test_a_step_that_is_not_invertible_is_named(step, message, positive):
    pipe = DensityPipeline([("bad", step), ("model", GaussianMixture(1))])
    with pytest.raises(TypeError, match=f"Step 'bad'.*{message}"):
        pipe.fit(positive)


def test_it_stays_a_pipeline(positive):
    pipe = DensityPipeline([("scale", StandardScaler()), ("skip", "passthrough"), ("model", GaussianMixture(1))])
    search = GridSearchCV(pipe, {"model__n_components": [1, 2], "scale": [StandardScaler(), "passthrough"]}).fit(
        positive
    )
    assert search.best_estimator_.sample(3, random_state=0).shape == (3, 3)
    assert isinstance(clone(pipe)[:1], DensityPipeline)
    assert not hasattr(DensityPipeline([("scale", StandardScaler())]), "sample")


# -- frames in, frames out -----------------------------------------------------------------------


@pytest.fixture
def table(positive):
    """Columns of several dtypes, the numbers of which are the same in every library."""
    X = positive[:120]
    counts = np.random.default_rng(0).poisson(4, 120) + 1
    return {"a": X[:, 0], "b": X[:, 1].astype(np.float32), "count": counts, "grade": counts % 4 + 1}


def framed(library, table):
    grade = table["grade"]
    if library == "polars":
        levels = pl.Enum(["4", "3", "2", "1"])
        return pl.DataFrame(table).with_columns(pl.Series("grade", grade.astype(str), dtype=levels))
    if library == "pyarrow":
        return pa.table({**table, "grade": pa.array(grade).dictionary_encode()})
    return pd.DataFrame(table).assign(grade=pd.Categorical(grade), b=pd.arrays.SparseArray(table["b"]))


def dtypes_of(frame):
    return frame.schema if isinstance(frame, pa.Table) else list(frame.dtypes)


def logarithms(remainder, names=("count", "a")):
    """A logarithm of columns that are selected by name."""
    log = make_pipeline(FunctionTransformer(np.log), StandardScaler())
    return ColumnTransformer([("log", log, list(names))], remainder=remainder)


def scalers():
    return ColumnTransformer([("one", StandardScaler(), ["grade", "a"]), ("two", PowerTransformer(), ["b", "count"])])


CHAINS = {
    "by name": lambda: make_density_pipeline(scalers(), GaussianMixture(1)),
    "remainder": lambda: make_density_pipeline(logarithms(StandardScaler()), PCA(), GaussianMixture(1)),
    "passed on": lambda: make_density_pipeline(logarithms("passthrough"), KernelDensity()),
    "pandas inside": lambda: make_density_pipeline(scalers(), PCA(), GaussianMixture(1)).set_output(transform="pandas"),
    "polars inside": lambda: make_density_pipeline(scalers(), PCA(), GaussianMixture(1)).set_output(transform="polars"),
    "no columns": lambda: make_density_pipeline(MinMaxScaler(), GaussianMixture(1)),
    "no transformer": lambda: make_density_pipeline(GaussianMixture(1)),
}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("chain", CHAINS)
def test_frames_go_through_and_come_back(library, chain, table):
    if (library, chain) == ("pyarrow", "passed on"):
        pytest.skip("scikit-learn's ColumnTransformer passes no column of a table on")
    frame, plain = framed(library, table), pd.DataFrame(table)
    pipe, expected = CHAINS[chain]().fit(frame), CHAINS[chain]().fit(plain)
    np.testing.assert_allclose(pipe.score_samples(frame), expected.score_samples(plain), rtol=1e-6)
    assert pipe.score(frame) == pytest.approx(expected.score(plain), rel=1e-6)
    np.testing.assert_allclose(pipe.feature_scale_, expected.feature_scale_, rtol=1e-6)

    drawn, array = pipe.sample(20, random_state=0), pipe.sample(20, random_state=0, as_frame=False)
    assert type(drawn) is type(frame)
    assert dtypes_of(drawn) == dtypes_of(frame)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(np.asarray(drawn["a"]), array[:, 0])
    np.testing.assert_array_equal(np.asarray(drawn["count"]), np.round(array[:, 2]))
    assert set(np.asarray(drawn["grade"]).astype(int)) <= {1, 2, 3, 4}
    assert np.isfinite(pipe.score_samples(drawn)).sum() >= 15  # a count that is rounded to 0 has no logarithm
    assert isinstance(draw_samples(pipe, 20, 0), np.ndarray)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_grid_over_a_frame_scores(library, table):
    frame = framed(library, table)
    pipe = DensityPipeline([("columns", scalers()), ("model", GaussianMixture(random_state=0))])
    search = GridSearchCV(pipe, {"model__n_components": [1, 2]}, error_score="raise").fit(frame)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    expected = GridSearchCV(pipe, {"model__n_components": [1, 2]}).fit(pd.DataFrame(table))
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"], rtol=1e-6
    )
    assert type(search.best_estimator_.sample(2)) is type(frame)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_the_diffusion_behind_columns_by_name(library, table):
    frame = framed(library, table)
    pipe = make_density_pipeline(scalers(), DiffusionDensityEstimator(**SMALL, components=None)).fit(frame)
    assert np.isfinite(pipe.score(frame))
    assert dtypes_of(pipe.sample(5)) == dtypes_of(frame)
    again = make_density_pipeline(DiffusionDensityEstimator(**SMALL, components=None)).fit(frame)
    # A pipeline hands numbers on, of categories too.
    plain = DiffusionDensityEstimator(**SMALL, components=None, categorical_features=None).fit(frame)
    np.testing.assert_array_equal(again.score_samples(frame), plain.score_samples(frame))


@pytest.mark.parametrize("parameters", [{"categorical_features": [1]}, {"atoms": {1: [0.0]}}, {"atoms": "auto"}])
def test_no_transformer_stands_before_categories_or_atoms(parameters, rng):
    """Its Jacobian would be counted where the density is a probability."""
    X = np.column_stack([rng.normal(size=60), np.where(rng.random(60) < 0.5, 0.0, rng.gamma(2.0, size=60))])
    X[:, 1] = X[:, 1] if "atoms" in parameters else X[:, 1] > 0
    with pytest.raises(ValueError, match="no transformer before it"):
        make_density_pipeline(StandardScaler(), DiffusionDensityEstimator(**SMALL, **parameters)).fit(X)
    alone = make_density_pipeline(DiffusionDensityEstimator(**SMALL, **parameters)).fit(X)
    plain = DiffusionDensityEstimator(**SMALL, **parameters).fit(X)
    np.testing.assert_array_equal(alone.score_samples(X), plain.score_samples(X))


def test_a_pipeline_of_arrays_gives_arrays(positive):
    pipe = make_density_pipeline(StandardScaler(), GaussianMixture(1)).fit(positive)
    assert isinstance(pipe.sample(3), np.ndarray)
    with pytest.raises(ValueError, match="fitted on an array"):
        pipe.sample(3, as_frame=True)
    with pytest.raises(ValueError, match="as_frame"):
        pipe.sample(3, as_frame="yes")
    joined = DensityPipeline(pipe.steps)  # of steps that are fitted already
    assert isinstance(joined.sample(3), np.ndarray)


def test_a_pipeline_refuses_a_column_in_words(table):
    frame = pl.DataFrame(table).with_columns(pl.lit("red").alias("color"))
    with pytest.raises(ValueError, match="'color'.*one-hot.*drop the column"):
        make_density_pipeline(StandardScaler(), GaussianMixture(1)).fit(frame)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_transformer_before_the_density_makes_no_categories_of_what_it_scales(wrapped):
    """The mass of one-hot columns times ten is one: the Jacobian of their scaler counts, and so they are numbers."""
    rng = np.random.default_rng(0)
    X = np.column_stack([10.0 * np.eye(2)[rng.integers(2, size=100)], rng.normal(size=100)])
    density = DiffusionDensityEstimator(**SMALL)
    pipeline, numbers = (
        make_density_pipeline(
            MinMaxScaler(), StackedDensityEstimator([("own", final)], random_state=0) if wrapped else final
        )
        for final in (density, clone(density).set_params(categorical_features=None))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(
            pipeline.fit(X).score_samples(X), numbers.fit(X).score_samples(X), rtol=0, atol=1e-12
        )
    alone = make_density_pipeline(clone(density)).fit(X / [10.0, 10.0, 1.0])
    assert alone[-1].one_hot_groups_ == [[0, 1]]
