"""Autoregressive regressions, where they add to the blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import factorial

import numpy as np

from skdiffusion._utils.numerics import best_blend, effective_number
from skdiffusion.densities import (
    AutoregressiveRegression,
    Component,
    Gain,
    LeftOut,
    RegressionDensity,
    TransformedDensity,
    blend_log_density,
    choose_head,
    fit_head,
    fit_regression,
    informative_order,
    stacking_weights,
    worthwhile_runs,
)
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData, Preprocessor, ranges_beyond, without_logarithms

TRIAL_SAMPLES = 200  # out-of-fold samples at least, at which a regression must gain
FOLDS_TOGETHER = 2  # that are left out at a time: a regression needs few samples


class RegressionFamily(ComponentFamily):
    """Autoregressive regressions of the plain features, behind power maps and behind the feature transform.

    Where features go through logarithms first, there are those of the features themselves too: mixtures choose
    logarithms, while a regression, whose scale follows its inputs, may have heavy tails without.

    One regression of each space is tried on the first folds; only where it adds to the blend of the others is it fitted
    on all folds.
    """

    def fit(self, fit: ComponentFit) -> list[Component]:
        n, d, options = fit.data.n_samples, fit.data.n_features, fit.options
        cost = min(n, options.max_regression_samples) * d**3
        too_few = fit.data.n_effective < options.min_regression_samples
        if d == 1 or too_few or cost >= options.max_regression_cost:
            return []
        return fit_regressions(fit, self._spaces(fit), fit.others(), fit.rng.spawn(1)[0])

    @staticmethod
    def _spaces(fit: ComponentFit) -> dict[str, Preprocessor]:
        """The spaces by name; power maps are made if they are not the feature transform."""
        data, plain, mapped = fit.data, fit.spaces.plain, fit.spaces.mapped
        spaces, first = {"regression": plain}, without_logarithms(plain.first)
        if first != plain.first:
            spaces["plain_regression"] = Preprocessor(data.X, data.sample_weight, None, data.bounds, first)
        if mapped is not None and mapped.feature_transform == "yeo-johnson":
            return {**spaces, "power_regression": mapped}
        spaces["power_regression"] = Preprocessor(data.X, data.sample_weight, "yeo-johnson", data.bounds, plain.first)
        return spaces if mapped is None else {**spaces, "mapped_regression": mapped}


def fit_regressions(
    fit: ComponentFit, spaces: Mapping[str, Preprocessor], others: np.ndarray, rng: np.random.Generator
) -> list[Component]:
    """The regressions of the named spaces that add to a blend with these out-of-fold log-densities."""
    tried: dict[str, RegressionOrders] = {}
    trial: dict[str, np.ndarray] = {}
    for name, space in spaces.items():
        if tried and fit.limits.over:
            break
        tried[name] = RegressionOrders(fit, space, rng.spawn(1)[0])  # each may go on by itself
        trial[name] = tried[name].held_out(0, TRIAL_SAMPLES)
    n_trial = len(next(iter(trial.values())))
    weights = fit.data.validation_weight[:n_trial]
    gaining = gaining_names(trial, others[:n_trial], weights / weights.sum(), fit.options.min_total_gain)
    return [tried[name].component(name, others) for name in gaining]


def gaining_names(
    candidates: Mapping[str, np.ndarray], others: np.ndarray, weights: np.ndarray, min_total_gain: float
) -> list[str]:
    """Names of the candidates that add so many nats, over all samples, to the blend with those before them.

    The one that adds most comes first. The weights sum to 1.
    """
    left, chosen, n_effective = dict(candidates), [], effective_number(weights)
    while left:
        blends = {name: best_blend(log_prob, others, weights) for name, log_prob in left.items()}
        gains = {name: n_effective * (weights @ (blend - others)) for name, blend in blends.items()}
        best = max(gains, key=gains.__getitem__)
        if gains[best] < min_total_gain:
            break
        chosen.append(best)
        others = blends[best]
        del left[best]
    return chosen


class RegressionOrders:
    """Autoregressive regressions behind the maps of a preprocessor, not whitened, in several orders of the features."""

    def __init__(self, fit: ComponentFit, preprocessor: Preprocessor, rng: np.random.Generator):
        self.data, self.options, self.rng = fit.data, fit.options, rng
        self.mapped, folds = MappedData.of(fit.data, preprocessor.unwhitened()), fit.data.validation_folds
        step = FOLDS_TOGETHER if len(fit.data.folds) > FOLDS_TOGETHER else 1  # some samples are left to fit to
        self.parts = [np.concatenate(folds[i : i + step]) for i in range(0, len(folds), step)]
        self.orders = [informative_order(self.mapped.z, self.data.sample_weight)]
        n_orders = self.options.max_regression_orders
        self.max_orders = min(n_orders, factorial(min(self.data.n_features, n_orders)))
        self._held_out: list[list[np.ndarray]] = [[]]
        self._of_all: dict[int, AutoregressiveRegression] = {}
        self._head_sizes: dict[int, tuple[int, ...]] = {}

    def _drawn(self, samples: np.ndarray) -> np.ndarray:
        """Some of the samples, if there are many."""
        if len(samples) <= self.options.max_regression_samples:
            return samples
        return np.sort(self.rng.choice(samples, self.options.max_regression_samples, replace=False))

    def fit_order(self, samples: np.ndarray, k: int) -> AutoregressiveRegression:
        """The regression of the k-th order on some samples.

        What its first samples leave out, which are the first part, choose its head.
        """
        z, w, order = self.mapped.z[samples], self.data.sample_weight[samples], self.orders[k]
        regression = fit_regression(z, w, order, self._limits(samples), self.data.information)
        if k not in self._head_sizes:
            part = self.data.first(self.parts[0])
            weights = self.data.weights_of(part)
            left_out = LeftOut(self.mapped.z_left_out[part], weights / weights.sum())
            self._head_sizes[k] = choose_head(regression, z, w, left_out)
        sizes = self._head_sizes[k]
        return regression.with_head(fit_head(z, w, regression, sizes)) if sizes else regression

    def _limits(self, samples: np.ndarray) -> np.ndarray:
        """Limits of the features by samples in their own units, as their maps see them: maps stretch far tails."""
        X, w, bounds = self.data.X[samples], self.data.sample_weight[samples], self.data.bounds
        ends = ranges_beyond(X[w > 0])
        if bounds is not None:
            ends = np.clip(ends, bounds[0], bounds[1])
        with np.errstate(over="ignore", invalid="ignore"):
            return self.mapped.preprocessor.transform(ends)[0]

    def held_out(self, k: int, min_samples: float = np.inf) -> np.ndarray:
        """Out-of-fold log-densities by the k-th order, of the first folds that hold at least so many samples."""
        known = self._held_out[k]
        n_known = sum(map(len, known))
        for part in self.parts[len(known) :]:
            if n_known >= min_samples:
                break
            samples = self._drawn(self.data.without(part))
            known.append(self.mapped.log_prob_left_out(self.fit_order(samples, k), part))
            n_known += len(part)
        return np.concatenate(known)

    def _draw_orders(self, n_orders: int) -> None:
        """Draw random orders, each different from the others, until there are so many."""
        while len(self.orders) < n_orders:
            order = self.rng.permutation(self.data.n_features)
            if not any(np.array_equal(order, known) for known in self.orders):
                self.orders.append(order)
                self._held_out.append([])

    def _of_all_samples(self, orders: Sequence[int]) -> list[AutoregressiveRegression]:
        """The regressions of some orders, fitted to all samples."""
        everything = np.arange(self.data.n_samples)
        for k in orders:
            if k not in self._of_all:
                self._of_all[k] = self.fit_order(self._drawn(everything), k)
        return [self._of_all[k] for k in orders]

    def _blended(self, others: np.ndarray, n_orders: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the first orders add to a blend with these log-densities, their weights, and what they say."""
        self._draw_orders(n_orders)
        table = np.stack([self.held_out(k) for k in range(n_orders)], axis=1)
        weights = stacking_weights(np.column_stack([others, table]), self.data.validation_weight)[1:]
        useful = weights > self.options.negligible_weight
        kept = np.flatnonzero(useful) if useful.any() else np.zeros(1, dtype=int)
        weights = weights[kept] / weights[kept].sum() if len(kept) > 1 else np.ones(1)
        return kept, weights, blend_log_density(table[:, kept], weights)

    def improved(self, name: str, others: np.ndarray, gain: Gain) -> Component:
        """The component of as many orders as the blend gains by."""
        least = self.options.min_run_gain
        n_orders = worthwhile_runs(lambda k: self._blended(others, k)[2], self.max_orders, gain, least)
        return self.component(name, others, n_orders)

    def component(self, name: str, others: np.ndarray, n_orders: int = 1) -> Component:
        """The component of so many orders, of the weights that add most to a blend with these log-densities."""
        kept, weights, log_prob = self._blended(others, n_orders)
        density = RegressionDensity(self._of_all_samples(kept.tolist()), weights)
        transformed = TransformedDensity(self.mapped.preprocessor, density)
        improve = partial(self.improved, name, others) if n_orders == 1 < self.max_orders else None
        return Component(name, transformed, log_prob, "regression", improve=improve)
