"""Smoothed tables of the probabilities of states, and the Student-t beside them, which bounds the cost of a sample."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtri

from skdiffusion._utils.blocks import whole_vectors
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import AxesSplit, SampleNoise
from skdiffusion.densities._stacking import choose_component
from skdiffusion.densities._student import StudentTDensity
from skdiffusion.densities._table_density import StateDensity, StateNoise

SMOOTHING = 0.5  # samples that every state has beforehand, that of a category never seen included


def smoothed_table(states: np.ndarray, weights: np.ndarray, n_states: int) -> np.ndarray:
    """Probabilities of the states of one column, shape (n_states,), under a Dirichlet prior.

    Unknown states are negative, and do not count.
    """
    known = states >= 0
    counts = np.bincount(states[known], weights[known], n_states) + SMOOTHING
    return counts / counts.sum()


def without_other(table: np.ndarray, with_other: bool) -> np.ndarray:
    """A table (..., n_states) as generated samples follow it: never the category that stands for those not seen."""
    if not with_other:
        return table
    seen = table.copy()
    seen[..., -1] = 0.0
    return seen / seen.sum(-1, keepdims=True)


class StudentTables(StateDensity):
    """A Student-t of the present values times a table for every column of states.

    Its tails and its smoothed tables bound what any sample can cost a blend that it is part of.

    Parameters
    ----------
    student : StudentTDensity or None
        Of all numeric features; None where there are none.
    tables : list of arrays of shape (n_states,)
    with_other : bool array of shape (n_stated,)
        Which tables end with the mass of the categories that are not known.
    """

    _saved = ("student", "tables", "with_other")
    in_closed_form = True

    def __init__(self, student: StudentTDensity | None, tables: list[np.ndarray], with_other: np.ndarray):
        self.student, self.tables, self.with_other = student, tables, with_other

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the Student-t."""
        return None if self.student is None else self.student.degrees

    def log_prob(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        out = np.zeros(len(states))
        for table, state in zip(self.tables, states.T):
            out += np.where(state >= 0, np.log(table)[state], 0.0)
        for rows, features in Patterns.of(z).parts():
            if len(features) and self.student is not None:
                marginal = self.student.marginal(np.eye(z.shape[1])[:, features])
                out[rows] += marginal.log_prob(whole_vectors(z[np.ix_(rows, features)]))[: len(rows)]
        return out

    def state_table(self, k: int) -> np.ndarray:
        return self.tables[k]

    def sample(self, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        states = np.full(noise.states.shape, -1)
        return self.completed(states, np.full(noise.normal.shape, np.nan), noise)

    def completed(self, states: np.ndarray, z: np.ndarray, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        states, z = states.copy(), z.copy()
        for k, table in enumerate(self.tables):
            drawn = choose_component(without_other(table, self.with_other[k]), noise.states[:, k])
            states[:, k] = np.where(states[:, k] < 0, drawn, states[:, k])
        for rows, features in Patterns.of(z).parts():
            if len(features) == z.shape[1] or self.student is None:
                continue
            others, identity = np.setdiff1d(np.arange(z.shape[1]), features), np.eye(z.shape[1])
            own = noise.take(rows)
            numbers = SampleNoise(own.normal[:, others], own.uniform, own.chi2)
            if not len(features):
                chi2 = chdtri(self.student.degrees, own.uniform) if own.chi2 is None else own.chi2
                z[rows] = self.student.sample(numbers._replace(chi2=chi2))
                continue
            axes, which = AxesSplit(identity[None, :, features], identity[None, :, others]), np.zeros(len(rows), int)
            z[np.ix_(rows, others)] = self.student.sample_given(axes, z[np.ix_(rows, features)], which, numbers)
        return states, z
