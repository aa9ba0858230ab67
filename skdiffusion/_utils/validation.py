"""The doorway to scikit-learn's private helpers, and the checks of arguments that several places share."""

from collections.abc import Collection
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "NON_NEGATIVE",
    "POSITIVE",
    "HasMethods",
    "Interval",
    "Number",
    "Options",
    "StrOptions",
    "at_least",
    "check_bounds",
    "check_count",
    "check_key",
    "check_magnitude",
    "check_mixture",
    "check_weights",
    "fit_context",
    "generator_seed",
    "resolve_device",
    "restored_on_failure",
    "validated",
]

fit_context = _fit_context


class Number(Interval):
    """An interval without booleans, which Python counts as integers and NumPy does not."""

    def is_satisfied_by(self, val):
        """Whether a number lies within."""
        return not isinstance(val, (bool, np.bool_)) and super().is_satisfied_by(val)


POSITIVE = [Number(Real, 0, None, closed="neither")]
NON_NEGATIVE = [Number(Real, 0, None, closed="left")]
LARGEST = 1e150
CALLBACK_RECORD = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")


def at_least(low, kind=Real):
    """Constraint of a finite number, for `validated`."""
    return [Number(kind, low, None, closed="left")]


def validated(**constraints):
    """Decorator: arguments that meet scikit-learn's constraints, or its error that names the argument."""
    return validate_params(constraints, prefer_skip_nested_validation=True)


def check_key(name: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless a value is one of the choices, as they are now: users may have added some."""
    if value not in choices:
        raise ValueError(f"The {name!r} option must be one of {sorted(choices)}. Got {value!r} instead.")


@contextmanager
def restored_on_failure(estimator):
    """Leave an estimator exactly as it was if the body raises, a keyboard interrupt included."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        # scikit-learn's own record of running callbacks, which it takes off itself.
        running = {k: v for k, v in estimator.__dict__.items() if k in CALLBACK_RECORD}
        estimator.__dict__.clear()
        estimator.__dict__.update(before | running)
        raise


def check_count(n_samples, least=0):
    """Raise ValueError unless `n_samples` is a number of samples, `least` or more."""
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < least:
        raise ValueError(
            f"The 'n_samples' argument must be a {'positive' if least else 'non-negative'} integer. "
            f"Got {n_samples!r} instead."
        )


def check_magnitude(**tables):
    """Raise ValueError for tables with numbers whose squares overflow."""
    for name, table in tables.items():
        if table.size and float(np.abs(table).max()) > LARGEST:
            raise ValueError(f"{name} has numbers beyond {LARGEST:g}, whose squares overflow: rescale the features.")


def check_weights(sample_weight, X):
    """Sample weights as float64, scaled to a largest weight of 1; ones if None.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, if all are zero, or if the shape is not (n_samples,).
    """
    if sample_weight is None:
        return np.ones(len(X))
    w = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not w.any():
        raise ValueError("Every value of 'sample_weight' is zero: at least one weight must be positive.")
    return w / w.max()


def check_bounds(bounds, n_features):
    """(low, high) arrays of shape (n_features,), or None.

    Raises
    ------
    ValueError
        If `bounds` is not a pair of scalars or arrays of shape (n_features,) with low < high.
    """
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


def check_mixture(weights, means):
    """Weights that sum to 1 and means, shapes (n_components,) and (n_components, n_features).

    Raises
    ------
    ValueError
        If a weight is negative or not finite, if all are zero, or if there is not one for each mean.
    """
    means = check_array(means, dtype=np.float64, input_name="means")
    weights = check_array(weights, dtype=np.float64, ensure_2d=False, input_name="weights")
    if weights.shape != means.shape[:1] or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"'weights' must hold a non-negative number for each of the {len(means)} means. Got {weights!r} instead."
        )
    return weights / weights.sum(), means


def resolve_device(device):
    """The torch device of a name; "auto" is a CUDA GPU where there is one, else the CPU.

    Raises
    ------
    ValueError
        If the name is unknown or the device is not available on this machine.
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


def generator_seed(random_state):
    """A seed for numpy's Generator from anything scikit-learn accepts as `random_state`."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63 - 1))
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
