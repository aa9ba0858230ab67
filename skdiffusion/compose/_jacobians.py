"""Jacobians of scikit-learn's transformers: what turns a density of T(x) into one of x."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skdiffusion.compose._transformers import (
    KNOWN_FUNCTIONS,
    active_steps,
    feature_parts,
    function_name,
    not_invertible,
    rule_for,
    values_of,
)

LOG_2PI = np.log(2 * np.pi)


def _constant(X: np.ndarray, log_det: float) -> np.ndarray:
    return np.full(len(X), float(log_det))


def _of_features(X: np.ndarray, log_slopes: np.ndarray) -> np.ndarray:
    """Sums over the features that are known, of log-slopes (n_features,) that are those of all samples."""
    unknown = np.isnan(values_of(X))
    return _constant(X, log_slopes.sum()) if not unknown.any() else (~unknown) @ log_slopes


def _scaler_log_det(t: BaseEstimator, X: np.ndarray) -> np.ndarray:
    if getattr(t, "clip", False):
        raise not_invertible(t, "clip=True maps every sample outside the training range to the same values")
    if t.scale_ is None:
        return np.zeros(len(X))
    # MinMaxScaler multiplies by what the others divide by.
    return _of_features(X, np.log(t.scale_) * (1 if isinstance(t, MinMaxScaler) else -1))


def _pca_log_det(t: PCA, X: np.ndarray) -> np.ndarray:
    if t.n_components_ < t.n_features_in_:
        raise not_invertible(t, f"it keeps {t.n_components_} of {t.n_features_in_} directions")
    return _constant(X, -0.5 * np.log(t.explained_variance_).sum() if t.whiten else 0.0)


def _power_log_det(t: PowerTransformer, X: np.ndarray) -> np.ndarray:
    X = values_of(X)
    logs = np.log(X) if t.method == "box-cox" else np.sign(X) * np.log1p(np.abs(X))
    out = np.nansum((t.lambdas_ - 1) * logs, axis=1)
    return out - _of_features(X, np.log(t._scaler.scale_)) if t.standardize else out


def _quantile_log_det(t: QuantileTransformer, X: np.ndarray) -> np.ndarray:
    X = values_of(X)
    out = np.zeros(len(X))
    for x, quantiles in zip(X.T, t.quantiles_.T):
        width = np.diff(quantiles)
        # A sample on an inner quantile belongs to the segment at its left; repeated quantiles hold an atom.
        segment = np.clip(np.searchsorted(quantiles, x, side="left") - 1, 0, len(width) - 1)
        with np.errstate(divide="ignore"):
            log_slope = np.log(np.diff(t.references_)[segment]) - np.log(width[segment])
        outside = (x < quantiles[0]) | (x > quantiles[-1])
        if t.output_distribution == "normal":
            z = stats.norm.ppf(np.clip(np.interp(x, quantiles, t.references_), 1e-7, 1 - 1e-7))
            log_slope += 0.5 * (z**2 + LOG_2PI)
        out += np.where(np.isnan(x), 0.0, log_slope)
        # Everything outside the training range has one image: the map gives it no density.
        out[outside] = -np.inf
    return out


def _function_log_det(t: FunctionTransformer, X: np.ndarray) -> np.ndarray:
    if t.func is None:
        return _constant(X, 0.0)
    if t.kw_args or t.func not in KNOWN_FUNCTIONS:
        raise not_invertible(t, f"the derivative of {function_name(t.func)} is not known")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        X = values_of(X)
        return np.where(np.isnan(X), 0.0, KNOWN_FUNCTIONS[t.func].log_slope(X)).sum(1)


def _parts_log_det(t: ColumnTransformer, X: np.ndarray) -> np.ndarray:
    total = np.zeros(len(X))
    for part in feature_parts(t):
        if part.transformer is not None:
            total += log_abs_det_jacobian(part.transformer, _safe_indexing(X, part.inputs, axis=1))
    return total


def _pipeline_log_det(t: Pipeline, X: np.ndarray) -> np.ndarray:
    total = np.zeros(len(X))
    for _, step in active_steps(t):
        total += log_abs_det_jacobian(step, X)
        X = step.transform(X)
    return total


LOG_DETS: dict[type, Callable[..., np.ndarray]] = {
    StandardScaler: _scaler_log_det,
    RobustScaler: _scaler_log_det,
    MaxAbsScaler: _scaler_log_det,
    MinMaxScaler: _scaler_log_det,
    PCA: _pca_log_det,
    PowerTransformer: _power_log_det,
    QuantileTransformer: _quantile_log_det,
    FunctionTransformer: _function_log_det,
    ColumnTransformer: _parts_log_det,
    Pipeline: _pipeline_log_det,
}


def has_known_jacobian(transformer: BaseEstimator) -> bool:
    """Whether the type of a transformer, fitted or not, has a Jacobian that `log_abs_det_jacobian` knows."""
    return hasattr(transformer, "log_abs_det_jacobian") or rule_for(LOG_DETS, transformer) is not None


def log_abs_det_jacobian(transformer: BaseEstimator, X: ArrayLike) -> np.ndarray:
    """Log of the absolute determinant of a fitted transformer's Jacobian at every sample.

    Known for StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA of full rank, PowerTransformer,
    QuantileTransformer, FunctionTransformer of a common numpy function, and for ColumnTransformer and
    Pipeline of those. Any other transformer takes part by a method ``log_abs_det_jacobian(X)`` that
    returns an array of shape (n_samples,), and an ``inverse_transform``.

    Parameters
    ----------
    transformer : fitted transformer
    X : array-like of shape (n_samples, n_features)
        Samples before the transformer. Where a feature is NaN, which means unknown, it is left out.

    Returns
    -------
    ndarray of shape (n_samples,)
        In nats; -inf where the map sends a region to a single point (outside the training range of a
        QuantileTransformer).

    Raises
    ------
    TypeError
        If the map is not invertible, or its Jacobian not known.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skdiffusion.compose import log_abs_det_jacobian
    >>> scaler = StandardScaler().fit([[0.0], [4.0]])  # of standard deviation 2
    >>> np.exp(log_abs_det_jacobian(scaler, [[1.0]]))
    array([0.5])
    """
    if hasattr(transformer, "log_abs_det_jacobian"):
        return np.asarray(transformer.log_abs_det_jacobian(X), dtype=np.float64)
    rule = rule_for(LOG_DETS, transformer)
    if rule is None:
        raise not_invertible(transformer, "its Jacobian is not known")
    check_is_fitted(transformer)
    return rule(transformer, X)
