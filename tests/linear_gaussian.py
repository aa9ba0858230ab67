"""A regressor whose predicted distribution has a closed form: a straight line with Gaussian noise of one variance."""

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data


class LinearGaussianRegressor(RegressorMixin, BaseEstimator):
    """Least squares, and the standard deviation of its residuals times `widening`, with the methods of a distribution.

    One output only.
    """

    def __init__(self, widening=1.0):
        self.widening = widening

    def fit(self, X, y, sample_weight=None):
        X, y = validate_data(self, X, y, y_numeric=True)
        self.line_ = LinearRegression().fit(X, y, sample_weight)
        residuals = y - self.line_.predict(X)
        self.scale_ = self.widening * np.sqrt(np.average(residuals**2, weights=sample_weight))
        return self

    def predict(self, X):
        return self.line_.predict(validate_data(self, X, reset=False))

    def predict_quantiles(self, X, quantiles):
        return self.predict(X)[:, None] + self.scale_ * stats.norm.ppf(quantiles)

    def predict_interval(self, X, coverage=0.9):
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def sample_y(self, X, n_samples=1, random_state=None):
        noise = check_random_state(random_state).standard_normal((len(X), n_samples))
        return self.predict(X)[:, None] + self.scale_ * noise

    def log_prob(self, X, y):
        return stats.norm.logpdf(y, self.predict(X), self.scale_)

    def cdf(self, X, y):
        return stats.norm.cdf(y, self.predict(X), self.scale_)
