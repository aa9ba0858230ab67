r"""Gaussian mixtures by weighted, regularised expectation maximisation.

The covariance of a component is the mode under an inverse-Wishart prior,
:math:`C_k = (S_k + \nu\Psi)/(N_k + \nu)`, with S_k its weighted scatter, N_k its effective rows and
:math:`\Psi=\sum_k S_k/n` the covariance within components, re-estimated in every step. The strength nu
and the number of components are chosen by held-out log-density.
"""

import numpy as np

from skdiffusion._numerics import log_sum_exp
from skdiffusion.closed_form._mixture import LOG_2PI, GaussianMixtureLaw

COMPONENT_GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def _k_means_labels(X, weights, n_components, rng, n_restarts=4, n_iter=10):
    """Labels of the best of a few k-means runs from k-means++ seeds: EM keeps the basin it starts in."""
    p = weights / weights.sum()
    half = (X**2).sum(1) / 2
    best, best_inertia = None, np.inf
    for _ in range(n_restarts):
        means = X[[rng.choice(len(X), p=p)]]
        nearest = ((X - means[0]) ** 2).sum(1)
        for _ in range(n_components - 1):
            mass = p * nearest
            total = mass.sum()
            pick = rng.choice(len(X), p=mass / total if total > 0 else p)
            means = np.concatenate([means, X[[pick]]])
            nearest = np.minimum(nearest, ((X - X[pick]) ** 2).sum(1))
        for _ in range(n_iter):
            distance = half[:, None] - X @ means.T + (means**2).sum(1) / 2
            label = np.argmin(distance, axis=1)
            one_hot = np.zeros((len(X), n_components))
            one_hot[np.arange(len(X)), label] = weights
            mass = one_hot.sum(0)[:, None]
            means = np.where(mass > 0, (one_hot.T @ X) / np.maximum(mass, 1e-300), means)
        inertia = weights @ distance[np.arange(len(X)), label]
        if inertia < best_inertia:
            best, best_inertia = label, inertia
    return best


def _log_joint(X, log_weights, means, covariances):
    out = np.empty((len(X), len(means)))
    for k, (mean, covariance) in enumerate(zip(means, covariances)):
        factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(factor)
        scaled = X @ inverse.T - inverse @ mean
        out[:, k] = (
            log_weights[k]
            - 0.5 * np.einsum("ij,ij->i", scaled, scaled)
            - np.log(np.diag(factor)).sum()
            - 0.5 * X.shape[1] * LOG_2PI
        )
    return out


def fit_mixture(X, weights, n_components, strength, rng, max_iter=200, tol=1e-4):
    """Fit a `GaussianMixtureLaw` by EM.

    Parameters
    ----------
    X : array of shape (n, d)
    weights : array of shape (n,)
        Non-negative row weights; their scale does not matter, their effective number of rows does.
    n_components : int
    strength : float
        Prior rows per component, nu above. Raising it makes the components more alike.
    rng : numpy Generator
    max_iter, tol : int, float
        EM stops when the mean log-density rises by less than `tol` nats.
    """
    n, d = X.shape
    effective = weights.sum() ** 2 / (weights**2).sum()
    w = weights * (effective / weights.sum())
    mean = (w @ X) / effective
    pooled = ((X - mean) * w[:, None]).T @ (X - mean) / effective
    floor = 1e-6 * max(np.trace(pooled) / d, 1e-12)
    label = _k_means_labels(X, w, n_components, rng) if n_components > 1 else np.zeros(n, dtype=int)
    r = np.zeros((n, n_components))
    r[np.arange(n), label] = 1.0
    previous = -np.inf
    for _ in range(max_iter):
        rw = r * w[:, None]
        mass = np.maximum(rw.sum(0), 1e-10)
        means = (rw.T @ X) / mass[:, None]
        covariances = np.empty((n_components, d, d))
        for k in range(n_components):
            # Rows are whitened or nearly so: the shortcut E[xx'] - mm' loses no digits that matter.
            covariances[k] = (X * rw[:, [k]]).T @ X - mass[k] * np.outer(means[k], means[k])
        within = covariances.sum(0) / effective
        covariances = (covariances + strength * within) / (mass + strength)[:, None, None] + floor * np.eye(d)
        log_joint = _log_joint(X, np.log(mass / mass.sum()), means, covariances)
        log_density = log_sum_exp(log_joint, axis=1)
        r = np.exp(log_joint - log_density[:, None])
        current = (w @ log_density) / effective
        if current - previous < tol or n_components == 1:
            break
        previous = current
    return GaussianMixtureLaw(mass, means, covariances)


def select_mixture(X, weights, folds, rng, max_components=64):
    """Number of components and prior strength of greatest held-out mean log-density.

    Parameters
    ----------
    X, weights : arrays of shape (n, d) and (n,)
    folds : list of int arrays
        Rows held out in turn; more folds make the choice steadier for few rows.
    rng : numpy Generator
    max_components : int

    Returns
    -------
    (n_components, strength), held-out mean log-density in nats
    """
    n, d = X.shape
    rows = np.arange(n)
    trains = [np.setdiff1d(rows, fold) for fold in folds]
    largest = min(max_components, len(trains[0]) // 2)

    def held_out(setting, which):
        return np.concatenate(
            [
                fit_mixture(X[trains[i]], weights[trains[i]], *setting, rng, max_iter=60, tol=2e-3).log_density(
                    X[folds[i]]
                )
                for i in which
            ]
        )

    # A scan over the number of components on the first folds, then the best few on all of them.
    which = range(max(1, len(folds) // 3))
    scan_weight = np.concatenate([weights[folds[i]] for i in which])
    scores, since_gain = {}, 0
    for k in [k for k in COMPONENT_GRID if k == 1 or k <= largest]:
        setting = (k, 2.0 + d)
        score = np.average(held_out(setting, which), weights=scan_weight)
        since_gain = 0 if score > max(scores.values(), default=-np.inf) else since_gain + 1
        scores[setting] = score
        if since_gain >= 2:
            break
    finalists = sorted(sorted(scores, key=scores.get)[-3:])
    finalists += [(k, 0.5) for k, _ in finalists if k > 1]
    held_weight = np.concatenate([weights[fold] for fold in folds])
    held_weight = held_weight / held_weight.sum()
    best, best_density = None, None
    for setting in finalists:
        density = held_out(setting, range(len(folds)))
        if best is None or _clearly_better(density, best_density, held_weight):
            best, best_density = setting, density
    return best, float(held_weight @ best_density)


def _clearly_better(density, other, weight, margin=0.7):
    """Whether a mean gain exceeds `margin` of its paired standard error: ties keep the simpler law."""
    gain = density - other
    mean = weight @ gain
    return mean > margin * np.sqrt((weight**2) @ (gain - mean) ** 2)
