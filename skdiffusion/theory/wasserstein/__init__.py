r"""Wasserstein-2 error of the probability-flow sampler under weak log-concavity.

All levels are noise-to-signal ratios :math:`\tau = \sigma/\alpha`, on samples :math:`y = x/\alpha = x_0 + \tau z`:
every process is a choice of grid and of integrator there. A distribution is *weakly log-concave* with constants
(a, M) if its score S has

.. math:: -\langle S(x)-S(y), x-y\rangle \ge r^2\,[a - f_M(r)/r],\quad f_M(r) = 2\sqrt M\tanh(\sqrt M r/2),
    \quad r=|x-y|.

The setting is that of Kremling, Iafrate, Taheri and Lederer (2025), arXiv 2510.17608. The bound is not theirs: it was
derived for this package, so that it is complete and computable, with three terms (start, discretization, score error).

It is sharp for Gaussians, and loose by a factor :math:`e^{M/2a}` for separated mixtures, where it soon exceeds the
distances of interest: step doubling, as `ProbabilityFlow` does it, is then the guide.
"""

from skdiffusion.theory.wasserstein._bound import (
    INTEGRATORS,
    SamplerErrors,
    WassersteinBound,
    sampling_bound,
    step_coefficient,
)
from skdiffusion.theory.wasserstein._regularity import (
    Regularity,
    bounded_regularity,
    gaussian_regularity,
    mixture_regularity,
)
from skdiffusion.theory.wasserstein._steps import StepAdvice, optimal_levels, suggest_steps

__all__ = [
    "INTEGRATORS", "Regularity", "SamplerErrors", "StepAdvice", "WassersteinBound", "bounded_regularity",
    "gaussian_regularity", "mixture_regularity", "optimal_levels", "sampling_bound", "step_coefficient",
    "suggest_steps",
]  # fmt: skip
