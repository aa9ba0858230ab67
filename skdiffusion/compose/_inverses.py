"""Samples mapped back through scikit-learn's transformers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skdiffusion.compose._transformers import (
    KNOWN_FUNCTIONS,
    active_steps,
    feature_parts,
    function_name,
    not_invertible,
    rule_for,
    values_of,
)


def _parts_inverse(t: ColumnTransformer, Z: np.ndarray) -> np.ndarray:
    out = np.empty((len(Z), t.n_features_in_))
    for part in feature_parts(t):
        block = Z[:, part.outputs]
        out[:, part.inputs] = block if part.transformer is None else inverse_samples(part.transformer, block)
    return out


def _function_inverse(t: FunctionTransformer, Z: np.ndarray) -> np.ndarray:
    if t.func is None:
        return Z
    if t.inverse_func is not None:
        return t.inverse_transform(Z)
    if t.func not in KNOWN_FUNCTIONS:
        # Without inverse_func, scikit-learn's inverse_transform would return its argument as it is.
        raise not_invertible(t, f"it has no inverse_func, and that of {function_name(t.func)} is not known")
    return KNOWN_FUNCTIONS[t.func].inverse(Z)


def _pipeline_inverse(t: Pipeline, Z: np.ndarray) -> np.ndarray:
    for _, step in reversed(active_steps(t)):
        Z = inverse_samples(step, Z)
    return Z


INVERSES: dict[type, Callable[..., np.ndarray]] = {
    ColumnTransformer: _parts_inverse,
    FunctionTransformer: _function_inverse,
    Pipeline: _pipeline_inverse,
}


def inverse_samples(transformer: BaseEstimator, Z: ArrayLike) -> np.ndarray:
    """Samples of a fitted transformer's output, mapped back to its input.

    Parameters
    ----------
    transformer : fitted transformer
        ColumnTransformer is inverted part by part, FunctionTransformer by the inverse of a known function.
    Z : array-like of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    TypeError
        If the transformer has no inverse.
    """
    rule = rule_for(INVERSES, transformer)
    if rule is not None:
        return values_of(rule(transformer, values_of(Z)))
    if not hasattr(transformer, "inverse_transform"):
        raise not_invertible(transformer, "it has no inverse_transform")
    return values_of(transformer.inverse_transform(Z))
