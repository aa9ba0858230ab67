"""The closed-form components of the blend: one file and one line of `COMPONENTS` for each family."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from skdiffusion.densities import Component, ComponentOptions
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit, Spaces, TimeLimits
from skdiffusion.densities.components._kernel import KernelFamily
from skdiffusion.densities.components._mixture import MixtureFamily
from skdiffusion.densities.components._regression import RegressionFamily
from skdiffusion.densities.components._steps import StepsFamily
from skdiffusion.densities.components._student_t import StudentTFamily
from skdiffusion.densities.components._tasks import ComponentTasks
from skdiffusion.preprocessing import TrainingData

__all__ = [
    "COMPONENTS", "ComponentFamily", "ComponentFit", "ComponentTasks", "Spaces", "TimeLimits",
    "begin_components", "fit_components",
]  # fmt: skip

# In the order of their fit: later families are fitted only where they add to those before them.
COMPONENTS: dict[str, type[ComponentFamily]] = {
    "mixture": MixtureFamily,
    "student": StudentTFamily,
    "regression": RegressionFamily,
    "steps": StepsFamily,
    "kernel": KernelFamily,
}


def begin_components(
    data: TrainingData,
    spaces: Spaces,
    names: Collection[str],
    options: ComponentOptions,
    rng: np.random.Generator,
    limits: TimeLimits | None = None,
) -> ComponentTasks:
    """Begin to fit the closed-form components of some families, beside what else this process does.

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
    families = {name: family for name, family in COMPONENTS.items() if name in names}
    return ComponentTasks(ComponentFit(data, spaces, options, rng, limits or TimeLimits()), families)


def fit_components(*args: Any, **kwargs: Any) -> list[Component]:
    """Fit closed-form components, each to all samples and once more without its validation folds.

    The parameters are those of `begin_components`.
    """
    return begin_components(*args, **kwargs).all()
