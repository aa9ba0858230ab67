r"""Features one after another: each regressed on those before it, mean and spread alike.

.. math:: p(x) = \prod_j p(x_j \mid x_{<j}),\qquad
    x_j = \mu_j(x_{<j}) + e^{v_j(x_{<j})/2}\,\varepsilon_j,

with :math:`\mu_j, v_j` linear in features of the features before (the features, their hinges and products) that
score tests have chosen, and noise :math:`\varepsilon_j` that is normal or a mixture of normals. What it says in closed
form, that a spread depends on a feature or that a feature follows from others, a network learns slowly. Beyond the samples
of the fit features, means and log-variances stay as they are at its edge. No mean leaves the values of its feature, no
standard deviation exceeds the largest residual: one feature would send those after it far away.

References
----------
Harvey (1976), Estimating regression models with multiplicative heteroscedasticity (the scoring steps).
Friedman (1991), Multivariate adaptive regression splines (hinges and products, added where they tell most).
"""

import numpy as np

from skdiffusion._utils.numerics import log_sum_exp, samples_times_matrix
from skdiffusion._utils.protocols import Density
from skdiffusion.densities._noise import fit_noise

REACH = 4.0  # standard deviations of a feature within which its features move
KNOTS = (-1.5, -0.75, 0.0, 0.75, 1.5)  # of the hinges, in standard deviations
N_ROUNDS = 3  # of choosing features
N_STEPS = 10  # of scoring after each of them
TOLERANCE = 1e-4  # nats a sample, below which scoring stops
MAX_NEW = 12  # features that a round may add, to the mean and to the log-variance
MAX_CROSSED = 12  # features whose products are tried for one feature
MIN_GAIN = 10.0  # least square of a score statistic, where few features are tried
OUTLIER = 3.0  # standardized residual beyond which a sample tells no more in the choice of features
RIDGE = 1.0  # penalty of a squared coefficient, in samples
MAX_LOG_VARIANCE = 10.0
MAX_CHANGE = 3.0  # of a log-variance in a step: where it is far too small, scoring would leap beyond all bounds
MIN_VARIANCE = 1e-9  # of a residual, in those of the feature


