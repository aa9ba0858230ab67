"""Choice of the marginal maps on held-out rows."""

import numpy as np

from skdiffusion.closed_form import fit_mixture
from skdiffusion.preprocessing._preprocessor import Preprocessor

MARGINAL_CANDIDATES = (None, "yeo-johnson", 1.0, 0.3, 0.1)
MAX_SELECTION_ROWS = 2000
JUDGES = (1, 4, 8)  # components of the mixtures that judge a map


def select_marginals(X, weights, folds, rng, bounds=None, candidates=MARGINAL_CANDIDATES):
    """Held-out mean log-density of the best closed-form law behind every candidate map.

    Maps and laws are fitted without the held-out rows. The judges are a Gaussian and mixtures.

    Returns
    -------
    dict
        Candidate -> mean log-density in nats, units of X.
    """
    rows = np.arange(len(X))
    scores = {}
    for candidate in candidates:
        by_judge = np.zeros(len(JUDGES))
        total = 0.0
        for fold in folds:
            train = np.setdiff1d(rows, fold)
            if len(train) > MAX_SELECTION_ROWS:
                train = np.sort(rng.choice(train, MAX_SELECTION_ROWS, replace=False))
            held = fold[:MAX_SELECTION_ROWS]
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
                typical = np.median(density)
                by_judge[i] += w @ np.maximum(density, typical - 20.0 - 2.0 * X.shape[1])
            total += w.sum()
        scores[candidate] = float(by_judge.max() / total)
    return scores
