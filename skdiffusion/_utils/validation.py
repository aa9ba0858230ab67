"""The doorway to scikit-learn's private helpers, and the checks of arguments that several places share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils import validation as sklearn_validation
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_n_features as check_n_features
from sklearn.utils.validation import _check_sample_weight, _get_feature_names

from skdiffusion._utils.frames import as_numbers

if TYPE_CHECKING:
    import torch

__all__ = [
    "NON_NEGATIVE", "POSITIVE", "HasMethods", "Interval", "Number", "RandomState", "StrOptions", "at_least",
    "check_bounds", "check_count", "check_finite", "check_groups", "check_inside", "check_magnitude", "check_mixture",
    "check_n_features", "check_targets", "check_weights", "draw_seed", "finite_values", "fit_context", "generator_seed",
    "is_cpu", "resolve_device", "restored_on_failure", "validate_data", "validated",
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
OVERSHOOT = 8.0  # units in the last place by which round-off leaves bounds
MAX_NAMED = 5  # features that an error lists
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


def check_count(n_samples: int, minimum: int = 0, name: str = "n_samples") -> None:
    """Raise ValueError unless `n_samples`, the argument of a name, is an integer of at least `minimum`, 0 or 1."""
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < minimum:
        raise ValueError(
            f"The {name!r} argument must be a {'positive' if minimum else 'non-negative'} integer. "
            f"Got {n_samples!r} instead."
        )


def check_magnitude(**arrays: np.ndarray) -> None:
    """Raise ValueError, by name, for an array with numbers whose squares overflow."""
    for name, values in arrays.items():
        if values.size and float(np.fmax.reduce(np.abs(values), axis=None)) > MAX_MAGNITUDE:
            raise ValueError(
                f"{name} has numbers beyond {MAX_MAGNITUDE:g}, whose squares overflow: rescale the features."
            )


def validate_data(estimator: BaseEstimator, X: Any, *, allow_nan: bool = False, **given: Any) -> np.ndarray:
    """scikit-learn's `validate_data` of the numbers of any frame, with the errors of `check_finite`."""
    numbers = as_numbers(X)
    if _is_known_array(estimator, numbers, **given):
        samples = numbers
    else:
        samples = sklearn_validation.validate_data(estimator, numbers, ensure_all_finite=False, **given)
    check_finite(estimator, samples, numbers, allow_nan=allow_nan)
    return samples


def _is_known_array(estimator: BaseEstimator, X: Any, *, dtype: Any = None, reset: bool = True, **given: Any) -> bool:
    """Whether scikit-learn's validation would return X itself, which for a single sample it takes long to find out."""
    plain = type(X) is np.ndarray and X.ndim == 2 and len(X) > 0 and isinstance(dtype, list) and X.dtype in dtype
    return (
        plain
        and not (reset or given)
        and not hasattr(estimator, "feature_names_in_")  # of which an array has none: scikit-learn warns
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
    )


def check_finite(
    estimator: BaseEstimator, samples: np.ndarray, X: Any, input_name: str = "X", *, allow_nan: bool = False
) -> None:
    """Raise ValueError for samples with infinity, or NaN if that is not allowed, which says where and what helps.

    The features have the names of `X`, the frame or the array from which the samples come.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if get_config()["assume_finite"] or np.isfinite(samples.sum()):
            return
    missing, name = np.isnan(samples), type(estimator).__name__
    if missing.any() and not allow_nan:
        raise ValueError(
            f"Input {input_name} contains NaN in {_where(missing, X)}. {name} does not take missing values here: drop "
            "these samples, or impute their values first by DiffusionImputer. DiffusionDensityEstimator takes them in "
            "'fit', 'score_samples' and 'impute'."
        )
    infinite = np.isinf(samples)
    if infinite.any():
        raise ValueError(
            f"Input {input_name} contains infinity or a value too large for {samples.dtype} in {_where(infinite, X)}: "
            "drop these samples, or clip their values to the largest that can be meant."
        )


def _where(found: np.ndarray, X: Any) -> str:
    """In how many samples something was found, and in how many of every feature, in words."""
    counts, names = found.sum(0), _get_feature_names(X)
    features = np.flatnonzero(counts)
    labels = [repr(str(names[j])) if names is not None else str(j) for j in features]
    listed = ", ".join(f"{label} ({counts[j]})" for label, j in zip(labels[:MAX_NAMED], features))
    more = f" and {len(features) - MAX_NAMED} more" if len(features) > MAX_NAMED else ""
    one = len(features) == 1
    return f"{found.any(1).sum()} of {len(found)} samples, in feature{'' if one else 's'} {listed}{more}"


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


def check_targets(estimator: BaseEstimator, y: Any, X: np.ndarray) -> np.ndarray:
    """Targets in float64, shape (n_samples, n_outputs).

    ValueError for none, for NaN and infinity, for what is no number, and for another number of samples than X has.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    targets = check_array(y, ensure_2d=False, dtype="numeric", ensure_all_finite=False, input_name="y", estimator=name)
    targets = np.asarray(targets, dtype=np.float64)
    check_consistent_length(X, targets)
    targets = targets.reshape(len(targets), -1)
    if (missing := np.isnan(targets).any(1)).any():
        raise ValueError(f"Input y contains NaN in {missing.sum()} of {len(targets)} samples: drop these samples.")
    if np.isinf(targets).any():
        raise ValueError(
            "Input y contains infinity or a value too large for dtype('float64'): drop these samples, or clip their "
            "targets to the largest that can be meant."
        )
    return targets


