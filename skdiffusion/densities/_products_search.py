"""The number of components of a mixture of products, by samples left out."""

from __future__ import annotations

import time

import numpy as np

from skdiffusion._utils.numerics import TIE
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._products_em import ProductSamples, ProductSetting

PATIENCE = 2  # larger mixtures without gain after which the search ends
MIN_COMPONENT_SAMPLES = 8  # for each component of more than one
MAX_COMPONENTS = 128


def choose_product_setting(
    samples: ProductSamples,
    left_out: ProductSamples,
    log_det: np.ndarray,
    rng: np.random.Generator,
    options: ComponentOptions = DEFAULT_OPTIONS,
    max_seconds: float = np.inf,
) -> ProductSetting:
    """The setting under which samples that are left out are likeliest.

    Parameters
    ----------
    samples, left_out : ProductSamples
    log_det : array of shape (n_left_out,)
        Log-Jacobians of the maps of the samples that are left out; infinite ones do not count.
    rng : numpy Generator
    options : ComponentOptions
    max_seconds : float
    """
    started, strong = time.perf_counter(), 2.0 + samples.z.shape[1]
    finite = np.isfinite(log_det)

    def score(setting: ProductSetting) -> float:
        mixture, _ = samples.fit(setting, rng)
        log_prob = mixture.log_prob(left_out.states, left_out.z) + log_det
        return float(np.average(log_prob[finite], weights=left_out.w[finite]))

    best, highest, since = ProductSetting(1, strong), -np.inf, 0
    for k in options.component_grid:
        few = k > 1 and MIN_COMPONENT_SAMPLES * k > samples.effective
        if since >= PATIENCE or few or k > MAX_COMPONENTS or time.perf_counter() - started > max_seconds:
            break
        setting = ProductSetting(k, strong)
        reached = score(setting)
        since = 0 if reached > highest + TIE else since + 1
        if reached > highest + TIE:
            best, highest = setting, reached
    weaker = ProductSetting(best.n_components, options.medium_prior)
    return weaker if score(weaker) > highest + TIE else best


def best_of_restarts(
    samples: ProductSamples, setting: ProductSetting, n_restarts: int, rng: np.random.Generator
) -> ProductMixture:
    """The likeliest of the mixtures that EM finds from several starts."""
    n_restarts = 1 if setting.n_components == 1 else n_restarts
    return max((samples.fit(setting, rng) for _ in range(n_restarts)), key=lambda found: found[1])[0]
