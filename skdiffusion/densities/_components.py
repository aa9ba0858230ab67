"""The closed-form components of a fit: each a distribution of all samples, and its log-densities of samples held out."""

from collections import defaultdict
from functools import partial
from math import factorial

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skdiffusion._utils.numerics import best_blend
from skdiffusion.densities._component import Component
from skdiffusion.densities._em import fit_mixture, select_mixture
from skdiffusion.densities._kernel import BandwidthSearch, Spacing, kernel_density, leave_one_out
from skdiffusion.densities._mixture import GaussianMixtureDensity
from skdiffusion.densities._regression import RegressionDensity, fit_regression, informative_order
from skdiffusion.densities._stacking import blend_log_density, stacking_weights
from skdiffusion.densities._student import fit_student_t
from skdiffusion.densities._transformed import TransformedDensity
from skdiffusion.preprocessing import Preprocessor

COMPONENTS = ("mixture", "student", "regression", "kernel")
STUDENT_MIN_WEIGHT = 0.002
MAX_ENDS = 3  # of EM from other starts, whose mean scores held-out samples
MAX_STEP = 2.5e8  # multiplications of a step of EM, beyond which more ends take longer than the networks
MIN_BETTER = 0.05  # weight of mixtures, or of regressions, in the blend from which more work on them pays
NEGLIGIBLE = 1e-4  # weight of a member that costs time and changes nothing
MAX_KERNEL_SAMPLES = 20_000  # a kernel component keeps its samples: beyond this it is left out
MAX_QUERIES = 500  # samples that choose the bandwidth and the space of the kernel
NEIGHBOR = 4  # whose distance is the spacing of a sample
MIN_REGRESSION_SAMPLES = 40  # fewer tell no feature from chance
MAX_WORK = 3e9  # multiplications of a regression of all features, beyond which it costs more than the networks
MAX_REGRESSION_SAMPLES = 20_000  # more say nothing about a few coefficients, and features of them fill the memory
N_ORDERS = 4  # of the features in a regression component of weight: one that tells much, the others random
TRIAL_SAMPLES = 200  # held-out samples at least, at which a regression must be worth something
MIN_TOTAL_GAIN = 2.0  # nats in all that a regression or a kernel must add to the blend: chance alone seldom gives more


