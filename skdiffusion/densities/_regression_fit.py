"""Fit of an autoregressive regression: basis functions are added while score tests find them informative.

A regression of one feature starts linear, with a constant variance. In rounds, score tests rank all hinges and products
of the features before it; the best are added, and the penalized likelihood is raised by alternating steps of the mean
(weighted least squares) and of the log-variance (Fisher scoring).

References
----------
Harvey (1976), Estimating regression models with multiplicative heteroscedasticity (the scoring steps).
Friedman (1991), Multivariate adaptive regression splines (hinges and products, added where they gain most).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from skdiffusion.densities._regression import AutoregressiveRegression, RegressionBasis
from skdiffusion.densities._residuals import fit_residuals
from skdiffusion.preprocessing import ranges_beyond

REACH = 4.0  # standard deviations of a feature within which its basis functions and powers move
KNOTS = (-1.5, -0.75, 0.0, 0.75, 1.5)  # of the hinges, in standard deviations
N_ROUNDS = 3  # of choosing basis functions
N_STEPS = 10  # of scoring after each of them
TOLERANCE = 1e-4  # nats a sample, below which scoring stops
MAX_NEW = 12  # basis functions that a round may add, to the mean and to the log-variance
MAX_CROSSED = 12  # features whose products are tried for one feature
MIN_STATISTIC = 10.0  # least square of a score statistic, where few basis functions are tried
OUTLIER = 3.0  # standardized residual at which larger ones are cut in the choice of basis functions
RIDGE = 1.0  # penalty of a squared coefficient, in samples
MAX_LOG_VARIANCE = 10.0
MAX_CHANGE = 3.0  # of a log-variance in a step: where it is far too small, scoring would leap beyond all bounds
MIN_VARIANCE = 1e-9  # of a residual, in those of the feature

Name = tuple  # of a basis function: ("linear", a), ("hinge", a, knot) or ("product", a, b), a and b places in the order


class _Products(NamedTuple):
    """The products of some features."""

    names: list[Name]
    values: np.ndarray  # (n_products, n_samples)
    nonlinear: np.ndarray  # what of them is not linear in the features


class _Candidates:
    """Basis functions of the samples of a fit, features in their order: arrays whose last axis are the samples.

    `curves` are the square and the hinges of every feature, `nonlinear` what of them is not linear in the feature. The
    weights sum to the effective number of samples.
    """

    def __init__(self, x: np.ndarray, w: np.ndarray):
        self.w, self.total, self.linear = w, w.sum(), np.ascontiguousarray(x.T)
        linear = self.linear[:, None]
        self.curves = np.concatenate([linear**2, np.maximum(linear - np.array(KNOTS)[:, None], 0.0)], axis=1)
        self.names = [[("product", a, a), *(("hinge", a, k) for k in KNOTS)] for a in range(len(linear))]
        self.centered = self.linear - self.mean(self.linear)[:, None]
        spread = np.maximum(self.mean(self.centered**2), 1e-300)
        slopes = self.mean(self.curves * self.centered[:, None]) / spread[:, None]
        rest = self.curves - self.mean(self.curves)[..., None] - slopes[..., None] * self.centered[:, None]
        straight = self.mean(rest**2) < 1e-6 * self.mean(self.curves**2)
        self.nonlinear = np.where(straight[..., None], 0.0, rest)
        self._latest: tuple[tuple[int, ...], _Products] | None = None

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Weighted mean over the samples, the last axis."""
        return values @ self.w / self.total

    def products(self, features: np.ndarray) -> _Products:
        """The products of these features, which the rounds of one regression often ask for again."""
        asked = tuple(features.tolist())
        if self._latest is None or self._latest[0] != asked:
            self._latest = asked, self._multiply(features)
        return self._latest[1]

    def _multiply(self, features: np.ndarray) -> _Products:
        first, second = np.tril_indices(len(features), -1)
        pairs = features[np.stack([first, second], 1)]
        products = self.linear[pairs[:, 0]] * self.linear[pairs[:, 1]]
        root = np.sqrt(self.w)
        basis = np.linalg.qr((np.vstack([np.ones(len(root)), self.linear[features]]) * root).T)[0]
        linear = (products * root) @ basis @ basis.T / np.maximum(root, 1e-150)
        return _Products([("product", int(a), int(b)) for a, b in pairs], products, products - linear)


