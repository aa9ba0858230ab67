"""How much work goes into the components of the blend, and what they must gain."""

from __future__ import annotations

from dataclasses import dataclass

COMPONENT_GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class ComponentOptions:
    """Limits and thresholds of the closed-form components.

    Costs are numbers of multiplications: beyond the limits a component would take longer than the networks.
    """

    # Weight in the blend below which a component costs time and changes nothing: it is set to zero.
    negligible_weight: float = 1e-4
    min_student_weight: float = 0.002  # of the Student-t, which bounds what any sample can cost
    # Nats that a kernel or a regression must add over all out-of-fold samples together: chance seldom gives more.
    min_total_gain: float = 2.0
    min_improved_weight: float = 0.05  # of all mixtures, or all regressions, in the blend from which more work pays
    score_beside_others: bool = True  # choose mixtures and bandwidths by what they add to others, not by themselves
    # Nats a feature that a Gaussian gains by correlations, from which the kernel is also tried without whitening.
    min_correlation_gain: float = 0.05
    # Nats a sample that all further runs must promise: those of EM, or orders of a regression, whose mean is taken.
    min_run_gain: float = 0.002
    em_restarts: int = 3  # runs of EM from different starts whose mean is an improved mixture
    max_restart_cost: float = 2.5e8  # of a step of EM, at which it is run again from other starts
    component_grid: tuple[int, ...] = COMPONENT_GRID  # numbers of Gaussians that are tried, rising from 1
    cheap_components: int = 64  # Gaussians up to which mixtures are tried whatever they cost
    max_search_cost: float = 6e9  # of a step of EM but for the constant factor, at which larger mixtures are tried
    medium_prior: float = 0.5  # prior samples of each Gaussian, tried beside the strong prior of n_features + 2
    weak_prior: float = 2e-3
    weakest_prior: float = 1e-5
    mixture_margin: float = 0.7  # standard errors by which a mixture of more freedom must be better
    max_kernel_samples: int = 20_000  # beyond which there is no kernel, which keeps all samples
    max_kernel_queries: int = 500  # out-of-fold samples that choose the bandwidth and the space of the kernel
    adaptive_kernels: bool = True  # try kernels that are as wide as samples lie apart, too
    # Standard errors by which the bandwidth that adds most, the best of many, must exceed the one that is best alone.
    bandwidth_margin: float = 2.0
    # That each component of a single feature whose freedom is paid for by a prior or a criterion explains beforehand.
    prior_samples: float = 0.5
    min_steps_samples: int = 40  # below which a density between steps is not tried
    min_regression_samples: int = 40  # below which structure cannot be distinguished from chance
    max_regression_cost: float = 3e9  # of a regression of all features
    # Samples that a regression is fitted to: more add nothing to a few coefficients and fill the memory.
    max_regression_samples: int = 20_000
    max_regression_orders: int = 4  # of the features in an improved regression: the most informative, and random ones


DEFAULT_OPTIONS = ComponentOptions()
