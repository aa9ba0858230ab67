"""The display of predicted distributions shows the numbers of the regressor from which it is built."""

import numpy as np
import pytest
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skdiffusion import DiffusionRegressor
from tests.linear_gaussian import LinearGaussianRegressor

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from skdiffusion.inspection import ConditionalDensityDisplay  # noqa: E402
from skdiffusion.inspection._predictive import pit_histogram  # noqa: E402

show = ConditionalDensityDisplay.from_estimator


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def fitted(rng):
    X = rng.normal(size=(300, 3)) + [0.0, 5.0, -2.0]
    y = X @ [1.0, 2.0, -1.0] + rng.normal(size=300)
    return LinearGaussianRegressor().fit(X, y), X, y


def test_the_panels_are_of_the_closed_form(fitted):
    est, X, y = fitted
    display = show(est, X, y, feature=1, at=[4.0, 6.0])
    grid, quantiles, levels = display.fan
    assert (grid[0], grid[-1]) == (X[:, 1].min(), X[:, 1].max())
    rows = np.tile(np.median(X, axis=0), (100, 1))
    rows[:, 1] = grid
    exact = stats.norm.ppf(levels, est.predict(rows)[:, None], est.scale_)
    np.testing.assert_allclose(quantiles, exact)
    median = display.axes_[0].lines[0]
    np.testing.assert_allclose(median.get_ydata(), exact[:, 2])
    places, values, density = display.slices
    rows[:2, 1] = places
    np.testing.assert_allclose(density, stats.norm.pdf(values, est.predict(rows[:2])[:, None], est.scale_))
    # The values shown hold all but the edges of both densities.
    np.testing.assert_array_less(0.99, np.trapezoid(density, values, axis=1))
    np.testing.assert_allclose(display.pit, np.tile(est.cdf(X, y)[:, None], 2), atol=1e-14)
    shown = display.axes_[2].patches[0].get_data()
    np.testing.assert_allclose(shown.values, np.histogram(est.cdf(X, y), shown.edges, density=True)[0])
    assert [ax.get_xlabel() for ax in display.axes_] == ["x1", "y", "predicted distribution function at y"]


def test_densities_stand_at_quantiles_of_the_feature_by_default(fitted):
    est, X, y = fitted
    np.testing.assert_allclose(show(est, X, y).slices[0], np.quantile(X[:, 0], [0.1, 0.5, 0.9]))
    X[:, 0] = 0.0
    assert show(est, X, y).slices[0].tolist() == [0.0]


def test_pit_values_of_an_atom_are_spread_over_its_mass():
    pit = np.array([[0.0, 0.6], [0.0, 0.6], [0.0, 0.6], [0.9, 0.9], [1.0, 1.0]])
    heights = pit_histogram(pit, np.linspace(0, 1, 6))
    np.testing.assert_allclose(heights, [1.0, 1.0, 1.0, 0.0, 2.0])
    np.testing.assert_allclose(pit_histogram(np.array([[0.2, 0.6]]), np.array([0.0, 0.3, 0.5, 1.0])), [5 / 6, 2.5, 0.5])
    uniform = np.tile(np.random.default_rng(0).random((1000, 1)), 2)
    edges = np.linspace(0, 1, 8)
    np.testing.assert_allclose(pit_histogram(uniform, edges), np.histogram(uniform[:, 0], edges, density=True)[0])


def test_a_calibrated_regressor_lies_within_the_band_and_a_narrow_one_outside(fitted):
    est, X, y = fitted
    heights = [
        pit_histogram(show(m, X, y).pit, np.linspace(0, 1, 6)) for m in (est, LinearGaussianRegressor(0.3).fit(X, y))
    ]
    band = 3 * np.sqrt(4 / 300)
    assert np.abs(heights[0] - 1).max() < band
    assert heights[1][[0, -1]].min() > 1 + band


def test_frames_with_labels_and_gaps_through_a_pipeline(rng):
    pd = pytest.importorskip("pandas")
    size = rng.normal(3.0, 1.0, 200)
    kind = pd.Categorical(rng.choice(["a", "b"], 200, p=[0.8, 0.2]), categories=["c", "b", "a"])
    X = pd.DataFrame({"kind": kind, "size": size, "on": rng.random(200) < 0.7})
    y = pd.Series(2 * size + (kind == "b") + rng.normal(size=200), name="price")
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    pipeline = make_pipeline(columns, StandardScaler(), LinearGaussianRegressor())
    search = GridSearchCV(pipeline, {"lineargaussianregressor__widening": [1.0, 2.0]}, cv=3).fit(X, y)
    display = show(search, X, y, feature="size", at=[2.5])
    assert [ax.get_xlabel() for ax in display.axes_[:2]] == ["size", "price"]
    frequent = pd.DataFrame({"kind": pd.Categorical(["a"], categories=["c", "b", "a"]), "size": [2.5], "on": [True]})
    _, values, density = display.slices
    assert values[density[0].argmax()] == pytest.approx(search.predict(frequent)[0], abs=np.diff(values[:2])[0])


