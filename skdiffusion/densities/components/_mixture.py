"""Gaussian mixtures, behind every preprocessor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from skdiffusion._utils.processes import Task, begin, results
from skdiffusion.densities import (
    Component,
    ExpectationMaximization,
    Gain,
    GaussianMixtureDensity,
    MixtureChoice,
    MixtureSearch,
    MixtureSetting,
    TransformedDensity,
    mixture_by_bic,
    worthwhile_runs,
)
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData, Preprocessor

MIN_SAMPLES = 2  # for each of n_features + 1, of a Gaussian of the larger mixtures
FEW_SAMPLES, MANY_SAMPLES = 400, 5000  # up to which the search leaves out every fold, or three of them
OUT_OF_FOLD = ExpectationMaximization(tol=1e-3, max_k_means_runs=2)
OF_ALL_SAMPLES = ExpectationMaximization(tol=1e-3)
BY_CRITERION = ExpectationMaximization()


class MixtureFamily(ComponentFamily):
    """A mixture behind each preprocessor, of the size that out-of-fold log-densities choose.

    A single feature, where mixtures cost little, has one more, of the size that the Bayesian information criterion
    chooses.
    """

    independent = True

    def parts(self, fit: ComponentFit) -> list[Callable[[ComponentFit], list[Component]]]:
        parts: list = [partial(fit_mixture, *space) for space in fit.spaces.by_prefix().items()]
        return parts if fit.data.n_features > 1 else [*parts, fit_mixture_by_criterion]


def fit_mixture(prefix: str, preprocessor: Preprocessor, fit: ComponentFit) -> list[Component]:
    """The mixture behind a preprocessor."""
    mapped = fit.data.mapped(preprocessor)
    return [MixtureRuns(fit, mapped, choose_mixture(fit, mapped)).component(f"{prefix}mixture")]


def fit_mixture_by_criterion(fit: ComponentFit) -> list[Component]:
    """The mixture of a single feature whose size the Bayesian information criterion chooses."""
    mapped, w = fit.data.mapped(fit.spaces.plain), fit.data.sample_weight
    choice = mixture_by_bic(mapped.z, w, fit.rng, fit.options, fit.limits.search_seconds)
    component = MixtureRuns(fit, mapped, choice, BY_CRITERION).component("bic_mixture")
    return [replace(component, prior_samples=fit.options.prior_samples, improve=None)]


def choose_mixture(fit: ComponentFit, mapped: MappedData) -> MixtureChoice:
    """The number of Gaussians and the strength of their prior."""
    data, folds = fit.data, fit.left_out_together[:1]
    if data.n_effective <= FEW_SAMPLES:
        folds = list(data.folds)
    elif data.n_effective <= MANY_SAMPLES:
        folds = list(data.folds[:3])
    completed = None if data.completed is None else data.completed.shifted(-mapped.log_det_left_out)
    seconds = fit.limits.search_seconds
    search = MixtureSearch(mapped.z, data.sample_weight, folds, fit.rng, fit.options, seconds, completed)
    return search.choose()


class MixtureRuns:
    """Mixtures of the samples behind a preprocessor, by one or more runs of EM.

    Where EM ends depends on where it starts. Out-of-fold log-densities are those of the mean of several runs; the
    density of all samples goes on from the better half of the runs of all folds, which takes few steps. A mean of
    several overfits less than one: the second and the third run have more Gaussians, the next numbers that are tried.
    """

    def __init__(
        self, fit: ComponentFit, mapped: MappedData, choice: MixtureChoice, em: ExpectationMaximization = OUT_OF_FOLD
    ):
        self.mapped, self.rng, self.em = mapped, fit.rng, em
        setting = choice.setting.of_repeated(fit.data.information)
        self.w, self.folds = fit.data.sample_weight, fit.left_out_together
        (n, d), k = mapped.z.shape, choice.setting.n_components
        costly = k * n * d**2 >= fit.options.max_restart_cost
        self.max_runs = 1 if k == 1 or costly else fit.options.em_restarts
        self.settings = growing(setting, self.max_runs, fit)
        self.min_run_gain = fit.options.min_run_gain
        self.training = [fit.data.without(fold) for fold in self.folds]
        # The first run goes on from the density of the search, which was fitted to the same samples.
        known = [*choice.densities, *[None] * len(self.folds)]
        begun = [self._begin(train, 0, start) for train, start in zip(self.training, known)]
        self.runs = [[run] for run in results(begun)]

    def _begin(
        self, train: np.ndarray, run: int, start: GaussianMixtureDensity | None = None
    ) -> Task[GaussianMixtureDensity]:
        """A run of EM on training samples, of that number, from a start or from k-means."""
        z, w, setting = self.mapped.z[train], self.w[train], self.settings[run]
        first = start or self.em.draw_start(w, setting.n_components, self.rng)
        return begin(self.em.fit, z, w, setting, None, first)

    def held_out(self, n_runs: int) -> np.ndarray:
        """Out-of-fold log-densities of the mean of so many runs of EM for each fold."""
        missing = range(len(self.runs[0]), n_runs)
        more = iter(results([self._begin(train, run) for train in self.training for run in missing]))
        for runs in self.runs:
            runs += islice(more, len(missing))
        means = [GaussianMixtureDensity.mean(runs[:n_runs]) for runs in self.runs]
        return np.concatenate([self.mapped.log_prob_left_out(mean, fold) for mean, fold in zip(means, self.folds)])

    def improved(self, name: str, gain: Gain) -> Component:
        """The component of as many runs for each fold as the blend gains by."""
        return self.component(name, worthwhile_runs(self.held_out, self.max_runs, gain, self.min_run_gain))

    def component(self, name: str, n_runs: int = 1) -> Component:
        """The component of so many runs of EM for each fold."""
        held_out = self.held_out(n_runs)
        fits = [
            begin(OF_ALL_SAMPLES.fit, self.mapped.z, self.w, self.settings[run], None, start)
            for run in range(n_runs)
            for start in self._best_runs(run, 1 if n_runs == 1 else -(-len(self.runs) // 2))
        ]
        transformed = TransformedDensity(self.mapped.preprocessor, GaussianMixtureDensity.mean(results(fits)))
        improve = partial(self.improved, name) if n_runs == 1 < self.max_runs else None
        return Component(name, transformed, held_out, "mixture", improve=improve)

    def _best_runs(self, run: int, n_best: int) -> list[GaussianMixtureDensity]:
        """The best ones on all samples, of the runs of that number of all folds."""
        runs = [of_fold[run] for of_fold in self.runs]
        log_prob = [mixture.log_prob(self.mapped.z) for mixture in runs]
        order = sorted(range(len(runs)), key=lambda k: self.w @ log_prob[k])
        return [runs[k] for k in order[-n_best:]]


def growing(setting: MixtureSetting, n_runs: int, fit: ComponentFit) -> list[MixtureSetting]:
    """A setting for each run: the one that was chosen, then the next larger ones that are tried, while samples last."""
    data = fit.data
    largest = data.n_effective / (MIN_SAMPLES * (data.n_features + 1))
    larger = [k for k in fit.options.component_grid if setting.n_components < k <= largest]
    sizes = [setting.n_components, *larger][:n_runs]
    return [setting._replace(n_components=k) for k in [*sizes, *[sizes[-1]] * (n_runs - len(sizes))]]
