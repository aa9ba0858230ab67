"""Checks of the samples that metrics compare."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array

from skdiffusion._utils.frames import as_numbers
from skdiffusion._utils.validation import check_magnitude

Weights = ArrayLike | None


def check_same_features(**arrays: ArrayLike) -> list[np.ndarray]:
    """Several sets of samples as finite arrays of the same features, whose squares do not overflow, else ValueError."""
    samples = {name: check_array(as_numbers(a), dtype=np.float64, input_name=name) for name, a in arrays.items()}
    if len({s.shape[1] for s in samples.values()}) > 1:
        found = ", ".join(f"{name} has {s.shape[1]}" for name, s in samples.items())
        raise ValueError(f"All samples must have the same features, but {found}.")
    check_magnitude(**samples)
    return list(samples.values())


def check_pair(
    X: ArrayLike, Y: ArrayLike, x_weight: Weights = None, y_weight: Weights = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two sets of samples of the same features and their weights, each non-negative and summing to 1."""
    x, y = check_same_features(X=X, Y=Y)
    return x, y, _normalized(x_weight, len(x), "x_weight"), _normalized(y_weight, len(y), "y_weight")


def _normalized(weight: Weights, n_samples: int, name: str) -> np.ndarray:
    """Weights divided by their sum; equal ones for None."""
    if weight is None:
        return np.full(n_samples, 1.0 / n_samples)
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n_samples,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
        raise ValueError(f"{name} must hold {n_samples} non-negative finite numbers, not all of them zero.")
    return w / w.sum()