@pytest.mark.parametrize("given", [[1], [False, True], ["kind"]])
def test_number_coded_categories_are_held_at_their_most_frequent_value(rng, given):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"size": rng.normal(size=200), "kind": np.repeat([0.0, 1.0, 2.0], [70, 40, 90])})
    y = X["size"] + 5 * X["kind"] + rng.normal(size=200)
    est = LinearGaussianRegressor().fit(X, y)
    est.categorical_features = given
    for samples in [X, X.to_numpy()] if given != ["kind"] else [X]:
        grid, quantiles, _ = show(est, samples, y).fan
        held = pd.DataFrame({"size": grid, "kind": 2.0})
        np.testing.assert_allclose(quantiles[:, 2], est.predict(held))


@pytest.mark.parametrize("as_frame", [False, True])
def test_categories_are_seen_through_transformers_that_keep_their_names(rng, as_frame):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"kind": np.repeat([0.0, 1.0, 2.0], [70, 40, 90]), "size": rng.normal(size=200)})
    y = X["size"] + 5 * X["kind"] + rng.normal(size=200)
    columns = make_column_transformer((StandardScaler(), ["size"]), remainder="passthrough")
    pipeline = make_pipeline(columns, LinearGaussianRegressor())
    if as_frame:
        pipeline.set_output(transform="pandas")
    pipeline.fit(X, y)
    pipeline[-1].categorical_features = ["remainder__kind"] if as_frame else [1]
    grid, quantiles, _ = show(pipeline, X, y, feature="size").fan
    held = pd.DataFrame({"kind": 2.0, "size": grid})
    np.testing.assert_allclose(quantiles[:, 2], pipeline.predict(held))
    unnamed = make_pipeline(FunctionTransformer(), LinearGaussianRegressor()).fit(X, y)
    unnamed[-1].categorical_features = [0]  # of what has no names: held at its median
    grid, quantiles, _ = show(unnamed, X, y, feature="size").fan
    np.testing.assert_allclose(quantiles[:, 2], unnamed.predict(held.assign(kind=1.0, size=grid)))


def test_axes_can_be_given_and_reused(fitted):
    est, X, y = fitted
    figure, axes = plt.subplots(1, 3)
    display = show(est, X, y, axes=axes)
    assert display.figure_ is figure
    assert display.plot().figure_ is not figure
    with pytest.raises(ValueError, match="must hold 3 axes"):
        display.plot(axes[:2])


def test_bad_input_is_named(fitted):
    est, X, y = fitted
    with pytest.raises(ValueError, match="one output, but 'y' has 2 columns"):
        show(est, X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="none of the 3 features"):
        show(est, X, y, feature=3)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        show(est, X, y[:-1])
    with pytest.raises(ValueError, match="y contains NaN"):
        show(est, X, np.full_like(y, np.nan))
    X[:, 2] = np.nan
    with pytest.raises(ValueError, match="feature 2 is unknown in every sample"):
        show(est, X, y, feature=2)


def test_zeros_with_mass_are_spread_over_it(rng):
    X = rng.uniform(size=(200, 1))
    y = np.where(rng.random(200) < 0.6, 0.0, rng.gamma(3.0, 1.0, 200))
    reg = DiffusionRegressor(components=["trees"], atoms=[0.0], bounds=(0.0, np.inf), random_state=0).fit(X, y)
    display = show(reg, X, y, at=[0.5])
    zero = y == 0
    np.testing.assert_array_equal(display.pit[zero, 0], 0.0)
    np.testing.assert_allclose(display.pit[zero, 1], np.exp(reg.log_prob(X[zero], y[zero])), rtol=1e-6)
    np.testing.assert_allclose(*display.pit[~zero].T, atol=1e-9)
    mass = np.trapezoid(display.slices[2][0], display.slices[1])
    assert mass == pytest.approx(1 - np.exp(reg.log_prob([[0.5]], [0.0]))[0], abs=0.02)
