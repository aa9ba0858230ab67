"""What an estimator can say of the support it has found: projections, distances, tangents, coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skdiffusion._utils.validation import validate_data
from skdiffusion.estimators._base import DATA_TYPES, MeanLogDensity
from skdiffusion.manifold import LocalPolynomials, local_dimension

if TYPE_CHECKING:
    from skdiffusion.diffusion.flow import ProbabilityFlow
    from skdiffusion.preprocessing import Preprocessor


def diffusion_of(estimator: Any) -> tuple[ProbabilityFlow, Preprocessor]:
    """The flow of a fitted DiffusionDensityEstimator, and the map from its features to whitened samples."""
    diffusion = estimator.blend_.densities["diffusion"]
    return diffusion.density, diffusion.preprocessor


def has_linear_support(estimator: SupportedDensityEstimator) -> bool:
    """Whether the support that was found, or is asked for before the fit, is a subspace."""
    return vars(estimator).get("support_", estimator.support) == "linear"


def _check_linear_support(estimator: SupportedDensityEstimator) -> bool:
    if not has_linear_support(estimator):
        raise AttributeError(
            "transform and inverse_transform exist for a linear support only: a curved set has no k coordinates. "
            "Use `project`, or set support='linear'."
        )
    return True


class SupportedDensityEstimator(MeanLogDensity):
    """Base of `ManifoldDiffusionEstimator`: the geometry of the support.

    A subclass sets in `fit`: `mean_`, `components_`, `support_`, `intrinsic_dimension_`, `surface_` (None for a
    linear support), `estimator_` and `_sample_seed`, and has the parameter `support`.
    """

    support: str
    mean_: np.ndarray
    components_: np.ndarray
    surface_: LocalPolynomials | None

    def _validated(self, X: ArrayLike) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=DATA_TYPES, reset=False).astype(np.float64)

    def _coordinates(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along the components, and the part of the samples across them."""
        centered = X - self.mean_
        U = centered @ self.components_.T
        return U, centered - U @ self.components_

    def _from_coordinates(self, U: np.ndarray) -> np.ndarray:
        return self.mean_ + U @ self.components_

    def _onto_support(self, U: np.ndarray) -> np.ndarray:
        return U if self.surface_ is None else self.surface_.project(U)

    def project(self, X: ArrayLike) -> np.ndarray:
        """Nearest points of the learned support.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        X = self._validated(X)
        return X if self.support_ == "full" else self._from_coordinates(self._onto_support(self._coordinates(X)[0]))

    def distance(self, X: ArrayLike) -> np.ndarray:
        """Distance of samples to the learned support, in the units of the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self._validated(X)
        away = X - self.project(X)
        # Scaled first: a square may overflow where the distance does not.
        size = np.maximum(np.abs(away).max(1, keepdims=True), 1e-300)
        return size[:, 0] * np.linalg.norm(away / size, axis=1)

    def tangent_space(self, X: ArrayLike) -> np.ndarray:
        """Orthonormal basis of the tangent space of the support at the projection of every sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features, intrinsic_dimension)
        """
        X = self._validated(X)
        if self.surface_ is None:
            return np.tile(self.components_.T, (len(X), 1, 1))
        basis = self.surface_.tangent(self._onto_support(self._coordinates(X)[0]))
        return np.einsum("nrk,rd->ndk", basis, self.components_)

    def local_dimension(self, X: ArrayLike) -> np.ndarray:
        """Dimension of the support around every sample, for sets that are a curve here and a surface there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of int, shape (n_samples,)
            Eigenvalues of the denoiser's Jacobian above one half, by the median of three noise levels.
        """
        U, _ = self._coordinates(self._validated(X))
        flow, preprocessor = diffusion_of(self.estimator_)
        z = flow.field.place(preprocessor.transform(U)[0])
        return local_dimension(flow.field, z, np.random.default_rng(self._sample_seed))

    @available_if(_check_linear_support)
    def transform(self, X: ArrayLike) -> np.ndarray:
        """Coordinates of samples along `components_` (linear support only).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, intrinsic_dimension)

        Examples
        --------
        >>> from skdiffusion import ManifoldDiffusionEstimator
        >>> from skdiffusion.datasets import Subspace
        >>> X = Subspace(2, 8).sample(300, 0)
        >>> est = ManifoldDiffusionEstimator(support="linear", max_iter=5, random_state=0)
        >>> codes = est.fit_transform(X)
        >>> codes.shape
        (300, 2)
        >>> bool(abs(est.inverse_transform(est.transform(X)) - X).max() < 1e-8)
        True
        """
        return self._coordinates(self._validated(X))[0]

    @available_if(_check_linear_support)
    def fit_transform(self, X: ArrayLike, y: object = None) -> np.ndarray:
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

    @available_if(_check_linear_support)
    def inverse_transform(self, codes: ArrayLike) -> np.ndarray:
        """Points of the support with given coordinates (linear support only).

        Parameters
        ----------
        codes : array-like of shape (n_samples, intrinsic_dimension)

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If the codes have another shape.
        """
        check_is_fitted(self)
        codes = np.asarray(codes, dtype=np.float64)
        if codes.ndim != 2 or codes.shape[1] != len(self.components_):
            raise ValueError(
                f"'codes' must have shape (n_samples, {len(self.components_)}). Got {codes.shape} instead."
            )
        return self._from_coordinates(codes)
