"""The number of components of a mixture of products, by samples left out."""

from __future__ import annotations

import time

import numpy as np

from skdiffusion._utils.numerics import TIE
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._products_em import SEARCH_EFFORT, START_EFFORT, ProductSamples, ProductSetting

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

    Sizes are doubled until two in a row gain nothing, then those between the neighbors of the best are tried.

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
        mixture, _ = samples.fit(setting, rng, SEARCH_EFFORT)
        log_prob = mixture.log_prob(left_out.states, left_out.z) + log_det
        return float(np.average(log_prob[finite], weights=left_out.w[finite]))

    most = min(MAX_COMPONENTS, max(1, samples.effective / MIN_COMPONENT_SAMPLES))
    sizes = [k for k in options.component_grid if k <= most]
    best, highest = ProductSetting(1, strong), -np.inf

    def tried(k: int) -> bool:
        """Whether a size is better than all before."""
        nonlocal best, highest
        setting = ProductSetting(k, strong)
        reached = score(setting)
        gains = reached > highest + TIE
        if gains:
            best, highest = setting, reached
        return gains

    def in_time() -> bool:
        return time.perf_counter() - started <= max_seconds

    doubled, since = [k for k in sizes if k & (k - 1) == 0], 0
    for k in doubled:
        if since >= PATIENCE or not in_time():
            break
        since = 0 if tried(k) else since + 1
    middle = best.n_components
    for k in sizes:
        if middle / 2 < k < 2 * middle and k not in doubled and in_time():
            tried(k)
    weaker = ProductSetting(best.n_components, options.medium_prior)
    return weaker if in_time() and score(weaker) > highest + TIE else best


def best_of_restarts(
    samples: ProductSamples, setting: ProductSetting, n_restarts: int, rng: np.random.Generator
) -> ProductMixture:
    """The mixture that EM finds from the start that is the likeliest after a few steps (Biernacki et al., 2003)."""
    n_starts = 1 if setting.n_components == 1 else n_restarts
    starts = [samples.fit(setting, rng, START_EFFORT) for _ in range(n_starts)]
    return samples.continued(max(starts, key=lambda found: found[1])[0], setting.strength)[0]
