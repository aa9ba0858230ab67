"""What well-kept libraries give in the slots of our own components: scikit-learn's boosted trees and splines in that of
the autoregressive regression, scikit-learn's GaussianMixture in that of the mixture.

Each is a family of components (`skdiffusion.densities.COMPONENTS`), so that an ablation takes it by name.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from skdiffusion._utils.protocols import Density

MIN_VARIANCE = 1e-6  # of a residual, in the variance of its feature
N_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def boosting():
    """Boosted trees, of the size that their own validation samples choose."""
    return HistGradientBoostingRegressor(max_iter=200, learning_rate=0.1, early_stopping=True, random_state=0)


def splines():
    """Cubic splines of every feature, by ridge regression."""
    return make_pipeline(SplineTransformer(n_knots=6, extrapolation="linear"), RidgeCV(np.geomspace(1e-3, 1e3, 13)))


class ConditionalChain(Density):
    """The features one after another, each normal given those before it, mean and log-variance by two regressors.

    The log-variance is fitted to the squared out-of-fold residuals of the mean, which do not flatter it.

    Parameters
    ----------
    make : callable
        ``make()`` gives a scikit-learn regressor.
    z : array of shape (n, d)
        Features of unit variance.
    w : array of shape (n,)
    order : array of shape (d,)
    """

    def __init__(self, make, z, w, order):
        self.order, self.models = order, []
        for j, feature in enumerate(order):
            y, before = z[:, feature], z[:, order[:j]]
            if j == 0:
                mean = np.average(y, weights=w)
                self.models.append((mean, np.log(np.average((y - mean) ** 2, weights=w))))
                continue
            folds = KFold(5, shuffle=True, random_state=0)
            squared = (y - cross_val_predict(make(), before, y, cv=folds)) ** 2 + MIN_VARIANCE
            spread = make().fit(before, np.log(squared))
            v = cross_val_predict(make(), before, np.log(squared), cv=folds)
            shift = np.log(np.average(squared * np.exp(-v), weights=w))
            self.models.append((make().fit(before, y), (spread, shift)))

    def log_prob(self, z):
        """Log-density of samples, in nats."""
        total = np.full(len(z), -0.5 * z.shape[1] * np.log(2 * np.pi))
        for j, (feature, (mean, spread)) in enumerate(zip(self.order, self.models)):
            before = z[:, self.order[:j]]
            m, v = (mean, spread) if j == 0 else (mean.predict(before), spread[0].predict(before) + spread[1])
            v = np.maximum(v, np.log(MIN_VARIANCE))
            total -= 0.5 * ((z[:, feature] - m) ** 2 * np.exp(-v) + v)
        return total


class LibraryMixture(Density):
    """scikit-learn's GaussianMixture, of the number of components that a validation fold prefers."""

    def __init__(self, z, n_components):
        self.model = GaussianMixture(n_components, random_state=0).fit(z)

    def log_prob(self, z):
        """Log-density of samples, in nats."""
        return self.model.score_samples(z)


def best_number(z, fold):
    """Number of components of greatest mean log-density of a fold left out; the search ends after three losses."""
    rest, best, losses = np.setdiff1d(np.arange(len(z)), fold), (-np.inf, 1), 0
    for k in N_COMPONENTS:
        if 2 * k > len(rest) or losses == 3:
            break
        score = LibraryMixture(z[rest], k).log_prob(z[fold]).mean()
        losses = 0 if score > best[0] else losses + 1
        best = max(best, (score, k))
    return best[1]
