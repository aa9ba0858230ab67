"""Components that scikit-learn gives, in the places of our own: what the ablation compares ours with.

- "boosting" and "splines" take the place of "regression": each feature given those before it, its mean and its
  log-variance by `HistGradientBoostingRegressor`, or by splines and products of the features in linear models.
- "gaussian_mixture" takes the place of "mixture": `GaussianMixture` behind every preprocessor.

`register` enters them in the table of components; an estimator is then asked for them by ``components=[...]``. They
have log-densities alone, without gradients or samples, and take no sample weights.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import GammaRegressor, RidgeCV
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler

from skdiffusion._utils.numerics import floored
from skdiffusion._utils.protocols import Density
from skdiffusion.densities import Component, TransformedDensity, informative_order, validation_score
from skdiffusion.densities.components import COMPONENTS, ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData, Preprocessor

REACH = 4.0  # standard deviations of a feature within which regressions follow it, as in ours
MIN_VARIANCE = 1e-6  # of a residual, in the variance of its feature
RESIDUAL_PARTS = (1, 2, 3, 5)  # Gaussians of the distribution of standardized residuals
FOLDS = KFold(3, shuffle=True, random_state=0)  # of the residuals that the log-variance is fitted to
FOLDS_TOGETHER = 2  # validation folds that are left out at a time, as in ours

N_GAUSSIANS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
MEDIUM, OTHERS = 1e-3, (1e-6, 1e-4, 1e-2)  # reg_covar: with which the number of Gaussians is chosen, and tried after it
SEARCH_FOLDS = 3  # that choose the number of Gaussians, as in ours
MAX_LOSSES = 3  # numbers of Gaussians in a row that gain nothing, after which the search ends
N_RUNS = 3  # fits from different starts whose mean is the component, as in ours
MIN_DATA_WEIGHT = 1e-3  # of a Gaussian whose standard deviations the flow resolves


class Boosting:
    """Boosted trees of mean and variance, with early stopping; a mean that is fitted again with weights overfits."""

    n_rounds = 1
    settings = {"max_iter": 200, "max_leaf_nodes": 8, "early_stopping": True, "random_state": 0}

    def mean(self) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(**self.settings)

    def variance(self) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(loss="gamma", **self.settings)


class Splines:
    """Cubic splines of all features: with their products for the mean, alone for the logarithm of the variance.

    The mean is fitted again with the inverse variances as weights.
    """

    n_rounds = 2

    def mean(self) -> Pipeline:
        products = PolynomialFeatures(2, interaction_only=True, include_bias=False)
        basis = make_union(SplineTransformer(n_knots=6), make_pipeline(products, StandardScaler()))
        return make_pipeline(basis, RidgeCV(np.geomspace(1e-2, 1e4, 13)))

    def variance(self) -> Pipeline:
        return make_pipeline(SplineTransformer(n_knots=6), GammaRegressor(alpha=3e-3, max_iter=300))


class LibraryRegression(Density):
    """Features one after another, each given those before it, by two regressors.

    The variance is fitted to squared out-of-fold residuals of the mean, and the distribution of the residuals to those
    of both: in-sample residuals would be too small.

    Parameters
    ----------
    regressors : object
        ``regressors.mean()`` and ``regressors.variance()`` make scikit-learn regressors, which are fitted in turn
        ``regressors.n_rounds`` times.
    z : array of shape (n_samples, n_features)
        Features of unit variance.
    order : int array of shape (n_features,)
    """

    def __init__(self, regressors: Boosting | Splines, z: np.ndarray, order: np.ndarray):
        self.regressors, self.order = regressors, order
        self.reach = np.maximum(z.min(0), -REACH), np.minimum(z.max(0), REACH)
        inside = np.clip(z, *self.reach)
        self.fits = [self._fit_feature(inside[:, order[:j]], z[:, feature]) for j, feature in enumerate(order)]

    def _fit_feature(self, before: np.ndarray, y: np.ndarray) -> tuple[Callable, GaussianMixture]:
        """Mean and variance as a function of the features before, and the distribution of the residuals."""
        if not before.shape[1]:
            moments = y.mean(), y.var() + MIN_VARIANCE
            return lambda x: moments, _residual_distribution((y - moments[0]) / np.sqrt(moments[1]))
        mean, variance = self.regressors.mean(), self.regressors.variance()
        weights: dict[str, np.ndarray] = {}
        for _ in range(self.regressors.n_rounds):
            out_of_fold = cross_val_predict(mean, before, y, cv=FOLDS, params=weights)
            out_of_fold = np.clip(out_of_fold, y.min(), y.max())
            squared = (y - out_of_fold) ** 2 + MIN_VARIANCE
            v = np.clip(cross_val_predict(variance, before, squared, cv=FOLDS), MIN_VARIANCE, squared.max())
            mean.fit(before, y, **weights)
            weights = {"ridgecv__sample_weight": v.mean() / v}
        variance.fit(before, squared)

        def moments_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            m, s = mean.predict(x), variance.predict(x)
            return np.clip(m, y.min(), y.max()), np.clip(s, MIN_VARIANCE, squared.max())

        return moments_of, _residual_distribution((y - out_of_fold) / np.sqrt(v))

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log-density of samples, in nats, shape (n_samples,)."""
        total, inside = np.zeros(len(z)), np.clip(z, *self.reach)
        for j, (feature, (moments_of, residuals)) in enumerate(zip(self.order, self.fits)):
            mean, variance = moments_of(inside[:, self.order[:j]])
            standard = (z[:, feature] - mean) / np.sqrt(variance)
            total += residuals.score_samples(standard[:, None]) - 0.5 * np.log(variance)
        return total


