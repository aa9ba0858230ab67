"""Checks of the samples that metrics compare."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from skdiffusion._utils.validation import check_magnitude


def check_same_features(**arrays: ArrayLike) -> list[np.ndarray]:
    """Several sets of samples as arrays of the same features.

    Raises
    ------
    ValueError
        If one is empty, not finite or not two-dimensional, if its squares overflow, or if the numbers of features
        differ. The error names the argument.
    """
    samples = {name: check_array(a, dtype=np.float64, input_name=name) for name, a in arrays.items()}
    if len({s.shape[1] for s in samples.values()}) > 1:
        found = ", ".join(f"{name} has {s.shape[1]}" for name, s in samples.items())
        raise ValueError(f"All samples must have the same features, but {found}.")
    check_magnitude(**samples)
    return list(samples.values())


def check_pair(
    X: ArrayLike, Y: ArrayLike, x_weight: ArrayLike | None = None, y_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two sets of samples of the same features and their weights, each summing to 1.

    Raises
    ------
    ValueError
        As `check_same_features`; or if weights are negative, not finite, all zero, or not one for each sample.
    """
    first, second = check_same_features(X=X, Y=Y)
    return (
        first,
        second,
        _normalized(x_weight, len(first), "x_weight"),
        _normalized(y_weight, len(second), "y_weight"),
    )


def _normalized(weight: ArrayLike | None, n_samples: int, name: str) -> np.ndarray:
    """Weights divided by their sum; equal ones for None."""
    if weight is None:
        return np.full(n_samples, 1.0 / n_samples)
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n_samples,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
        raise ValueError(f"{name} must hold {n_samples} non-negative finite numbers, not all of them zero.")
    return w / w.sum()