class _Mixtures:
    """Mixtures of the samples in a space, of the size that held-out samples choose.

    Where EM ends depends on where it starts. Held-out samples are scored by the mean of as many ends as are asked for; the
    distribution of all samples goes on from the better half of those of all folds, which takes few steps.
    """

    def __init__(self, X, w, space, judges, scored, rng, max_seconds=np.inf):
        self.space, self.w, self.scored = space, w, scored
        self.z, _ = space.transform(X)
        self.unseen, self.log_det = space.transform_left_out(X, w)
        (k, strength), _, starts = select_mixture(self.z, w, judges, rng, max_seconds)
        self.max_ends = MAX_ENDS if k > 1 and k * self.z.size * self.z.shape[1] < MAX_STEP else 1
        self.fit = partial(fit_mixture, n_components=k, strength=strength, rng=rng)
        # The judges are the first folds: one end goes on from their distribution, which has seen the same samples.
        starts = [*starts, *[None] * len(scored)]
        self.ends = [[self._without(fold, start)] for fold, start in zip(scored, starts)]

    def _without(self, fold, start=None):
        seen = np.setdiff1d(np.arange(len(self.z)), fold)
        return self.fit(self.z[seen], self.w[seen], tol=1e-3, start=start)

    def member(self, name, n_ends=1):
        """The member of so many ends: of all samples, and scored on those of each fold without these."""
        for fold, ends in zip(self.scored, self.ends):
            ends += [self._without(fold) for _ in range(n_ends - len(ends))]
        scores = [
            GaussianMixtureDensity.mean(ends).log_prob(self.unseen[fold]) + self.log_det[fold]
            for fold, ends in zip(self.scored, self.ends)
        ]
        starts = sorted(sum(self.ends, []), key=lambda density: self.w @ density.log_prob(self.z))
        starts = starts[len(starts) // 2 :] if n_ends > 1 else starts[-1:]
        density = GaussianMixtureDensity.mean([self.fit(self.z, self.w, start=start) for start in starts])
        more = partial(self.member, name, self.max_ends) if n_ends < self.max_ends else None
        return Component(name, TransformedDensity(self.space, density), np.concatenate(scores), "mixture", improve=more)


def _student(X, w, space, scored):
    """The Student-t member, scored on the samples of each fold without these."""
    z, _ = space.transform(X)
    unseen, log_det = space.transform_left_out(X, w)
    scores = []
    for fold in scored:
        seen = np.setdiff1d(np.arange(len(z)), fold)
        scores.append(fit_student_t(z[seen], w[seen]).log_prob(unseen[fold]) + log_det[fold])
    return Component(
        "student", TransformedDensity(space, fit_student_t(z, w)), np.concatenate(scores), "student", STUDENT_MIN_WEIGHT
    )


class _Regressions:
    """Chains of regressions of the samples in the features of a space, of unit variance, in several orders of the features.

    Two of the scored folds are left out at a time: a chain needs few samples.
    """

    def __init__(self, X, w, space, scored, rng):
        self.space, self.w, self.rng = space.unwhitened(), w, rng
        self.z, _ = self.space.transform(X)
        self.unseen, self.log_det = self.space.transform_left_out(X, w)
        self.pairs = [np.concatenate(scored[i : i + 2]) for i in range(0, len(scored), 2)]
        self.orders, self.held_out, self.whole = [informative_order(self.z, w)], [[]], {}
        self.max_orders = min(N_ORDERS, factorial(min(self.z.shape[1], N_ORDERS)))

    def _chain(self, samples, order):
        if len(samples) > MAX_REGRESSION_SAMPLES:
            samples = np.sort(self.rng.choice(samples, MAX_REGRESSION_SAMPLES, replace=False))
        return fit_regression(self.z[samples], self.w[samples], order)

    def score(self, order, n_samples=None):
        """Log-densities of the samples of the folds, of at least so many, by the order of that number."""
        scores = self.held_out[order]
        for pair in self.pairs[len(scores) :]:
            if n_samples is not None and sum(map(len, scores)) >= n_samples:
                break
            chain = self._chain(np.setdiff1d(np.arange(len(self.z)), pair), self.orders[order])
            scores.append(chain.log_prob(self.unseen[pair]) + self.log_det[pair])
        return np.concatenate(scores)

    def _grow(self, n_orders):
        """Draw random orders, each another, until there are so many."""
        while len(self.orders) < n_orders:
            order = self.rng.permutation(self.z.shape[1])
            if not any(np.array_equal(order, known) for known in self.orders):
                self.orders.append(order)
                self.held_out.append([])

    def _of_all_samples(self, order):
        if order not in self.whole:
            self.whole[order] = self._chain(np.arange(len(self.z)), self.orders[order])
        return self.whole[order]

    def member(self, name, others, n_orders=1):
        """The member of so many orders, of shares that add most to the blend of the others."""
        self._grow(n_orders)
        table = np.stack([self.score(k) for k in range(n_orders)], axis=1)
        shares = stacking_weights(np.column_stack([others, table]), self.w[np.concatenate(self.pairs)])[1:]
        kept = np.flatnonzero(shares > NEGLIGIBLE) if shares.max() > NEGLIGIBLE else np.zeros(1, dtype=int)
        shares = shares[kept] / shares[kept].sum() if len(kept) > 1 else np.ones(1)
        density = RegressionDensity([self._of_all_samples(k) for k in kept], shares)
        more = partial(self.member, name, others, self.max_orders) if n_orders < self.max_orders else None
        return Component(
            name,
            TransformedDensity(self.space, density),
            blend_log_density(table[:, kept], shares),
            "regression",
            improve=more,
        )


def _worthwhile(first, others, shares):
    """Names of the distributions that add to the blend, the one that adds most first; from log-densities of the same samples."""
    left, chosen = dict(first), []
    while left:
        blends = {name: best_blend(log_density, others, shares) for name, log_density in left.items()}
        gains = {name: len(shares) * (shares @ (blend - others)) for name, blend in blends.items()}
        best = max(gains, key=gains.get)
        if gains[best] < MIN_TOTAL_GAIN:
            break
        chosen.append(best)
        others = blends[best]
        del left[best]
    return chosen


def _fit_regressions(X, w, spaces, scored, others, rng):
    """Regression members of the named spaces where they add to the blend of the others.

    `others` are the log-densities of that blend at the samples of the scored folds. One chain of each space is tried on
    the first folds; only where it adds to the blend are all folds worth their time.
    """
    tried = {name: _Regressions(X, w, space, scored, rng) for name, space in spaces.items()}
    first = {name: regressions.score(0, TRIAL_SAMPLES) for name, regressions in tried.items()}
    n_trials = len(next(iter(first.values())))
    shares = w[np.concatenate(scored)[:n_trials]]
    return [tried[name].member(name, others) for name in _worthwhile(first, others[:n_trials], shares / shares.sum())]


def _left_out_together(folds, n_samples):
    """The folds, in parts of as many as together hold at most `n_samples`: each part costs a distribution without its samples."""
    step = max(1, n_samples // max(map(len, folds)))
    return [np.concatenate(folds[i : i + step]) for i in range(0, len(folds), step)]


def fit_components(X, w, raw, mapped, bounds, folds, n_scored, rng, with_kernel, max_seconds=np.inf):
    """Mixture, Student-t, regression and kernel members, each refitted on all samples after its held-out scoring.

    `raw` only whitens; `mapped` is the preprocessor with a marginal map, or None. Mixtures are fitted behind both, the
    kernel behind the better one, or in its unwhitened features, regressions behind those where they add, or behind
    power maps. The search for the components of each mixture takes about `max_seconds` at most.
    """
    scored = folds[:n_scored]
    parts = _left_out_together(scored, len(X) // len(folds))
    judges = folds if len(X) <= 400 else folds[:3] if len(X) <= 5000 else parts[:1]
    spaces = {"mixture": raw} if mapped is None else {"mapped_mixture": mapped, "mixture": raw}
    members = [_Mixtures(X, w, space, judges, parts, rng, max_seconds).member(name) for name, space in spaces.items()]
    members.append(_student(X, w, raw, parts))
    held = np.concatenate(scored)

    def blend():
        return blend_log_density(np.stack([m.held_out_log_prob for m in members], 1), blend_weights(members, w[held]))

    work = min(len(X), MAX_REGRESSION_SAMPLES) * X.shape[1] ** 3
    if X.shape[1] > 1 and len(X) >= MIN_REGRESSION_SAMPLES and work < MAX_WORK:
        by_powers = mapped is not None and mapped.marginals == "yeo-johnson"
        named = {"regression": raw}
        named["power_regression"] = mapped if by_powers else Preprocessor(X, w, "yeo-johnson", bounds)
        if mapped is not None and not by_powers:
            named["mapped_regression"] = mapped
        members += _fit_regressions(X, w, named, scored, blend(), rng.spawn(1)[0])
    if with_kernel and len(X) <= MAX_KERNEL_SAMPLES:
        members += _fit_kernel(X, w, list(spaces.values()), held, blend(), rng)
    return members


def spacing_of(samples, weights):
    """Spacing of samples (n, d) among distinct ones; None where these are too few."""
    distinct, inverse = np.unique(samples, axis=0, return_inverse=True)
    if len(distinct) < NEIGHBOR + 2:
        return None
    distances, _ = NearestNeighbors(n_neighbors=NEIGHBOR + 2).fit(distinct).kneighbors(distinct)
    return Spacing.of_distances(*distances[inverse.ravel(), NEIGHBOR:].T, weights)


class _Kernels:
    """Kernels at the samples in a space, of one width or as wide as samples lie apart, and the search for that width."""

    def __init__(self, X, w, space, queries, others, adaptive=False):
        self.space, self.w, self.queries = space, w, queries
        self.z, _ = space.transform(X)
        unseen, self.log_det = space.transform_left_out(X, w)
        self.spacing = spacing_of(self.z, w) if adaptive else None
        self.context = unseen, 1 - space.whitening.shrinkage, self.spacing
        self.search = BandwidthSearch(self.z, w, queries, others - self.log_det[queries], *self.context)

    def score(self):
        """Mean log-density of the queries under the best blend with the others."""
        return np.average(self.search.blended + self.log_det[self.queries], weights=self.w[self.queries])

    def member(self, held):
        scores = leave_one_out(self.z, self.w, [self.search.bandwidth], held, *self.context)[0]
        density = kernel_density(self.z, self.search.bandwidth, self.w, self.spacing)
        return Component("kernel", TransformedDensity(self.space, density), scores + self.log_det[held], "kernel")


def _fit_kernel(X, w, spaces, held, others, rng):
    """The kernel member in the best of the spaces, whitened or not, by samples left out one at a time, or none.

    The best is what adds most to the blend of the others, whose log-densities at the `held` samples are `others`: beside a
    mixture a kernel may serve near copies alone. Its kernels are of one width, or as wide as samples lie apart where that
    is better: not at sharp edges.
    """
    spaces = [*spaces, *(s.unwhitened() for s in spaces if s.whitening.correlated)]
    chosen = np.sort(rng.choice(len(held), MAX_QUERIES, replace=False)) if len(held) > MAX_QUERIES else slice(None)
    judged = held[chosen], others[chosen]
    tried = [_Kernels(X, w, space, *judged) for space in spaces]
    if max(kernels.search.max_gained for kernels in tried) < MIN_TOTAL_GAIN:
        return []
    even = max(tried, key=_Kernels.score)
    finalists = [even, _Kernels(X, w, even.space, *judged, adaptive=True)]
    for kernels in finalists:
        kernels.search.refine()
    return [max(finalists, key=_Kernels.score).member(held)]


def blend_weights(members, w_held):
    """Stacking weights of the members, the Student-t kept at its least weight; negligible ones are zero."""
    least = [m.min_weight for m in members]
    weights = stacking_weights(np.stack([m.held_out_log_prob for m in members], 1), w_held, np.array(least))
    weights[weights < NEGLIGIBLE] = 0.0
    return weights / weights.sum()


def improved(members, w_held):
    """The members, those that can be made better so if their kind is worth it: one end of EM may hide another."""
    share = defaultdict(float)
    for m, p in zip(members, blend_weights(members, w_held)):
        share[m.kind] += p
    return [m.improve() if m.improve and share[m.kind] > MIN_BETTER else m for m in members]
