"""Gradient-boosted trees as a density: mean, log-variance, and the distribution of standardized residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from skdiffusion.densities import ResidualDistribution, fit_residuals
from skdiffusion.densities.predictive._bins import Bins
from skdiffusion.densities.predictive._data import FoldedInputs, LeftOut, RegressionData
from skdiffusion.densities.predictive._distributions import NormalMixtures
from skdiffusion.densities.predictive._trees import Categories, MeanOfTrees, Trees, baseline

FEW_SAMPLES = 200  # up to which trees are chosen by all folds
N_TRIAL_FOLDS = 2  # by which they are chosen beyond
MANY_SAMPLES, MANY_FOLDS = 500, 8  # from which trees leave out two folds at a time
MAX_RATIO = 4.0  # of the logarithm of a standard deviation to that of the mean square
FIRST_LOOK, GROWTH = 20, 1.5  # trees before the first look at the samples left out, and of later looks in these


class Boosting(NamedTuple):
    """Settings of gradient boosting."""

    max_leaf_nodes: int
    min_samples_leaf: int
    learning_rate: float
    max_iter: int
    patience: int  # trees without a gain on the samples left out


MEANS = (Boosting(6, 5, 0.15, 250, 30), Boosting(16, 10, 0.15, 120, 30))
VARIANCES = (Boosting(4, 20, 0.1, 60, 20),)


class Outputs(NamedTuple):
    """What the trees say of samples, arrays of shape (n_samples,), of the mapped target."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def standard(cls, n_samples: int) -> Outputs:
        """Those that leave the target as it is."""
        return cls(np.zeros(n_samples), np.ones(n_samples))


@dataclass(frozen=True)
class BoostedTrees:
    """The density of a target given its inputs by trees.

    Parameters
    ----------
    means, log_variances : MeanOfTrees
        The latter take the mean beside the inputs.
    middle : float
        Logarithm of the mean square of the residuals.
    min_scale : float
    residuals : ResidualDistribution
    """

    means: MeanOfTrees
    log_variances: MeanOfTrees
    middle: float
    min_scale: float
    residuals: ResidualDistribution

    def outputs(self, X: np.ndarray) -> Outputs:
        """Means and standard deviations given inputs X."""
        mean = self.means.raw_predictions(X)
        log_variance = self.log_variances.raw_predictions(np.column_stack([X, mean]))
        return Outputs(mean, self.scales(log_variance))

    def scales(self, log_variance: np.ndarray) -> np.ndarray:
        """Standard deviations that are neither far from the others nor below the resolution of the target."""
        return _scales(log_variance, self.middle, self.min_scale)

    def given(self, outputs: Outputs) -> NormalMixtures:
        """The distributions of the target of samples with these means and standard deviations."""
        return _distributions(self.residuals, outputs)


class BoostedFit(NamedTuple):
    """Boosted trees, with what those fitted without a sample say of it."""

    trees: BoostedTrees
    outputs: Outputs
    left_out: LeftOut


def fit_boosted(data: RegressionData) -> BoostedFit:
    """Fit means, log-variances and residuals, each by its own out-of-fold predictions."""
    z, w = data.z, data.weight
    means, mean = fit_trees(data.inputs, z, "squared_error", MEANS)
    squares = (z - mean) ** 2
    middle = float(np.log(max(np.average(squares, weights=w), 1e-300)))
    squares = np.maximum(squares, 1e-9 * np.exp(middle))
    beside = data.inputs._replace(X=np.column_stack([data.X, mean]))
    log_variances, log_variance = fit_trees(beside, squares, "gamma", VARIANCES)
    scale = _scales(log_variance, middle, data.min_scale)
    standard, share = ((z - mean) / scale)[:, None], w * (data.n_effective / w.sum())

    def without(k: int) -> NormalMixtures:
        fold = data.folds[k]
        others = data.target.without(fold)
        residuals = fit_residuals(standard[others], share[others] * (data.n_effective / share[others].sum()))
        return _distributions(residuals, Outputs(mean[fold], scale[fold]))

    left_out = data.left_out(without)
    trees = BoostedTrees(means, log_variances, middle, data.min_scale, fit_residuals(standard, share))
    return BoostedFit(trees, Outputs(mean, scale), left_out)


def _scales(log_variance: np.ndarray, middle: float, least: float) -> np.ndarray:
    return np.maximum(np.exp(0.5 * np.clip(log_variance, middle - 2 * MAX_RATIO, middle + 2 * MAX_RATIO)), least)


def _distributions(residuals: ResidualDistribution, outputs: Outputs) -> NormalMixtures:
    weights, means, scales = residuals.weights[0], residuals.means[0], residuals.scales[0]
    used = weights > 0
    mean, scale = outputs.mean[:, None], outputs.scale[:, None]
    return NormalMixtures(
        np.repeat(weights[used][None], len(mean), axis=0), mean + scale * means[used], scale * scales[used]
    )