class AutoregressiveRegression(Density):
    """One order of the features.

    Parameters
    ----------
    order : array of shape (d,)
    reach : array of shape (2, d)
        Lower and upper ends of the features, beyond which features are constant.
    hinges : pair of arrays of shape (n_hinges,)
        Features and knots of features max(x - knot, 0).
    products : array of shape (n_products, 2)
        Pairs of features, equal ones for squares.
    mean, log_variance : arrays of shape (1 + d + n_hinges + n_products, d)
        Coefficients of the features 1, features, hinges, products.
    bounds : array of shape (2, 2 * d)
        Least and largest means and log-variances.
    noise : Noise
        Distributions of the residuals over their standard deviations.
    """

    _saved = ("order", "bounds", "hinges", "products", "mean", "log_variance", "noise", "reach")

    def __init__(self, order, reach, hinges, products, mean, log_variance, bounds, noise):
        self.order, self.reach, self.hinges, self.products = order, reach, hinges, products
        self.mean, self.log_variance, self.bounds, self.noise = mean, log_variance, bounds, noise

    def _features(self, clipped, which=slice(None)):
        """Features of clipped samples, all or some of them."""
        d, (columns, knots) = clipped.shape[1], self.hinges
        which = np.arange(len(self.mean))[which]
        kinds = np.searchsorted([1, 1 + d, 1 + d + len(columns)], which, side="right")
        lines, hinges, products = (which[kinds == kind] for kind in (1, 2, 3))
        hinges, products = hinges - 1 - d, self.products[products - 1 - d - len(columns)]
        parts = [
            np.ones((len(clipped), np.count_nonzero(kinds == 0))),
            clipped[:, lines - 1],
            np.maximum(clipped[:, columns[hinges]] - knots[hinges], 0.0),
            clipped[:, products[:, 0]] * clipped[:, products[:, 1]],
        ]
        return np.concatenate(parts, axis=1)

    def _predict(self, x):
        """Means and log-variances of all features, and whether they are within their bounds."""
        coefficients = np.concatenate([self.mean, self.log_variance], axis=1)
        raw = samples_times_matrix(self._features(np.clip(x, *self.reach)), coefficients)
        both = np.clip(raw, *self.bounds)
        return *np.split(both, 2, axis=1), *np.split(both == raw, 2, axis=1)

    def log_prob(self, x):
        """Log-density in nats, shape (n,)."""
        mean, v, *_ = self._predict(x)
        return (self.noise.log_prob((x - mean) * np.exp(-v / 2)) - v / 2).sum(1)

    def score(self, x):
        """Gradient of the log-density, shape (n, d)."""
        mean, v, mean_moves, v_moves = self._predict(x)
        e = (x - mean) * np.exp(-v / 2)
        slope = self.noise.score(e)
        own = slope * np.exp(-v / 2)
        by_mean = np.where(mean_moves, -own, 0.0)
        by_variance = np.where(v_moves, -0.5 * (slope * e + 1), 0.0)
        by_feature = by_mean @ self.mean.T + by_variance @ self.log_variance.T
        d, (columns, knots) = x.shape[1], self.hinges
        clipped = np.clip(x, *self.reach)
        through = by_feature[:, 1 : 1 + d].copy()
        ends = np.split(by_feature[:, 1 + d :], [len(columns)], axis=1)
        by_hinge = ends[0] * (clipped[:, columns] > knots)
        for k, feature in enumerate(columns):
            through[:, feature] += by_hinge[:, k]
        for k, (a, b) in enumerate(self.products):
            through[:, a] += ends[1][:, k] * clipped[:, b]
            through[:, b] += ends[1][:, k] * clipped[:, a]
        return own + np.where(clipped == x, through, 0.0)

    def sample(self, noise):
        """Samples from random numbers: the normal ones only."""
        noise = noise.normal
        x, clipped = np.empty_like(noise), np.zeros_like(noise)
        for j in self.order:
            coefficients = np.stack([self.mean[:, j], self.log_variance[:, j]], axis=1)
            used = np.flatnonzero(coefficients.any(1))
            raw = samples_times_matrix(self._features(clipped, used), coefficients[used])
            mean, v = np.clip(raw, *self.bounds[:, [j, j + len(self.order)]]).T
            x[:, j] = mean + np.exp(v / 2) * self.noise.from_normal(noise[:, j], j)
            clipped[:, j] = np.clip(x[:, j], *self.reach[:, j])
        return x


class RegressionDensity(Density):
    """A mixture of `AutoregressiveRegression` objects, of different orders of the features."""

    _saved = ("chains", "weights")

    def __init__(self, chains, weights):
        self.chains, self.weights = list(chains), np.asarray(weights, dtype=float)

    def _log_joint(self, x):
        return np.stack([chain.log_prob(x) for chain in self.chains], axis=1) + np.log(self.weights)

    def log_prob(self, x):
        """Log-density in nats, shape (n,)."""
        return log_sum_exp(self._log_joint(np.asarray(x, dtype=float)), axis=1)

    def score(self, x):
        """Gradient of the log-density, shape (n, d)."""
        joint = self._log_joint(x)
        share = np.exp(joint - log_sum_exp(joint, axis=1)[:, None])
        return sum(share[:, k : k + 1] * chain.score(x) for k, chain in enumerate(self.chains))

    def sample(self, noise):
        """Samples from random numbers: the uniform ones choose the orders."""
        which = np.searchsorted(np.cumsum(self.weights), noise.uniform, side="right")
        which = np.minimum(which, len(self.chains) - 1)
        x = np.empty_like(noise.normal)
        for k, chain in enumerate(self.chains):
            x[which == k] = chain.sample(noise.take(which == k))
        return x


