"""The choice of the feature transforms by out-of-fold log-densities of closed forms."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.numerics import clearly_better, effective_number, floored
from skdiffusion._utils.processes import begin, results
from skdiffusion.densities._em import ExpectationMaximization, KMeansStart, MixtureSetting
from skdiffusion.preprocessing import (
    FeatureTransform,
    FirstMaps,
    Preprocessor,
    TrainingData,
    first_maps_candidates,
)

Transform = str | float | None  # of one feature

FEATURE_TRANSFORMS: tuple[Transform, ...] = (None, "yeo-johnson", 1.0, 0.3, 0.1)
NARROWER_TRANSFORMS = (0.03, 0.01)  # for features that heap at some values or end in steps
MAX_TRAINING_SAMPLES = 2000
MIN_SELECTION_SAMPLES = 8
LOGARITHM_GAIN = 0.01  # nats a feature by which closed forms must gain by logarithms
CLEAR_MARGIN = 2.0  # standard errors by which a gain is more than chance
CLEAR_GAIN = 0.2  # nats a feature by which closed forms must prefer a transform to settle the matter
N_COMPONENTS = (1, 6)  # of the mixtures that score a transform
MIN_COMPONENT_SAMPLES = 30  # for each component of more than one
EM = ExpectationMaximization(max_iter=50, tol=1e-3, max_k_means_runs=2)


class _Score(NamedTuple):
    """Out-of-fold log-density, in nats and units of X: the mean, and that of every sample of the folds."""

    mean: float
    log_prob: np.ndarray


class _Selection:
    """Transforms and mixtures fitted without each fold, and scored there."""

    def __init__(self, data: TrainingData, first: FirstMaps | None = None):
        self.data, self.first, self.splits = data, first, []
        for fold in data.folds:
            train = data.without(fold)
            if len(train) > MAX_TRAINING_SAMPLES:
                train = np.sort(data.rng.choice(train, MAX_TRAINING_SAMPLES, replace=False))
            self.splits.append((train, fold))

    def score_all(self, candidates: Sequence[Sequence[FeatureTransform]]) -> list[tuple[_Score, np.ndarray]]:
        """`_score` of candidates, each a transform for each fold, side by side."""
        tasks = []
        for transforms in candidates:
            for (train, fold), transform in zip(self.splits, transforms):
                tasks.append(begin(self._fold_sums, train, fold, transform, self._starts(train)))
        sums = results(tasks)
        return [self._score(sums[i : i + len(self.splits)]) for i in range(0, len(sums), len(self.splits))]

    def _score(self, sums: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[_Score, np.ndarray]:
        """The score of the best mixture behind a transform for each fold, and what each feature alone adds.

        The latter are sums by fold, shape (n_folds, n_features), as if the feature were Gaussian behind its map.
        """
        total, of_mixtures = 0.0, np.zeros(len(N_COMPONENTS))
        for (_, fold), (log_prob, _) in zip(self.splits, sums):
            w = self.data.sample_weight[fold]
            total += w.sum()
            of_mixtures += [w @ of_samples for of_samples in log_prob]
        log_prob = np.concatenate([log_prob[of_mixtures.argmax()] for log_prob, _ in sums])
        return _Score(float(of_mixtures.max() / total), log_prob), np.stack([by_feature for _, by_feature in sums])

    def _starts(self, train: np.ndarray) -> dict[int, KMeansStart | None]:
        """Starts of the mixtures that there are samples for, by their number of components."""
        w = self.data.sample_weight[train]
        enough = [k for k in N_COMPONENTS if k == 1 or MIN_COMPONENT_SAMPLES * k <= effective_number(w)]
        return {k: EM.draw_start(w, k, self.data.rng) for k in enough}

    def _fold_sums(
        self, train: np.ndarray, fold: np.ndarray, transform: FeatureTransform, starts: dict[int, KMeansStart | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities of a fold under the mixtures behind a transform, and their sums under each feature alone."""
        X, w, d = self.data.X, self.data.sample_weight, self.data.n_features
        preprocessor = Preprocessor(X[train], w[train], transform, self.data.bounds, self.first)
        z, _ = preprocessor.transform(X[train])
        z_left_out, log_det = preprocessor.transform(X[fold])
        log_prob = np.full((len(N_COMPONENTS), len(fold)), -np.inf)
        for k, start in starts.items():
            mixture = EM.fit(z, w[train], MixtureSetting(k, 2.0 + d), start=start)
            log_prob[N_COMPONENTS.index(k)] = floored(mixture.log_prob(z_left_out) + log_det, d)
        # Each feature is scored alone: there is no other whose far values would add up.
        return log_prob, w[fold] @ floored(preprocessor.feature_log_density(X[fold]), 0)

    def narrower_sums(self, features: np.ndarray, narrowest: float) -> np.ndarray:
        """What features alone add behind the `NARROWER_TRANSFORMS`, where that is clearly more than behind `narrowest`.

        Sums by fold as of `_score`, shape (n_transforms, n_folds, n_features), -inf elsewhere: a narrower map bends the
        features that others follow from, and has to gain by more than chance.
        """
        w, d = self.data.sample_weight, self.data.n_features
        out = np.full((len(NARROWER_TRANSFORMS), len(self.splits), d), -np.inf)
        best = self._feature_log_prob(features, narrowest)
        for sums, transform in zip(out, NARROWER_TRANSFORMS):
            log_prob = self._feature_log_prob(features, transform)
            gain = np.concatenate(log_prob) - np.concatenate(best)
            for j, feature in enumerate(features):
                if _is_clear(self.data, gain[:, j]):
                    sums[:, feature] = [w[fold] @ own[:, j] for (_, fold), own in zip(self.splits, log_prob)]
                    for kept, own in zip(best, log_prob):
                        kept[:, j] = own[:, j]
        return out

    def _feature_log_prob(self, features: np.ndarray, transform: float) -> list[np.ndarray]:
        """Log-densities of every fold under each of some features alone, (n_fold, n_some) for each fold."""
        X, w = self.data.X, self.data.sample_weight
        transforms = tuple(transform if j in features else None for j in range(self.data.n_features))
        out = []
        for train, fold in self.splits:
            preprocessor = Preprocessor(X[train], w[train], transforms, self.data.bounds, self.first)
            out.append(floored(preprocessor.feature_log_density(X[fold])[:, features], 0))
        return out


