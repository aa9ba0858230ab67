"""Maps of the numeric features of a table, each fitted to its present values alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import clearly_better, floored
from skdiffusion.preprocessing._bounds import Bounds, bounds_with_margins
from skdiffusion.preprocessing._feature_map import ComposedMap
from skdiffusion.preprocessing._first_maps import FirstMaps, first_maps_candidates, without_logarithms
from skdiffusion.preprocessing._preprocessor import Preprocessor
from skdiffusion.preprocessing._range_map import RangeMap
from skdiffusion.preprocessing._resolution import Resolution

TRANSFORMS: tuple[str | float | None, ...] = (None, "yeo-johnson", 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
N_FOLDS = 2  # that choose the transform of a feature
RANGE_MARGIN = 2.0  # standard errors by which the map of a range must be better than none
MIN_SAMPLES = 20  # present values, below which a feature has no transform
MAX_SAMPLES = 4000  # present values that choose


class PresentMaps:
    """One map for every numeric feature, to mean 0 and unit variance of its present values.

    Parameters
    ----------
    maps : list of Preprocessor
        Each of a single feature.
    """

    _saved = ("maps",)

    def __init__(self, maps: list[Preprocessor]):
        self.maps = maps

    def _apply(
        self, x: np.ndarray, mapped: Callable[[Preprocessor, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mapped features, NaN where they are not present, and the log-Jacobian of what is present of each sample."""
        z, log_det = np.full(x.shape, np.nan), np.zeros(len(x))
        for j, preprocessor in enumerate(self.maps):
            rows = np.flatnonzero(~np.isnan(x[:, j]))
            if len(rows):
                values, own = mapped(preprocessor, x[rows, j : j + 1], rows)
                z[rows, j] = values[:, 0]
                log_det[rows] += own
        return z, log_det

    def transform(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mapped features (n_samples, n_numeric) and log-Jacobians (n_samples,) of samples with NaN where absent."""
        return self._apply(x, lambda preprocessor, values, _: preprocessor.transform(values))

    def transform_left_out(
        self, x: np.ndarray, weight: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of the samples of the fit, each as if the maps had been fitted without it, or without its group."""

        def left_out(p: Preprocessor, values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return p.transform_left_out(values, weight[rows], None if groups is None else groups[rows])

        return self._apply(x, left_out)

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Present values of mapped ones, NaN where these are."""
        x = np.full(z.shape, np.nan)
        for j, preprocessor in enumerate(self.maps):
            rows = np.flatnonzero(~np.isnan(z[:, j]))
            if len(rows):
                x[rows, j] = preprocessor.inverse_transform(z[rows, j : j + 1])[:, 0]
        return x


def fit_present_maps(
    x: np.ndarray,
    weight: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    transforms: tuple[str | float | None, ...],
    rng: np.random.Generator,
) -> PresentMaps:
    """Fit the map of every feature, with the transform under which its values left out are likeliest.

    Parameters
    ----------
    x : array of shape (n_samples, n_numeric)
        NaN where a value is not present; every feature has one.
    weight : array of shape (n_samples,)
    bounds : (low, high), arrays of shape (n_numeric,)
        Infinite where open.
    transforms : tuple
        Candidates, as of `Preprocessor`; behind no logarithms if there is one only.
    rng : numpy Generator
    """
    maps = []
    for j in range(x.shape[1]):
        rows = np.flatnonzero(~np.isnan(x[:, j]))
        ends = bounds[0][j : j + 1], bounds[1][j : j + 1]
        maps.append(_fit_one(x[rows, j : j + 1], weight[rows], ends, transforms, rng))
    return PresentMaps(maps)


def _fit_one(
    x: np.ndarray,
    weight: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    transforms: tuple[str | float | None, ...],
    rng: np.random.Generator,
) -> Preprocessor:
    """The map of one feature, x of shape (n_present, 1)."""
    bounds = None
    if np.isfinite(ends[0]).any() or np.isfinite(ends[1]).any():
        bounds = bounds_with_margins(x, weight, Resolution.of(x, ends), ends)._replace(regions=())
    firsts = first_maps_candidates(x, weight, bounds)
    if len(transforms) == 1:
        firsts = [without_logarithms(firsts[0])]
    if len(x) < MIN_SAMPLES:
        return Preprocessor(x, weight, transforms[0] if len(transforms) == 1 else None, bounds, firsts[0])
    order = rng.permutation(len(x))[:MAX_SAMPLES]
    folds, share = np.array_split(order, N_FOLDS), weight[order] / weight[order].sum()

    def best_of(candidates: list[_Candidate]) -> tuple[_Candidate, np.ndarray]:
        log_probs = [candidate.out_of_fold(x, weight, bounds, folds) for candidate in candidates]
        best = int(np.argmax([share @ log_prob for log_prob in log_probs]))
        return candidates[best], log_probs[best]

    best, log_prob = best_of([_Candidate(transform, first) for first in firsts for transform in transforms])
    if bounds is None:
        ranged, other = best_of([_Candidate(transform, best.first, ranged=True) for transform in transforms])
        best = ranged if clearly_better(other, log_prob, share, RANGE_MARGIN) else best
    return best.fit(x, weight, bounds)


class _Candidate(NamedTuple):
    """The transform of a feature, and what goes before it: the first maps, and that of the range if so."""

    transform: str | float | None
    first: FirstMaps
    ranged: bool = False

    def fit(self, x: np.ndarray, weight: np.ndarray, bounds: Bounds | None) -> Preprocessor:
        """The map of values x of shape (n_present, 1)."""
        first = self.first[0]
        ends = RangeMap.fit(ComposedMap(*first).forward(x[:, 0])) if self.ranged else None
        return Preprocessor(x, weight, self.transform, bounds, (first if ends is None else (*first, ends),))

    def out_of_fold(
        self, x: np.ndarray, weight: np.ndarray, bounds: Bounds | None, folds: list[np.ndarray]
    ) -> np.ndarray:
        """Log-densities of the values of all folds, of a normal distribution behind maps fitted without the fold."""
        parts = []
        for k, fold in enumerate(folds):
            train = np.concatenate(folds[:k] + folds[k + 1 :])
            parts.append(self.fit(x[train], weight[train], bounds).feature_log_density(x[fold])[:, 0])
        return floored(np.concatenate(parts), 0)