def _residual_distribution(e: np.ndarray) -> GaussianMixture:
    """The mixture of one or more Gaussians that the Bayesian information criterion prefers."""
    e = e[:, None]
    fits = [GaussianMixture(k, reg_covar=2e-3, random_state=0).fit(e) for k in RESIDUAL_PARTS]
    return min(fits, key=lambda fit: fit.bic(e))


class LibraryRegressionFamily(ComponentFamily):
    """Regressions of one order behind each preprocessor and power maps, where they add to the blend."""

    regressors: Boosting | Splines

    def fit(self, fit: ComponentFit) -> list[Component]:
        if fit.data.n_features < 2:
            return []
        data, spaces = fit.data, fit.spaces
        power = Preprocessor(data.X, data.sample_weight, "yeo-johnson", data.bounds, spaces.plain.first)
        candidates = [spaces.plain, power]
        if spaces.mapped is not None and spaces.mapped.feature_transform != "yeo-johnson":
            candidates.append(spaces.mapped)
        kind = type(self).__name__.removesuffix("Family").lower()
        tried = [self._out_of_fold(fit, f"{kind}_{k}", space) for k, space in enumerate(candidates)]
        return [self._of_all_samples(*found) for found in _gaining(fit, tried)]

    def _out_of_fold(self, fit: ComponentFit, name: str, preprocessor: Preprocessor) -> tuple[MappedData, Component]:
        """The component of a space before its density is fitted to all samples."""
        mapped, folds = MappedData.of(fit.data, preprocessor.unwhitened()), fit.data.validation_folds
        order, log_prob = informative_order(mapped.z, fit.data.sample_weight), []
        for i in range(0, len(folds), FOLDS_TOGETHER):
            part = np.concatenate(folds[i : i + FOLDS_TOGETHER])
            density = LibraryRegression(self.regressors, mapped.z[fit.data.without(part)], order)
            log_prob.append(density.log_prob(mapped.z_left_out[part]) + mapped.log_det_left_out[part])
        return mapped, Component(name, Density(), np.concatenate(log_prob), "regression")

    def _of_all_samples(self, mapped: MappedData, component: Component) -> Component:
        order = informative_order(mapped.z, np.ones(len(mapped.z)))
        density = TransformedDensity(mapped.preprocessor, LibraryRegression(self.regressors, mapped.z, order))
        return Component(component.name, density, component.held_out_log_prob, component.kind)


def _gaining(fit: ComponentFit, tried: list[tuple[MappedData, Component]]) -> list[tuple[MappedData, Component]]:
    """Those that add enough nats to the blend with those before them, the one that adds most first."""
    left, weights = list(tried), fit.data.validation_weight
    chosen: list[tuple[MappedData, Component]] = []
    known = validation_score(fit.components, weights, fit.options)
    while left:
        stacks = [[*fit.components, *(c for _, c in [*chosen, one])] for one in left]
        scores = [validation_score(stack, weights, fit.options) for stack in stacks]
        best = int(np.argmax(scores))
        if weights.sum() * (scores[best] - known) < fit.options.min_total_gain:
            break
        known = scores[best]
        chosen.append(left.pop(best))
    return chosen


class BoostingFamily(LibraryRegressionFamily):
    regressors = Boosting()


class SplinesFamily(LibraryRegressionFamily):
    regressors = Splines()


