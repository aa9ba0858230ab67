"""How scikit-learn's composite transformers are put together, the functions whose slope is known, and inverses."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags


class KnownFunction(NamedTuple):
    """The logarithm of the derivative of a function, and its inverse."""

    log_slope: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


KNOWN_FUNCTIONS = {
    np.log: KnownFunction(lambda x: -np.log(x), np.exp),
    np.log1p: KnownFunction(lambda x: -np.log1p(x), np.expm1),
    np.log2: KnownFunction(lambda x: -np.log(x * np.log(2)), np.exp2),
    np.log10: KnownFunction(lambda x: -np.log(x * np.log(10)), lambda z: np.power(10.0, z)),
    np.exp: KnownFunction(lambda x: x, np.log),
    np.expm1: KnownFunction(lambda x: x, np.log1p),
    np.sqrt: KnownFunction(lambda x: -np.log(2) - 0.5 * np.log(x), np.square),
    np.cbrt: KnownFunction(lambda x: -np.log(3) - 2 / 3 * np.log(np.abs(x)), lambda z: z**3),
    np.arcsinh: KnownFunction(lambda x: -0.5 * np.log1p(x**2), np.sinh),
    np.sinh: KnownFunction(lambda x: np.log(np.cosh(x)), np.arcsinh),
    np.arctan: KnownFunction(lambda x: -np.log1p(x**2), np.tan),
    np.tanh: KnownFunction(lambda x: np.log1p(-(np.tanh(x) ** 2)), np.arctanh),
    np.arctanh: KnownFunction(lambda x: -np.log1p(-(x**2)), np.tanh),
    special.logit: KnownFunction(lambda x: -np.log(x) - np.log1p(-x), special.expit),
    special.expit: KnownFunction(lambda x: special.log_expit(x) + special.log_expit(-x), special.logit),
}


def function_name(function: Callable) -> str:
    """How an error names a function."""
    return getattr(function, "__name__", str(function))


def not_invertible(transformer: BaseEstimator, reason: str) -> TypeError:
    """The error for a step of a pipeline through which no density can be carried."""
    return TypeError(
        f"{type(transformer).__name__} is not an invertible map with a density: {reason}. Leave it out, or give it "
        "methods inverse_transform(Z) and log_abs_det_jacobian(X)."
    )


def values_of(X: ArrayLike) -> np.ndarray:
    """The numbers of an array or frame."""
    return np.asarray(X, dtype=np.float64)


def rule_for(table: dict[type, Callable], transformer: BaseEstimator) -> Callable | None:
    """The entry of a table by type that is nearest in the ancestry of a transformer."""
    return next((table[c] for c in type(transformer).__mro__ if c in table), None)


def active_steps(pipeline: Pipeline) -> list[tuple[str, BaseEstimator]]:
    """Named steps of a Pipeline that do something."""
    return [(name, step) for name, step in pipeline.steps if not (step is None or isinstance(step, str))]


def passes_nan(t: BaseEstimator) -> bool:
    """Whether a transformer or an estimator takes NaN, which a transformer leaves where it is."""
    if isinstance(t, FunctionTransformer):
        return not t.validate
    if isinstance(t, Pipeline):
        return all(passes_nan(step) for _, step in active_steps(t))
    if isinstance(t, ColumnTransformer):
        parts = [t.remainder, *(part for _, part, _ in t.transformers)]
        return all(isinstance(part, str) or passes_nan(part) for part in parts)
    return get_tags(t).input_tags.allow_nan


class Part(NamedTuple):
    """A part of a fitted ColumnTransformer: its transformer (None for the identity), and where it reads and writes."""

    transformer: BaseEstimator | None
    inputs: np.ndarray
    outputs: slice


def feature_parts(t: ColumnTransformer) -> list[Part]:
    """The parts of a fitted ColumnTransformer.

    TypeError for a feature that is dropped or used by two parts, and of a part that makes more or fewer features
    than it takes.
    """
    parts: list[Part] = []
    used: list[int] = []
    for name, part, _ in t.transformers_:
        inputs = np.atleast_1d(np.arange(t.n_features_in_)[t._transformer_to_input_indices[name]])
        if len(inputs) == 0:
            continue
        if isinstance(part, str) and part == "drop":
            raise not_invertible(t, f"it drops features {inputs.tolist()}")
        identity = isinstance(part, str) or (isinstance(part, FunctionTransformer) and part.func is None)
        outputs = t.output_indices_[name]
        if outputs.stop - outputs.start != len(inputs):
            raise not_invertible(t, f"part {name!r} makes {outputs.stop - outputs.start} features of {len(inputs)}")
        parts.append(Part(None if identity else part, inputs, outputs))
        used.extend(inputs)
    if sorted(used) != list(range(t.n_features_in_)):
        raise not_invertible(t, "some feature is used twice or not at all")
    return parts


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

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import PowerTransformer
    >>> from skdiffusion.compose import inverse_samples
    >>> X = np.random.default_rng(0).exponential(size=(100, 2))
    >>> power = PowerTransformer().fit(X)
    >>> bool(np.allclose(inverse_samples(power, power.transform(X)), X))
    True
    """
    rule = rule_for(INVERSES, transformer)
    if rule is not None:
        return values_of(rule(transformer, values_of(Z)))
    if not hasattr(transformer, "inverse_transform"):
        raise not_invertible(transformer, "it has no inverse_transform")
    return values_of(transformer.inverse_transform(Z))
