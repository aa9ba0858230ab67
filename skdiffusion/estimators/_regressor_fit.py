"""The fit of a regressor: one model for every output, given the inputs and the outputs before it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skdiffusion._utils.numerics import effective_number
from skdiffusion._utils.progress import FitProgress, affordable_in_memory, training_deadline
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities.predictive import (
    AtomProbabilities,
    FoldedInputs,
    PredictiveFit,
    PredictivePlan,
    RegressionData,
    TargetModel,
    distinct_samples,
    fit_atoms,
    fit_predictive,
    network_shape,
)
from skdiffusion.estimators._density import DiffusionDensityEstimator
from skdiffusion.estimators._resolve import resolve_options
from skdiffusion.estimators._stages import warn_if_interrupted
from skdiffusion.exceptions import DegenerateDataWarning
from skdiffusion.preprocessing import atoms_of, random_folds

MANY_SAMPLES, MAX_FOLDS_OF_MANY = 5000, 5  # from so many on fewer folds do
SEARCH_SHARE = 0.3  # of the time allowed, after which no mixture is searched for
MIN_DISTINCT = 2  # samples with other values than the atoms


@dataclass(frozen=True)
class RegressionFit:
    """What is asked of the fit of all outputs.

    Parameters
    ----------
    settings : DiffusionDensityEstimator
        With the parameters of the networks.
    names : tuple of str
        Of the components.
    bounds : pair of arrays of shape (n_outputs,), or None
    atoms : list of arrays
        Rising atoms of every output.
    categories : tuple of int
        Numbers of the inputs that are categories.
    max_seconds : float or None
    """

    settings: DiffusionDensityEstimator
    names: tuple[str, ...]
    bounds: tuple[np.ndarray, np.ndarray] | None
    atoms: list[np.ndarray]
    categories: tuple[int, ...]
    device: torch.device
    max_seconds: float | None

    def run(
        self, samples: tuple[np.ndarray, np.ndarray, np.ndarray], rng: np.random.Generator, owner: Any
    ) -> tuple[list[TargetModel], list[PredictiveFit]]:
        """Models of the outputs, each given the inputs and the outputs before it, and their fits.

        Parameters
        ----------
        samples : (X, Y, weight)
        rng : numpy Generator
        owner : estimator
            Whose progress is shown.
        """
        X, Y, weight = self._affordable(distinct_samples(*samples), rng)
        if len(X) < MIN_DISTINCT:
            raise ValueError(
                "Found array with 1 distinct sample of X and y of positive 'sample_weight' while a minimum of 2 is "
                "required."
            )
        started, models, fits = time.perf_counter(), [], []
        parts = [self._inputs(X, Y, j) for j in range(Y.shape[1])]
        plans = [self._plan(inputs, weight, started, j, len(parts)) for j, inputs in enumerate(parts)]
        with FitProgress(owner, sum(plan.n_checks for plan in plans)) as progress:
            for j, (inputs, plan) in enumerate(zip(parts, plans)):
                model, fit = self._fit_output((inputs, Y[:, j], weight), j, plan, rng, progress)
                models.append(model)
                fits.append(fit)
        return models, fits

    def _affordable(
        self, samples: tuple[np.ndarray, np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As many of the samples (X, Y, weight), drawn at random, as the time of one output allows to fit all of."""
        X, Y, weight = samples
        n = len(X) if self.max_seconds is None else affordable_in_memory(self.max_seconds / Y.shape[1])
        if len(X) <= n:
            return samples
        kept = np.sort(rng.choice(len(X), int(n), replace=False))
        return X[kept], Y[kept], weight[kept]

    def _inputs(self, X: np.ndarray, Y: np.ndarray, j: int) -> np.ndarray:
        return np.column_stack([X, Y[:, :j]])

    def _plan(self, inputs: np.ndarray, weight: np.ndarray, started: float, j: int, n_outputs: int) -> PredictivePlan:
        """The plan of one output, which has its share of the time."""
        n = max(2, round(effective_number(weight)))
        options = resolve_options(self.settings, network_shape(n, inputs.shape[1]), self.device)
        if self.max_seconds is None:
            return PredictivePlan(self.names, options)
        share = self.max_seconds / n_outputs
        training = training_deadline(started + j * share, share)
        return PredictivePlan(self.names, options.ending_at(training, training), started + (j + SEARCH_SHARE) * share)

    def _fit_output(
        self,
        samples: tuple[np.ndarray, np.ndarray, np.ndarray],
        j: int,
        plan: PredictivePlan,
        rng: np.random.Generator,
        progress: FitProgress,
    ) -> tuple[TargetModel, PredictiveFit]:
        """The model of one output."""
        inputs, y, weight = samples
        atoms, probabilities = self.atoms[j], None
        if len(atoms):
            probabilities = self._atom_probabilities(samples, atoms, plan, rng)
            rest = ~np.isin(y, atoms)
            inputs, y, weight = inputs[rest], y[rest], weight[rest]
        bounds = None if self.bounds is None else (float(self.bounds[0][j]), float(self.bounds[1][j]))
        if bounds is not None and np.isinf(bounds).all():
            bounds = None
        data = RegressionData.of((inputs, y, weight), self.categories, bounds, rng)
        if len(data.target.resolution.constant):
            warn_user(
                f"The target{f' {j}' if j else ''} is constant and has no density: it is given a nominal resolution.",
                DegenerateDataWarning,
            )
        data = data.split(self._n_folds(plan, len(y)), plan.options.network.n_members)
        n_members = len(data.target.validation_folds)
        network = replace(plan.options.network, n_members=n_members)
        fit = fit_predictive(data, replace(plan, options=replace(plan.options, network=network)), progress)
        if fit.training is not None:
            warn_if_interrupted(fit.training, plan.options.training.n_steps)
        return TargetModel(data.target_map, data.reach, fit.blend, probabilities, data.cell_edges), fit

    def _n_folds(self, plan: PredictivePlan, n_samples: int) -> int:
        given = self.settings.options
        automatic = (given is None or given.n_folds == "auto") and n_samples >= MANY_SAMPLES
        least = plan.options.network.n_members
        return max(least, MAX_FOLDS_OF_MANY) if automatic else plan.options.n_folds

    def _atom_probabilities(
        self,
        samples: tuple[np.ndarray, np.ndarray, np.ndarray],
        atoms: np.ndarray,
        plan: PredictivePlan,
        rng: np.random.Generator,
    ) -> AtomProbabilities:
        """The probabilities of the atoms of one output."""
        inputs, y, weight = samples
        if np.isin(y, atoms).sum() > len(y) - MIN_DISTINCT:
            raise ValueError(
                f"Fewer than {MIN_DISTINCT} distinct samples of y differ from its 'atoms' {atoms.tolist()}, which "
                "leaves no continuous part: drop some atoms, or use a classifier."
            )
        folds = random_folds(weight, None, self._n_folds(plan, len(y)), rng, np.inf)
        number = np.empty(len(y), dtype=int)
        for k, fold in enumerate(folds):
            number[fold] = k
        return fit_atoms(FoldedInputs(inputs, weight, folds, self.categories), y, atoms, number)


