"""Jacobians and inverses of scikit-learn's transformers: what turns a density of T(x) into one of x."""

import numpy as np
from scipy import special, stats
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

_LOG_2PI = np.log(2 * np.pi)

# Function -> (log of its derivative, inverse).
_KNOWN_FUNCTIONS = {
    np.log: (lambda x: -np.log(x), np.exp),
    np.log1p: (lambda x: -np.log1p(x), np.expm1),
    np.log2: (lambda x: -np.log(x * np.log(2)), np.exp2),
    np.log10: (lambda x: -np.log(x * np.log(10)), lambda z: np.power(10.0, z)),
    np.exp: (lambda x: x, np.log),
    np.expm1: (lambda x: x, np.log1p),
    np.sqrt: (lambda x: -np.log(2) - 0.5 * np.log(x), np.square),
    np.cbrt: (lambda x: -np.log(3) - 2 / 3 * np.log(np.abs(x)), lambda z: z**3),
    np.arcsinh: (lambda x: -0.5 * np.log1p(x**2), np.sinh),
    np.sinh: (lambda x: np.log(np.cosh(x)), np.arcsinh),
    np.arctan: (lambda x: -np.log1p(x**2), np.tan),
    np.tanh: (lambda x: np.log1p(-(np.tanh(x) ** 2)), np.arctanh),
    np.arctanh: (lambda x: -np.log1p(-(x**2)), np.tanh),
    special.logit: (lambda x: -np.log(x) - np.log1p(-x), special.expit),
    special.expit: (lambda x: special.log_expit(x) + special.log_expit(-x), special.logit),
}


def not_invertible(transformer, reason):
    """The error for a step of a pipeline that has no density to give back."""
    return TypeError(
        f"{type(transformer).__name__} is not an invertible map with a density: {reason}. Leave it out, or give it "
        "methods inverse_transform(Z) and log_abs_det_jacobian(X)."
    )


def _constant(X, log_scale):
    return np.full(len(X), float(log_scale))


def _scaler_log_det(t, X):
    scale = t.scale_
    return _constant(X, 0.0 if scale is None else -np.log(scale).sum())


def _min_max_log_det(t, X):
    if t.clip:
        raise not_invertible(t, "clip=True maps every sample outside the training range to the same values")
    return _constant(X, np.log(t.scale_).sum())


def _max_abs_log_det(t, X):
    if getattr(t, "clip", False):
        raise not_invertible(t, "clip=True maps every sample outside the training range to the same values")
    return _scaler_log_det(t, X)


def _pca_log_det(t, X):
    if t.n_components_ < t.n_features_in_:
        raise not_invertible(t, f"it keeps {t.n_components_} of {t.n_features_in_} directions")
    return _constant(X, -0.5 * np.log(t.explained_variance_).sum() if t.whiten else 0.0)


def _power_log_det(t, X):
    X = _values(X)
    if t.method == "box-cox":
        columns = (t.lambdas_ - 1) * np.log(X)
    else:
        columns = (t.lambdas_ - 1) * np.sign(X) * np.log1p(np.abs(X))
    out = columns.sum(1)
    return out - np.log(t._scaler.scale_).sum() if t.standardize else out


def _quantile_log_det(t, X):
    X = _values(X)
    out = np.zeros(len(X))
    for j in range(X.shape[1]):
        q = t.quantiles_[:, j]
        width = np.diff(q)
        # A sample on an inner quantile belongs to the segment at its left; repeated quantiles hold an atom.
        segment = np.clip(np.searchsorted(q, X[:, j], side="left") - 1, 0, len(width) - 1)
        with np.errstate(divide="ignore"):
            out += np.log(np.diff(t.references_)[segment]) - np.log(width[segment])
        outside = (X[:, j] < q[0]) | (X[:, j] > q[-1])
        if t.output_distribution == "normal":
            z = stats.norm.ppf(np.clip(np.interp(X[:, j], q, t.references_), 1e-7, 1 - 1e-7))
            out += 0.5 * (z**2 + _LOG_2PI)
        # Everything outside the training range has one image: the map gives it no density.
        out[outside] = -np.inf
    return out


def _function_log_det(t, X):
    if t.func is None:
        return _constant(X, 0.0)
    if t.kw_args or t.func not in _KNOWN_FUNCTIONS:
        raise not_invertible(t, f"the derivative of {getattr(t.func, '__name__', t.func)} is not known")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _KNOWN_FUNCTIONS[t.func][0](_values(X)).sum(1)


