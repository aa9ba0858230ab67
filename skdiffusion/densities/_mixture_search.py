"""The search for the number of components of a mixture and the strength of its prior, by out-of-fold log-densities."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import TIE, best_blend, clearly_better, effective_number
from skdiffusion._utils.processes import Task, begin, n_helpers, results
from skdiffusion.densities._em import ExpectationMaximization, MixtureSetting
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.preprocessing import CompletedSamples

EM = ExpectationMaximization(max_iter=60, tol=2e-3, max_k_means_runs=2)
PATIENCE = 3  # larger mixtures without gain after which a scan ends: two are often a chance dip


class MixtureChoice(NamedTuple):
    """The setting that a `MixtureSearch` chose."""

    setting: MixtureSetting
    score: float  # out-of-fold mean log-density in nats, in a blend with a single Gaussian
    densities: list[GaussianMixtureDensity]  # of this setting, each fitted without one of the folds


@dataclass
class MixtureSearch:
    """Search for the mixture of greatest out-of-fold mean log-density.

    Candidates are scored in the best blend with a single Gaussian: the far samples that it explains do not decide.
    """

    X: np.ndarray
    sample_weight: np.ndarray
    folds: Sequence[np.ndarray]  # samples left out in turn; more folds make the choice steadier for few samples
    rng: np.random.Generator
    options: ComponentOptions = DEFAULT_OPTIONS
    max_seconds: float = np.inf  # after which no larger number of components is tried
    completed: CompletedSamples | None = None  # the samples that several stand for, in the units of X

    def __post_init__(self) -> None:
        self._strong = 2.0 + self.X.shape[1]  # the strongest prior
        self._training = [np.setdiff1d(np.arange(len(self.X)), fold) for fold in self.folds]
        self._fitted: dict[tuple[MixtureSetting, int], tuple[GaussianMixtureDensity, np.ndarray]] = {}
        self._information = 1.0 if self.completed is None else self.completed.information(self.sample_weight)

    def _stronger(self, setting: MixtureSetting) -> MixtureSetting | None:
        """Under a strong prior EM finds good optima; from there it goes on under a weaker one."""
        o = self.options
        stronger = {o.medium_prior: self._strong, o.weak_prior: self._strong, o.weakest_prior: o.weak_prior}
        known = stronger.get(setting.strength)
        return None if known is None else MixtureSetting(setting.n_components, known)

    def _fit(self, settings: Sequence[MixtureSetting], n_folds: int) -> None:
        """Fit the mixtures of some settings without each of the first folds, side by side."""
        tasks: dict[tuple[MixtureSetting, int], Task[GaussianMixtureDensity]] = {}
        for setting, i in product(settings, range(n_folds)):
            if (setting, i) in self._fitted or (setting, i) in tasks:
                continue
            stronger = self._stronger(setting)
            if (stronger, i) in tasks:  # whose mixture is the start
                self._collect(tasks)
            known = None if stronger is None else self._fitted.get((stronger, i))
            X, w = self.X[self._training[i]], self.sample_weight[self._training[i]]
            start = known[0] if known else EM.draw_start(w, setting.n_components, self.rng)
            tasks[setting, i] = begin(EM.fit, X, w, setting.of_repeated(self._information), None, start)
        self._collect(tasks)

    def _collect(self, tasks: dict[tuple[MixtureSetting, int], Task[GaussianMixtureDensity]]) -> None:
        """Keep the mixtures of tasks, and their log-densities of what was left out."""
        for (setting, i), mixture in zip(tasks, results([*tasks.values()])):
            fold = self.folds[i]
            log_prob = mixture.log_prob(self.X[fold])
            observed = log_prob if self.completed is None else self.completed.observed(log_prob, fold)
            self._fitted[setting, i] = mixture, observed
        tasks.clear()

    def _shares(self, n_folds: int) -> np.ndarray:
        """Weights of the samples of the first folds, of sum 1."""
        samples = np.concatenate(self.folds[:n_folds])
        if self.completed is None:
            weights = self.sample_weight[samples]
        else:
            weights = self.completed.whole_weight(self.sample_weight)[self.completed.first(samples)]
        return weights / weights.sum()

    def _out_of_fold(self, setting: MixtureSetting, n_folds: int) -> np.ndarray:
        """Log-densities of the samples of the first folds, blended with those of a single Gaussian."""
        single = MixtureSetting(1, self._strong)
        self._fit([setting, single], n_folds)
        ours, others = (np.concatenate([self._fitted[s, i][1] for i in range(n_folds)]) for s in (setting, single))
        return best_blend(ours, others, self._shares(n_folds)) if self.options.score_beside_others else ours

    def _scan(self, strength: float, started: float) -> dict[MixtureSetting, float]:
        """Scores on the first third of the folds, from the fewest components on."""
        n, d = self.X.shape
        affordable = max(self.options.cheap_components, int(self.options.max_search_cost / (n * d**2)))
        n_effective = self._information * effective_number(self.sample_weight[self._training[0]])
        largest = min(affordable, round(n_effective) // 2)
        n_folds = max(1, len(self.folds) // 3)
        allowed = [MixtureSetting(k, strength) for k in self.options.component_grid if k <= max(1, largest)]
        scores: dict[MixtureSetting, float] = {}
        highest, since_gain, reached = -np.inf, 0, 0
        for place, setting in enumerate(allowed):
            if place == reached:  # so many more are scored whatever they gain
                reached += min(1 + n_helpers(), PATIENCE - since_gain)
                self._fit(allowed[place:reached], n_folds)
            score = scores[setting] = self._shares(n_folds) @ self._out_of_fold(setting, n_folds)
            since_gain = 0 if score > highest + TIE else since_gain + 1
            highest = max(score, highest)
            if since_gain >= PATIENCE or time.perf_counter() - started > self.max_seconds:
                break
        return scores

    def _leading(self, strength: float, how_many: int, started: float) -> list[MixtureSetting]:
        """The best of a scan, from the fewest components on, without those that only round-off ranks."""
        scores = self._scan(strength, started)
        single = scores[MixtureSetting(1, strength)]
        useful = [setting for setting, score in scores.items() if setting.n_components == 1 or score > single + TIE]
        return sorted(sorted(useful, key=scores.__getitem__)[-how_many:])

    def _simplest(self, settings: Sequence[MixtureSetting]) -> MixtureSetting:
        """The first setting, or a later one that is clearly better on all folds: those of more freedom come later."""
        best, n_folds = settings[0], len(self.folds)
        self._fit(settings, n_folds)
        log_prob = self._out_of_fold(best, n_folds)
        for setting in settings[1:]:
            other = self._out_of_fold(setting, n_folds)
            if clearly_better(other, log_prob, self._shares(n_folds), self.options.mixture_margin):
                best, log_prob = setting, other
        return best

    def choose(self) -> MixtureChoice:
        """The simplest setting that no other is clearly better than."""
        started, o = time.perf_counter(), self.options
        best = self._simplest(self._leading(self._strong, 3, started))
        if best.n_components > 1:
            best = self._simplest([best, MixtureSetting(best.n_components, o.medium_prior)])
        weak = self._leading(o.weak_prior, 2, started)
        best = self._simplest([best, *(setting for setting in weak if setting.n_components > 1)])
        if best.strength == o.weak_prior:
            best = self._simplest([best, MixtureSetting(best.n_components, o.weakest_prior)])
        n_folds = len(self.folds)
        score = float(self._shares(n_folds) @ self._out_of_fold(best, n_folds))
        return MixtureChoice(best, score, [self._fitted[best, i][0] for i in range(n_folds)])