def resolve_atoms(atoms: Any, samples: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Rising atoms of every output, of shape (n_atoms,), of samples (X, Y, weight).

    Raises
    ------
    ValueError
        For atoms that are no finite numbers, or of an output that y does not have.
    """
    Y, n_outputs = samples[1], samples[1].shape[1]
    if atoms is None:
        return [np.empty(0)] * n_outputs
    if isinstance(atoms, str):
        _, distinct, weight = distinct_samples(*samples)
        return [atoms_of(column, weight) for column in distinct.T]
    by_output = dict(atoms) if isinstance(atoms, Mapping) else {0: atoms}
    if not isinstance(atoms, Mapping) and n_outputs > 1:
        raise ValueError("y has several outputs: give 'atoms' as a dictionary of lists by the number of the output.")
    unknown = [j for j in by_output if j not in range(n_outputs)]
    if unknown:
        raise ValueError(f"'atoms' names the output {unknown[0]!r}, but y has {n_outputs}, numbered from 0.")
    out = []
    for j in range(n_outputs):
        try:
            values = np.unique(np.atleast_1d(np.asarray(by_output.get(j, []), dtype=np.float64)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"'atoms' holds {by_output[j]!r}, which are no numbers.") from error
        if not np.isfinite(values).all():
            raise ValueError(f"'atoms' holds values that are not finite: {by_output[j]!r}.")
        out.append(values[np.isin(values, Y[:, j])])
    return out
