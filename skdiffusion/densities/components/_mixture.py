"""Gaussian mixtures, behind every preprocessor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from skdiffusion._utils.processes import begin, results
from skdiffusion.densities import (
    Component,
    ExpectationMaximization,
    Gain,
    GaussianMixtureDensity,
    KMeansStart,
    MixtureChoice,
    MixtureSearch,
    TransformedDensity,
    mixture_by_bic,
    worthwhile_runs,
)
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit
from skdiffusion.preprocessing import MappedData, Preprocessor

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
    density of all samples goes on from the better half of the runs of all folds, which takes few steps.
    """

    def __init__(
        self, fit: ComponentFit, mapped: MappedData, choice: MixtureChoice, em: ExpectationMaximization = OUT_OF_FOLD
    ):
        self.mapped, self.rng, self.em = mapped, fit.rng, em
        self.setting = choice.setting.of_repeated(fit.data.information)
        self.w, self.folds = fit.data.sample_weight, fit.left_out_together
        (n, d), k = mapped.z.shape, choice.setting.n_components
        costly = k * n * d**2 >= fit.options.max_restart_cost
        self.max_runs = 1 if k == 1 or costly else fit.options.em_restarts
        self.min_run_gain = fit.options.min_run_gain
        self.training = [fit.data.without(fold) for fold in self.folds]
        # The first run goes on from the density of the search, which was fitted to the same samples.
        known = [*choice.densities, *[None] * len(self.folds)]
        starts = [start or self._draw_start(train) for train, start in zip(self.training, known)]
        self.runs = [[run] for run in self._run(self.training, starts)]

    def _draw_start(self, train: np.ndarray) -> KMeansStart | None:
        return self.em.draw_start(self.w[train], self.setting.n_components, self.rng)

    def _run(
        self, training: Sequence[np.ndarray], starts: Sequence[GaussianMixtureDensity | KMeansStart | None]
    ) -> list[GaussianMixtureDensity]:
        """Runs of EM on training samples from starts, side by side."""
        z, w, setting = self.mapped.z, self.w, self.setting
        return results([begin(self.em.fit, z[t], w[t], setting, None, start) for t, start in zip(training, starts)])

    def held_out(self, n_runs: int) -> np.ndarray:
        """Out-of-fold log-densities of the mean of so many runs of EM for each fold."""
        missing = [train for train, runs in zip(self.training, self.runs) for _ in range(n_runs - len(runs))]
        more = iter(self._run(missing, [self._draw_start(train) for train in missing]))
        for runs in self.runs:
            runs += islice(more, n_runs - len(runs))
        means = [GaussianMixtureDensity.mean(runs[:n_runs]) for runs in self.runs]
        return np.concatenate([self.mapped.log_prob_left_out(mean, fold) for mean, fold in zip(means, self.folds)])

    def improved(self, name: str, gain: Gain) -> Component:
        """The component of as many runs for each fold as the blend gains by."""
        return self.component(name, worthwhile_runs(self.held_out, self.max_runs, gain, self.min_run_gain))

    def component(self, name: str, n_runs: int = 1) -> Component:
        """The component of so many runs of EM for each fold."""
        held_out = self.held_out(n_runs)
        z, w, setting = self.mapped.z, self.w, self.setting
        fits = [begin(OF_ALL_SAMPLES.fit, z, w, setting, None, start) for start in self._best_runs(n_runs)]
        transformed = TransformedDensity(self.mapped.preprocessor, GaussianMixtureDensity.mean(results(fits)))
        improve = partial(self.improved, name) if n_runs == 1 < self.max_runs else None
        return Component(name, transformed, held_out, "mixture", improve=improve)

    def _best_runs(self, n_runs: int) -> list[GaussianMixtureDensity]:
        """The best run on all samples, or the better half of several."""
        runs = [run for of_fold in self.runs for run in of_fold]
        log_prob = [run.log_prob(self.mapped.z) for run in runs]
        order = sorted(range(len(runs)), key=lambda k: self.w @ log_prob[k])
        return [runs[k] for k in (order[len(runs) // 2 :] if n_runs > 1 else order[-1:])]
