"""Regressors that predict distributions, ours and the peers of `benchmarks.regression`, as their users set them up.

Each has ``fit(X, y, seed)``, ``log_prob(X, y)`` in nats, ``cdf(X, y)`` and ``quantiles(X, levels)``, on one thread,
and `modules`, which are imported before its clock starts. What a peer must choose (rounds of boosting, the width of a
kernel) it chooses on a fifth of the training samples, and is fitted again to all of them.
"""

import copy

import numpy as np
from scipy import stats

N_VALUES = 99  # quantiles or draws by which a distribution without a density is given
BROAD = 0.01  # weight of a broad Gaussian beside a kernel, which has no tails of its own


def split(X, y, seed):
    """Four fifths of the samples, and the others."""
    order = np.random.default_rng(seed).permutation(len(X))
    kept, left_out = order[len(X) // 5 :], order[: len(X) // 5]
    return X[kept], y[kept], X[left_out], y[left_out]


class Ours:
    """DiffusionRegressor with its defaults."""

    modules = ("torch", "skdiffusion.estimators")

    def fit(self, X, y, seed):
        import torch

        from skdiffusion import DiffusionRegressor

        torch.set_num_threads(1)
        self.model = DiffusionRegressor(random_state=seed).fit(X, y)
        return self

    def log_prob(self, X, y):
        return self.model.log_prob(X, y)

    def cdf(self, X, y):
        return self.model.cdf(X, y)

    def quantiles(self, X, levels):
        return self.model.predict_quantiles(X, levels)


class Gaussian:
    """Base of the regressors that predict a mean and a standard deviation, `_parameters`."""

    def log_prob(self, X, y):
        return stats.norm.logpdf(y, *self._parameters(X))

    def cdf(self, X, y):
        return stats.norm.cdf(y, *self._parameters(X))

    def quantiles(self, X, levels):
        mean, scale = self._parameters(X)
        return mean[:, None] + scale[:, None] * stats.norm.ppf(levels)


class NGBoost(Gaussian):
    """NGBoost's normal distribution, at most 500 rounds of rate 0.04 in place of the 2000 of rate 0.01 of its paper."""

    modules = ("ngboost",)

    def _fitted(self, X, y, seed, rounds, **left_out):
        from ngboost import NGBRegressor

        model = NGBRegressor(n_estimators=rounds, learning_rate=0.04, verbose=False, random_state=seed)
        return model.fit(X, y, **left_out)

    def fit(self, X, y, seed):
        A, a, B, b = split(X, y, seed)
        chosen = self._fitted(A, a, seed, 500, X_val=B, Y_val=b, early_stopping_rounds=50)
        self.model = self._fitted(X, y, seed, chosen.best_val_loss_itr + 1)
        return self

    def _parameters(self, X):
        found = self.model.pred_dist(X).params
        return found["loc"], found["scale"]


class XGBoostDistribution(Gaussian):
    """xgboost-distribution's normal distribution, the number of its rounds by early stopping."""

    modules = ("xgboost_distribution",)

    def fit(self, X, y, seed):
        from xgboost_distribution import XGBDistribution

        A, a, B, b = split(X, y, seed)
        options = {"distribution": "normal", "n_jobs": 1, "random_state": seed}
        stopped = XGBDistribution(n_estimators=500, early_stopping_rounds=10, **options)
        stopped.fit(A, a, eval_set=[(B, b)], verbose=False)
        self.model = XGBDistribution(n_estimators=stopped.best_iteration + 1, **options).fit(X, y)
        return self

    def _parameters(self, X):
        found = self.model.predict(X)
        return np.asarray(found.loc, dtype=float), np.asarray(found.scale, dtype=float)


class Values:
    """Base of the regressors that predict values, quantiles or draws, which a Gaussian kernel makes a density.

    Its width is a multiple of Silverman's rule at each x, and at least a thousandth of the standard deviation of y.
    """

    def fit(self, X, y, seed):
        A, a, B, b = split(X, y, seed)
        self.center, self.spread = y.mean(), y.std()
        trial = copy.copy(self)
        trial._fit(A, a, seed)
        values = trial._values(B)
        factors = np.geomspace(0.1, 6.0, 12)
        self.factor = max(factors, key=lambda f: self._log_density(values, b, f).mean())
        self._fit(X, y, seed)
        return self

    def _widths(self, values, factor):
        low, high = np.quantile(values, [0.25, 0.75], axis=1)
        scale = np.minimum(values.std(1), (high - low) / 1.34)
        return np.maximum(factor * 0.9 * scale * values.shape[1] ** -0.2, 1e-3 * self.spread)[:, None]

    def _log_density(self, values, y, factor):
        kernel = stats.norm.pdf(y[:, None], values, self._widths(values, factor)).mean(1)
        return np.log((1 - BROAD) * kernel + BROAD * stats.norm.pdf(y, self.center, 2 * self.spread))

    def log_prob(self, X, y):
        return self._log_density(self._values(X), y, self.factor)

    def cdf(self, X, y):
        values = self._values(X)
        kernel = stats.norm.cdf(y[:, None], values, self._widths(values, self.factor)).mean(1)
        return (1 - BROAD) * kernel + BROAD * stats.norm.cdf(y, self.center, 2 * self.spread)

    def quantiles(self, X, levels):
        return np.quantile(self._values(X), levels, axis=1).T


class Treeffuser(Values):
    """Treeffuser's draws."""

    modules = ("treeffuser",)

    def _fit(self, X, y, seed):
        from treeffuser import Treeffuser as Model

        self.model, self.seed = Model(seed=seed, n_jobs=1).fit(X, y), seed

    def _values(self, X):
        return self.model.sample(X, n_samples=N_VALUES, seed=self.seed).reshape(N_VALUES, len(X)).T


class QuantileForest(Values):
    """quantile-forest's quantiles."""

    modules = ("quantile_forest",)

    def _fit(self, X, y, seed):
        from quantile_forest import RandomForestQuantileRegressor

        self.model = RandomForestQuantileRegressor(random_state=seed, n_jobs=1).fit(X, y)

    def _values(self, X):
        return self.model.predict(X, quantiles=((np.arange(N_VALUES) + 0.5) / N_VALUES).tolist())


class HistGradientBoosting(Values):
    """Eleven quantiles of scikit-learn's HistGradientBoostingRegressor, sorted, and lines between them."""

    modules = ("sklearn.ensemble",)

    levels = (0.01, 0.05, 0.15, 0.25, 0.35, 0.5, 0.65, 0.75, 0.85, 0.95, 0.99)

    def _fit(self, X, y, seed):
        from sklearn.ensemble import HistGradientBoostingRegressor as Model

        self.models = [Model(loss="quantile", quantile=a, random_state=seed).fit(X, y) for a in self.levels]

    def _values(self, X):
        knots = np.sort([m.predict(X) for m in self.models], axis=0).T
        return self._between(knots, (np.arange(N_VALUES) + 0.5) / N_VALUES)

    def _between(self, knots, levels):
        return np.stack([np.interp(levels, self.levels, row) for row in knots])

    def quantiles(self, X, levels):
        return self._between(np.sort([m.predict(X) for m in self.models], axis=0).T, levels)


REGRESSORS = {
    "ours": Ours,
    "NGBoost": NGBoost,
    "xgboost-distribution": XGBoostDistribution,
    "quantile-forest": QuantileForest,
    "HistGradientBoosting": HistGradientBoosting,
    "treeffuser": Treeffuser,
}
