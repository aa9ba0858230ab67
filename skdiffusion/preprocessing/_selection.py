"""Choice of the marginal maps on held-out rows."""

import numpy as np

from skdiffusion._numerics import clearly_better
from skdiffusion.closed_form import fit_mixture
from skdiffusion.preprocessing._preprocessor import Preprocessor

MARGINAL_CANDIDATES = (None, "yeo-johnson", 1.0, 0.3, 0.1)
MAX_SELECTION_ROWS = 2000
MARGIN = 1.0  # standard errors by which the map of a column must be better than no map
JUDGES = (1, 6)  # components of the mixtures that judge a map


def select_marginals(X, weights, folds, rng, bounds=None, candidates=MARGINAL_CANDIDATES):
    """Held-out mean log-density of the best closed-form law behind every candidate map.

    The candidates are the same map for all columns, and the map that is best for each column alone, if it is clearly
    better than the first there. Maps and laws are fitted without the held-out rows; the judges are a Gaussian and
    mixtures.

    Returns
    -------
    dict
        Candidate (a tuple if it differs by column) -> mean log-density in nats, units of X.
    """
    splits = []
    for fold in folds:
        train = np.setdiff1d(np.arange(len(X)), fold)
        if len(train) > MAX_SELECTION_ROWS:
            train = np.sort(rng.choice(train, MAX_SELECTION_ROWS, replace=False))
        splits.append((train, fold[:MAX_SELECTION_ROWS]))
    scores, by_column = {}, []
    for candidate in candidates:
        scores[candidate], columns = _judge(X, weights, splits, rng, bounds, candidate)
        by_column.append(columns)
    table, shares = np.stack(by_column), np.concatenate([weights[held] for _, held in splits])
    shares /= shares.sum()
    mixed = tuple(_best_map(candidates, table[:, :, j], shares) for j in range(X.shape[1]))
    if len(set(mixed)) > 1:
        scores[mixed], _ = _judge(X, weights, splits, rng, bounds, mixed)
    return scores


def _best_map(candidates, density, shares):
    """The candidate of greatest mean log-density (n_candidates, n_rows), or the first if it is not clearly better.

    In many columns there is always one that a map suits by chance.
    """
    best = np.argmax(density @ shares)
    return candidates[best if clearly_better(density[best], density[0], shares, MARGIN) else 0]


def _judge(X, weights, splits, rng, bounds, candidate):
    """Held-out mean log-density of the best judge, and log-densities of each column alone as a Gaussian."""
    by_judge, columns, total = np.zeros(len(JUDGES)), [], 0.0
    for train, held in splits:
        map_ = Preprocessor(X[train], weights[train], candidate, bounds)
        z_train, _ = map_.transform(X[train])
        z_held, log_det = map_.transform(X[held])
        w = weights[held]
        for i, k in enumerate(JUDGES):
            if 30 * k > len(train) and k > 1:
                by_judge[i] = -np.inf
                continue
            law = fit_mixture(z_train, weights[train], k, 2.0 + X.shape[1], rng, max_iter=50, tol=1e-3)
            # A single far row must not choose the map: the stack's Student-t bounds what it can cost.
            density = law.log_density(z_held) + log_det
            by_judge[i] += w @ np.maximum(density, np.median(density) - 20.0 - 2.0 * X.shape[1])
        single = map_.column_log_density(X[held])
        columns.append(np.maximum(single, np.median(single, axis=0) - 20.0))
        total += w.sum()
    return float(by_judge.max() / total), np.concatenate(columns)
