"""Choice of the marginal maps on held-out samples."""

import numpy as np

from skdiffusion.densities._em import fit_mixture
from skdiffusion.preprocessing import Preprocessor, TrainingData

FEATURE_TRANSFORMS = (None, "yeo-johnson", 1.0, 0.3, 0.1)
CLEAR_GAIN = 0.2  # nats a feature by which closed forms must prefer a transform to settle the matter
MAX_SELECTION_SAMPLES = 2000
JUDGES = (1, 6)  # components of the mixtures that judge a map


def select_feature_transforms(X, weights, folds, rng, bounds=None, candidates=FEATURE_TRANSFORMS):
    """Held-out mean log-density of the best closed-form distribution behind every candidate map.

    The candidates are the same map for all features, and the map that is best for each feature alone, if these are better
    than the first candidate on samples that did not choose them. Maps and distributions are fitted without the held-out samples; the
    judges are a Gaussian and mixtures.

    Returns
    -------
    dict
        Candidate (a tuple if it differs by feature) -> mean log-density in nats, units of X.
    """
    splits = []
    for fold in folds:
        train = np.setdiff1d(np.arange(len(X)), fold)
        if len(train) > MAX_SELECTION_SAMPLES:
            train = np.sort(rng.choice(train, MAX_SELECTION_SAMPLES, replace=False))
        splits.append((train, fold))
    scores, by_feature = {}, []
    for candidate in candidates:
        scores[candidate], columns = _judge(X, weights, splits, rng, bounds, [candidate] * len(splits))
        by_feature.append(columns)
    by_feature = np.stack(by_feature)

    def best_maps(without=None):
        chosen = np.delete(by_feature, without, axis=1) if without is not None else by_feature
        return tuple(candidates[i] for i in chosen.sum(1).argmax(0))

    mixed = best_maps()
    if len(set(mixed)) > 1:
        score, _ = _judge(X, weights, splits, rng, bounds, [mixed] * len(splits))
        unseen, _ = _judge(X, weights, splits, rng, bounds, [best_maps(without=i) for i in range(len(splits))])
        # Among many features there is always one that a map suits by chance.
        if unseen > scores[candidates[0]]:
            scores[mixed] = score
    return scores


def _judge(X, weights, splits, rng, bounds, candidates):
    """Held-out mean log-density of the best judge behind a candidate for each split.

    And log-densities of each feature alone as a Gaussian, summed over the held-out samples: (n_splits, n_features).
    """
    by_judge, columns, total = np.zeros(len(JUDGES)), [], 0.0
    for (train, held), candidate in zip(splits, candidates):
        map_ = Preprocessor(X[train], weights[train], candidate, bounds)
        z_train, _ = map_.transform(X[train])
        z_held, log_det = map_.transform(X[held])
        w = weights[held]
        for i, k in enumerate(JUDGES):
            if 30 * k > len(train) and k > 1:
                by_judge[i] = -np.inf
                continue
            mixture = fit_mixture(z_train, weights[train], k, 2.0 + X.shape[1], rng, max_iter=50, tol=1e-3)
            # A single far sample must not choose the map: the stack's Student-t bounds what it can cost.
            density = mixture.log_prob(z_held) + log_det
            by_judge[i] += w @ np.maximum(density, np.median(density) - 20.0 - 2.0 * X.shape[1])
        single = map_.feature_log_density(X[held])
        columns.append(w @ np.maximum(single, np.median(single, axis=0) - 20.0))
        total += w.sum()
    return float(by_judge.max() / total), np.stack(columns)


def feature_transform_candidates(data: TrainingData, asked: str | None) -> list:
    """Feature transforms worth a network: the one asked for, or the best of the candidates by closed forms.

    No transform at all is a second candidate where it is not far behind: a transform that helps a mixture can bend what
    a network would have learned easily.
    """
    if asked not in ("auto", "gaussianize"):
        return [asked]
    candidates = FEATURE_TRANSFORMS
    if asked == "gaussianize":
        candidates = tuple(c for c in FEATURE_TRANSFORMS if isinstance(c, float))
    if data.n_samples < 8:
        return [candidates[0]]
    folds = data.folds[: 2 if data.n_samples > 600 else 4]
    scores = select_feature_transforms(data.X, data.sample_weight, folds, data.rng, data.bounds, candidates)
    best, plain = max(scores, key=scores.get), candidates[0]
    clear = scores[best] - scores[plain] > CLEAR_GAIN * data.n_features
    return [best] if best == plain or clear else [best, plain]