def fit_trees(
    inputs: FoldedInputs, target: np.ndarray, loss: str, settings: tuple[Boosting, ...]
) -> tuple[MeanOfTrees, np.ndarray]:
    """Trees without each of the folds, of the settings and number that samples left out choose, and what they say of
    these.

    Parameters
    ----------
    inputs : FoldedInputs
    target : array of shape (n_samples,)
    loss : {"squared_error", "gamma", "log_loss"}
    settings : tuple of Boosting
    """
    folds = _left_out_together(inputs.folds, len(target))
    n_trial = len(folds) if len(target) <= FEW_SAMPLES else min(N_TRIAL_FOLDS, len(folds))
    bins = Bins.of(inputs.X, inputs.weight, np.setdiff1d(np.arange(inputs.X.shape[1]), inputs.categories))
    make = partial(_WithoutFold, inputs._replace(X=bins.binned(inputs.X)), bins, target, loss)
    runs = [[make(setting, fold).run() for fold in folds[:n_trial]] for setting in settings]
    curves = [_mean_curve(of_setting) for of_setting in runs]
    best = int(np.argmin([curve.min() for curve in curves]))
    n_trees = int(np.argmin(curves[best]))
    chosen = [*runs[best], *(make(settings[best], fold).run(n_trees) for fold in folds[n_trial:])]
    left_out, fits = np.empty(len(target)), []
    for one in chosen:
        fits.append(one.trees(n_trees))
        left_out[one.fold] = fits[-1].raw_predictions(inputs.X[one.fold])
    return MeanOfTrees(tuple(fits)), left_out


def _left_out_together(folds: tuple[np.ndarray, ...], n_samples: int) -> tuple[np.ndarray, ...]:
    """The samples that trees leave out at a time: a fold, or two of many folds of many samples."""
    if n_samples < MANY_SAMPLES or len(folds) < MANY_FOLDS:
        return folds
    return tuple(np.sort(np.concatenate(folds[i : i + 2])) for i in range(0, len(folds), 2))


def _mean_curve(runs: list[_WithoutFold]) -> np.ndarray:
    """Mean loss on samples left out by the number of trees, as long as the shortest of the runs."""
    length = min(len(one.curve) for one in runs)
    total = sum(one.weight for one in runs)
    return np.sum([one.weight / total * one.curve[:length] for one in runs], axis=0)


class _WithoutFold:
    """A fit of trees without one fold."""

    def __init__(
        self, binned: FoldedInputs, bins: Bins, target: np.ndarray, loss: str, setting: Boosting, fold: np.ndarray
    ):
        X, train = binned.X, np.setdiff1d(np.arange(len(target)), fold)
        self.fold, self.setting, self.loss, self.bins = fold, setting, loss, bins
        self.weight = float(binned.weight[fold].sum())
        self.categories = Categories.of(X[train], binned.categories)
        known = self.categories.encoded(X[train])
        known = np.where(np.isnan(known).all(0), 0.0, known)  # scikit-learn's bins take a value of every column
        self.train = known, target[train], binned.weight[train]
        self.left_out = self.categories.encoded(X[fold]), target[fold], binned.weight[fold]
        self.curve = np.zeros(0)
        self.single = loss == "log_loss" and len(np.unique(self.train[1])) < 2  # which no classifier is fitted to
        mask = np.arange(X.shape[1]) < len(binned.categories)
        make = HistGradientBoostingClassifier if loss == "log_loss" else HistGradientBoostingRegressor
        self.model = make(
            loss=loss,
            learning_rate=setting.learning_rate,
            max_leaf_nodes=setting.max_leaf_nodes,
            min_samples_leaf=setting.min_samples_leaf,
            max_iter=1,
            early_stopping=False,
            warm_start=True,
            categorical_features=mask if mask.any() else None,
            random_state=0,  # of the samples that choose the bins, where these are many
        )

    def run(self, n_trees: int | None = None) -> _WithoutFold:
        """Boost up to a number of trees, or as long as samples left out gain."""
        if self.single:
            self.curve = np.array([self._loss_of(np.full(len(self.fold), self._log_odds))])
            return self
        if n_trees is not None:
            self._boost(1)
            self._boost(n_trees)
            return self
        self._boost(1)
        losses = [self._loss_of(np.full(len(self.fold), baseline(self.model)))]
        while self.model.max_iter < self.setting.max_iter:
            if len(losses) - 1 - int(np.argmin(losses)) >= self.setting.patience:
                break
            self._boost(min(self.setting.max_iter, max(FIRST_LOOK, int(GROWTH * self.model.max_iter))))
            losses += [self._loss_of(raw) for raw in self._stages()[len(losses) - 1 :]]
        self.curve = np.array(losses)
        return self

    @property
    def _log_odds(self) -> float:
        """Of targets that are all 0 or all 1, as if there were half a sample more of each."""
        _, y, w = self.train
        return float(np.log((w @ y + 0.5) / (w @ (1 - y) + 0.5)))

    def _boost(self, n_trees: int) -> None:
        X, y, w = self.train
        self.model.set_params(max_iter=max(1, n_trees)).fit(X, y, sample_weight=w)

    def _stages(self) -> list[np.ndarray]:
        """Raw predictions of the samples left out by the first trees, for each number of these."""
        X = self.left_out[0]
        if self.loss == "log_loss":
            return [raw.ravel() for raw in self.model.staged_decision_function(X)]
        staged = list(self.model.staged_predict(X))
        return [np.log(values) for values in staged] if self.loss == "gamma" else staged

    def _loss_of(self, raw: np.ndarray) -> float:
        """Mean loss of raw predictions on the samples left out."""
        _, y, w = self.left_out
        if self.loss == "squared_error":
            each = (y - raw) ** 2
        elif self.loss == "gamma":
            each = raw + y * np.exp(-raw)
        else:
            each = np.logaddexp(0.0, raw) - y * raw
        return float(np.average(each, weights=w))

    def trees(self, n_trees: int) -> Trees:
        """The first of the trees."""
        if self.single:
            return Trees.constant_of(self._log_odds, self.categories)
        return Trees.of(self.model, self.categories, self.bins, n_trees)
