"""The number of components of a mixture of products, by samples left out."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.numerics import TIE, floored
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.densities._products import ProductMixture
from skdiffusion.densities._products_em import FULL_EFFORT, SEARCH_EFFORT, START_EFFORT, ProductSamples, ProductSetting

PATIENCE = 2  # larger mixtures without gain after which the search ends
MIN_COMPONENT_SAMPLES = 8  # for each component of more than one
MAX_COMPONENTS = 128
MIN_ROUND_SAMPLES = 2000  # of the first round of a search
ROUND_GROWTH = 4  # times as many samples in every round


def choose_product_setting(
    samples: ProductSamples,
    left_out: ProductSamples,
    log_det: np.ndarray,
    rng: np.random.Generator,
    options: ComponentOptions = DEFAULT_OPTIONS,
    deadline: float = np.inf,
) -> ProductSetting:
    """The setting under which samples that are left out are likeliest.

    Sizes are doubled until two in a row gain nothing, then those between the neighbors of the best are tried. Some of
    many samples are tried first: those that are fitted to more samples begin at the size that suits fewer.

    Parameters
    ----------
    samples, left_out : ProductSamples
    log_det : array of shape (n_left_out,)
        Log-Jacobians of the maps of the samples that are left out; infinite ones do not count.
    rng : numpy Generator
    options : ComponentOptions
    deadline : float
        Moment of `time.perf_counter` at which the search ends.
    """
    strong, n, rounds = 2.0 + samples.z.shape[1], len(samples.z), [len(samples.z)]
    while rounds[0] // ROUND_GROWTH >= MIN_ROUND_SAMPLES:
        rounds.insert(0, rounds[0] // ROUND_GROWTH)
    order = rng.permutation(n) if len(rounds) > 1 else np.arange(n)
    search = _Search(left_out, log_det, rng, deadline, ProductSetting(1, strong))
    for size in rounds:
        own = samples if size == n else samples.of(np.sort(order[:size]))
        most = min(MAX_COMPONENTS, max(1, own.effective / MIN_COMPONENT_SAMPLES))
        sizes = [k for k in options.component_grid if k <= most]
        doubled = [k for k in sizes if k & (k - 1) == 0]
        search.begin(own)
        search.rising(ProductSetting(k, strong) for k in doubled if 2 * k > search.best.n_components)
    middle = search.best.n_components
    for k in sizes:
        if middle / 2 < k < 2 * middle and k not in doubled:
            search.tries(ProductSetting(k, strong))
    search.tries(ProductSetting(search.best.n_components, options.medium_prior))
    return search.best


@dataclass
class _Search:
    """The best setting so far, and its score on samples left out."""

    left_out: ProductSamples
    log_det: np.ndarray
    rng: np.random.Generator
    deadline: float
    best: ProductSetting
    highest: float = -np.inf

    def begin(self, samples: ProductSamples) -> None:
        """From now on mixtures are fitted to these samples."""
        self.samples, self.highest = samples, -np.inf

    def tries(self, setting: ProductSetting) -> bool:
        """Whether a setting is better than those before; without time for it, it is not."""
        if time.perf_counter() > self.deadline:
            return False
        mixture, _ = self.samples.fit(setting, self.rng, SEARCH_EFFORT.until(self.deadline))
        log_prob = mixture.log_prob(self.left_out.states, self.left_out.z) + self.log_det
        finite = np.isfinite(self.log_det)
        score = float(np.average(floored(log_prob[finite], self.samples.z.shape[1]), weights=self.left_out.w[finite]))
        gains = score > self.highest + TIE
        if gains:
            self.best, self.highest = setting, score
        return gains

    def rising(self, settings: Iterable[ProductSetting]) -> None:
        """Try ever larger mixtures until they gain nothing."""
        since = 0
        for setting in settings:
            since = 0 if self.tries(setting) else since + 1
            if since >= PATIENCE:
                break


def best_of_restarts(
    samples: ProductSamples,
    setting: ProductSetting,
    n_restarts: int,
    rng: np.random.Generator,
    deadline: float = np.inf,
) -> ProductMixture:
    """The mixture that EM finds from the start that is the likeliest after a few steps (Biernacki et al., 2003).

    The starts take half of the time until the deadline, a moment of `time.perf_counter`; there is one at least.
    """
    half = (time.perf_counter() + deadline) / 2
    starts = [samples.fit(setting, rng, START_EFFORT.until(half))]
    while len(starts) < (1 if setting.n_components == 1 else n_restarts) and time.perf_counter() < half:
        starts.append(samples.fit(setting, rng, START_EFFORT.until(half)))
    best = max(starts, key=lambda found: found[1])[0]
    return samples.continued(best, setting.strength, FULL_EFFORT.until(deadline))[0]
