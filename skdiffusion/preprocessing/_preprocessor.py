"""The whole map from the user's features to whitened samples."""

import copy

import numpy as np

from skdiffusion.preprocessing._dequantization import Bounds
from skdiffusion.preprocessing._maps import (
    AffineMap,
    BoxMap,
    ComposedMap,
    GaussianizeMap,
    HalfLineMap,
    YeoJohnsonMap,
)
from skdiffusion.preprocessing._whitening import Whitening


def _bound_map(x, w, low, high):
    if np.isfinite(low) and np.isfinite(high):
        return [BoxMap(low, high)]
    if np.isfinite(low):
        return [HalfLineMap(low, 1.0, max(np.average(x - low, weights=w), 1e-12 * max(1.0, abs(low))))]
    if np.isfinite(high):
        return [HalfLineMap(high, -1.0, max(np.average(high - x, weights=w), 1e-12 * max(1.0, abs(high))))]
    return []


class Preprocessor:
    """Per-feature maps, then whitening; invertible, with its exact log-determinant.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Samples within the bounds, ties already spread.
    weights : array of shape (n_samples,)
    marginals : None, "yeo-johnson", float or tuple
        Map of every feature: affine, power, or gaussianizing with this bandwidth factor. A tuple holds
        one of them for each feature.
    bounds : Bounds or pair of arrays of shape (n_features,), optional
        Lower and upper bounds, infinite where there are none. Values within the margins of a `Bounds` are
        read at the end of the margin.
    """

    _saved = ("n_features", "marginals", "low", "high", "margins", "half_step", "maps", "whitening")

    def __init__(self, X, weights, marginals=None, bounds=None):
        n_features = X.shape[1]
        bounds = Bounds(np.full(n_features, -np.inf), np.full(n_features, np.inf)) if bounds is None else bounds
        self.low, self.high, margins, resolution = Bounds(*bounds)
        self.margins = np.broadcast_to(margins, (2, n_features))
        self.half_step = np.broadcast_to(resolution, n_features) / 2
        self.marginals, self.n_features = marginals, n_features
        X = self._read(X)
        self.maps = []
        U = np.empty_like(X)
        for j in range(n_features):
            maps = _bound_map(X[:, j], weights, self.low[j], self.high[j])
            u = ComposedMap(*maps).forward(X[:, j])
            standard = AffineMap.standardize(u, weights)
            maps, u = [*maps, standard], standard.forward(u)
            kind = marginals[j] if isinstance(marginals, tuple) else marginals
            if kind == "yeo-johnson":
                maps.append(YeoJohnsonMap.fit(u, weights))
            elif kind is not None:
                maps.append(GaussianizeMap.fit(u, weights, float(kind)))
            self.maps.append(ComposedMap(*maps))
            U[:, j] = self.maps[-1].forward(X[:, j])
        self.whitening = Whitening(U, weights)

    def _read(self, X):
        """Samples within the bounds, moved off them: a tied value to the middle of its half step."""
        X = np.where(X == self.low, X + self.half_step / 2, np.where(X == self.high, X - self.half_step / 2, X))
        return np.clip(X, self.low + self.margins[0], self.high - self.margins[1])

    def unwhitened(self):
        """The same map to features of unit variance, correlated as they are."""
        other = copy.copy(self)
        other.whitening = self.whitening.of_features()
        return other

    def inside(self, X):
        """Samples within the bounds, shape (n,) of bool."""
        return ((X >= self.low) & (X <= self.high)).all(1)

    def feature_log_density(self, X):
        """Log-density of every entry if its feature alone were Gaussian behind its map, (n, d)."""
        X = self._read(X)
        out = np.empty((len(X), self.n_features))
        for j, (feature, mean, scale) in enumerate(zip(self.maps, self.whitening.shift, self.whitening.scale)):
            u = (feature.forward(X[:, j]) - mean) / scale
            out[:, j] = feature.log_slope(X[:, j]) - 0.5 * u**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
        return out

    def transform(self, X):
        """Whitened samples (n, d) and ``log |det dz/dx|`` (n,)."""
        X = self._read(X)
        U, log_det = np.empty((len(X), self.n_features)), np.full(len(X), self.whitening.log_det)
        for j, feature in enumerate(self.maps):
            U[:, j] = feature.forward(X[:, j])
            log_det += feature.log_slope(X[:, j])
        return self.whitening.forward(U), log_det

    def inverse_transform(self, Z):
        """Samples in the user's features, clipped to the bounds."""
        U = self.whitening.backward(Z)
        X = np.empty_like(U)
        for j, feature in enumerate(self.maps):
            X[:, j] = feature.inverse(U[:, j])
        return np.clip(X, self.low, self.high)

    def pull_back(self, X, gradient):
        """Gradient in X of f(z(x)) + ``log |det dz/dx|``, given the gradient of f in z, (n, d)."""
        given, X = X, self._read(X)
        out = gradient @ self.whitening.matrix.T
        for j, feature in enumerate(self.maps):
            out[:, j] = out[:, j] * np.exp(feature.log_slope(X[:, j])) + feature.curvature(X[:, j])
        return np.where(X == given, out, 0.0)

    def transform_left_out(self, X, weights):
        """`transform` of the samples of the fit, each as if its gaussianizing maps had not seen it.

        Samples that are held out of everything else must be held out of the marginal maps too, or their
        likelihood would be flattered. The few moments of the other maps are not corrected.
        """
        X, share = self._read(X), weights / weights.sum()
        U, log_det = np.empty((len(X), self.n_features)), np.full(len(X), self.whitening.log_det)
        for j, feature in enumerate(self.maps):
            *before, last = feature.maps
            if isinstance(last, GaussianizeMap):
                first = ComposedMap(*before)
                U[:, j], log_slope = last.left_out(first.forward(X[:, j]), share)
                log_det += log_slope + first.log_slope(X[:, j])
            else:
                U[:, j] = feature.forward(X[:, j])
                log_det += feature.log_slope(X[:, j])
        return self.whitening.forward(U), log_det