def _feature_parts(t):
    """(transformer or None, input features, slice of the output) of a fitted ColumnTransformer."""
    parts, used = [], []
    for name, part, _features in t.transformers_:
        indices = np.atleast_1d(np.arange(t.n_features_in_)[t._transformer_to_input_indices[name]])
        if len(indices) == 0:
            continue
        if isinstance(part, str) and part == "drop":
            raise not_invertible(t, f"it drops features {indices.tolist()}")
        passed = isinstance(part, str) or (isinstance(part, FunctionTransformer) and part.func is None)
        where = t.output_indices_[name]
        if where.stop - where.start != len(indices):
            raise not_invertible(t, f"part {name!r} makes {where.stop - where.start} features of {len(indices)}")
        parts.append((None if passed else part, indices, where))
        used.extend(indices)
    if sorted(used) != list(range(t.n_features_in_)):
        raise not_invertible(t, "some feature is used twice or not at all")
    return parts


def _features_log_det(t, X):
    total = np.zeros(len(X))
    for part, indices, _ in _feature_parts(t):
        if part is not None:
            total += log_abs_det_jacobian(part, _safe_indexing(X, indices, axis=1))
    return total


def _features_inverse(t, Z):
    out = np.empty((len(Z), t.n_features_in_))
    for part, indices, where in _feature_parts(t):
        block = Z[:, where]
        out[:, indices] = block if part is None else inverse_samples(part, block)
    return out


def active_steps(pipeline):
    """Named steps of a Pipeline that do something."""
    return [(n, s) for n, s in pipeline.steps if s is not None and not (isinstance(s, str) and s == "passthrough")]


def _pipeline_log_det(t, X):
    total = np.zeros(len(X))
    for _, step in active_steps(t):
        total += log_abs_det_jacobian(step, X)
        X = step.transform(X)
    return total


def _function_inverse(t, Z):
    if t.func is None:
        return Z
    if t.inverse_func is not None:
        return t.inverse_transform(Z)
    if t.func not in _KNOWN_FUNCTIONS:
        # Without inverse_func, scikit-learn's inverse_transform would return its argument as it is.
        raise not_invertible(
            t, f"it has no inverse_func, and that of {getattr(t.func, '__name__', t.func)} is not known"
        )
    return _KNOWN_FUNCTIONS[t.func][1](Z)


_LOG_DETS = {
    StandardScaler: _scaler_log_det,
    RobustScaler: _scaler_log_det,
    MaxAbsScaler: _max_abs_log_det,
    MinMaxScaler: _min_max_log_det,
    PCA: _pca_log_det,
    PowerTransformer: _power_log_det,
    QuantileTransformer: _quantile_log_det,
    FunctionTransformer: _function_log_det,
    ColumnTransformer: _features_log_det,
    Pipeline: _pipeline_log_det,
}
_INVERSES = {ColumnTransformer: _features_inverse, FunctionTransformer: _function_inverse}


def _values(X):
    return np.asarray(X, dtype=np.float64)


def _lookup(table, transformer):
    return next((table[c] for c in type(transformer).__mro__ if c in table), None)


def has_known_jacobian(transformer):
    """Whether the type of a transformer, fitted or not, has a Jacobian that `log_abs_det_jacobian` knows."""
    return hasattr(transformer, "log_abs_det_jacobian") or _lookup(_LOG_DETS, transformer) is not None


def log_abs_det_jacobian(transformer, X):
    """Log of the absolute determinant of a fitted transformer's Jacobian at every sample.

    Known for StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA of full rank, PowerTransformer,
    QuantileTransformer, FunctionTransformer of a common numpy function, and for ColumnTransformer and
    Pipeline of those. Any other transformer takes part by a method ``log_abs_det_jacobian(X)`` that
    returns an array of shape (n_samples,), and an ``inverse_transform``.

    Parameters
    ----------
    transformer : fitted transformer
    X : array-like of shape (n_samples, n_features)
        Samples before the transformer.

    Returns
    -------
    ndarray of shape (n_samples,)
        In nats; -inf where the map sends a region to a single point (outside the training range of a
        QuantileTransformer).

    Raises
    ------
    TypeError
        If the map is not invertible, or its Jacobian not known.
    """
    if hasattr(transformer, "log_abs_det_jacobian"):
        return np.asarray(transformer.log_abs_det_jacobian(X), dtype=np.float64)
    rule = _lookup(_LOG_DETS, transformer)
    if rule is None:
        raise not_invertible(transformer, "its Jacobian is not known")
    check_is_fitted(transformer)
    return rule(transformer, X)


def inverse_samples(transformer, Z):
    """Samples of a fitted transformer's output, mapped back to its input.

    Parameters
    ----------
    transformer : fitted transformer
        ColumnTransformer is inverted part by part, FunctionTransformer by the inverse of a known function.
    Z : array-like of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    rule = _lookup(_INVERSES, transformer)
    if rule is not None:
        return _values(rule(transformer, _values(Z)))
    if isinstance(transformer, Pipeline):
        for _, step in reversed(active_steps(transformer)):
            Z = inverse_samples(step, Z)
        return _values(Z)
    if not hasattr(transformer, "inverse_transform"):
        raise not_invertible(transformer, "it has no inverse_transform")
    return _values(transformer.inverse_transform(Z))
