"""How much work goes into the components of the blend, and what they must gain."""

from __future__ import annotations

from dataclasses import dataclass

COMPONENT_GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class ComponentOptions:
    """Limits and thresholds of the closed-form components.

    Costs are numbers of multiplications: beyond the limits a component would take longer than the networks.

    Parameters
    ----------
    negligible_weight : float
        Weight in the blend below which a component costs time and changes nothing: it is set to zero.
    min_student_weight : float
        Least weight of the Student-t, which bounds what any sample can cost.
    min_total_gain : float
        Nats that a kernel or a regression must add to the blend, over all out-of-fold samples together. Chance alone
        seldom gives more.
    min_improved_weight : float
        Weight of all mixtures, or of all regressions, in the blend from which more work on them pays.
    score_beside_others : bool
        Whether mixtures and bandwidths are chosen by what they add to others, or else by their own log-density.
    min_correlation_gain : float
        Nats a feature that a Gaussian gains by correlations, from which the kernel is also tried in features that are
        not whitened.
    em_restarts : int
        Runs of expectation maximization from different starts whose mean is an improved mixture.
    max_restart_cost : float
        Largest cost of a step of EM at which it is run again from other starts.
    component_grid : tuple of int
        Numbers of Gaussians that are tried for a mixture, rising from 1.
    cheap_components : int
        Number of Gaussians up to which mixtures are tried whatever they cost.
    max_search_cost : float
        Largest cost of a step of EM, but for the constant factor, at which larger mixtures are tried.
    medium_prior, weak_prior, weakest_prior : float
        Prior samples of each Gaussian that are tried beside the strong prior of n_features + 2.
    mixture_margin : float
        Standard errors by which a mixture of more freedom must be better.
    max_kernel_samples : int
        Number of samples beyond which there is no kernel, which keeps all of them.
    max_kernel_queries : int
        Out-of-fold samples that choose the bandwidth and the space of the kernel.
    adaptive_kernels : bool
        Whether kernels that are as wide as samples lie apart are tried beside kernels of one width.
    bandwidth_margin : float
        Standard errors by which the bandwidth that adds most to the others must be better than the one that is best
        alone: it is the best of many.
    min_regression_samples : int
        Number of samples below which structure cannot be told from chance.
    max_regression_cost : float
        Largest cost of a regression of all features.
    max_regression_samples : int
        Samples that a regression is fitted to: more add nothing to a few coefficients, and basis functions of them fill
        the memory.
    max_regression_orders : int
        Orders of the features in an improved regression: the most informative one and random ones.
    """

    negligible_weight: float = 1e-4
    min_student_weight: float = 0.002
    min_total_gain: float = 2.0
    min_improved_weight: float = 0.05
    score_beside_others: bool = True
    min_correlation_gain: float = 0.05
    em_restarts: int = 3
    max_restart_cost: float = 2.5e8
    component_grid: tuple[int, ...] = COMPONENT_GRID
    cheap_components: int = 64
    max_search_cost: float = 6e9
    medium_prior: float = 0.5
    weak_prior: float = 2e-3
    weakest_prior: float = 1e-5
    mixture_margin: float = 0.7
    max_kernel_samples: int = 20_000
    max_kernel_queries: int = 500
    adaptive_kernels: bool = True
    bandwidth_margin: float = 2.0
    min_regression_samples: int = 40
    max_regression_cost: float = 3e9
    max_regression_samples: int = 20_000
    max_regression_orders: int = 4


DEFAULT_OPTIONS = ComponentOptions()