def informative_order(x, weights):
    """Features in an order in which each tells most about those after it, shape (d,).

    For every pair: what a quadratic mean and log-variance gain over a line and a constant.
    """
    x, w = x[weights > 0], weights[weights > 0] / weights.sum()
    d = x.shape[1]
    root, clipped, gain = np.sqrt(w)[:, None], np.clip(x, -REACH, REACH), np.zeros((d, d))
    for k in range(d):
        powers = clipped[:, k : k + 1] ** np.arange(3)
        full = np.linalg.qr(powers * root)[0]
        y = x * root
        variance = ((y - full[:, :2] @ (full[:, :2].T @ y)) ** 2).sum(0)
        residual = (y - full @ (full.T @ y)) / root
        log_square = np.log(residual**2 + 1e-4 * (w @ residual**2) + 1e-300)
        v = full @ (full.T @ (log_square * root)) / root
        spread = np.log(w @ (residual**2 * np.exp(-v)) + 1e-300) + w @ v
        gain[k] = 0.5 * (np.log(variance + 1e-300) - spread)
    np.fill_diagonal(gain, 0.0)
    gain = np.maximum(gain, 0.0)
    left, order = list(range(d)), []
    while left:
        lead = [gain[k, left].sum() - gain[left, k].sum() for k in left]
        order.append(left.pop(int(np.argmax(lead))))
    return np.array(order)


class _Samples:
    """Samples of a fit, features in their order: arrays of shape (features, n), whose first features are a view.

    Parameters
    ----------
    x : array of shape (n, d)
        Features in the order of the chain, within their reach.
    w : array of shape (n,)
        Weights, summing to the effective number of samples.

    Attributes
    ----------
    lines : array (d, n)
    curves : array (d, 1 + len(KNOTS), n)
        The square and the hinges of every feature,
    bent : array of the same shape
        and what of them is not linear in the feature.
    """

    def __init__(self, x, w):
        self.w, self.total, self.lines = w, w.sum(), np.ascontiguousarray(x.T)
        lines = self.lines[:, None]
        self.curves = np.concatenate([lines**2, np.maximum(lines - np.array(KNOTS)[:, None], 0.0)], axis=1)
        self.names = [[("product", a, a), *(("hinge", a, k) for k in KNOTS)] for a in range(len(lines))]
        self.centered = self.lines - self.mean(self.lines)[:, None]
        spread = np.maximum(self.mean(self.centered**2), 1e-300)
        slopes = self.mean(self.curves * self.centered[:, None]) / spread[:, None]
        bent = self.curves - self.mean(self.curves)[..., None] - slopes[..., None] * self.centered[:, None]
        straight = self.mean(bent**2) < 1e-6 * self.mean(self.curves**2)
        self.bent = np.where(straight[..., None], 0.0, bent)

    def mean(self, values):
        """Weighted mean over the samples, the last axis."""
        return values @ self.w / self.total

    def crossed(self, columns):
        """Names and values of the products of these features, and what of them is not linear in the features."""
        first, second = np.tril_indices(len(columns), -1)
        pairs = np.array(columns)[np.stack([first, second], 1)]
        products = self.lines[pairs[:, 0]] * self.lines[pairs[:, 1]]
        root = np.sqrt(self.w)
        basis = np.linalg.qr((np.vstack([np.ones(len(root)), self.lines[columns]]) * root).T)[0]
        linear = (products * root) @ basis @ basis.T / np.maximum(root, 1e-150)
        return [("product", int(a), int(b)) for a, b in pairs], products, products - linear


def _statistics(bent, score, information):
    """Score statistics of features, from the score of every sample and its information."""
    variance = bent**2 @ information
    return np.where(variance > 1e-12, bent @ score / np.sqrt(np.maximum(variance, 1e-12)), 0.0)


