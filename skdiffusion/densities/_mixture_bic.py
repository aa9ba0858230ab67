"""The number of Gaussians of a mixture by the Bayesian information criterion."""

from __future__ import annotations

import time

import numpy as np

from skdiffusion._utils.numerics import effective_number
from skdiffusion.densities._em import ExpectationMaximization, MixtureSetting
from skdiffusion.densities._mixture_search import PATIENCE, MixtureChoice
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions

MIN_SAMPLES_OF_GAUSSIAN = 3  # of each, on average


def mixture_by_bic(
    z: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    options: ComponentOptions = DEFAULT_OPTIONS,
    max_seconds: float = np.inf,
) -> MixtureChoice:
    """The mixture of weighted samples z (n_samples, n_features), under the weakest prior, of least criterion.

    The criterion reads all samples and takes no chances with few of them: where a mixture of few Gaussians is right,
    it finds their number more often than samples that are left out do.
    """
    started, (n, d) = time.perf_counter(), (effective_number(weights), z.shape[1])
    em, share = ExpectationMaximization(), weights / weights.sum()
    best, least, since = MixtureChoice(MixtureSetting(1, options.weakest_prior), -np.inf, []), np.inf, 0
    for k in options.component_grid:
        few = k > 1 and MIN_SAMPLES_OF_GAUSSIAN * k > n
        if since >= PATIENCE or few or time.perf_counter() - started > max_seconds:
            break
        setting = MixtureSetting(k, options.weakest_prior)
        score = float(share @ em.fit(z, weights, setting, rng).log_prob(z))
        n_parameters = k * (d + 1) * (d + 2) / 2 - 1
        criterion = n_parameters * np.log(n) - 2 * n * score
        since = 0 if criterion < least else since + 1
        if criterion < least:
            best, least = MixtureChoice(setting, score, []), criterion
    return best
