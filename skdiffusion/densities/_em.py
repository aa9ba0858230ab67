r"""Gaussian mixtures by weighted, regularized expectation maximization.

The covariance of a component is the mode under an inverse-Wishart prior,
:math:`C_k = (S_k + \nu\Psi)/(N_k + \nu)`, with S_k its weighted scatter, N_k its effective samples and
:math:`\Psi=\sum_k S_k/n` the covariance within components, re-estimated in every step. The strength nu
and the number of components are chosen by held-out log-density: a strong prior serves components that are alike, a
weak one those of very different size or direction, which a single sample of the prior would drown.
"""

import time
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from skdiffusion._utils.numerics import TIE, best_blend, clearly_better, exp_in_place
from skdiffusion.densities._mixture import LOG_2PI, GaussianMixtureDensity

COMPONENT_GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
MEDIUM, WEAK, WEAKEST = 0.5, 2e-3, 1e-5  # strengths beside that of d + 2 samples
MARGIN = 0.7  # standard errors by which a distribution of more freedom must be better
CHEAP_COMPONENTS, STEP_COST = 64, 6e9  # more only while a step of EM takes fewer multiplications

MAX_SAMPLES = 4000  # of k-means, which find the basin; EM itself sees all


def k_means_labels(X, weights, n_clusters, rng):
    """Labels of samples (n, d) by k-means with sample weights: EM keeps the basin it starts in."""
    seen = np.flatnonzero(weights > 0)
    if len(seen) > MAX_SAMPLES:
        seen = np.sort(rng.choice(seen, MAX_SAMPLES, replace=False))
    # Runs from other seeds differ the less the more clusters there are.
    n_init = min(10, max(1, 40 // n_clusters))
    means = KMeans(n_clusters, n_init=n_init, max_iter=10, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters
        return means.fit(X[seen], sample_weight=weights[seen]).predict(X)


class _QuadraticFeatures:
    """Samples as (1, x, x_i x_j for i <= j), in blocks of samples: both steps of EM are then matrix products.

    The log-density of a Gaussian is linear in these features, and their weighted sums are its sufficient
    statistics. Blocks are kept if they are small enough, else made again in every pass.
    """

    max_kept = 40_000_000  # numbers

    def __init__(self, X):
        self.X, d = X, X.shape[1]
        self.upper = np.triu_indices(d)
        self.n_features = 1 + d + len(self.upper[0])
        size = max(1, 2_000_000 // self.n_features)
        self.blocks = [slice(i, i + size) for i in range(0, len(X), size)]
        keep = len(X) * self.n_features <= self.max_kept
        self._kept = [self._make(b) for b in self.blocks] if keep else None

    def _make(self, block):
        x = self.X[block]
        made, d = np.empty((len(x), self.n_features)), x.shape[1]
        made[:, 0], made[:, 1 : 1 + d] = 1.0, x
        start = 1 + d
        for i in range(d):
            np.multiply(x[:, i : i + 1], x[:, i:], out=made[:, start : start + d - i])
            start += d - i
        return made

    def __iter__(self):
        made = self._kept or (self._make(b) for b in self.blocks)
        return zip(self.blocks, made)

    def coefficients(self, log_weights, means, covariances):
        """Features that turn the features into log w_k N(x; m_k, C_k)."""
        i, j = self.upper
        factors = np.linalg.cholesky(covariances)
        inverses = np.linalg.inv(factors)
        precisions = inverses.transpose(0, 2, 1) @ inverses
        pulls = (precisions @ means[:, :, None])[:, :, 0]
        log_roots = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
        constants = log_weights - 0.5 * (means * pulls).sum(1) - log_roots - 0.5 * means.shape[1] * LOG_2PI
        # The diagonal counts once, a pair i < j twice.
        quadratics = -np.where(i == j, 0.5, 1.0) * precisions[:, i, j]
        return np.concatenate([constants[None], pulls.T, quadratics.T])

    def moments(self, sums):
        """Masses, means and scatter matrices about the means, from weighted sums of the features."""
        i, j = self.upper
        d = self.X.shape[1]
        mass = np.maximum(sums[:, 0], 1e-10)
        means = sums[:, 1 : 1 + d] / mass[:, None]
        second = np.empty((len(mass), d, d))
        second[:, i, j] = second[:, j, i] = sums[:, 1 + d :]
        return mass, means, second - mass[:, None, None] * means[:, :, None] * means[:, None, :]


def fit_mixture(X, weights, n_components, strength, rng, max_iter=200, tol=1e-4, start=None):
    """Fit a `GaussianMixtureDensity` by EM.

    Parameters
    ----------
    X : array of shape (n, d)
    weights : array of shape (n,)
        Non-negative sample weights; their scale does not matter, their effective number of samples does.
    n_components : int
    strength : float
        Prior samples per component, nu above. Raising it makes the components more alike.
    rng : numpy Generator
    max_iter, tol : int, float
        EM stops when the mean log-density rises by less than `tol` nats.
    start : GaussianMixtureDensity, optional
        Where EM starts; else from k-means.
    """
    effective = weights.sum() ** 2 / (weights**2).sum()
    w = weights * (effective / weights.sum())
    # About the mean: a scatter is a difference of sums, whose round-off must stay below the variances.
    center = (w @ X) / effective
    X = X - center
    n, d = X.shape
    features = _QuadraticFeatures(X)
    floor = 1e-6 * max((w @ X**2).sum() / effective / d, 1e-12) * np.eye(d)

    def mixture_of(sums):
        """Masses, means and covariances of greatest posterior density."""
        mass, means, scatter = features.moments(sums)
        within = scatter.sum(0) / effective
        return mass, means, (scatter + strength * within) / (mass + strength)[:, None, None] + floor

    if start is None:
        label = k_means_labels(X, w, n_components, rng) if n_components > 1 else np.zeros(n, dtype=int)
        one_hot = np.zeros((n, n_components))
        one_hot[np.arange(n), label] = w
        mixture = mixture_of(sum(one_hot[block].T @ made for block, made in features))
    else:
        mixture = effective * start.weights, start.means - center, start.covariances
    previous = -np.inf
    # One Gaussian is its moments.
    for _ in range(max_iter if n_components > 1 else 0):
        mass, means, covariances = mixture
        coefficients = features.coefficients(np.log(mass / mass.sum()), means, covariances)
        sums, total = 0.0, 0.0
        for block, made in features:
            r = made @ coefficients
            top = r.max(1, keepdims=True)
            r -= top
            exp_in_place(np.maximum(r, -700.0, out=r))  # subnormal numbers are slow
            norm = r.sum(1)
            total += w[block] @ (np.log(norm) + top[:, 0])
            r *= (w[block] / norm)[:, None]
            sums = sums + r.T @ made
        if total / effective - previous < tol:
            break
        mixture, previous = mixture_of(sums), total / effective
    mass, means, covariances = mixture
    return GaussianMixtureDensity(mass, means + center, covariances)


def select_mixture(X, weights, folds, rng, max_seconds=np.inf):
    """Number of components and prior strength of greatest held-out mean log-density, with a single Gaussian behind.

    Parameters
    ----------
    X, weights : arrays of shape (n, d) and (n,)
    folds : list of int arrays
        Samples held out in turn; more folds make the choice steadier for few samples.
    rng : numpy Generator
    max_seconds : float
        Time after which no larger number of components is tried.

    Returns
    -------
    (n_components, strength), held-out mean log-density in nats, the distributions fitted without each fold
    """
    started, (n, d) = time.perf_counter(), X.shape
    samples = np.arange(n)
    trains = [np.setdiff1d(samples, fold) for fold in folds]
    every = range(len(folds))
    affordable = max(CHEAP_COMPONENTS, int(STEP_COST / (n * d**2)))
    largest = min(affordable, len(trains[0]) // 2)
    strong = 2.0 + d

    known = {}
    stronger = {MEDIUM: strong, WEAK: strong, WEAKEST: WEAK}

    def fitted(setting, i):
        if (setting, i) not in known:
            k, strength = setting
            # Under a strong prior EM finds good basins; from there it goes on under a weaker one.
            start = known.get(((k, stronger.get(strength)), i), (None,))[0]
            mixture = fit_mixture(
                X[trains[i]], weights[trains[i]], k, strength, rng, max_iter=60, tol=2e-3, start=start
            )
            known[setting, i] = mixture, mixture.log_prob(X[folds[i]])
        return known[setting, i]

    def shares(which):
        held_weight = np.concatenate([weights[folds[i]] for i in which])
        return held_weight / held_weight.sum()

    def held_out(setting, which):
        density, single = (np.concatenate([fitted(s, i)[1] for i in which]) for s in (setting, (1, strong)))
        return best_blend(density, single, shares(which))

    def scan(strength):
        """Scores on the first folds, by number of components."""
        first = every[: max(1, len(folds) // 3)]
        scores, highest, since_gain = {}, -np.inf, 0
        for k in [k for k in COMPONENT_GRID if k == 1 or k <= largest]:
            score = scores[k, strength] = shares(first) @ held_out((k, strength), first)
            since_gain = 0 if score > highest + TIE else since_gain + 1
            highest = max(score, highest)
            # After two the search often ends at a chance dip.
            if since_gain >= 3 or time.perf_counter() - started > max_seconds:
                break
        return scores

    best, best_density = None, None

    def consider(*settings):
        """From the simplest on: a distribution of more freedom must be clearly better, on all folds."""
        nonlocal best, best_density
        for setting in settings:
            density = held_out(setting, every)
            if best is None or clearly_better(density, best_density, shares(every), MARGIN):
                best, best_density = setting, density

    def leading(strength, how_many):
        """The best of a scan, from the fewest components on, without those that only round-off ranks."""
        scores = scan(strength)
        useful = [(k, s) for (k, s), score in scores.items() if k == 1 or score > scores[1, strength] + TIE]
        return sorted(sorted(useful, key=scores.get)[-how_many:])

    consider(*leading(strong, 3))
    if best[0] > 1:
        consider((best[0], MEDIUM))
    consider(*[setting for setting in leading(WEAK, 2) if setting[0] > 1])
    if best[1] == WEAK:
        consider((best[0], WEAKEST))
    return best, float(shares(every) @ best_density), [fitted(best, i)[0] for i in every]
