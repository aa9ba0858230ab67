"""The whole map from the user's features to whitened samples."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from skdiffusion.preprocessing._bounds import Bounds
from skdiffusion.preprocessing._feature_map import (
    LOG_2PI,
    AffineMap,
    ComposedMap,
    FeatureMap,
    YeoJohnsonMap,
    bound_maps,
)
from skdiffusion.preprocessing._first_maps import FirstMaps
from skdiffusion.preprocessing._folds import members_of
from skdiffusion.preprocessing._gap_map import GapMap
from skdiffusion.preprocessing._gaussianize_map import GaussianizeMap
from skdiffusion.preprocessing._signed_log_map import SignedLogMap
from skdiffusion.preprocessing._whitening import Whitening

FIRST_MAPS = (GapMap, SignedLogMap)
FeatureTransform = str | float | None | tuple[str | float | None, ...]


def fit_feature_map(
    x: np.ndarray,
    weights: np.ndarray,
    transform: str | float | None,
    ends: tuple[float, float],
    first: Sequence[FeatureMap] = (),
) -> ComposedMap:
    """The map of one feature between its bounds: to one scale, to the real line, to unit variance, by its transform."""
    to_scale = ComposedMap(*first)
    x, (low, high) = to_scale.forward(x), to_scale.forward(np.array(ends)).tolist()
    between = bound_maps(x, weights, low, high)
    u = ComposedMap(*between).forward(x)
    maps: list[FeatureMap] = [*first, *between]
    standard = AffineMap.standardize(u, weights)
    maps, u = [*maps, standard], standard.forward(u)
    if transform == "yeo-johnson":
        maps.append(YeoJohnsonMap.fit(u, weights))
    elif transform is not None:
        maps.append(GaussianizeMap.fit(u, weights, float(transform)))
    return ComposedMap(*maps)


class Preprocessor:
    """Maps of the features one by one, then whitening; invertible, with its exact log-determinant.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Dequantized samples within the bounds.
    weights : array of shape (n_samples,)
    feature_transform : None, "yeo-johnson", float or tuple
        Map of every feature: affine, power, or gaussianizing with this bandwidth factor; a tuple has one for each.
    bounds : Bounds or pair of arrays of shape (n_features,), optional
        Infinite where there are none. Values within the margins of a `Bounds` are read at the end of the margin.
    first : tuple with a tuple of maps for each feature, optional
        What the features go through before everything else: see `first_maps_candidates`.

    Attributes
    ----------
    maps : list of ComposedMap
        One for each feature.
    whitening : Whitening
    low, high : arrays of shape (n_features,)
        The bounds.
    regions : tuple of BoundaryRegion
        Where the density of a feature has a fitted shape; the maps know nothing of them.
    """

    _saved = ("n_features", "feature_transform", "low", "high", "margins", "half_step", "regions", "maps", "whitening")

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray,
        feature_transform: FeatureTransform = None,
        bounds: Bounds | tuple[np.ndarray, np.ndarray] | None = None,
        first: FirstMaps | None = None,
    ):
        n_features = X.shape[1]
        first = ((),) * n_features if first is None else first
        bounds = Bounds(np.full(n_features, -np.inf), np.full(n_features, np.inf)) if bounds is None else bounds
        self.low, self.high, margins, cells, self.regions = Bounds(*bounds)
        self.margins = np.broadcast_to(margins, (2, n_features))
        self.half_step = np.broadcast_to(cells, (2, n_features)) / 2
        self.feature_transform, self.n_features = feature_transform, n_features
        X = self._read(X)
        by_feature = feature_transform if isinstance(feature_transform, tuple) else (feature_transform,) * n_features
        self.maps, U = [], np.empty_like(X)
        for j, (transform, ends) in enumerate(zip(by_feature, zip(self.low, self.high))):
            self.maps.append(fit_feature_map(X[:, j], weights, transform, ends, first[j]))
            U[:, j] = self.maps[-1].forward(X[:, j])
        self.whitening = Whitening(U, weights)

    @property
    def first(self) -> FirstMaps:
        """What each feature goes through before everything else."""
        return tuple(tuple(takewhile(lambda m: isinstance(m, FIRST_MAPS), feature.maps)) for feature in self.maps)

    def to_one_scale(self, X: np.ndarray) -> np.ndarray:
        """Samples after the first maps of their features."""
        return np.column_stack([ComposedMap(*maps).forward(x) for maps, x in zip(self.first, X.T)])

    def _read(self, X: np.ndarray) -> np.ndarray:
        """Samples within the bounds, moved off them: a tied value to the middle of its half cell."""
        above, below = self.half_step / 2
        X = np.where(X == self.low, X + above, np.where(X == self.high, X - below, X))
        return np.clip(X, self.low + self.margins[0], self.high - self.margins[1])

    def unwhitened(self) -> Preprocessor:
        """The same map to features of unit variance, correlated as they are."""
        other = copy.copy(self)
        other.whitening = self.whitening.of_features()
        return other

    def of_features(self, features: np.ndarray) -> Preprocessor:
        """The map of some features, by their numbers, to the coordinates that they alone decide."""
        other, place = copy.copy(self), {int(j): i for i, j in enumerate(features)}
        other.n_features = len(features)
        other.maps = [self.maps[j] for j in features]
        other.low, other.high = self.low[features], self.high[features]
        other.margins, other.half_step = self.margins[:, features], self.half_step[:, features]
        other.regions = tuple(replace(r, feature=place[r.feature]) for r in self.regions if r.feature in place)
        if isinstance(self.feature_transform, tuple):
            other.feature_transform = tuple(self.feature_transform[j] for j in features)
        other.whitening = self.whitening.marginal(features)
        return other

    def inside(self, X: np.ndarray) -> np.ndarray:
        """Whether what is known of samples is within the bounds, shape (n_samples,) of bool."""
        return np.logical_not(np.any((X < self.low) | (X > self.high), axis=1))

    def feature_log_density(self, X: np.ndarray) -> np.ndarray:
        """Log-density of every entry if its feature alone were Gaussian behind its map, (n_samples, n_features)."""
        X = self._read(X)
        out = np.empty((len(X), self.n_features))
        for j, (feature, mean, scale) in enumerate(zip(self.maps, self.whitening.shift, self.whitening.scale)):
            u = (feature.forward(X[:, j]) - mean) / scale
            out[:, j] = feature.log_slope(X[:, j]) - 0.5 * u**2 - np.log(scale) - 0.5 * LOG_2PI
        return out

    def _whitened(
        self, X: np.ndarray, mapped: Callable[[FeatureMap, np.ndarray], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whitened samples and log-determinants, from the values and log-slopes that `mapped` gives for a feature."""
        X = self._read(X)
        U, log_det = np.empty((len(X), self.n_features)), np.full(len(X), self.whitening.log_det)
        for j, feature in enumerate(self.maps):
            U[:, j], log_slope = mapped(feature, X[:, j])
            log_det += log_slope
        return self.whitening.forward(U), log_det

    def transform(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whitened samples (n_samples, n_features) and ``log |det dz/dx|`` (n_samples,)."""
        return self._whitened(X, lambda feature, x: feature.forward_and_log_slope(x))

    def centered_known(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is known of samples by the maps of their features, centered, NaN elsewhere; and sums of log-slopes."""
        X = self._read(X)
        U, log_slope = np.full(X.shape, np.nan), np.zeros(len(X))
        for j, (feature, shift) in enumerate(zip(self.maps, self.whitening.shift)):
            known = ~np.isnan(X[:, j])
            u, slope = feature.forward_and_log_slope(np.where(known, X[:, j], feature.inverse(np.array(shift))))
            U[:, j] = np.where(known, u - shift, np.nan)
            log_slope += np.where(known, slope, 0.0)
        return U, log_slope

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Samples in the user's features, clipped to the bounds."""
        U = self.whitening.backward(Z)
        X = np.empty_like(U)
        for j, feature in enumerate(self.maps):
            X[:, j] = feature.inverse(U[:, j])
        return np.clip(X, self.low, self.high)

    def pull_back(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Gradient in X of f(z(x)) + ``log |det dz/dx|``, given the gradient of f in z, (n_samples, n_features)."""
        given, X = X, self._read(X)
        out = gradient @ self.whitening.matrix.T
        for j, feature in enumerate(self.maps):
            out[:, j] = out[:, j] * np.exp(feature.log_slope(X[:, j])) + feature.curvature(X[:, j])
        return np.where(X == given, out, 0.0)

    def transform_left_out(
        self, X: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`transform` of the samples of the fit, each as if its gaussianizing maps had been fitted without its group.

        Samples that are left out of everything else must be left out of the maps too, or their likelihood would be
        flattered. The few moments of the other maps are not corrected. Without groups, of which the numbers are given
        for each sample, a sample is left out alone.
        """
        share, members = weights / weights.sum(), members_of(groups)
        return self._whitened(X, lambda feature, x: feature.left_out(x, share, members))
