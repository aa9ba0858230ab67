"""The closed-form companions of a fit: each a law of all rows, and its log-densities of rows held out."""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skdiffusion._numerics import best_blend
from skdiffusion.closed_form import (
    GaussianMixtureLaw,
    RegressionLaw,
    empirical_law,
    fit_chain,
    fit_mixture,
    fit_student,
    select_bandwidth,
    select_mixture,
    telling_order,
)
from skdiffusion.closed_form._kernel import Spacing, leave_one_out
from skdiffusion.companions import PlacedLaw
from skdiffusion.preprocessing import Preprocessor
from skdiffusion.stacking import blend_log_density, stacking_weights

STUDENT_LEAST_WEIGHT = 0.002
N_MIXTURES = 3  # ends of EM from other starts, whose mean is a companion
NEGLIGIBLE = 1e-4  # weight of a member that costs time and changes nothing
MAX_KERNEL_ROWS = 20_000  # a kernel companion keeps its rows: beyond this it is left out
MOST_QUERIES = 500  # rows that choose the bandwidth and the space of the kernel
NEIGHBOUR = 4  # whose distance is the spacing of a row
LEAST_REGRESSION_ROWS = 40  # fewer tell no feature from chance
MOST_WORK = 3e9  # multiplications of a regression of all columns, beyond which it costs more than the networks
MAX_REGRESSION_ROWS = 20_000  # more say nothing about a few coefficients, and features of them fill the memory
N_ORDERS = 2  # of the columns in a regression companion: one that tells much, the others random
TRIAL_ROWS = 200  # held-out rows at least, at which a regression must be worth something:
WORTH = 2.0  # nats in all that it adds to the blend there


@dataclass
class Member:
    """A member of the stack: its name, its law on all rows, its held-out log-densities."""

    name: str
    law: object
    held_out: np.ndarray


def _scored_mixture(w, space, z, unseen, log_det, judges, scored, rng):
    """A mixture of all rows, and its log-densities of the rows of each scored fold without these.

    Where EM ends depends on where it starts: the law is the mean of a few ends.
    """
    (k, strength), _, starts = select_mixture(z, w, judges, rng)
    fit = partial(fit_mixture, n_components=k, strength=strength, rng=rng)
    runs = range(N_MIXTURES if k > 1 else 1)
    laws, scores = [], []
    for i, fold in enumerate(scored):
        seen = np.setdiff1d(np.arange(len(z)), fold)
        # The judges are the first folds: one end goes on from their law, which has seen the same rows.
        begin = [starts[i] if run == 0 and i < len(starts) else None for run in runs]
        ends = [fit(z[seen], w[seen], tol=1e-3, start=start) for start in begin]
        scores.append(GaussianMixtureLaw.mean(ends).log_density(unseen[fold]) + log_det[fold])
        laws += ends
    best = sorted(laws, key=lambda law: w @ law.log_density(z))[-len(runs) :]
    law = GaussianMixtureLaw.mean([fit(z, w, start=start) for start in best])
    return PlacedLaw(space, law), np.concatenate(scores)


def _scored_student(w, space, z, unseen, log_det, scored):
    """A Student-t of all rows, and its log-densities of the rows of each scored fold without these."""
    scores = []
    for fold in scored:
        seen = np.setdiff1d(np.arange(len(z)), fold)
        scores.append(fit_student(z[seen], w[seen]).log_density(unseen[fold]) + log_det[fold])
    return PlacedLaw(space, fit_student(z, w)), np.concatenate(scores)


