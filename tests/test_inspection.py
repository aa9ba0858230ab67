"""Displays show the numbers of the estimators from which they are built."""

import numpy as np
import pytest

from skdiffusion import DiffusionDensityEstimator, ManifoldDiffusionEstimator
from skdiffusion.compose import draw_samples
from skdiffusion.datasets import Sphere
from skdiffusion.metrics import highest_density_coverage

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from skdiffusion import inspection  # noqa: E402

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 5, "n_estimators": 2, "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(150, 3)) @ np.diag([1, 2, 3]), columns=["a", "b", "c"])
    return DiffusionDensityEstimator(**SMALL).fit(X), X


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_a_density_over_two_features(fitted):
    est, X = fitted
    display = inspection.DensityDisplay.from_estimator(est, X, features=("a", "c"), n_grid=12)
    point = X.median().to_frame().T
    point["a"], point["c"] = display.xx[3, 4], display.yy[3, 4]
    assert display.log_density[3, 4] == pytest.approx(est.score_samples(point)[0])
    assert display.ax_.get_xlabel() == "a"
    linear = display.plot(log=False, X=X[["a", "c"]], cmap="magma")
    assert linear.contours_.levels[-1] == pytest.approx(np.exp(display.log_density.max()))
    assert len(display.plot(levels=[-9.0, -5.0, -1.0]).contours_.levels) == 3
    with pytest.raises(ValueError, match="none of the 3 features"):
        inspection.DensityDisplay.from_estimator(est, X, features=("a", "z"))
    with pytest.raises(ValueError, match="must name 2 features"):
        inspection.DensityDisplay.from_estimator(est, X, features=("a",))


def test_pairs_of_data_and_samples(fitted):
    est, X = fitted
    display = inspection.PairDisplay.from_estimator(est, X, random_state=3)
    assert display.axes_.shape == (3, 3)
    np.testing.assert_allclose(display.samples, draw_samples(est, 150, 3))
    shown = display.axes_[2, 0].collections[0].get_offsets()
    np.testing.assert_allclose(shown, X[["a", "c"]])


def test_trajectories_end_in_samples_of_the_flow(fitted):
    est, _ = fitted
    display = inspection.TrajectoryDisplay.from_estimator(est, n_samples=9, n_times=5, random_state=2)
    noise = np.random.default_rng(2).standard_normal((9, 3))
    component = est.blend_.densities["diffusion"]
    ends = component.preprocessor.inverse_transform(component.density.from_latent(noise))
    np.testing.assert_allclose(display.paths[-1], ends)
    assert (np.diff(display.noise_levels) < 0).all()
    assert len(display.ax_.lines) == 9
    other = display.plot(features=("c", 1))
    assert (other.ax_.get_xlabel(), other.ax_.get_ylabel()) == ("c", "b")
    np.testing.assert_allclose(other.ax_.lines[0].get_xdata(), display.paths[:, 0, 2])


def test_training_and_noise_curves(fitted):
    est, _ = fitted
    curves = inspection.TrainingDisplay.from_estimator(est)
    np.testing.assert_allclose(curves.ax_.lines[0].get_ydata(), est.loss_curve_[:, 1])
    assert curves.validation_curve[:, 1].min() == pytest.approx(1 - est.best_validation_score_)
    levels = inspection.NoiseLossDisplay.from_estimator(est)
    np.testing.assert_allclose(levels.ax_.lines[0].get_ydata(), est.loss_by_noise_[:, 1])
    # The mean over the frozen levels is the loss that chose the weights.
    assert est.loss_by_noise_[:, 1].mean() == pytest.approx(1 - est.best_validation_score_, rel=1e-5)


def test_calibration(fitted):
    est, X = fitted
    display = inspection.CalibrationDisplay.from_estimator(est, X, n_samples=500, random_state=1)
    _, coverage = highest_density_coverage(est, X, n_samples=500, random_state=1)
    np.testing.assert_array_equal(display.coverage, coverage)
    again = display.plot(display.ax_, name="twice")
    assert len(again.ax_.collections) == 1


@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
def test_the_dimension_spectrum():
    X = Sphere(1).sample(200, 0)
    est = ManifoldDiffusionEstimator(**SMALL).fit(X)
    display = inspection.DimensionSpectrumDisplay.from_estimator(est)
    assert len(display.ax_.lines) == est.dimension_spectrum_.shape[1] + 1
    given = ManifoldDiffusionEstimator(1, "nonlinear", **SMALL).fit(X)
    with pytest.raises(ValueError, match="n_components='auto'"):
        inspection.DimensionSpectrumDisplay.from_estimator(given)


def test_an_axes_can_be_given(fitted):
    est, X = fitted
    _, ax = plt.subplots()
    assert inspection.TrainingDisplay.from_estimator(est, ax=ax).ax_ is ax
    assert inspection.TrajectoryDisplay.from_estimator(est, n_samples=3, n_times=3, ax=ax).figure_ is ax.figure
