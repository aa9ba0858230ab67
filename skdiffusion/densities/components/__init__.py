"""The closed-form components of the blend: one file and one line of `COMPONENTS` for each family."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Component, ComponentOptions
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit, Spaces, TimeLimits
from skdiffusion.densities.components._kernel import KernelFamily
from skdiffusion.densities.components._mixture import MixtureFamily
from skdiffusion.densities.components._regression import RegressionFamily
from skdiffusion.densities.components._steps import StepsFamily
from skdiffusion.densities.components._student_t import StudentTFamily
from skdiffusion.preprocessing import TrainingData

__all__ = ["COMPONENTS", "ComponentFamily", "ComponentFit", "Spaces", "TimeLimits", "fit_components"]

# In the order of their fit: later families are fitted only where they add to those before them.
COMPONENTS: dict[str, type[ComponentFamily]] = {
    "mixture": MixtureFamily,
    "student": StudentTFamily,
    "regression": RegressionFamily,
    "steps": StepsFamily,
    "kernel": KernelFamily,
}


def fit_components(
    data: TrainingData,
    spaces: Spaces,
    names: Collection[str],
    options: ComponentOptions,
    rng: np.random.Generator,
    limits: TimeLimits | None = None,
) -> list[Component]:
    """Fit the closed-form components of some families, each to all samples and once more without its validation folds.

    Parameters
    ----------
    data : TrainingData
    spaces : Spaces
    names : collection of str
        Families, keys of `COMPONENTS`, in the order of which they are fitted; any other name is a ValueError.
    options : ComponentOptions
    rng : numpy Generator
    limits : TimeLimits, optional
    """
    unknown = set(names) - set(COMPONENTS)
    if unknown:
        raise ValueError(f"Components must be among {list(COMPONENTS)}. Got {sorted(unknown)}.")
    fit = ComponentFit(data, spaces, options, rng, limits or TimeLimits())
    left_out = []
    for name, family in COMPONENTS.items():
        if name in names and (family.indispensable or not fit.limits.over):
            fit.components += family().fit(fit)
        elif name in names:
            left_out.append(name)
    if left_out:
        warn_user(f"There was no time to try the components {left_out}: raise 'max_fit_seconds'.", UserWarning)
    return fit.components
