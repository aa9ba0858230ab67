"""Proper scoring rules of predicted distributions: of their samples, quantiles and intervals; less is better.

Gneiting and Raftery (2007), "Strictly proper scoring rules, prediction, and estimation", Journal of the American
Statistical Association 102.
"""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_array, check_consistent_length

from skdiffusion._utils.validation import Number, StrOptions, check_weights, validated

MULTIOUTPUT = [StrOptions({"uniform_average", "raw_values"})]
SHARE = [Number(Real, 0, 1, closed="neither")]


def check_levels(levels: ArrayLike, name: str = "levels") -> np.ndarray:
    """Levels of quantiles as an array; ValueError unless they lie strictly between 0 and 1, in ascending order."""
    values = np.asarray(levels, dtype=np.float64)
    inside = values.ndim == 1 and values.size > 0 and bool(((values > 0) & (values < 1)).all())
    if not inside or not (np.diff(values) > 0).all():
        raise ValueError(
            f"The {name!r} argument must hold numbers strictly between 0 and 1, each larger than the one before. "
            f"Got {levels!r} instead."
        )
    return values


def _check_predictions(
    y_true: ArrayLike, predicted: ArrayLike, name: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Targets of shape (n_samples, n_outputs) and predictions of shape (n_samples, count, n_outputs), finite."""
    y = check_array(y_true, dtype=np.float64, ensure_2d=False, input_name="y_true")
    values = check_array(predicted, dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name)
    check_consistent_length(y, values)
    y = y.reshape(len(y), -1)
    values = values[:, :, None] if values.ndim == 2 else values
    wanted = "(n_samples, {0}) for one output or (n_samples, {0}, n_outputs)".format(count or "k")
    if values.ndim != 3 or values.shape[2] != y.shape[1] or (count is not None and values.shape[1] != count):
        raise ValueError(
            f"The {name!r} argument must have the shape {wanted}, with the outputs of 'y_true', which has "
            f"{y.shape[1]}. Got the shape {np.shape(predicted)} instead."
        )
    return y, values


def _averaged(losses: np.ndarray, sample_weight: ArrayLike | None, multioutput: str) -> float | np.ndarray:
    """Losses of shape (n_samples, n_outputs), averaged over the samples, and over the outputs if so asked."""
    means = np.average(losses, axis=0, weights=check_weights(sample_weight, losses))
    return float(means.mean()) if multioutput == "uniform_average" else means


@validated(coverage=SHARE, multioutput=MULTIOUTPUT)
def interval_score(
    y_true: ArrayLike,
    intervals: ArrayLike,
    coverage: float = 0.9,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str = "uniform_average",
) -> float | np.ndarray:
    r"""Mean score of central prediction intervals: their width, and a penalty for targets outside of them.

    .. math:: (u - l) + \frac{2}{\alpha} (l - y)_+ + \frac{2}{\alpha} (y - u)_+, \qquad \alpha = 1 - \text{coverage}

    (Gneiting and Raftery 2007, equation 43). The quantiles of levels alpha / 2 and 1 - alpha / 2 of the true
    distribution have the least expected score.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
    intervals : array-like of shape (n_samples, 2) or (n_samples, 2, n_outputs)
        Lower and upper ends.
    coverage : float, default=0.9
        Probability that each interval is meant to have.
    sample_weight : array-like of shape (n_samples,), optional
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over the outputs, or an array of one score for each.

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        In the units of y.

    Raises
    ------
    ValueError
        If shapes do not fit, if a number is not finite, or if a lower end lies above its upper one.

    Examples
    --------
    >>> from skdiffusion.metrics import interval_score
    >>> interval_score([0.0, 3.0], [[-1.0, 1.0], [-1.0, 1.0]], coverage=0.5)  # widths 2, and 4 times the distance 2
    6.0
    """
    y, ends = _check_predictions(y_true, intervals, "intervals", 2)
    low, high = ends[:, 0], ends[:, 1]
    if (low > high).any():
        raise ValueError("The 'intervals' argument has lower ends above their upper ones: sort the two.")
    outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return _averaged(high - low + 2.0 / (1.0 - coverage) * outside, sample_weight, multioutput)


@validated(fair=["boolean"], multioutput=MULTIOUTPUT)
def crps_of_samples(
    y_true: ArrayLike,
    samples: ArrayLike,
    *,
    fair: bool = False,
    sample_weight: ArrayLike | None = None,
    multioutput: str = "uniform_average",
) -> float | np.ndarray:
    r"""Mean continuous ranked probability score of predicted distributions that are given by samples.

    .. math:: \text{CRPS}(F, y) = \int (F(z) - 1\{y \le z\})^2 dz = E|Z - y| - \tfrac12 E|Z - Z'|,

    with Z and Z' independent of distribution F (Gneiting and Raftery 2007, equation 21).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
    samples : array-like of shape (n_samples, n_draws) or (n_samples, n_draws, n_outputs)
        As `sample_y` of a regressor returns them.
    fair : bool, default=False
        False gives the score of the empirical distribution of the draws, which is larger than that of the distribution
        they are drawn from, by E|Z - Z'| / (2 n_draws) in expectation. True leaves pairs of a draw with itself out,
        which takes this bias away (Ferro 2014), and needs two draws.
    sample_weight : array-like of shape (n_samples,), optional
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over the outputs, or an array of one score for each.

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        In the units of y: the mean absolute error where each distribution is a single value.

    Raises
    ------
    ValueError
        If shapes do not fit, if a number is not finite, or for a single draw with `fair=True`.

    Examples
    --------
    >>> from skdiffusion.metrics import crps_of_samples
    >>> crps_of_samples([0.0], [[-1.0, 1.0]])  # 1 - 1/2 of the mean distance 1
    0.5
    """
    y, draws = _check_predictions(y_true, samples, "samples")
    n = draws.shape[1]
    if fair and n < 2:
        raise ValueError("fair=True compares pairs of draws: 'samples' must hold at least 2 for each target.")
    # Half the sum of the distances of all ordered pairs: each draw in ascending order exceeds those before it.
    half_distances = np.einsum("k,skj->sj", 2.0 * np.arange(n) - n + 1, np.sort(draws, axis=1))
    losses = np.abs(draws - y[:, None]).mean(axis=1) - half_distances / (n * (n - fair))
    return _averaged(losses, sample_weight, multioutput)


@validated(multioutput=MULTIOUTPUT)
def crps_of_quantiles(
    y_true: ArrayLike,
    quantiles: ArrayLike,
    levels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str = "uniform_average",
) -> float | np.ndarray:
    r"""Mean continuous ranked probability score of predicted distributions that are given by quantiles.

    The score is twice the integral of the pinball loss over all levels. It is exact for the distributions whose
    quantile function is linear between the given levels, and constant beyond the first and the last of them; for others
    it approaches the score as levels are added.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
    quantiles : array-like of shape (n_samples, n_levels) or (n_samples, n_levels, n_outputs)
        As `predict_quantiles` of a regressor returns them. Quantiles that cross are sorted, which never raises the
        score (Chernozhukov, Fernandez-Val and Galichon 2010).
    levels : array-like of shape (n_levels,)
        Strictly between 0 and 1, ascending.
    sample_weight : array-like of shape (n_samples,), optional
    multioutput : {"uniform_average", "raw_values"}, default="uniform_average"
        The mean over the outputs, or an array of one score for each.

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        In the units of y.

    Raises
    ------
    ValueError
        If shapes do not fit, if a number is not finite, or for levels out of range or order.

    Examples
    --------
    >>> from skdiffusion.metrics import crps_of_quantiles
    >>> crps_of_quantiles([3.0], [[1.0]], [0.5])  # a single value: the absolute error
    2.0
    """
    u = check_levels(levels)
    y, q = _check_predictions(y_true, quantiles, "quantiles", len(u))
    q = np.sort(q, axis=1)
    left, right = (np.concatenate([u[:1] * 0, u])[:, None], np.concatenate([u, u[:1] * 0 + 1])[:, None])
    lower, upper = np.concatenate([q[:, :1], q], axis=1), np.concatenate([q, q[:, -1:]], axis=1)
    # The level of y within each piece: below it quantiles lie under y, above it over y.
    rise = np.where(upper > lower, upper - lower, 1.0)
    share = np.where(upper > lower, np.clip((y[:, None] - lower) / rise, 0.0, 1.0), y[:, None] > lower)
    middle = left + share * (right - left)
    at_middle = lower + share * (upper - lower)
    below = _integral(left, middle, lower - y[:, None], at_middle - y[:, None], 0.0)
    above = _integral(middle, right, at_middle - y[:, None], upper - y[:, None], 1.0)
    return _averaged(2.0 * (below + above).sum(axis=1), sample_weight, multioutput)


def _integral(
    left: np.ndarray, right: np.ndarray, at_left: np.ndarray, at_right: np.ndarray, indicator: float
) -> np.ndarray:
    """Integral over levels u of (indicator - u) times a function that is linear, with these values at both ends."""
    ends = (indicator - left) * at_left + (indicator - right) * at_right
    centers = (indicator - (left + right) / 2) * (at_left + at_right) / 2
    return (right - left) / 6 * (ends + 4 * centers)  # Simpson's rule, exact for a quadratic
