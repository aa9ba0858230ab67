r"""The sweep operator: what every pattern of present features needs of the covariances of components, all at once.

A covariance C that is swept on the present features o holds all of the regression of the absent ones u on them,

.. math:: \begin{pmatrix} -C_{oo}^{-1} & C_{oo}^{-1} C_{ou} \\ C_{uo} C_{oo}^{-1} & C_{uu} - C_{uo} C_{oo}^{-1} C_{ou}
          \end{pmatrix},

and the product of the pivots is the determinant of :math:`C_{oo}`. Features are swept one after the other. Patterns
that agree in the first features share these sweeps.

References
----------
Goodnight (1979), A tutorial on the SWEEP operator.
Little and Rubin (2020), Statistical analysis with missing data, section 7.4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class _Level(NamedTuple):
    """One feature: the patterns of those before it, by their numbers, that go on without it and with it."""

    kept: np.ndarray
    swept: np.ndarray


class Swept(NamedTuple):
    """Covariances, of every component swept on the present features of every pattern.

    Parameters
    ----------
    matrices : array of shape (n_features, n_features, n_patterns, n_components)
    log_dets : array of shape (n_patterns, n_components)
        Logarithms of the determinants of the covariances of the present features.
    """

    matrices: np.ndarray
    log_dets: np.ndarray


class SweepPlan:
    """The order of the sweeps for some patterns.

    Parameters
    ----------
    present : bool array of shape (n_patterns, n_features)
        Distinct patterns.

    Attributes
    ----------
    order : int array of shape (n_patterns,)
        The order in which the patterns come out of `swept`: that of their last features.
    """

    def __init__(self, present: np.ndarray):
        self._levels, before = [], np.zeros(len(present), dtype=int)
        for feature in present.T:
            pairs, after = np.unique(np.column_stack([feature, before]), axis=0, return_inverse=True)
            with_it = pairs[:, 0] == 1
            self._levels.append(_Level(pairs[~with_it, 1], pairs[with_it, 1]))
            before = after.ravel()
        self.order = np.argsort(before)

    def swept(self, covariances: np.ndarray) -> Swept:
        """Sweep covariances (n_components, n_features, n_features), positive definite."""
        matrices = np.ascontiguousarray(covariances.transpose(1, 2, 0))[:, :, None]
        log_dets = np.zeros((1, len(covariances)))
        for j, (kept, swept) in enumerate(self._levels):
            own, log_det = matrices.take(swept, axis=2), log_dets[swept]
            log_det += np.log(own[j, j])
            _sweep(own, j)
            if len(kept):
                own = np.concatenate([matrices.take(kept, axis=2), own], axis=2)
                log_det = np.concatenate([log_dets[kept], log_det])
            matrices, log_dets = own, log_det
        return Swept(matrices, log_dets)


def _sweep(matrices: np.ndarray, j: int) -> None:
    """Sweep symmetric matrices, (n_features, n_features, ...), on a feature in place."""
    pivot, column = matrices[j, j].copy(), matrices[:, j].copy()
    scaled = column / pivot
    matrices -= column[:, None] * scaled
    matrices[j] = matrices[:, j] = scaled
    matrices[j, j] = -1.0 / pivot