def _score_statistics(scores: np.ndarray, information: np.ndarray, functions: np.ndarray) -> np.ndarray:
    """Statistics of basis functions, near standard normal for those that add nothing to the mean or log-variance.

    Scores and information have a column for each of these, as the result of shape (n_functions, 2) has.
    """
    variance = functions**2 @ information
    return np.where(variance > 1e-12, functions @ scores / np.sqrt(np.maximum(variance, 1e-12)), 0.0)


def _rows(arrays: Sequence[np.ndarray], numbers: Sequence[int]) -> list[np.ndarray]:
    """Rows of arrays that stand below each other, by their numbers."""
    starts = np.cumsum([0, *(len(array) for array in arrays)])
    places = np.searchsorted(starts, numbers, side="right") - 1
    return [arrays[i][k - starts[i]] for i, k in zip(places, numbers)]


@lru_cache
def _penalties(n_functions: int, ridge: float) -> np.ndarray:
    """Penalties of squared coefficients, next to none for the constant, which comes first."""
    penalties = np.full(n_functions, ridge)
    penalties[0] = 1e-6
    penalties.flags.writeable = False
    return penalties


class _FeatureRegression:
    """One feature y given the j before it: the basis functions chosen so far, their coefficients, the residuals."""

    def __init__(self, y: np.ndarray, j: int, candidates: _Candidates):
        self.y, self.candidates, self.j = y, candidates, j
        self.mean_names: list[Name] = [("linear", a) for a in range(j)]
        self.variance_names: list[Name] = []
        ones = np.ones((1, len(y)))
        self.mean_functions, self.variance_functions = np.vstack([ones, candidates.linear[:j]]), ones
        self.b, self.s, self.v = np.zeros(j + 1), np.zeros(1), np.zeros(len(y))
        self._solve_mean()
        self.s[0] = np.log(np.maximum(candidates.mean(self.residual**2), MIN_VARIANCE))
        self.v[:] = self.s[0]

    def _penalties(self) -> tuple[np.ndarray, np.ndarray]:
        """Of squared coefficients of the mean and of the log-variance, in nats."""
        return _penalties(len(self.mean_functions), RIDGE), _penalties(len(self.variance_functions), RIDGE / 2)

    def _solve_mean(self) -> None:
        precision = self.candidates.w * np.exp(-self.v)
        gram = (self.mean_functions * precision) @ self.mean_functions.T + np.diag(self._penalties()[0])
        self.b = np.linalg.solve(gram, self.mean_functions @ (precision * self.y))
        self.residual = self.y - self.b @ self.mean_functions

    def _log_variance(self, s: np.ndarray) -> np.ndarray:
        return np.clip(s @ self.variance_functions, np.log(MIN_VARIANCE), MAX_LOG_VARIANCE)

    def _loss(self, v: np.ndarray, s: np.ndarray) -> float:
        mean, variance = self._penalties()
        fit = self.candidates.w @ (v + self.residual**2 * np.exp(-v))
        return 0.5 * (fit + mean @ self.b**2 + variance @ s**2)

    def fit(self) -> _FeatureRegression:
        """Choose basis functions and raise the likelihood, in rounds."""
        for _ in range(N_ROUNDS if self.j else 0):
            if not self.choose():
                break
            self.improve()
        return self

    def choose(self) -> bool:
        """Add the most informative basis functions; False if none is informative."""
        candidates, j, n = self.candidates, self.j, len(self.y)
        test = self._score_test()
        of_curves, of_linear = test(candidates.nonlinear[:j].reshape(-1, n)), test(candidates.centered[:j])[:, 1]
        strength = np.abs(np.column_stack([*of_curves.T.reshape(2, j, -1), of_linear])).max(1)
        strongest = np.argsort(-strength, kind="stable")[:MAX_CROSSED]
        products = candidates.products(np.sort(strongest))
        names = [*(name for of_feature in candidates.names[:j] for name in of_feature), *products.names]
        functions = [candidates.curves[:j].reshape(-1, n), products.values, candidates.linear[:j]]
        # The largest of m squares of standard normal numbers is about 2 log m.
        threshold = max(MIN_STATISTIC, 2 * np.log(len(names)))
        in_mean, in_variance = np.concatenate([of_curves, test(products.nonlinear)]).T
        to_mean = self._informative(in_mean, names, self.mean_names, threshold)
        self.mean_names += [names[k] for k in to_mean]
        self.mean_functions = np.vstack([self.mean_functions, *_rows(functions, to_mean)])
        self.b = np.append(self.b, np.zeros(len(to_mean)))
        names, in_variance = names + [("linear", a) for a in range(j)], np.concatenate([in_variance, of_linear])
        to_variance = self._informative(in_variance, names, self.variance_names, threshold)
        self.variance_names += [names[k] for k in to_variance]
        self.variance_functions = np.vstack([self.variance_functions, *_rows(functions, to_variance)])
        if len(self.s) == 1 and to_variance:
            self._start_variance()
        else:
            self.s = np.append(self.s, np.zeros(len(to_variance)))
        return bool(to_mean or to_variance)

    def _score_test(self) -> Callable[[np.ndarray], np.ndarray]:
        """Score statistics of functions (n_functions, n_samples) for the mean and for the log-variance."""
        w, mean = self.candidates.w, self.candidates.mean
        standard = np.clip(self.residual * np.exp(-self.v / 2), -OUTLIER, OUTLIER)
        excess = standard**2 - mean(standard**2)
        scores = np.column_stack([w * standard * np.exp(-self.v / 2), w * excess])
        information = np.column_stack([w * np.exp(-self.v), w * mean(excess**2)])
        return partial(_score_statistics, scores, information)

    def _informative(
        self, statistics: np.ndarray, names: Sequence[Name], taken: Sequence[Name], threshold: float
    ) -> list[int]:
        """Numbers of the most informative functions that are not taken yet; a function needs ten samples."""
        ranked = np.argsort(-np.abs(statistics), kind="stable")[
            : max(0, round(self.candidates.total) // 10 - len(taken))
        ]
        return [k for k in ranked if statistics[k] ** 2 > threshold and names[k] not in taken][:MAX_NEW]

    def _start_variance(self) -> None:
        """Log-variances near those of greatest likelihood, by least squares of log squared residuals."""
        candidates, squared = self.candidates, self.residual**2
        target = np.log(squared + 1e-6 * candidates.mean(squared) + 1e-300)
        functions = self.variance_functions
        gram = (functions * candidates.w) @ functions.T + RIDGE * np.eye(len(functions))
        self.s = np.linalg.solve(gram, functions @ (candidates.w * target))
        over = np.minimum(squared * np.exp(-self._log_variance(self.s)), 20.0)
        self.s[0] += np.log(np.maximum(candidates.mean(over), MIN_VARIANCE))
        self.v = self._log_variance(self.s)

    def improve(self) -> None:
        """Alternate steps of the mean and scoring steps of the log-variance."""
        functions, w, penalty = self.variance_functions, self.candidates.w, self._penalties()[1]
        inverse = np.linalg.inv(0.5 * (functions * w) @ functions.T + np.diag(penalty))
        loss = self._loss(self.v, self.s)
        for _ in range(N_STEPS):
            before = loss
            self._solve_mean()
            loss = self._loss(self.v, self.s)
            for _ in range(2):
                gradient = 0.5 * functions @ (w * (self.residual**2 * np.exp(-self.v) - 1)) - penalty * self.s
                loss = self._move_variance(inverse @ gradient, loss)
            if before - loss < TOLERANCE * self.candidates.total:
                break

    def _move_variance(self, step: np.ndarray, loss: float) -> float:
        """A step of the log-variance, cut until the loss falls; the loss."""
        step *= min(1.0, MAX_CHANGE / max(np.abs(step @ self.variance_functions).max(), 1e-300))
        for length in (1.0, 0.3, 0.1):
            s = self.s + length * step
            v = self._log_variance(s)
            moved = self._loss(v, s)
            if moved < loss:
                self.s, self.v = s, v
                return moved
        return loss

    def bounds(self) -> np.ndarray:
        """Least and largest mean and log-variance that the samples support, shape (2, 2)."""
        mean, largest = self.y - self.residual, np.log(np.maximum((self.residual**2).max(), MIN_VARIANCE))
        v = np.minimum(self.v, largest)
        low, high = [max(mean.min(), self.y.min()), v.min()], [min(mean.max(), self.y.max()), v.max()]
        return np.array([low, high])


def fit_regression(
    x: np.ndarray,
    weights: np.ndarray,
    order: np.ndarray,
    limits: np.ndarray | None = None,
    information: float = 1.0,
) -> AutoregressiveRegression:
    """Fit an `AutoregressiveRegression` to weighted samples.

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
        In features of unit variance.
    weights : array of shape (n_samples,)
        Non-negative.
    order : int array of shape (n_features,)
    limits : array of shape (2, n_features), optional
        Beyond which no feature goes, besides those that its samples set.
    information : float, default=1.0
        Share of their effective number that the samples are worth.
    """
    kept = weights > 0
    x, w = x[kept], weights[kept] / weights.sum()
    w = w / (w @ w) * information
    reach = np.stack([np.maximum(x.min(0), -REACH), np.minimum(x.max(0), REACH)])
    candidates = _Candidates(np.clip(x, *reach)[:, order], w)
    fits = [_FeatureRegression(x[:, feature], j, candidates).fit() for j, feature in enumerate(order)]
    basis, mean, log_variance = _basis_and_coefficients(fits, np.asarray(order), reach)
    by_feature = np.empty((2, 2, x.shape[1]))
    by_feature[..., order] = np.stack([fit.bounds() for fit in fits], axis=-1)
    residuals = np.empty_like(x)
    for j, fit in zip(order, fits):
        mean_j, v = np.clip([fit.y - fit.residual, fit.v], *by_feature[:, :, j, None])
        residuals[:, j] = (fit.y - mean_j) * np.exp(-v / 2)
    distribution = fit_residuals(residuals, w)
    low, high = ranges_beyond(x)
    if limits is not None:
        low, high = np.fmax(low, limits[0]), np.fmin(high, limits[1])
    order, bounds = np.asarray(order), by_feature.reshape(2, -1)
    return AutoregressiveRegression(order, basis, mean, log_variance, bounds, distribution, np.array([low, high]))


def _basis_and_coefficients(
    fits: Sequence[_FeatureRegression], order: np.ndarray, reach: np.ndarray
) -> tuple[RegressionBasis, np.ndarray, np.ndarray]:
    """The basis functions that any feature uses, and the coefficients of the means and log-variances."""
    d = len(order)
    used = sorted({name for fit in fits for name in fit.mean_names + fit.variance_names})
    hinges = [name for name in used if name[0] == "hinge"]
    products = [name for name in used if name[0] == "product"]
    place = {name: 1 + d + k for k, name in enumerate(hinges + products)}
    place |= {("linear", a): 1 + order[a] for a in range(d)}
    mean, log_variance = np.zeros((2, 1 + d + len(hinges) + len(products), d))
    for feature, fit in zip(order, fits):
        mean[[0, *(place[name] for name in fit.mean_names)], feature] = fit.b
        log_variance[[0, *(place[name] for name in fit.variance_names)], feature] = fit.s
    hinged = np.array([order[a] for _, a, _ in hinges], dtype=int), np.array([knot for *_, knot in hinges])
    pairs = np.array([(order[a], order[b]) for _, a, b in products], dtype=int).reshape(-1, 2)
    return RegressionBasis(reach, hinged, pairs), mean, log_variance


def informative_order(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Features of unit variance in an order in which each is informative about those after it, shape (n_features,).

    For every pair of features the gain of predicting the second from the first is measured: what a quadratic mean and
    log-variance add to a linear mean and a constant log-variance.
    """
    x, w = x[weights > 0], weights[weights > 0] / weights.sum()
    gain = np.stack([_gain(x, w, k) for k in range(x.shape[1])])
    np.fill_diagonal(gain, 0.0)
    gain = np.maximum(gain, 0.0)
    left, order = list(range(x.shape[1])), []
    while left:
        lead = [gain[k, left].sum() - gain[left, k].sum() for k in left]
        order.append(left.pop(int(np.argmax(lead))))
    return np.array(order)


def _gain(x: np.ndarray, w: np.ndarray, k: int) -> np.ndarray:
    """Nats that feature k adds to the prediction of each feature, shape (n_features,)."""
    root = np.sqrt(w)[:, None]
    powers = np.clip(x, -REACH, REACH)[:, k : k + 1] ** np.arange(3)
    quadratic = np.linalg.qr(powers * root)[0]
    y = x * root
    variance = ((y - quadratic[:, :2] @ (quadratic[:, :2].T @ y)) ** 2).sum(0)
    residual = (y - quadratic @ (quadratic.T @ y)) / root
    log_square = np.log(residual**2 + 1e-4 * (w @ residual**2) + 1e-300)
    v = quadratic @ (quadratic.T @ (log_square * root)) / root
    spread = np.log(w @ (residual**2 * np.exp(-v)) + 1e-300) + w @ v
    return 0.5 * (np.log(variance + 1e-300) - spread)