class _Regressions:
    """Chains of regressions of the rows in the columns of a space, of unit variance."""

    def __init__(self, X, w, space, rng):
        self.space, self.w, self.rng = space.unwhitened(), w, rng
        self.z, _ = self.space.transform(X)
        self.unseen, self.log_det = self.space.transform_left_out(X, w)
        self.order = telling_order(self.z, w)

    def fit(self, rows, order):
        if len(rows) > MAX_REGRESSION_ROWS:
            rows = np.sort(self.rng.choice(rows, MAX_REGRESSION_ROWS, replace=False))
        return fit_chain(self.z[rows], self.w[rows], order)

    def held_out(self, folds, order):
        """Log-densities of the rows of the folds, two of which are left out at a time: a chain needs few rows."""
        pairs = [np.concatenate(folds[i : i + 2]) for i in range(0, len(folds), 2)]
        chains = [self.fit(np.setdiff1d(np.arange(len(self.z)), pair), order) for pair in pairs]
        return np.concatenate([c.log_density(self.unseen[p]) + self.log_det[p] for c, p in zip(chains, pairs)])

    def law(self, orders, shares):
        chains = [self.fit(np.arange(len(self.z)), order) for order in orders]
        return PlacedLaw(self.space, RegressionLaw(chains, shares))


def _worthwhile(first, others, shares):
    """Names of the laws that add to the blend, the one that adds most first; from log-densities of the same rows."""
    left, chosen = dict(first), []
    while left:
        blends = {name: best_blend(log_density, others, shares) for name, log_density in left.items()}
        gains = {name: len(shares) * (shares @ (blend - others)) for name, blend in blends.items()}
        best = max(gains, key=gains.get)
        if gains[best] < WORTH:
            break
        chosen.append(best)
        others = blends[best]
        del left[best]
    return chosen


def _fit_regressions(X, w, spaces, scored, others, rng):
    """Regression members of the named spaces where they add to the blend of the others.

    `others` are the log-densities of that blend at the rows of the scored folds. One chain of each space is tried on
    the first folds; only where it adds to the blend are all folds and more orders worth their time.
    """
    held, ends = np.concatenate(scored), np.cumsum([len(fold) for fold in scored])
    n_trials = min(2 * (1 + int(np.searchsorted(ends[1::2], TRIAL_ROWS))), len(scored))
    tried = {name: _Regressions(X, w, space, rng) for name, space in spaces.items()}
    first = {name: r.held_out(scored[:n_trials], r.order) for name, r in tried.items()}
    members, shares = [], w[held[: ends[n_trials - 1]]]
    for name in _worthwhile(first, others[: len(shares)], shares / shares.sum()):
        regressions = tried[name]
        orders = [regressions.order, *(rng.permutation(X.shape[1]) for _ in range(N_ORDERS - 1))]
        rest = [regressions.held_out(scored[n_trials:], orders[0])] if n_trials < len(scored) else []
        table = [np.concatenate([first[name], *rest]), *(regressions.held_out(scored, o) for o in orders[1:])]
        table = np.stack(table, axis=1)
        shares = stacking_weights(np.column_stack([others, table]), w[held])[1:]
        kept = np.flatnonzero(shares > NEGLIGIBLE)
        if len(kept):
            shares = shares[kept] / shares[kept].sum()
            law = regressions.law([orders[k] for k in kept], shares)
            members.append(Member(name, law, blend_log_density(table[:, kept], shares)))
    return members


