"""Components in closed form that follow a stream: their fit goes on from where it is, on the samples that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skdiffusion._utils.numerics import clearly_better, floored
from skdiffusion._utils.protocols import Density
from skdiffusion.densities import (
    Blend,
    Component,
    ExpectationMaximization,
    GaussianMixtureDensity,
    StudentTDensity,
    TransformedDensity,
    fit_student_t,
)
from skdiffusion.preprocessing import TrainingData

# A round moves a mixture by some steps, and the next one goes on.
FEW_STEPS = ExpectationMaximization(max_iter=20)
LATEST_SHARE = 1 / 8  # of the samples that are kept, the latest, which choose how many are
MIN_WINDOW = 20  # samples for each of n_features + 1, below which none is forgotten
WINDOW_MARGIN = 2.0  # standard errors by which fewer samples must be better


def as_mixture(density: Density, data: TrainingData, max_cost: float) -> GaussianMixtureDensity | None:
    """The mixture behind the maps of a component, if it is one, and a step of its fit no more than so many products."""
    inner = density.density if isinstance(density, TransformedDensity) else None
    if not isinstance(inner, GaussianMixtureDensity):
        return None
    return inner if len(inner.weights) * data.n_samples * data.n_features**2 < max_cost else None


def following(component: Component, data: TrainingData, max_cost: float) -> Component:
    """A mixture or a Student-t that has moved towards the samples of a stream; any other component as it is.

    Its out-of-fold log-densities are those of fits that go on without a fold. Each step of expectation maximization
    makes a mixture anew of the samples that it is given, so that nothing of the fold is left in it but where it
    started.

    Parameters
    ----------
    component : Component
    data : TrainingData
        The samples that are kept, in their folds.
    max_cost : float
        Multiplications of a step from which a mixture stays.
    """
    density, mixture = component.density, as_mixture(component.density, data, max_cost)
    if not isinstance(density, TransformedDensity):
        return component
    if mixture is None and not isinstance(density.density, StudentTDensity):
        return component
    z, _ = density.preprocessor.transform(data.X)

    def fitted(samples: np.ndarray) -> TransformedDensity:
        x, w = z[samples], data.sample_weight[samples]
        return replace(density, density=fit_student_t(x, w) if mixture is None else moved(mixture, x, w))

    log_prob = [fitted(data.without(fold)).log_prob(data.X[fold]) for fold in data.validation_folds]
    return replace(component, density=fitted(np.arange(data.n_samples)), held_out_log_prob=np.concatenate(log_prob))


def moved(mixture: GaussianMixtureDensity, z: np.ndarray, weights: np.ndarray) -> GaussianMixtureDensity:
    """A mixture after some steps of expectation maximization, under the strongest prior of the search."""
    return FEW_STEPS.fit(z, weights, (len(mixture.weights), 2.0 + z.shape[1]), start=mixture)


def best_window(data: TrainingData, blend: Blend, max_cost: float) -> int:
    """How many of the latest samples to keep: as many as say most of the latest of all.

    Half of the samples, a quarter and so on are tried by fits to them without a fold, scored at the latest samples of
    the fold. The fits go on from the mixture of most weight in the blend; without a mixture they are Gaussians behind
    the maps of the diffusion.

    Parameters
    ----------
    data : TrainingData
        The samples that are kept, the latest last.
    blend : Blend
    max_cost : float
        As of `following`.
    """
    n, rising = data.n_samples, [np.sort(fold) for fold in data.validation_folds]
    parts = [fold[fold >= n - LATEST_SHARE * n] for fold in rising]
    latest, least = np.concatenate(parts), MIN_WINDOW * (data.n_features + 1)
    windows = [n >> k for k in range(n.bit_length()) if k == 0 or n >> k >= least]
    if not len(latest) or len(windows) == 1:
        return n
    mixtures = {name: as_mixture(density, data, max_cost) for name, density in blend.densities.items()}
    names = [name for name, mixture in mixtures.items() if mixture is not None] or ["diffusion"]
    name = max(names, key=blend.weights.__getitem__)
    density, start = blend.densities[name], mixtures[name]
    assert isinstance(density, TransformedDensity)
    z, _ = density.preprocessor.transform(data.X)

    def log_prob(window: int) -> np.ndarray:
        columns = []
        for fold, part in zip(rising, parts):
            samples = np.setdiff1d(np.arange(n - window, n), fold)
            x, w = z[samples], data.sample_weight[samples]
            fitted = FEW_STEPS.fit(x, w, (1, 0.0)) if start is None else moved(start, x, w)
            columns.append(fitted.log_prob(z[part]))
        return floored(np.concatenate(columns), data.n_features)

    weight = data.sample_weight[latest] / data.sample_weight[latest].sum()
    best, of_best = n, log_prob(n)
    for window in windows[1:]:
        if clearly_better(of_window := log_prob(window), of_best, weight, WINDOW_MARGIN):
            best, of_best = window, of_window
    return best