class _Regression:
    """One feature given those before it: the features chosen so far, their coefficients, residuals."""

    def __init__(self, y, j, samples):
        self.y, self.samples, self.before = y, samples, list(range(j))
        self.of_mean, self.of_variance = [("line", a) for a in self.before], []
        ones = np.ones((1, len(y)))
        self.mean_samples, self.variance_samples = np.vstack([ones, samples.lines[:j]]), ones
        self.b, self.s, self.v = np.zeros(j + 1), np.zeros(1), np.zeros(len(y))
        self._solve_mean()
        self.s[0] = np.log(max(samples.mean(self.residual**2), MIN_VARIANCE))
        self.v[:] = self.s[0]

    def _penalties(self):
        """Of squared coefficients, in nats; none for the constants."""
        mean, variance = np.full(len(self.mean_samples), RIDGE), np.full(len(self.variance_samples), RIDGE / 2)
        mean[0] = variance[0] = 1e-6
        return mean, variance

    def _solve_mean(self):
        precision = self.samples.w * np.exp(-self.v)
        gram = (self.mean_samples * precision) @ self.mean_samples.T + np.diag(self._penalties()[0])
        self.b = np.linalg.solve(gram, self.mean_samples @ (precision * self.y))
        self.residual = self.y - self.b @ self.mean_samples

    def _log_variance(self, s):
        return np.clip(s @ self.variance_samples, np.log(MIN_VARIANCE), MAX_LOG_VARIANCE)

    def _loss(self, v, s):
        mean, variance = self._penalties()
        fit = self.samples.w @ (v + self.residual**2 * np.exp(-v))
        return 0.5 * (fit + mean @ self.b**2 + variance @ s**2)

    def choose(self):
        """Add the features that tell most; False if none tells."""
        samples, j = self.samples, len(self.before)
        standard = np.clip(self.residual * np.exp(-self.v / 2), -OUTLIER, OUTLIER)
        excess = standard**2 - samples.mean(standard**2)
        for_mean = samples.w * standard * np.exp(-self.v / 2), samples.w * np.exp(-self.v)
        for_variance = samples.w * excess, samples.w * samples.mean(excess**2)
        bent = samples.bent[:j].reshape(-1, len(self.y))
        in_mean, in_variance = _statistics(bent, *for_mean), _statistics(bent, *for_variance)
        of_lines = _statistics(samples.centered[:j], *for_variance)
        strength = np.abs(np.column_stack([in_mean.reshape(j, -1), in_variance.reshape(j, -1), of_lines])).max(1)
        names, values, crossed = samples.crossed(np.argsort(-strength, kind="stable")[:MAX_CROSSED])
        names = [*(name for of_feature in samples.names[:j] for name in of_feature), *names]
        values = [*samples.curves[:j].reshape(-1, len(self.y)), *values]
        in_mean = np.concatenate([in_mean, _statistics(crossed, *for_mean)])
        in_variance = np.concatenate([in_variance, _statistics(crossed, *for_variance), of_lines])
        # The largest of m squares of noise is about 2 log m.
        threshold = max(MIN_GAIN, 2 * np.log(len(names)))

        def best(statistics, names, taken):
            ranked = np.argsort(-np.abs(statistics), kind="stable")[: max(0, len(self.y) // 10 - len(taken))]
            told = [k for k in ranked if statistics[k] ** 2 > threshold and names[k] not in taken]
            return told[:MAX_NEW]

        lines = [("line", a) for a in self.before]
        new_mean = best(in_mean, names, self.of_mean)
        self.of_mean += [names[k] for k in new_mean]
        self.mean_samples = np.vstack([self.mean_samples, *(values[k] for k in new_mean)])
        self.b = np.append(self.b, np.zeros(len(new_mean)))
        names, values = names + lines, [*values, *samples.lines[:j]]
        new_variance = best(in_variance, names, self.of_variance)
        self.of_variance += [names[k] for k in new_variance]
        self.variance_samples = np.vstack([self.variance_samples, *(values[k] for k in new_variance)])
        if len(self.s) == 1 and new_variance:
            self._start_variance()
        else:
            self.s = np.append(self.s, np.zeros(len(new_variance)))
        return bool(new_mean or new_variance)

    def _start_variance(self):
        """Log-variances near those of greatest likelihood, by least squares of log squared residuals."""
        samples, squared = self.samples, self.residual**2
        target = np.log(squared + 1e-6 * samples.mean(squared) + 1e-300)
        gram = (self.variance_samples * samples.w) @ self.variance_samples.T + RIDGE * np.eye(
            len(self.variance_samples)
        )
        self.s = np.linalg.solve(gram, self.variance_samples @ (samples.w * target))
        over = np.minimum(squared * np.exp(-self._log_variance(self.s)), 20.0)
        self.s[0] += np.log(max(samples.mean(over), MIN_VARIANCE))
        self.v = self._log_variance(self.s)

    def improve(self):
        """Scoring steps, each of the variance cut until the likelihood rises."""
        w, penalty = self.samples.w, self._penalties()[1]
        inverse = np.linalg.inv(0.5 * (self.variance_samples * w) @ self.variance_samples.T + np.diag(penalty))
        loss = self._loss(self.v, self.s)
        for _ in range(N_STEPS):
            before = loss
            self._solve_mean()
            loss = self._loss(self.v, self.s)
            for _ in range(2):
                gradient = (
                    0.5 * self.variance_samples @ (w * (self.residual**2 * np.exp(-self.v) - 1)) - penalty * self.s
                )
                step = inverse @ gradient
                step *= min(1.0, MAX_CHANGE / max(np.abs(step @ self.variance_samples).max(), 1e-300))
                for length in (1.0, 0.3, 0.1):
                    s = self.s + length * step
                    v = self._log_variance(s)
                    moved = self._loss(v, s)
                    if moved < loss:
                        self.s, self.v, loss = s, v, moved
                        break
            if before - loss < TOLERANCE * self.samples.total:
                break


def _fit_feature(y, j, samples):
    fit = _Regression(y, j, samples)
    for _ in range(N_ROUNDS if j else 0):
        if not fit.choose():
            break
        fit.improve()
    return fit


def _bounds(fit):
    """Least and largest mean and log-variance that the samples of a fit support, shape (2, 2)."""
    mean, largest = fit.y - fit.residual, np.log(np.maximum((fit.residual**2).max(), MIN_VARIANCE))
    v = np.minimum(fit.v, largest)
    return np.array([[max(mean.min(), fit.y.min()), v.min()], [min(mean.max(), fit.y.max()), v.max()]])


def fit_regression(x, weights, order):
    """Fit a `AutoregressiveRegression` to weighted samples of unit variance, features in the given order."""
    d = x.shape[1]
    kept = weights > 0
    x, w = x[kept], weights[kept] / weights.sum()
    w = w / (w @ w)
    reach = np.stack([np.maximum(x.min(0), -REACH), np.minimum(x.max(0), REACH)])
    samples = _Samples(np.clip(x, *reach)[:, order], w)
    fits = [_fit_feature(x[:, feature], j, samples) for j, feature in enumerate(order)]
    used = sorted({name for fit in fits for name in fit.of_mean + fit.of_variance})
    hinges = [(order[name[1]], name[2]) for name in used if name[0] == "hinge"]
    products = [(order[name[1]], order[name[2]]) for name in used if name[0] == "product"]
    curved = [name for kind in ("hinge", "product") for name in used if name[0] == kind]
    place = {name: 1 + d + k for k, name in enumerate(curved)} | {("line", a): 1 + order[a] for a in range(d)}
    mean, log_variance = np.zeros((2, 1 + d + len(curved), d))
    for feature, fit in zip(order, fits):
        mean[[0, *(place[name] for name in fit.of_mean)], feature] = fit.b
        log_variance[[0, *(place[name] for name in fit.of_variance)], feature] = fit.s
    bounds = np.empty((2, 2, d))
    bounds[..., order] = np.stack([_bounds(fit) for fit in fits], axis=-1)
    residuals = np.empty_like(x)
    for j, fit in zip(order, fits):
        mean_j, v = np.clip([fit.y - fit.residual, fit.v], *bounds[:, :, j, None])
        residuals[:, j] = (fit.y - mean_j) * np.exp(-v / 2)
    noise = fit_noise(residuals, w)
    hinges = np.array([a for a, _ in hinges], dtype=int), np.array([knot for _, knot in hinges])
    products, bounds = np.array(products, dtype=int).reshape(-1, 2), bounds.reshape(2, -1)
    return AutoregressiveRegression(np.asarray(order), reach, hinges, products, mean, log_variance, bounds, noise)
