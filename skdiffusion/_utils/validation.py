"""The doorway to scikit-learn's private helpers, and the checks of arguments that several places share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight

if TYPE_CHECKING:
    import torch

__all__ = [
    "NON_NEGATIVE", "POSITIVE", "HasMethods", "Interval", "Number", "RandomState", "StrOptions", "at_least",
    "check_bounds", "check_count", "check_magnitude", "check_mixture", "check_weights", "fit_context",
    "generator_seed", "resolve_device", "restored_on_failure", "validated",
]  # fmt: skip

RandomState = int | np.random.RandomState | np.random.Generator | None
Constraints = list[Any]  # of scikit-learn's parameter validation: types, intervals, options


class Number(Interval):
    """An interval without booleans, which Python counts as integers and NumPy does not."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is a number that lies within the interval."""
        return not isinstance(val, (bool, np.bool_)) and super().is_satisfied_by(val)


POSITIVE = [Number(Real, 0, None, closed="neither")]
NON_NEGATIVE = [Number(Real, 0, None, closed="left")]
MAX_MAGNITUDE = 1e150
# scikit-learn's own record of running callbacks, which it takes off itself.
CALLBACK_RECORD = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


def at_least(low: float, kind: type = Real) -> Constraints:
    """Constraint of a number of at least `low`, for `validated`."""
    return [Number(kind, low, None, closed="left")]


def validated(**constraints: Constraints) -> Callable[[Callable], Callable]:
    """Decorator of a function whose arguments must meet scikit-learn's constraints; its error names the argument."""
    return validate_params(constraints, prefer_skip_nested_validation=True)


@contextmanager
def restored_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Leave an estimator exactly as it was if the body raises, a keyboard interrupt included."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        running = {k: v for k, v in estimator.__dict__.items() if k in CALLBACK_RECORD}
        estimator.__dict__.clear()
        estimator.__dict__.update(before | running)
        raise


def check_count(n_samples: int, minimum: int = 0) -> None:
    """Raise ValueError unless `n_samples` is an integer of at least `minimum`, which is 0 or 1."""
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < minimum:
        raise ValueError(
            f"The 'n_samples' argument must be a {'positive' if minimum else 'non-negative'} integer. "
            f"Got {n_samples!r} instead."
        )


def check_magnitude(**arrays: np.ndarray) -> None:
    """Raise ValueError, by name, for an array with numbers whose squares overflow."""
    for name, values in arrays.items():
        if values.size and float(np.abs(values).max()) > MAX_MAGNITUDE:
            raise ValueError(
                f"{name} has numbers beyond {MAX_MAGNITUDE:g}, whose squares overflow: rescale the features."
            )


def check_weights(sample_weight: ArrayLike | None, X: np.ndarray) -> np.ndarray:
    """Sample weights as float64, scaled to a largest weight of 1; ones if None.

    ValueError for a negative or infinite weight, of zeros only, and of another shape than (n_samples,).
    """
    if sample_weight is None:
        return np.ones(len(X))
    w = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not w.any():
        raise ValueError("Every value of 'sample_weight' is zero: at least one weight must be positive.")
    return w / w.max()


def check_bounds(bounds: Any, n_features: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(low, high) arrays of shape (n_features,), or None; ValueError for what is no pair of these with low < high."""
    if bounds is None:
        return None
    message = (
        "The 'bounds' parameter must be a pair (low, high) of numbers or of arrays of shape "
        f"({n_features},), with low < high and infinities where a side is open. Got {bounds!r} instead."
    )
    try:
        low, high = (np.array(np.broadcast_to(np.asarray(b, dtype=float), (n_features,))) for b in bounds)
    except (TypeError, ValueError) as error:
        raise ValueError(message) from error
    if not (low < high).all():
        raise ValueError(message)
    return low, high


def check_mixture(weights: ArrayLike, means: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a mixture, scaled to a sum of 1, and means, of shapes (n_components,) and (n_components, n_features).

    ValueError for a negative or infinite weight, of zeros only, and of more or fewer weights than means.
    """
    centers = check_array(means, dtype=np.float64, input_name="means")
    shares = check_array(weights, dtype=np.float64, ensure_2d=False, input_name="weights")
    if shares.shape != centers.shape[:1] or shares.min() < 0 or not shares.any():
        raise ValueError(
            f"'weights' must hold a non-negative number for each of the {len(centers)} means. Got {shares!r} instead."
        )
    return shares / shares.sum(), centers


def resolve_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is a CUDA GPU where there is one, else the CPU.

    ValueError for an unknown name and of a device that this machine does not have.
    """
    import torch  # only where a network is wanted: metrics need none

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"The 'device' parameter must name a device that torch can use here, or be 'auto'. Got {device!r}, "
            "which is not available: use device='cpu'."
        ) from error
    return resolved


def generator_seed(random_state: RandomState) -> int:
    """A seed for numpy's Generator from anything that scikit-learn accepts as `random_state`, or from a Generator."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