def fit_companions(X, w, raw, mapped, bounds, folds, n_scored, rng, with_kernel):
    """Mixture, Student-t, regression and kernel members, each refitted on all rows after its held-out scoring.

    `raw` only whitens; `mapped` is the preprocessor with a marginal map, or None. Mixtures are fitted behind both, the
    kernel behind the better one, or in its unwhitened columns, regressions behind those where they add, or behind
    power maps.
    """
    scored = folds[:n_scored]
    judges = folds if len(X) <= 400 else folds[:3] if len(X) <= 5000 else folds[:1]
    spaces = {"mixture": raw} if mapped is None else {"mapped_mixture": mapped, "mixture": raw}
    placed = {name: (space.transform(X)[0], *space.transform_left_out(X, w)) for name, space in spaces.items()}
    members = [
        Member(name, *_scored_mixture(w, space, *placed[name], judges, scored, rng)) for name, space in spaces.items()
    ]
    members.append(Member("student", *_scored_student(w, raw, *placed["mixture"], scored)))
    held = np.concatenate(scored)

    def blend():
        return blend_log_density(np.stack([m.held_out for m in members], 1), blend_weights(members, w[held]))

    work = min(len(X), MAX_REGRESSION_ROWS) * X.shape[1] ** 3
    if X.shape[1] > 1 and len(X) >= LEAST_REGRESSION_ROWS and work < MOST_WORK:
        by_powers = mapped is not None and mapped.marginals == "yeo-johnson"
        named = {"regression": raw}
        named["power_regression"] = mapped if by_powers else Preprocessor(X, w, "yeo-johnson", bounds)
        if mapped is not None and not by_powers:
            named["mapped_regression"] = mapped
        members += _fit_regressions(X, w, named, scored, blend(), rng.spawn(1)[0])
    if with_kernel and len(X) <= MAX_KERNEL_ROWS:
        members.append(_fit_kernel(X, w, list(spaces.values()), held, blend(), rng))
    return members


def spacing_of(rows, weights):
    """Spacing of rows (n, d) among distinct ones; None where these are too few."""
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    if len(distinct) < NEIGHBOUR + 2:
        return None
    distances, _ = NearestNeighbors(n_neighbors=NEIGHBOUR + 2).fit(distinct).kneighbors(distinct)
    return Spacing.of_distances(*distances[inverse.ravel(), NEIGHBOUR:].T, weights)


def _fit_kernel(X, w, spaces, held, others, rng):
    """The kernel member in the best of the spaces, whitened or not, by rows left out one at a time.

    The best is what adds most to the blend of the others, whose log-densities at the `held` rows are `others`: beside a
    mixture a kernel may serve near copies alone. Its kernels are of one width, or as wide as rows lie apart where that
    is better: not at sharp edges.
    """
    spaces = [*spaces, *(s.unwhitened() for s in spaces if s.whitening.correlated)]
    chosen = np.sort(rng.choice(len(held), MOST_QUERIES, replace=False)) if len(held) > MOST_QUERIES else slice(None)
    queries = held[chosen]

    places = [(space, space.transform(X)[0], *space.transform_left_out(X, w)) for space in spaces]

    def judged(place, adaptive):
        space, z, unseen, log_det = place
        context = unseen, 1 - space.whitening.shrinkage, spacing_of(z, w) if adaptive else None
        bandwidth, blended = select_bandwidth(z, w, queries, others[chosen] - log_det[queries], *context)
        return np.average(blended + log_det[queries], weights=w[queries]), place, bandwidth, context

    even = max((judged(place, False) for place in places), key=itemgetter(0))
    _, (space, z, _, log_det), bandwidth, context = max(even, judged(even[1], True), key=itemgetter(0))
    scores = leave_one_out(z, w, [bandwidth], held, *context)[0] + log_det[held]
    return Member("kernel", PlacedLaw(space, empirical_law(z, bandwidth, w, context[2])), scores)


def narrowest_scale(members):
    """Smallest standard deviation, in whitened units, of a mixture component that carries data."""
    scale = 1.0
    for member in members:
        law = member.law.law
        if hasattr(law, "covariances"):
            used = law.weights > 1e-3
            scale = min(scale, float(np.sqrt(np.linalg.eigvalsh(law.covariances[used]).min())))
    return scale


def blend_weights(members, w_held):
    """Stacking weights of the members, the Student-t kept at its least weight; negligible ones are zero."""
    least = [STUDENT_LEAST_WEIGHT if m.name == "student" else 0.0 for m in members]
    weights = stacking_weights(np.stack([m.held_out for m in members], 1), w_held, np.array(least))
    weights[weights < NEGLIGIBLE] = 0.0
    return weights / weights.sum()
