"""Probabilities of the atoms of a target given its inputs: one binary question after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from skdiffusion.densities.predictive._boosting import Boosting, fit_trees
from skdiffusion.densities.predictive._data import FoldedInputs
from skdiffusion.densities.predictive._trees import MeanOfTrees

SETTINGS = (Boosting(3, 20, 0.1, 200, 30), Boosting(15, 20, 0.1, 200, 30))


@dataclass(frozen=True)
class AtomProbabilities:
    """Probabilities that the target is each of some values, and none of them.

    Parameters
    ----------
    values : array of shape (n_atoms,)
        Rising.
    questions : tuple of MeanOfTrees
        Log-odds that the target is an atom, unless it is one of those before.
    """

    values: np.ndarray
    questions: tuple[MeanOfTrees, ...]

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of the atoms given inputs X (n, n_inputs), and last of all other values, (n, n_atoms + 1)."""
        left, out = np.ones(len(X)), []
        for question in self.questions:
            share = expit(question.raw_predictions(X))
            out.append(left * share)
            left = left * (1 - share)
        return np.stack([*out, left], axis=1)

    def of(self, y: np.ndarray) -> np.ndarray:
        """Number of the atom that each value is, n_atoms where it is none."""
        place = np.searchsorted(self.values, y)
        found = self.values[np.minimum(place, len(self.values) - 1)] == y
        return np.where(found, place, len(self.values))


def fit_atoms(inputs: FoldedInputs, y: np.ndarray, atoms: np.ndarray, folds_of: np.ndarray) -> AtomProbabilities:
    """Boosted trees of every question, each on the samples that it is asked of.

    Parameters
    ----------
    inputs : FoldedInputs
    y : array of shape (n_samples,)
    atoms : array of shape (n_atoms,)
        Rising values, each of which some samples have; others have none of them.
    folds_of : array of shape (n_samples,)
        Number of the fold of each sample.
    """
    questions, asked = [], np.arange(len(y))
    for atom in atoms:
        folds = tuple(np.flatnonzero(folds_of[asked] == k) for k in np.unique(folds_of[asked]))
        some = FoldedInputs(inputs.X[asked], inputs.weight[asked], folds, inputs.categories)
        questions.append(fit_trees(some, (y[asked] == atom).astype(float), "log_loss", SETTINGS)[0])
        asked = asked[y[asked] != atom]
    return AtomProbabilities(atoms, tuple(questions))
