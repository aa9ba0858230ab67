r"""A blend given some features of its samples: their marginal density, and the conditional one of the others.

.. math:: p(x_o) = \sum_k w_k\,p_k(x_o),\qquad
    p(x_u \mid x_o) = \sum_k v_k\,p_k(x_u \mid x_o),\quad v_k = w_k\,p_k(x_o) / p(x_o) .

Components in closed form know both. For the others, p_k(x_o) is a sum over `Nodes`: a quadrature if one feature is
unknown, else importance sampling with the components in closed form as proposal, beside a wide Student-t that bounds
the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skdiffusion._utils.blocks import whole_vectors
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._blend import Blend
from skdiffusion.densities._nodes import Nodes, adaptive_panels, distribution_curve
from skdiffusion.densities._stacking import blend_log_density, choose_component
from skdiffusion.densities._student import StudentTDensity
from skdiffusion.densities._transformed import TransformedDensity
from skdiffusion.preprocessing import Preprocessor

DEFENSIVE_SHARE = 0.1  # of the wide Student-t in the proposal
MIN_PROPOSED = 0.05  # weight of every component in closed form in the proposal, beside its own, before the whole is 1
DEFENSIVE_DEGREES = 4.0
MIN_SHARE = 0.01  # of a component in the blend, from which its draws count
MIN_KNOWN = 5.0  # effective draws, below which their own spread says nothing of the error


class BlendMarginal:
    """The density of some features of a blend, and what it says of the others given these.

    Parameters
    ----------
    blend : Blend
        Of transformed densities.
    features : array of int
        Numbers of the given features, at least one, not all.
    n_features : int
        Of complete samples.
    all_summed : bool, default=False
        Whether components in closed form are summed over nodes as the others are, for means over all of them.
    all_drawn : bool, default=False
        Whether a single unknown feature is drawn as several are: a quadrature takes more nodes than a few draws do.
    """

    def __init__(
        self,
        blend: Blend,
        features: np.ndarray,
        n_features: int,
        all_summed: bool = False,
        all_drawn: bool = False,
    ):
        self.features = np.asarray(features)
        self.unknown = np.setdiff1d(np.arange(n_features), self.features)
        self.weights = np.array(list(blend.weights.values()))
        self.densities: list[TransformedDensity] = []
        for density in blend.densities.values():
            assert isinstance(density, TransformedDensity)
            self.densities.append(density.given(self.features))
        used = [k for k in range(len(self.densities)) if self.weights[k] > 0]
        known = [k for k in used if self.densities[k].in_closed_form]
        self.closed = [] if all_summed else known
        self.summed = [k for k in used if k not in self.closed]  # over nodes
        self.draws_nodes = bool(self.summed) and (all_drawn or len(self.unknown) > 1)
        self.in_closed_form = len(known) == len(used)

    @cached_property
    def _proposal(self) -> Proposal:
        """In closed form, of the components that are, and the wide Student-t where there are others."""
        if self.in_closed_form:
            return self._known_part
        densities, shares = dict(self._known_part.by_number), (1 - DEFENSIVE_SHARE) * self._known_part.weights
        if -1 in densities:  # alone
            return self._known_part
        densities[-1] = self._defensive
        return Proposal(densities, np.append(shares, DEFENSIVE_SHARE), self.features)

    @cached_property
    def _known_part(self) -> Proposal:
        """The components in closed form alone, or the wide Student-t if there are none.

        Those of no weight propose places too: what they know is near to what the others know.
        """
        least = 0.0 if self.in_closed_form else MIN_PROPOSED
        weights = {k: float(w) + least for k, w in enumerate(self.weights) if self.densities[k].in_closed_form}
        used = {k: w for k, w in weights.items() if w > 0}
        if not used:
            return Proposal({-1: self._defensive}, np.ones(1), self.features)
        shares = np.array(list(used.values()))
        return Proposal({k: self.densities[k] for k in used}, shares / shares.sum(), self.features)

    @property
    def _defensive(self) -> TransformedDensity:
        d = self._preprocessor.n_features
        return TransformedDensity(self._preprocessor, StudentTDensity(np.zeros(d), np.eye(d), DEFENSIVE_DEGREES))

    @property
    def _preprocessor(self) -> Preprocessor:
        """That of the first component that is not in closed form, if any."""
        opaque = [k for k in self.summed if not self.densities[k].in_closed_form]
        return self.densities[(opaque or self.summed)[0]].preprocessor

    def given(self, X: np.ndarray, noise: SampleNoise | None) -> GivenBlend:
        """The blend given these features of samples X (n_samples, n_features), the others of which are not read.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        noise : SampleNoise or None
            For the draws of the proposal, as many for each sample, those of one sample side by side. None where all
            components answer in closed form.
        """
        return given_together([(self, X, noise)])[0]

    def _answered(self, X: np.ndarray, log_prob: np.ndarray, nodes: Nodes | None, at_nodes: np.ndarray) -> GivenBlend:
        """The blend given these features of samples, with the log-densities at their nodes, if they have any.

        Those of components in closed form stand in `log_prob`, (n_samples, n_components).
        """
        if nodes is not None:
            for i, k in enumerate(self.summed):
                log_prob[:, k] = nodes.log_sum(at_nodes[:, i])
        return GivenBlend(self, X, log_prob, nodes, at_nodes)

    def _summed_log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of the components that are summed over nodes, at complete samples."""
        return np.stack([_at(self.densities[k], X) for k in self.summed], axis=1)

    def _draws(self, X: np.ndarray, noise: SampleNoise | None) -> Nodes:
        """Draws from the proposal, with the log-densities of what is given as their log-weights."""
        assert noise is not None, "Draws take random numbers."
        n = len(X)
        owner = np.repeat(np.arange(n), len(noise.normal) // n)
        places, log_given = self._proposal.completed(X, noise)
        return Nodes(places, owner, log_given[owner] - np.log(len(owner) / n), n, True, np.zeros(n))

    def _quadrature(self, X: np.ndarray, noise: SampleNoise | None) -> tuple[Nodes, np.ndarray]:
        """Nodes over the one unknown feature, and the log-densities there."""
        assert noise is not None, "A quadrature starts from draws."
        n, j = len(X), int(self.unknown[0])
        preprocessor, weights = self._preprocessor, self.weights[self.summed]
        feature, shift, scale = preprocessor.maps[j], preprocessor.whitening.shift[j], preprocessor.whitening.scale[j]
        low, high = preprocessor.low[j], preprocessor.high[j]
        places, log_given = self._known_part.completed(X, noise)
        draws = (feature.forward(places[:, j]) - shift) / scale
        log_density = self._known_part.log_prob(places) - np.repeat(log_given, len(places) // n)
        log_density += np.log(scale) - feature.log_slope(places[:, j])

        def table(owner: np.ndarray, standardized: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Log-density in the standardized feature, and complete samples, its log-derivative, log-densities."""
            complete = X[owner]
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                x = np.clip(feature.inverse(standardized * scale + shift), low, high)
                log_derivative = np.log(scale) - feature.log_slope(x)
            usable = np.isfinite(x) & np.isfinite(log_derivative)
            complete[:, j] = np.where(usable, x, feature.inverse(np.array(shift)))
            log_derivative = np.where(usable, log_derivative, -np.inf)
            log_prob = self._summed_log_prob(complete)
            total = blend_log_density(log_prob, weights) + log_derivative
            return total, np.column_stack([complete, log_derivative, log_prob])

        owner, _, log_weight, values, error = adaptive_panels(table, draws.reshape(n, -1), log_density.reshape(n, -1))
        complete, log_derivative, log_prob = np.split(values, [X.shape[1], X.shape[1] + 1], axis=1)
        return Nodes(complete, owner, log_weight + log_derivative[:, 0], n, False, error), log_prob


def given_together(questions: Sequence[tuple[BlendMarginal, np.ndarray, SampleNoise | None]]) -> list[GivenBlend]:
    """What marginals of one blend say of samples, of each its own, as `BlendMarginal.given` does of one.

    The components that are summed over draws are asked once for the draws of all, and networks for all splits once for
    the samples of all.
    """
    tables = _closed_log_probs(questions)
    drawn = [marginal._draws(X, noise) if marginal.draws_nodes else None for marginal, X, noise in questions]
    lengths = [0 if nodes is None else len(nodes.X) for nodes in drawn]
    values = [np.empty((0, 0))] * len(drawn)
    if any(lengths):
        places, one = np.concatenate([nodes.X for nodes in drawn if nodes is not None]), questions[0][0]
        both = np.column_stack([one._proposal.log_prob(places), one._summed_log_prob(places)])
        values = np.split(both, np.cumsum(lengths)[:-1])
    answers = []
    for (marginal, X, noise), table, nodes, value in zip(questions, tables, drawn, values):
        if nodes is not None:
            nodes = replace(nodes, log_weight=nodes.log_weight - value[:, 0])
            answers.append(marginal._answered(X, table, nodes, value[:, 1:]))
        elif marginal.summed:
            answers.append(marginal._answered(X, table, *marginal._quadrature(X, noise)))
        else:
            answers.append(marginal._answered(X, table, None, np.empty((0, 0))))
    return answers


def _closed_log_probs(questions: Sequence[tuple[BlendMarginal, np.ndarray, SampleNoise | None]]) -> list[np.ndarray]:
    """Log-densities of the given features under the components in closed form, (n_samples, n_components) of each."""
    known = []
    for marginal, X, _ in questions:
        known.append(np.full(X.shape, np.nan))
        known[-1][:, marginal.features] = X[:, marginal.features]
    together, one = np.concatenate(known), questions[0][0]
    table = np.full((len(together), len(one.densities)), -np.inf)
    for k in one.closed:
        table[:, k] = one.densities[k].known_log_prob(together)
    return np.split(table, np.cumsum([len(X) for X in known])[:-1])


def _at(density: Density, X: np.ndarray) -> np.ndarray:
    """Log-densities whose bits do not depend on how many samples there are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return density.log_prob(whole_vectors(X))[: len(X)] if len(X) else np.empty(0)


class Proposal:
    """A blend in closed form, given some features.

    Parameters
    ----------
    densities : dict of TransformedDensity
        In closed form.
    weights : array of shape (n_densities,)
    features : array of int
        Numbers of the given features.
    """

    def __init__(self, densities: Mapping[int, TransformedDensity], weights: np.ndarray, features: np.ndarray):
        self.by_number, self.weights, self.features = densities, weights, features
        self.densities = list(densities.values())
        self._marginals = [density.marginal(features) for density in self.densities]

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of complete samples."""
        return blend_log_density(np.stack([_at(density, X) for density in self.densities], axis=1), self.weights)

    def completed(self, X: np.ndarray, noise: SampleNoise) -> tuple[np.ndarray, np.ndarray]:
        """Several completed samples for each one of X, side by side, and the log-densities of what is given in X."""
        table = np.stack([_at(marginal, X[:, self.features]) for marginal in self._marginals], axis=1)
        log_given = blend_log_density(table, self.weights)
        with np.errstate(divide="ignore"):
            share = np.exp(table + np.log(self.weights) - log_given[:, None])
        repeats = len(noise.normal) // len(X)
        complete, share = np.repeat(X, repeats, axis=0), np.repeat(share, repeats, axis=0)
        return complete_by_choice(self.densities, share, complete, self.features, noise), log_given


def complete_by_choice(
    densities: list[TransformedDensity], share: np.ndarray, X: np.ndarray, features: np.ndarray, noise: SampleNoise
) -> np.ndarray:
    """Samples completed each by the density in closed form that its random number chooses by its shares."""
    choice, out = choose_component(share, noise.choice), X.copy()
    for k in np.unique(choice):
        mine = choice == k
        out[mine] = densities[k].completed(X[mine], features, noise.take(mine))
    return out


@dataclass(frozen=True)
class GivenBlend:
    """A blend given some features of samples, of each its own."""

    marginal: BlendMarginal
    X: np.ndarray  # (n_samples, n_features), of which the given features are read
    component_log_prob: np.ndarray  # (n_samples, n_components), of the given features
    nodes: Nodes | None  # None where all components are in closed form
    at_nodes: np.ndarray  # (n_nodes, n_summed), log-densities of the components that are summed over nodes

    def take(self, kept: np.ndarray) -> GivenBlend:
        """The same of some of the samples, a bool for each."""
        nodes, at_nodes = self.nodes, self.at_nodes
        if nodes is not None:
            mine, number, n = kept[nodes.owner], np.cumsum(kept) - 1, int(kept.sum())
            owner, at_nodes = number[nodes.owner[mine]], at_nodes[mine]
            nodes = Nodes(nodes.X[mine], owner, nodes.log_weight[mine], n, nodes.drawn, nodes.error[kept])
        return GivenBlend(self.marginal, self.X[kept], self.component_log_prob[kept], nodes, at_nodes)

    @property
    def known_nodes(self) -> Nodes:
        """The nodes, where components are summed over them."""
        assert self.nodes is not None
        return self.nodes

    @property
    def log_prob(self) -> np.ndarray:
        """Log-density of the given features, in nats, shape (n_samples,)."""
        return blend_log_density(self.component_log_prob, self.marginal.weights)

    def shares(self, fixed: bool = False) -> np.ndarray:
        """Weights of the components given the features, (n_samples, n_components), or those of the fit.

        A component under which the given features have no density has no weight.
        """
        if fixed:
            possible = np.where(np.isfinite(self.component_log_prob), self.marginal.weights, 0.0)
            return possible / possible.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            terms = self.component_log_prob + np.log(self.marginal.weights)
        return np.exp(terms - log_sum_exp(terms, axis=1)[:, None])

    def conditional_log_prob(self, X: np.ndarray, owner: np.ndarray, fixed: bool = False) -> np.ndarray:
        """Log-densities of the other features given those that are, in nats, of complete samples.

        Parameters
        ----------
        X : array of shape (n, n_features)
        owner : array of shape (n,)
            The given sample that each of them completes.
        fixed : bool, default=False
            Whether components have the weights of the fit.
        """
        table = np.full((len(X), self.component_log_prob.shape[1]), -np.inf)
        for k in (*self.marginal.closed, *self.marginal.summed):
            table[:, k] = _at(self.marginal.densities[k], X)
        with np.errstate(divide="ignore", invalid="ignore"):
            conditional = np.where(np.isneginf(table), -np.inf, table - self.component_log_prob[owner])
            return log_sum_exp(conditional + np.log(self.shares(fixed))[owner], axis=1)

    def node_shares(self, fixed: bool = False) -> np.ndarray:
        """Parts of the nodes in the conditional distribution, of sum 1 for every sample; all components are summed."""
        marginal, nodes = self.marginal, self.known_nodes
        owner = nodes.owner
        with np.errstate(divide="ignore"):
            log_share = np.log(self.shares(fixed))[:, marginal.summed]
        known = self.component_log_prob[:, marginal.summed]
        by_sample = np.where(np.isneginf(known), -np.inf, log_share - np.where(np.isneginf(known), 0.0, known))
        terms = nodes.log_weight[:, None] + self.at_nodes + by_sample[owner]
        share = np.exp(log_sum_exp(np.where(np.isnan(terms), -np.inf, terms), axis=1))
        return share / np.bincount(owner, share, len(self.X))[owner]

    @property
    def effective_number(self) -> np.ndarray:
        """Draws of equal weight that tell as much as those that were taken, shape (n_samples,); infinite without any.

        Of a component of some share v, so many as tell v times the logarithm of its sum as well; the least of all.
        """
        out = np.full(len(self.X), np.inf)
        if self.nodes is None or not self.nodes.drawn:
            return out
        for number, share in self._draws_of_components():
            with np.errstate(divide="ignore", invalid="ignore"):
                worth = np.where(number < MIN_KNOWN, number, number / share**2)
            out = np.where(share > MIN_SHARE, np.minimum(out, worth), out)
        return out

    def _draws_of_components(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Effective draws and share of every component that is summed over nodes, each of shape (n_samples,)."""
        shares = self.shares()
        for i, k in enumerate(self.marginal.summed):
            yield self.known_nodes.effective_number(self.at_nodes[:, i]), shares[:, k]

    @property
    def standard_error(self) -> np.ndarray:
        """Numerical error of `log_prob`, in nats, shape (n_samples,)."""
        if self.nodes is None:
            return np.zeros(len(self.X))
        if not self.nodes.drawn:
            share = self.shares()[:, self.marginal.summed].sum(1)
            with np.errstate(invalid="ignore"):  # far out a component without a share has no sum either
                return np.where(share > 0, share * self.nodes.error, 0.0)
        n_draws, out = np.bincount(self.nodes.owner, minlength=len(self.X)), np.zeros(len(self.X))
        for number, share in self._draws_of_components():
            error = share * np.sqrt(np.maximum(1 / np.fmax(number, 1e-300) - 1 / n_draws, 0.0))
            # So few draws do not know how far they are off.
            out += np.where((number < MIN_KNOWN) & (share > MIN_SHARE), np.inf, error)
        return out

    def _from_nodes(self, i: int, owner: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Unknown features of samples of some numbers, by a component that is summed over nodes."""
        nodes = self.known_nodes
        share, places = nodes.shares(self.at_nodes[:, i]), nodes.X[:, self.marginal.unknown]
        out = np.empty((len(owner), places.shape[1]))
        for sample in np.unique(owner):
            mine, (first, last) = owner == sample, np.searchsorted(nodes.owner, [sample, sample + 1])
            shares, of_sample = share[first:last], places[first:last]
            u = uniform[mine] * shares.sum()
            if nodes.drawn:
                out[mine] = of_sample[np.minimum(np.searchsorted(np.cumsum(shares), u, side="right"), len(shares) - 1)]
            else:
                values, levels = distribution_curve(of_sample[:, 0], shares)
                out[mine, 0] = np.interp(u, levels, values)
        return out


def completed_together(
    parts: Sequence[tuple[GivenBlend, SampleNoise, np.ndarray]], fixed: bool = False
) -> list[np.ndarray]:
    """Samples with the other features drawn given those that are, of blends given some features, for all together.

    Parameters
    ----------
    parts : list of (GivenBlend, SampleNoise, array of shape (n_draws,))
        Of one blend: random numbers for every draw, and the sample that each draw completes.
    fixed : bool, default=False
        Whether components have the weights of the fit.

    Returns
    -------
    list of arrays of shape (n_draws, n_features)
    """
    known, choices = [], []
    for given, noise, owner in parts:
        known.append(given.X[owner])
        known[-1][:, given.marginal.unknown] = np.nan
        choices.append(choose_component(given.shares(fixed)[owner], noise.choice))
    X, choice, one = np.concatenate(known), np.concatenate(choices), parts[0][0].marginal
    noise = SampleNoise._make(None if p[0] is None else np.concatenate(p) for p in zip(*(part[1] for part in parts)))
    out = X.copy()
    for k in one.closed:
        mine = np.flatnonzero(choice == k)
        if len(mine):
            out[mine] = one.densities[k].known_completed(X[mine], noise.take(mine))
    completed = np.split(out, np.cumsum([len(own) for own in choices])[:-1])
    for (given, noise, owner), own, chosen in zip(parts, completed, choices):
        for i, k in enumerate(one.summed):
            mine = np.flatnonzero(chosen == k)
            if len(mine):
                uniform = noise.take(mine).uniform
                assert uniform is not None
                own[mine[:, None], given.marginal.unknown] = given._from_nodes(i, owner[mine], uniform)
    return completed
