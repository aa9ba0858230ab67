"""The fit of the components in tasks, which go on beside what else a fit does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from skdiffusion._utils.processes import Task, begin, results
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Component
from skdiffusion.densities.components._family import ComponentFamily, ComponentFit

Families = Mapping[str, type[ComponentFamily]]


class ComponentTasks:
    """The components of some families, which are begun as early as they can be.

    Those that need no others are tasks from the start. The others, fitted only where they add to those before them, are
    a task once the former are known.

    Parameters
    ----------
    fit : ComponentFit
        Without components.
    families : dict of str to subclass of ComponentFamily
        In the order of their fit.
    """

    def __init__(self, fit: ComponentFit, families: Families) -> None:
        mapped = [fit.data.mapped(space) for space in fit.spaces.by_prefix().values()] if families else []
        shared = [fit.data, *mapped, *fit.spaces.by_prefix().values()]
        first = {name: family for name, family in families.items() if family.independent}
        self._first: dict[str, list[Task]] = {
            name: [
                begin(_fit_in_time, part, fit.with_own_stream(), family.indispensable, shared=shared)
                for part in family().parts(fit)
            ]
            for name, family in first.items()
        }
        self._others = {name: family for name, family in families.items() if name not in first}
        self._fit, self._shared, self._left_out = fit, shared, list[str]()
        self._independent: list[Component] | None = None
        self._rest: Task | None = None
        self._all: list[Component] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Of use elsewhere is what has been fitted.
        return {"_independent": self._independent, "_all": self._all}

    def independent(self) -> list[Component]:
        """The components that need no others."""
        if self._independent is None:
            found = iter(results([task for tasks in self._first.values() for task in tasks]))
            fitted = {name: [next(found) for _ in tasks] for name, tasks in self._first.items()}
            self._left_out = [name for name, parts in fitted.items() if all(part is None for part in parts)]
            self._independent = [c for parts in fitted.values() for part in parts for c in part or []]
            fit = replace(self._fit.with_own_stream(), components=self._independent)
            self._rest = begin(_fit_others, self._others, fit, shared=self._shared) if self._others else None
        return self._independent

    def all(self) -> list[Component]:
        """All components, in the order of their fit."""
        if self._all is None:
            independent = self.independent()
            others, left_out = self._rest.result() if self._rest is not None else ([], [])
            if left_out := self._left_out + left_out:
                warn_user(f"There was no time to try the components {left_out}: raise 'max_fit_seconds'.", UserWarning)
            self._all = [*independent, *others]
        return self._all

    def finished(self) -> ComponentTasks:
        """The same once all are fitted."""
        self.all()
        return self


def _fit_in_time(
    part: Callable[[ComponentFit], list[Component]], fit: ComponentFit, indispensable: bool
) -> list[Component] | None:
    """The components of a part; None where time was over before."""
    return part(fit) if indispensable or not fit.limits.over else None


def _fit_others(families: Families, fit: ComponentFit) -> tuple[list[Component], list[str]]:
    """The components of families beside those of the fit, and the names of those for which there was no time."""
    known, left_out = len(fit.components), []
    fit = replace(fit, components=[*fit.components])
    for name, family in families.items():
        if family.indispensable or not fit.limits.over:
            fit.components += family().fit(fit)
        else:
            left_out.append(name)
    return fit.components[known:], left_out