def select_feature_transforms(
    data: TrainingData, candidates: Sequence[Transform] = FEATURE_TRANSFORMS, first: FirstMaps | None = None
) -> dict[FeatureTransform, float]:
    """Out-of-fold mean log-density, in nats and units of X, of the best closed form behind each candidate transform."""
    return {transform: score.mean for transform, score in _scores(data, candidates, first).items()}


def _scores(
    data: TrainingData, candidates: Sequence[Transform], first: FirstMaps | None
) -> dict[FeatureTransform, _Score]:
    """Scores of the best closed form behind every candidate transform.

    The candidates are the same transform for all features, and the transform that is best for each feature alone (a
    tuple) if these are better than the first candidate on samples that did not choose them. Features that are best
    behind the narrowest candidate may have a narrower one. The closed forms are a Gaussian and a mixture; all folds of
    the data are left out in turn. All are behind the `first` maps.
    """
    scores: dict[FeatureTransform, _Score] = {}
    selection, n_folds, by_feature = _Selection(data, first), len(data.folds), []
    for candidate, (score, sums) in zip(candidates, selection.score_all([[c] * n_folds for c in candidates])):
        scores[candidate] = score
        by_feature.append(sums)
    table, all_candidates = np.stack(by_feature), tuple(candidates)  # (n_candidates, n_folds, n_features)
    narrowest = min((c for c in candidates if isinstance(c, float)), default=0.0)
    if narrowest > max(NARROWER_TRANSFORMS):
        features = np.flatnonzero(table.sum(1).argmax(0) == candidates.index(narrowest))
        if len(features):
            table = np.concatenate([table, selection.narrower_sums(features, narrowest)])
            all_candidates += NARROWER_TRANSFORMS

    def best_by_feature(folds: np.ndarray) -> tuple[Transform, ...]:
        return tuple(all_candidates[i] for i in table[:, folds].sum(1).argmax(0))

    every = np.arange(n_folds)
    mixed = best_by_feature(every)
    if len(set(mixed)) > 1 or mixed[0] not in candidates:
        chosen_without = [best_by_feature(np.delete(every, i)) for i in every]
        (score, _), (score_without, _) = selection.score_all([[mixed] * n_folds, chosen_without])
        # Among many features there is always one that a transform suits by chance.
        if score_without.mean > scores[candidates[0]].mean:
            scores[mixed] = score
    return scores


def feature_transform_candidates(
    data: TrainingData, asked: str | None
) -> tuple[FirstMaps | None, list[FeatureTransform]]:
    """First maps, and the feature transforms behind them that are worth a network: the one asked for, or the best.

    Closed forms choose. No transform at all is a second candidate where it is not far behind: a transform that helps a
    mixture can bend what a network would have learned easily. A transform that is asked for stands alone.
    """
    if asked not in ("auto", "gaussianize"):
        return None, [asked]
    candidates = FEATURE_TRANSFORMS
    if asked == "gaussianize":
        candidates = tuple(c for c in FEATURE_TRANSFORMS if isinstance(c, float))
    if data.n_effective < MIN_SELECTION_SAMPLES:
        return None, [candidates[0]]
    data = replace(data, folds=data.folds[: 2 if data.n_effective > 600 else 4])
    first, *others = first_maps_candidates(data.X, data.sample_weight, data.bounds) if asked == "auto" else [None]
    scores = _scores(data, candidates, first)
    best = max(scores, key=lambda c: scores[c].mean)
    for other in others:
        # A copy of the stream, so that no fit depends on what was only tried.
        of_other = _scores(replace(data, rng=copy.deepcopy(data.rng)), candidates, other)
        best_of_other = max(of_other, key=lambda c: of_other[c].mean)
        gain = of_other[best_of_other].mean - scores[best].mean
        # Mixtures see all that there is to see of one feature, but other components see more of several.
        clear = data.n_features == 1 or _is_clear(data, of_other[best_of_other].log_prob - scores[best].log_prob)
        if gain > LOGARITHM_GAIN * data.n_features and clear:
            first, scores, best = other, of_other, best_of_other
    plain = candidates[0]
    clear = scores[best].mean - scores[plain].mean > CLEAR_GAIN * data.n_features
    return first, [best] if best == plain or clear else [best, plain]


def _is_clear(data: TrainingData, gain: np.ndarray) -> bool:
    """Whether gains at the samples of all folds are more than chance: several that stand for one count once."""
    samples = np.concatenate(data.folds)
    if data.completed is not None:
        gain = data.completed.mean(gain, samples)
    weight = data.weights_of(data.first(samples))
    return clearly_better(gain, np.zeros(len(gain)), weight / weight.sum(), CLEAR_MARGIN)
