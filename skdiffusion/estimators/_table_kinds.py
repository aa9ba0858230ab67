"""What the columns of a table are asked to be: `categorical_features` and `atoms` of the estimators, resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skdiffusion._utils.frames import (
    as_number,
    category_columns,
    frame_library,
    is_ordered,
    label_codes_of,
    labels_of_code,
    with_places,
)
from skdiffusion.preprocessing import Columns, OneHotGroup, atoms_of, one_hot_groups

MAX_CATEGORIES = 256  # of a column: a table of more says little of each
MIN_ORDERED = 8  # labels in an order, from which their places are numbers: fewer are better as categories


@dataclass(frozen=True)
class Table:
    """The kinds of the columns of a table, and the labels of those that hold no numbers.

    Parameters
    ----------
    columns : Columns
        Of the numbers of the table: a column of labels holds their places.
    library : str or None
        Of the frame.
    label_codes : dict of int to code
        Of the columns of labels, with their labels in order.
    """

    columns: Columns
    library: str | None
    label_codes: dict[int, Any]

    def labels(self, j: int) -> list:
        """The labels of a column."""
        assert self.library is not None
        return labels_of_code(self.library, self.label_codes[j])

    def coded(self, X: Any) -> Any:
        """X with the places of its labels; an array as it is."""
        return with_places(X, {j: self.labels(j) for j in self.label_codes})

    def coded_part(self, X: Any, features: np.ndarray) -> Any:
        """A frame of some features, by their numbers, with the places of its labels."""
        return with_places(X, {i: self.labels(j) for i, j in enumerate(features.tolist()) if j in self.label_codes})

    def coded_array(self, X: Any, features: np.ndarray) -> Any:
        """Samples of some features, by their numbers, with the places of labels in place of text and other objects.

        Raises
        ------
        ValueError
            If one of these is no label of its feature.
        """
        values = np.asarray(X)
        if values.dtype.kind not in "OSU" or not self.label_codes:
            return X
        if not hasattr(X, "dtype"):
            values = np.array(X, dtype=object)  # lists of numbers beside text, which would become text
        table = values.reshape(-1, 1) if values.ndim < 2 and len(features) == 1 else values
        if table.ndim != 2 or table.shape[1] != len(features):
            return X  # for the message of the checks that follow
        columns = [[self._place(j, value) for value in table[:, i].tolist()] for i, j in enumerate(features.tolist())]
        return np.array(columns, dtype=np.float64).T

    def _place(self, j: int, value: Any) -> float:
        try:
            return self.number(j, value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X holds {value!r} in feature {j}: {error}.") from error

    def number(self, j: int, value: Any) -> float:
        """A single value of a feature as a number, the place of a label."""
        if j not in self.label_codes or _is_missing(value):
            return as_number(value)
        known = self.labels(j)
        if value not in known:
            raise ValueError(f"there is no such label; labels are {known}")
        return float(known.index(value))


def _is_missing(value: Any) -> bool:
    try:
        return bool(np.isnan(as_number(value)))
    except (TypeError, ValueError):
        return False


def coded(estimator: Any, X: Any) -> Any:
    """X with the places of the labels that an estimator knows."""
    table = getattr(estimator, "_table", None)
    return X if table is None else table.coded(X)


@dataclass(frozen=True)
class Kinds:
    """The columns of categories that are asked for, before their values are looked at.

    Parameters
    ----------
    names : list
        Of the columns of a frame; empty for an array.
    library : str or None
        Of the frame.
    categories : list of int
        Rising numbers of the columns of categories.
    label_codes : dict of int to code
        Of those among them that hold labels and no numbers, and of columns of many labels in an order, whose places are
        numbers.
    named : list of int or None
        Numbers of the columns that are named as categories of their own; None where none may be anything but numbers.
    """

    names: list
    library: str | None
    categories: list[int]
    label_codes: dict[int, Any]
    named: list[int] | None = None

    def coded(self, X: Any) -> Any:
        """X with the places of its labels; an array as it is."""
        return with_places(X, {j: self._labels(j) for j in self.label_codes})

    @property
    def are_plain(self) -> bool:
        """Whether all columns are numbers."""
        return not self.categories and not self.label_codes

    def _labels(self, j: int) -> list:
        assert self.library is not None
        return labels_of_code(self.library, self.label_codes[j])

    def name(self, j: int) -> Any:
        """What the user calls a feature."""
        return self.names[j] if self.names else j

    def table(self, samples: np.ndarray, atoms: Any, grouped: bool = False) -> Table | None:
        """The table of validated samples; None if it has neither categories nor atoms.

        Parameters
        ----------
        samples : array of shape (n_samples, n_features)
            Numbers, with the places of labels.
        atoms : "auto", mapping or None
        grouped : bool, default=False
            Whether one-hot groups are looked for.
        """
        values: dict[int, np.ndarray] = {}
        for j in self.categories:
            known = samples[~np.isnan(samples[:, j]), j].astype(np.float64)
            values[j] = np.arange(float(len(self._labels(j)))) if j in self.label_codes else np.unique(known)
            if len(values[j]) > MAX_CATEGORIES:
                raise ValueError(
                    f"Feature {self.name(j)!r} has {len(values[j])} categories, more than {MAX_CATEGORIES}: join the "
                    "rare ones, leave the feature out, or make it numeric by 'categorical_features'."
                )
        found = _atoms(self, samples.astype(np.float64), atoms)
        groups: tuple[OneHotGroup, ...] = ()
        if grouped and self.named is not None:
            not_in_any = {*self.named, *self.label_codes, *found}
            groups = one_hot_groups(samples, [j for j in range(samples.shape[1]) if j not in not_in_any])
        for group in groups:
            values = {j: known for j, known in values.items() if j not in group.features}
        columns = Columns(samples.shape[1], values, found, tuple((group.features, group.covers) for group in groups))
        return Table(columns, self.library, self.label_codes) if found or groups or not self.are_plain else None


def kinds_of(X: Any, categorical_features: Any) -> Kinds:
    """What `categorical_features` asks the columns of X to be.

    Raises
    ------
    ValueError
        If it names columns that X does not have.
    """
    numbers, names, library = _category_numbers(X, categorical_features), _names(X), frame_library(X)
    codes = label_codes_of(X, numbers)
    if not isinstance(categorical_features, str):
        return Kinds(names, library, numbers, codes, None if categorical_features is None else numbers)
    kinds = Kinds(names, library, numbers, codes, [])
    ordered = [j for j, code in codes.items() if is_ordered(code) and len(kinds._labels(j)) >= MIN_ORDERED]
    return replace(kinds, categories=[j for j in numbers if j not in ordered])


def _category_numbers(X: Any, asked: Any) -> list[int]:
    """Rising numbers of the columns of categories."""
    if asked is None:
        return []
    if isinstance(asked, str):
        return category_columns(X)  # the one string that the constraints let through
    n, names = _n_columns(X), _names(X)
    given = np.asarray(asked, dtype=object).ravel().tolist()
    if all(isinstance(v, (bool, np.bool_)) for v in given):
        if given and len(given) != n:
            raise ValueError(f"The mask 'categorical_features' has {len(given)} values for {n} features of X.")
        return np.flatnonzero(np.array(given, dtype=bool)).tolist()
    return sorted({_feature_number(name, names, n, "categorical_features") for name in given})


def _n_columns(X: Any) -> int:
    shape = np.shape(X) if not hasattr(X, "shape") else X.shape
    if len(shape) != 2:
        raise ValueError(f"Expected 2D array, got an array of shape {tuple(shape)} instead: reshape X.")
    return int(shape[1])


def _names(X: Any) -> list:
    return [] if frame_library(X) is None else list(getattr(X, "column_names", getattr(X, "columns", [])))


def _feature_number(name: Any, names: list, n_features: int, argument: str) -> int:
    if name in names:
        return names.index(name)
    whole = isinstance(name, (int, np.integer)) and not isinstance(name, bool)
    if whole and -n_features <= name < n_features:
        return int(name) % n_features
    known = names or f"numbers from 0 to {n_features - 1}"
    raise ValueError(f"'{argument}' names the feature {name!r}, which X does not have. Features are {known}.")


def _atoms(kinds: Kinds, samples: np.ndarray, asked: Any) -> dict[int, np.ndarray]:
    """Rising atoms of the numeric features that have some, by number."""
    n = samples.shape[1]
    if asked is None:
        return {}
    if isinstance(asked, str):
        found = {j: atoms_of(samples[:, j]) for j in range(n) if j not in {*kinds.categories, *kinds.label_codes}}
        return {j: values for j, values in found.items() if len(values)}
    out = {}
    for name, given in asked.items():
        j = _feature_number(name, kinds.names, n, "atoms")
        if j in {*kinds.categories, *kinds.label_codes}:
            raise ValueError(f"'atoms' names {name!r}, a feature of categories: atoms are of numeric features.")
        values, x = _atom_values(name, given), samples[:, j]
        if np.isin(x[~np.isnan(x)], values).all():
            raise ValueError(
                f"Every known value of the feature {name!r} is one of its 'atoms': make it a feature of categories by "
                "'categorical_features'."
            )
        if len(values):
            out[j] = values
    return dict(sorted(out.items()))


def _atom_values(name: Any, given: Any) -> np.ndarray:
    """The rising atoms that are given for a feature."""
    try:
        values = np.unique(np.atleast_1d(np.asarray(given, dtype=np.float64)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"'atoms' holds {given!r} for {name!r}, which are no numbers.") from error
    if not np.isfinite(values).all():
        raise ValueError(f"'atoms' holds values for {name!r} that are not finite: {given!r}.")
    return values


DiscretePart = tuple[frozenset[int], dict[int, list[float]]]


def discrete_part(estimator: Any) -> DiscretePart:
    """Numbers of the features that are categories under a fitted density estimator, and atoms of others.

    They are those of the last step of a pipeline, of the best estimator of a search, and of the components of a blend.
    """
    for inner in ("_final_estimator", "best_estimator_"):
        if hasattr(estimator, inner):
            return discrete_part(getattr(estimator, inner))
    if isinstance(of_blend := getattr(estimator, "estimators_", None), list) and of_blend:
        return discrete_part(of_blend[0])
    table = getattr(estimator, "_table", None)
    if table is None:
        return frozenset(), {}
    return frozenset(table.columns.discrete), {j: values.tolist() for j, values in table.columns.atoms.items()}


def may_have_categories(estimator: Any) -> bool:
    """Whether columns may be categories under a density estimator, or under a step or an estimator within it."""
    return any(name.split("__")[-1] == "categorical_features" for name in estimator.get_params())


def refuse_different_measures(parts: Mapping[str, DiscretePart]) -> None:
    """Raise ValueError if densities, whose discrete parts are given by name, are of different measures.

    One has a probability where another has a density, and no blend of both is normalized.
    """
    (first, reference), *others = parts.items()
    for name, part in others:
        if part != reference:
            raise ValueError(
                f"The densities of {first} and {name} do not compare, for one has a probability where the other has a "
                f"density: the former has {_described(reference)}, the latter {_described(part)}. Give all "
                "'estimators' the same 'categorical_features' and the same 'atoms', which 'auto' finds anew in every "
                "fold: pass atoms=find_atoms(X)."
            )


def _described(part: DiscretePart) -> str:
    categories, atoms = part
    return f"the categories {sorted(categories)} and the atoms {atoms}"


def refuse_table(estimator: object, what: str, instead: str) -> None:
    """Raise ValueError, with what to do instead, if an estimator was fitted to a table with categories or atoms."""
    if (table := getattr(estimator, "_table", None)) is not None:
        groups = [list(group.features) for group in table.columns.one_hot]
        which = f" (it has the one-hot groups {groups})" if groups else ""
        raise ValueError(
            f"{what} is not defined for a table with categories or atoms{which}: {instead}. Or fit with "
            "categorical_features=None and atoms=None, which take every column as numbers."
        )
