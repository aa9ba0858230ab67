r"""Gaussian mixtures by weighted, regularised expectation maximisation.

The covariance of a component is the mode under an inverse-Wishart prior,
:math:`C_k = (S_k + \nu\Psi)/(N_k + \nu)`, with S_k its weighted scatter, N_k its effective rows and
:math:`\Psi` the covariance of all rows shrunk by :math:`K^{-2/d}`. The strength nu and the number of
components are chosen by held-out log-density.
"""

import numpy as np

from skdiffusion._numerics import log_sum_exp
from skdiffusion.closed_form._mixture import LOG_2PI, GaussianMixtureLaw

COMPONENT_GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def _seed_means(X, weights, n_components, rng):
    """Rows spread by the k-means++ rule, then a few Lloyd iterations."""
    p = weights / weights.sum()
    means = X[[rng.choice(len(X), p=p)]]
    nearest = ((X - means[0]) ** 2).sum(1)
    for _ in range(n_components - 1):
        mass = p * nearest
        total = mass.sum()
        pick = rng.choice(len(X), p=mass / total if total > 0 else p)
        means = np.concatenate([means, X[[pick]]])
        nearest = np.minimum(nearest, ((X - X[pick]) ** 2).sum(1))
    half = (X**2).sum(1) / 2
    for _ in range(10):
        label = np.argmin(half[:, None] - X @ means.T + (means**2).sum(1) / 2, axis=1)
        mass = np.bincount(label, weights, n_components)
        one_hot = np.zeros((len(X), n_components))
        one_hot[np.arange(len(X)), label] = weights
        means = np.where(mass[:, None] > 0, (one_hot.T @ X) / np.maximum(mass, 1e-300)[:, None], means)
    return label


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
    prior = pooled * n_components ** (-2.0 / d) + floor * np.eye(d)
    label = _seed_means(X, w, n_components, rng) if n_components > 1 else np.zeros(n, dtype=int)
    r = np.zeros((n, n_components))
    r[np.arange(n), label] = 1.0
    previous = -np.inf
    for _ in range(max_iter):
        rw = r * w[:, None]
        mass = np.maximum(rw.sum(0), 1e-10)
        means = (rw.T @ X) / mass[:, None]
        covariances = np.empty((n_components, d, d))
        for k in range(n_components):
            centred = X - means[k]
            scatter = (centred * rw[:, [k]]).T @ centred
            covariances[k] = (scatter + strength * prior) / (mass[k] + strength) + floor * np.eye(d)
        log_joint = _log_joint(X, np.log(mass / mass.sum()), means, covariances)
        log_density = log_sum_exp(log_joint, axis=1)
        r = np.exp(log_joint - log_density[:, None])
        current = (w @ log_density) / effective
        if current - previous < tol or n_components == 1:
            break
        previous = current
    return GaussianMixtureLaw(mass, means, covariances)


def select_mixture(X, weights, train, held_out, rng, max_components=64):
    """Number of components and prior strength of greatest held-out mean log-density.

    Returns
    -------
    (n_components, strength), held-out mean log-density in nats
    """
    d = X.shape[1]
    best, best_score = (1, 1.0), -np.inf
    strengths = (1.0, 2.0 + d)
    for strength in strengths:
        worse = 0
        for k in COMPONENT_GRID:
            if k > max_components or (k > 1 and k * 2 > len(train)) or worse >= 2:
                break
            law = fit_mixture(X[train], weights[train], k, strength, rng, tol=1e-3)
            score = np.average(law.log_density(X[held_out]), weights=weights[held_out])
            worse = 0 if score > best_score else worse + 1
            if score > best_score:
                best, best_score = (k, strength), score
    return best, best_score