class LibraryMixture(Density):
    """The mean of several `GaussianMixture` fits from different starts.

    Parameters
    ----------
    z : array of shape (n_samples, n_features)
    n_components : int
    reg_covar : float
    n_runs : int, default=1
    """

    def __init__(self, z: np.ndarray, n_components: int, reg_covar: float, n_runs: int = 1):
        n_runs = 1 if n_components == 1 else n_runs
        self.runs = [
            GaussianMixture(n_components, reg_covar=reg_covar, random_state=seed).fit(z) for seed in range(n_runs)
        ]

    @property
    def narrowest(self) -> float:  # type: ignore[override]
        """Smallest standard deviation, at most 1, of a Gaussian that carries data."""
        carrying = np.concatenate([run.covariances_[run.weights_ > MIN_DATA_WEIGHT] for run in self.runs])
        return float(np.sqrt(np.clip(np.linalg.eigvalsh(carrying), 0.0, 1.0).min(initial=1.0)))

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log-density of samples, in nats, shape (n_samples,)."""
        return np.logaddexp.reduce([run.score_samples(z) for run in self.runs]) - np.log(len(self.runs))


class LibraryMixtureFamily(ComponentFamily):
    """A mixture behind each preprocessor, whitened or not, where out-of-fold log-densities are greatest."""

    def fit(self, fit: ComponentFit) -> list[Component]:
        return [self._component(fit, prefix, space) for prefix, space in fit.spaces.by_prefix().items()]

    @staticmethod
    def _component(fit: ComponentFit, prefix: str, preprocessor: Preprocessor) -> Component:
        tried = [MixtureSearch(fit, fit.data.mapped(preprocessor))]
        tried.append(MixtureSearch(fit, MappedData.of(fit.data, preprocessor.unwhitened())))
        best = max(tried, key=MixtureSearch.run)
        mapped, n_runs = best.mapped, N_RUNS
        log_prob = [best.left_out(fold, *best.setting, n_runs) for fold in fit.left_out_together]
        transformed = TransformedDensity(mapped.preprocessor, LibraryMixture(mapped.z, *best.setting, n_runs))
        return Component(f"{prefix}gaussian_mixture", transformed, np.concatenate(log_prob), "mixture")


class MixtureSearch:
    """The number of Gaussians and the regularization of greatest out-of-fold log-density, in some coordinates."""

    def __init__(self, fit: ComponentFit, mapped: MappedData):
        self.data, self.mapped = fit.data, mapped
        self.scores: dict[tuple[int, float], float] = {}

    @property
    def setting(self) -> tuple[int, float]:
        """The best setting so far."""
        return max(self.scores, key=self.scores.__getitem__)

    def left_out(self, fold: np.ndarray, k: int, reg_covar: float, n_runs: int = 1) -> np.ndarray:
        """Log-densities of the samples of a fold by a mixture of the others."""
        density = LibraryMixture(self.mapped.z[self.data.without(fold)], k, reg_covar, n_runs)
        return density.log_prob(self.mapped.z_left_out[fold]) + self.mapped.log_det_left_out[fold]

    def _try(self, k: int, reg_covar: float) -> None:
        log_prob = np.concatenate([self.left_out(fold, k, reg_covar) for fold in self.data.folds[:SEARCH_FOLDS]])
        # No far sample decides.
        self.scores[k, reg_covar] = float(floored(log_prob, self.data.n_features).mean())

    def run(self) -> float:
        """Try rising numbers of Gaussians, then other regularizations; the best score."""
        sizes = [k for k in N_GAUSSIANS if 2 * k < len(self.mapped.z)]
        for i, k in enumerate(sizes):
            self._try(k, MEDIUM)
            if i - sizes.index(self.setting[0]) == MAX_LOSSES:
                break
        best = sizes.index(self.setting[0])
        for k in sizes[best : best + 2]:
            for reg_covar in OTHERS:
                self._try(k, reg_covar)
        return max(self.scores.values())


# The family that each takes the place of.
FAMILIES = {
    "gaussian_mixture": (LibraryMixtureFamily, "mixture"),
    "boosting": (BoostingFamily, "regression"),
    "splines": (SplinesFamily, "regression"),
}


def register() -> None:
    """Enter the families in the table of components, each before the one whose place it takes."""
    ours = {name: family for name, family in COMPONENTS.items() if name not in FAMILIES}
    COMPONENTS.clear()
    for name, family in ours.items():
        COMPONENTS.update({key: library for key, (library, place) in FAMILIES.items() if place == name})
        COMPONENTS[name] = family
