"""What an estimator can say of the support it has found: projections, distances, tangents, coordinates."""

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skdiffusion.estimators._base import DATA_TYPES, MeanLogDensity
from skdiffusion.manifold import denoiser_jacobian


def _is_linear(estimator):
    if getattr(estimator, "support_", estimator.support) != "linear":
        raise AttributeError(
            "transform and inverse_transform exist for a linear support only: a curved set has no k coordinates. "
            "Use `project`, or set support='linear'."
        )
    return True


class SupportedDensityEstimator(MeanLogDensity):
    """Base of `ManifoldDiffusionEstimator`.

    A subclass sets in `fit`: `mean_`, `components_`, `support_`, `intrinsic_dimension_`, `surface_` (None for a
    linear support), `estimator_` and `_sample_seed`, and has the parameter `support`.
    """

    def _checked(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=DATA_TYPES, reset=False).astype(np.float64)

    def _coordinates(self, X):
        """Coordinates along the components, and the part of the samples across them."""
        centered = X - self.mean_
        U = centered @ self.components_.T
        return U, centered - U @ self.components_

    def _samples(self, U):
        return self.mean_ + U @ self.components_

    def _on_support(self, U):
        return U if self.surface_ is None else self.surface_.project(U)

    def project(self, X):
        """Nearest points of the learned support.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        X = self._checked(X)
        return X if self.support_ == "full" else self._samples(self._on_support(self._coordinates(X)[0]))

    def distance(self, X):
        """Distance of samples to the learned support, in the units of the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self._checked(X)
        away = X - self.project(X)
        # Scaled first: a square may overflow where the distance does not.
        size = np.maximum(np.abs(away).max(1, keepdims=True), 1e-300)
        return size[:, 0] * np.linalg.norm(away / size, axis=1)

    def tangent_space(self, X):
        """Orthonormal basis of the tangent space of the support at the projection of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features, intrinsic_dimension)
        """
        X = self._checked(X)
        if self.surface_ is None:
            return np.tile(self.components_.T, (len(X), 1, 1))
        basis = self.surface_.tangent(self._on_support(self._coordinates(X)[0]))
        return np.einsum("nrk,rd->ndk", basis, self.components_)

    def local_dimension(self, X):
        """Dimension of the support around every sample, for sets that are a curve here and a surface there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of int, shape (n_samples,)
            Eigenvalues of the denoiser's Jacobian above one half, by the vote of the noise levels.
        """
        X = self._checked(X)
        member = self.estimator_.blend_.densities["diffusion"]
        z = member.density.field.place(member.preprocessor.transform(self._coordinates(X)[0])[0])
        rng = np.random.default_rng(self._sample_seed)
        noise = rng.standard_normal((8, z.shape[1]))
        counts = []
        for level in (0.2, 0.14, 0.1):
            theta = float(np.arctan(level))
            # The same few directions of noise around every sample: no sample depends on another.
            jacobian = np.mean(
                [denoiser_jacobian(member.density.field, np.cos(theta) * z + np.sin(theta) * e, theta) for e in noise],
                0,
            )
            counts.append((np.linalg.eigvalsh(jacobian) > 0.5).sum(1))
        return np.maximum(1, np.median(counts, axis=0).astype(int))

    @available_if(_is_linear)
    def transform(self, X):
        """Coordinates of samples along `components_` (linear support only).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, intrinsic_dimension)
        """
        return self._coordinates(self._checked(X))[0]

    @available_if(_is_linear)
    def fit_transform(self, X, y=None):
        """`fit`, then `transform` of the same samples (linear support only).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        ndarray of shape (n_samples, intrinsic_dimension)
        """
        return self.fit(X).transform(X)

    @available_if(_is_linear)
    def inverse_transform(self, codes):
        """Points of the support with given coordinates (linear support only).

        Parameters
        ----------
        codes : array-like of shape (n_samples, intrinsic_dimension)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        codes = np.asarray(codes, dtype=np.float64)
        if codes.ndim != 2 or codes.shape[1] != len(self.components_):
            raise ValueError(
                f"'codes' must have shape (n_samples, {len(self.components_)}). Got {codes.shape} instead."
            )
        return self._samples(codes)