def check_groups(groups: ArrayLike | None, X: np.ndarray) -> np.ndarray | None:
    """Numbers of the groups of samples from 0 on, shape (n_samples,), or None.

    ValueError for another shape, for missing labels, and for fewer than two groups, of which none can be left out.
    """
    if groups is None:
        return None
    labels = column_or_1d(groups, dtype=None)
    check_consistent_length(X, labels)
    if any(label is None or label != label for label in labels.tolist()):
        raise ValueError("'groups' has missing labels: every sample needs one.")
    known, numbers = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)
    if len(known) < 2:
        raise ValueError(
            f"'groups' holds the one label {labels.tolist()[0]!r}: at least two are needed, of which one can be left "
            "out. Leave 'groups' out if the samples are independent."
        )
    return numbers


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


def without_overshoot(X: np.ndarray, low: np.ndarray, high: np.ndarray, precision: float) -> np.ndarray:
    """Samples, their values that leave the bounds by round-off at the bounds: a scaler gives its largest value so.

    `precision` is the relative spacing of the numbers in which the samples were given.
    """
    beyond_low, beyond_high = low - X, X - high
    if not ((beyond_low > 0) | (beyond_high > 0)).any():
        return X
    ends = np.stack([low, high])
    size = np.where(np.isfinite(ends), np.abs(ends), 0.0).max(0)
    size = np.maximum(size, np.where(np.isfinite(ends).all(0), high - low, 0.0))
    by_round_off = np.maximum(beyond_low, beyond_high) <= OVERSHOOT * precision * size
    out = np.where(by_round_off, np.clip(X, low, high), X).astype(X.dtype)
    # A bound that single precision does not hold may be rounded to a number beyond it.
    out = np.where(by_round_off & (out > high), np.nextafter(out, X.dtype.type(-np.inf)), out)
    return np.where(by_round_off & (out < low), np.nextafter(out, X.dtype.type(np.inf)), out)


def check_inside(X: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None, start: int = 0) -> None:
    """Raise ValueError for samples, of which the first has the number `start`, outside of bounds."""
    if bounds is None:
        return
    outside = ((X < bounds[0]) | (X > bounds[1])).any(1)
    if outside.any():
        raise ValueError(
            f"{outside.sum()} of {len(X)} samples of X lie outside 'bounds' (the first is sample "
            f"{start + np.flatnonzero(outside)[0]}): widen 'bounds' or drop these samples."
        )


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


def finite_values(values: np.ndarray, name: str) -> np.ndarray:
    """The values of samples; ValueError if the arithmetic overflowed."""
    if np.isnan(values).any():
        raise ValueError(
            f"Samples of {name} lie so far from the training samples that the arithmetic overflows: drop or clip them."
        )
    return values


def is_cpu(device: str) -> bool:
    """Whether a name is that of the CPU, or "auto" where there is no GPU."""
    return device in ("auto", "cpu") and resolve_device(device).type == "cpu"


def generator_seed(random_state: RandomState) -> int:
    """A seed for numpy's Generator from anything that scikit-learn accepts as `random_state`, or from a Generator.

    None draws it from NumPy's global generator, so that what follows repeats after `np.random.seed`.
    """
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def draw_seed(estimator: Any, random_state: RandomState) -> int:
    """The seed of a draw from a fitted estimator: that of the call, else the estimator's own, else `generator_seed`."""
    if random_state is None and estimator.random_state is not None:
        return estimator._sample_seed
    return generator_seed(random_state)
