"""What a fitted blend of a table with categories or atoms says of samples with unknown features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import slices, whole_vectors
from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import SampleNoise
from skdiffusion._utils.warnings import warn_user
from skdiffusion.densities import Blend, TableDensity, blend_log_density, choose_component
from skdiffusion.estimators._known_values import KnownValues, component_shares, conditional_log_prob
from skdiffusion.estimators._unknown import MANY_DRAWS, MIN_EFFECTIVE, N_DRAWS, noise_of_samples, occurrences
from skdiffusion.exceptions import InaccurateDensityWarning
from skdiffusion.preprocessing import Category, Columns, alternatives

BLOCK_DRAWS = 8192  # completed samples that are in memory at a time
MAX_COMBINATIONS = 1024  # of unknown categories, over which the density is summed


@dataclass(frozen=True)
class UnknownValues:
    """What the blend of a table says of samples some values of which are unknown.

    The components in closed form sum over unknown states and integrate over unknown values exactly. So does the whole
    blend where categories alone are unknown. Else they are the proposal of importance sampling for the diffusion.

    Parameters
    ----------
    blend : Blend
        Of `TableDensity`.
    n_features : int
    """

    blend: Blend
    n_features: int

    def _parts(self) -> tuple[list[str], list[str]]:
        """Names of the components of some weight that are in closed form, and of the others."""
        used = [name for name, weight in self.blend.weights.items() if weight > 0]
        closed = [name for name in used if self._density(name).in_closed_form]
        return closed, [name for name in used if name not in closed]

    def _density(self, name: str) -> TableDensity:
        density = self.blend.densities[name]
        assert isinstance(density, TableDensity)
        return density

    def _closed(self) -> Blend:
        """The blend of the components in closed form alone."""
        closed, _ = self._parts()
        if not closed:
            raise ValueError(
                "Unknown features of a table with categories or atoms take a component in closed form, which "
                "components=None leaves out: fit with components='auto'."
            )
        return self.blend.restricted(closed)[0]

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of the known features of incomplete samples, in nats: 0 where none is known."""
        return np.where(np.isnan(X).all(1), 0.0, self.known(X).log_prob)

    def known(self, X: np.ndarray) -> KnownValues:
        """What every component says of the known features of incomplete samples, with a warning where draws tell little
        of these."""
        owner, cases = alternatives(self.columns, X)
        known = self._known_whole(cases)
        if len(owner) == len(X):
            return known
        starts = np.searchsorted(owner, np.arange(len(X)))
        table = np.logaddexp.reduceat(known.component_log_prob, starts, axis=0)
        effective = np.minimum.reduceat(known.effective_draws, starts, axis=0)
        return KnownValues(table, known.weights, effective, np.minimum.reduceat(known.n_draws, starts))

    def _known_whole(self, X: np.ndarray) -> KnownValues:
        """As `known`, of samples whose one-hot groups are wholly known or wholly unknown."""
        closed, others = self._parts()
        names = [*closed, *others]
        table, shape = np.zeros((len(X), len(names))), (len(X), len(others))
        effective, n_draws = np.full(shape, np.inf), np.full(len(X), np.inf)
        for rows, features in Patterns.of(X).parts():
            if not len(features):
                continue
            table[rows, : len(closed)] = self._at(closed, X[rows])
            states = self._combinations(np.setdiff1d(np.arange(self.n_features), features))
            if not others:
                continue
            if states is not None:
                for block, values in self._at_states(others, X[rows], states):
                    table[rows[block], len(closed) :] = log_sum_exp(values, axis=1)
            else:
                answer = self._estimated(X[rows], others)
                table[rows, len(closed) :], effective[rows], n_draws[rows] = answer
        least = effective.min(initial=np.inf)
        if least < MIN_EFFECTIVE:
            warn_user(
                f"The log-densities of some samples with unknown features rest on {least:.0f} effective draws of "
                f"{MANY_DRAWS}: they may be off by {np.sqrt(1 / max(least, 1)):.1f} nats and more.",
                InaccurateDensityWarning,
            )
        return KnownValues(table, self.component_weights, effective, n_draws)

    def at(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of complete samples under the components of `known`, (n_samples, n_components)."""
        closed, others = self._parts()
        return self._at([*closed, *others], X)

    @property
    def component_weights(self) -> np.ndarray:
        """Of the components of `at`, in the fit."""
        closed, others = self._parts()
        return np.array([self.blend.weights[name] for name in (*closed, *others)])

    def draws(self, X: np.ndarray, n_draws: int) -> np.ndarray:
        """Samples completed by the components in closed form, (n_samples, n_draws, n_features)."""
        drawn = self._drawn(self._closed(), np.repeat(X, n_draws, axis=0), noise_of_samples(X, n_draws, 0))
        return drawn.reshape(len(X), n_draws, -1)

    def log_drawn(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of samples, known in the same features, under the density that `draws` are from, but for that
        of what is known."""
        return self._closed().log_prob(X)

    def _at(self, names: list[str], X: np.ndarray) -> np.ndarray:
        out, whole = np.empty((len(X), len(names))), whole_vectors(X)
        for k, name in enumerate(names):
            out[:, k] = self._density(name).log_prob(whole)[: len(X)]
        return out

    @property
    def columns(self) -> Columns:
        """The kinds of the columns."""
        return next(iter(self.blend.densities.values())).columns  # type: ignore[attr-defined]

    def _combinations(self, unknown: np.ndarray, seen: bool = False) -> np.ndarray | None:
        """All values of unknown categories, or those alone that may be generated, (n_combinations, n_features) with NaN
        elsewhere; None where a number is unknown too, or they are too many."""
        columns = self.columns
        if not all(j in columns.discrete for j in unknown):
            return None
        categories = [category for category in columns.all_categories if category.features[0] in unknown]
        values = [category.values if seen else category.with_other for category in categories]
        if np.prod([float(len(v)) for v in values]) > MAX_COMBINATIONS:
            return None
        places = np.meshgrid(*(np.arange(len(v)) for v in values), indexing="ij")
        out = np.full((max(1, places[0].size) if places else 1, self.n_features), np.nan)
        for category, v, place in zip(categories, values, places):
            out[:, category.features] = v[place.ravel()]
        return out

    def _unknown_categories(self, unknown: np.ndarray) -> list[int]:
        """Places, among all categories, of those that some features are the columns of."""
        return [k for k, category in enumerate(self.columns.all_categories) if category.features[0] in unknown]

    def _at_states(self, names: list[str], X: np.ndarray, states: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of samples, and their log-densities with each of some values in their unknown features, by components,
        (n_in_block, n_states, n_components)."""
        for rows in slices(len(X), max(1, BLOCK_DRAWS // len(states))):
            block = np.repeat(X[rows], len(states), axis=0)
            complete = np.where(np.isnan(block), np.tile(states, (len(X[rows]), 1)), block)
            yield rows, self._at(names, complete).reshape(-1, len(states), len(names))

    def state_shares(self, X: np.ndarray, unknown: np.ndarray, fixed: bool = False) -> np.ndarray | None:
        """Probabilities of the values of unknown categories given what is known, (n_samples, n_combinations).

        They are those of the categories that `fit` knows, of sum one: the mass of others is left out.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            With NaN in the same features of every sample.
        unknown : array of int
            Numbers of these features.
        fixed : bool, default=False
            Whether components have the weights of the fit.

        Returns
        -------
        ndarray or None
            In the order of the values of the features, the last of which varies fastest; None where a number is
            unknown too, or there are too many combinations.
        """
        states = self._combinations(unknown, seen=True)
        if states is None:
            return None
        closed, others = self._parts()
        weights = self.component_weights
        out = np.empty((len(X), len(states)))
        for rows, table in self._at_states([*closed, *others], X, states):
            flat, owner = table.reshape(-1, table.shape[2]), np.repeat(np.arange(len(table)), len(states))
            log_prob = self.known(X[rows]).conditional(flat, owner, True) if fixed else blend_log_density(flat, weights)
            out[rows] = self._normalized(log_prob.reshape(table.shape[:2]), self._unknown_categories(unknown))
        return out

    def _normalized(self, log_shares: np.ndarray, categories: list[int]) -> np.ndarray:
        """Probabilities, of sum one in every row, of the combinations of unknown categories.

        Where no component has a density, as at values that no arithmetic reaches, nothing follows from what is known:
        the categories have the shares that they have whatever it is.
        """
        largest = log_shares.max(1, keepdims=True)
        shares = np.exp(log_shares - np.where(np.isfinite(largest), largest, 0.0))
        lost = ~np.isfinite(largest[:, 0])
        if lost.any():
            tables = [self._marginal_shares(k) for k in categories]
            shares[lost] = np.prod(np.meshgrid(*tables, indexing="ij"), axis=0).ravel()
        return shares / shares.sum(1, keepdims=True)

    def _marginal_shares(self, k: int) -> np.ndarray:
        """Probabilities of the values of a category whatever the other features are, those of `fit` alone."""
        densities = [(self._density(name).density, weight) for name, weight in self.blend.weights.items() if weight > 0]
        table = np.sum([weight * density.state_table(k)[:-1] for density, weight in densities], axis=0)
        return table / table.sum()

    def category_shares(self, X: np.ndarray, k: int, fixed: bool = False) -> np.ndarray:
        """Probabilities of the values of one category given what is known, (n_samples, n_values): other unknown
        features are summed over, or integrated over by draws.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            With NaN in columns of this category in every sample, and in any others.
        k : int
            Place of the category among all.
        fixed : bool, default=False
            Whether components have the weights of the fit.
        """
        category = self.columns.all_categories[k]
        known = X[:, category.features]
        possible = (np.isnan(known)[:, None] | (known[:, None] == category.values)).all(2)
        possible[~possible.any(1)] = True  # nothing follows from what no level agrees with
        X = X.copy()
        X[:, category.features] = np.nan
        out, weights = np.empty((len(X), len(category.values))), self.component_weights
        rows = np.flatnonzero(~np.isnan(X).all(1))
        if len(rows) < len(X):
            out[np.isnan(X).all(1)] = self._marginal_shares(k)
        if len(rows):
            owner, cases = alternatives(self.columns, X[rows])
            table = self._value_table(cases, k)
            if len(owner) > len(rows):
                table = np.logaddexp.reduceat(table, np.searchsorted(owner, np.arange(len(rows))), axis=0)
            flat, sample = table.reshape(-1, len(weights)), np.repeat(np.arange(len(rows)), table.shape[1])
            if fixed:
                log_prob = conditional_log_prob(flat, log_sum_exp(table, axis=1), weights, sample, fixed)
            else:
                log_prob = blend_log_density(flat, weights)
            out[rows] = self._normalized(log_prob.reshape(table.shape[:2])[:, :-1], [k])
        out = np.where(possible, out, 0.0)
        return out / out.sum(1, keepdims=True)

    def _value_table(self, X: np.ndarray, k: int) -> np.ndarray:
        """Log-densities of what is known with each value of an unknown category, and with others, (n_samples, n_values,
        n_components), of samples something is known of."""
        category = self.columns.all_categories[k]
        out = np.empty((len(X), len(category.values) + 1, len(self.component_weights)))
        for rows, features in Patterns.of(X).parts():
            unknown = np.setdiff1d(np.arange(self.n_features), features)
            states = self._combinations(unknown)
            if states is None:
                out[rows] = self._estimated_values(X[rows], category)
            else:
                out[rows] = self._summed_values(X[rows], states, self._unknown_categories(unknown), k)
        return out

    def _summed_values(self, X: np.ndarray, states: np.ndarray, unknown: list[int], k: int) -> np.ndarray:
        """As `_value_table`, of samples with these unknown categories: summed over all values of the others."""
        closed, others = self._parts()
        sizes, place = [len(self.columns.all_categories[i].with_other) for i in unknown], unknown.index(k)
        out = np.empty((len(X), sizes[place], len(closed) + len(others)))
        for rows, terms in self._at_states([*closed, *others], X, states):
            every = np.moveaxis(terms.reshape(len(terms), *sizes, -1), 1 + place, 1)
            out[rows] = log_sum_exp(every.reshape(len(terms), sizes[place], -1, out.shape[2]), axis=2)
        return out

    def _estimated_values(self, X: np.ndarray, category: Category) -> np.ndarray:
        """As `_value_table`, where numbers are unknown too: integrated over by draws where there is no closed form.

        The same draws of the other unknown features, from the components in closed form, serve all values: what they
        are off by is much the same for each of them.
        """
        closed, others = self._parts()
        values = category.with_other
        table = np.empty((len(X), len(values), len(closed) + len(others)))
        for c, value in enumerate(values):
            table[:, c, : len(closed)] = self._at(closed, _with_value(X, category, value))
        left, effective = np.arange(len(X)) if others else np.empty(0, dtype=int), np.inf
        for n_draws in (N_DRAWS, MANY_DRAWS):
            number = np.empty(len(left))
            for block in slices(len(left), max(1, BLOCK_DRAWS // (n_draws * len(values)))):
                terms = self._value_terms(X[left[block]], category, others, n_draws)
                table[left[block], :, len(closed) :] = log_sum_exp(terms, axis=1) - np.log(n_draws)
                whole = log_sum_exp(terms, axis=2)
                share = np.exp(whole - whole.max(1, keepdims=True))
                number[block] = (share.sum(1) ** 2 / (share**2).sum(1)).min(1)
            left, effective = left[number < MIN_EFFECTIVE], number.min(initial=np.inf)
        if effective < MIN_EFFECTIVE:
            warn_user(
                f"The probabilities of some samples with unknown features rest on {effective:.0f} effective draws of "
                f"{MANY_DRAWS}: they may be off.",
                InaccurateDensityWarning,
            )
        return table

    def _value_terms(self, X: np.ndarray, category: Category, others: list[str], n_draws: int) -> np.ndarray:
        """By how much each completed sample is likelier under some components, with each value of a category, than
        under those in closed form with any: (n_samples, n_draws, n_values, n_others)."""
        proposal = self._closed()
        nodes = self._drawn(proposal, np.repeat(X, n_draws, axis=0), noise_of_samples(X, n_draws, 0))
        nodes[:, category.features] = np.nan
        log_drawn = proposal.log_prob(nodes) - np.repeat(proposal.log_prob(X), n_draws)
        filled = (_with_value(nodes, category, value) for value in category.with_other)
        terms = [self._at(others, complete) - log_drawn[:, None] for complete in filled]
        return np.stack(terms, axis=1).reshape(len(X), n_draws, len(terms), len(others))

    def _estimated(self, X: np.ndarray, others: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-densities under components by draws from those in closed form, more where few tell too little.

        Returns
        -------
        log_prob, effective : arrays of shape (n_samples, n_others)
            Effective numbers of draws beside the log-densities.
        n_draws : array of shape (n_samples,)
        """
        out, n_taken = np.empty((len(X), len(others))), np.zeros(len(X))
        effective = np.zeros(out.shape)
        for n_draws in (N_DRAWS, MANY_DRAWS):
            left = np.flatnonzero(effective.min(1) < MIN_EFFECTIVE)
            for block in slices(len(left), BLOCK_DRAWS // n_draws):
                rows = left[block]
                out[rows], effective[rows] = self._by_draws(X[rows], others, n_draws)
                n_taken[rows] = n_draws
        return out, effective, n_taken

    def _by_draws(self, X: np.ndarray, others: list[str], n_draws: int) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities by so many draws from the components in closed form, and the effective numbers of these."""
        _, log_ratio = self._nodes(X, others, n_draws, 0)
        log_prob = self._closed().log_prob(X)[:, None] + log_sum_exp(log_ratio, axis=1) - np.log(n_draws)
        weights = np.exp(log_ratio - log_ratio.max(1, keepdims=True))
        return log_prob, weights.sum(1) ** 2 / (weights**2).sum(1)

    def _nodes(self, X: np.ndarray, others: list[str], n_nodes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples completed so many times by the components in closed form, (n_samples, n_nodes, n_features), and by
        how much each is likelier under the others, (n_samples, n_nodes, n_others).

        The draws are of categories that are known: the mass of others, half a sample in each column, is left out.
        """
        proposal, shape = self._closed(), (len(X), n_nodes, -1)
        nodes = self._drawn(proposal, np.repeat(X, n_nodes, axis=0), noise_of_samples(X, n_nodes, seed))
        log_ratio = self._at(others, nodes) - proposal.log_prob(nodes)[:, None]
        return nodes.reshape(shape), log_ratio.reshape(shape)

    def completed(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool = False) -> np.ndarray:
        """Completed samples, (n_samples, n_draws, n_features): unknown values are drawn given the known ones.

        A sample of which a one-hot group is known in part is drawn from the cases that it stands for, by what is known
        of each. Fewer draws are a prefix of more, from the same number of nodes.
        """
        owner, cases = alternatives(self.columns, X)
        drawn = self._completed_whole(cases, seed, n_draws, n_nodes, fixed)
        if len(owner) == len(X):
            return drawn
        log_prob, out = self._known_whole(cases).log_prob, np.empty((len(X), *drawn.shape[1:]))
        choices = noise_of_samples(X, n_draws, seed + 2, occurrences(X)).choice
        assert choices is not None
        for i, choice in enumerate(choices.reshape(len(X), n_draws)):
            own = np.flatnonzero(owner == i)
            share = np.exp(log_prob[own] - log_sum_exp(log_prob[own], axis=0))
            out[i] = drawn[own[choose_component(np.tile(share, (n_draws, 1)), choice)], np.arange(n_draws)]
        return out

    def _completed_whole(self, X: np.ndarray, seed: int, n_draws: int, n_nodes: int, fixed: bool) -> np.ndarray:
        """As `completed`, of samples whose one-hot groups are wholly known or wholly unknown.

        Where categories alone are unknown, and few, they follow from their probabilities. Else a component that is not
        in closed form chooses among draws from those that are.
        """
        out, numbers = np.repeat(X[:, None], n_draws, axis=1), occurrences(X)
        for of_pattern, features in Patterns.of(X).parts():
            unknown = np.setdiff1d(np.arange(self.n_features), features)
            for block in slices(len(of_pattern), max(1, BLOCK_DRAWS // max(n_nodes, n_draws))) if len(unknown) else ():
                rows = of_pattern[block]
                noise = noise_of_samples(X[rows], n_draws, seed + 1, numbers[rows])
                drawn = self._by_states(X[rows], unknown, noise, fixed)
                if drawn is None:
                    drawn = self._by_components(X[rows], noise, n_nodes, seed, fixed)
                out[rows] = drawn.reshape(len(rows), n_draws, self.n_features)
        return out

    def _by_states(self, X: np.ndarray, unknown: np.ndarray, noise: SampleNoise, fixed: bool) -> np.ndarray | None:
        """Samples of one pattern, completed by the probabilities of their categories; None where these are not summed
        over, or need not be."""
        _, others = self._parts()
        shares = self.state_shares(X, unknown, fixed) if others and len(unknown) < self.n_features else None
        states = self._combinations(unknown, seen=True)
        if shares is None or states is None:
            return None
        n_draws = len(noise.normal) // len(X)
        out, choice = np.repeat(X, n_draws, axis=0), choose_component(np.repeat(shares, n_draws, axis=0), noise.choice)
        out[:, unknown] = states[choice][:, unknown]
        return out

    def _by_components(self, X: np.ndarray, noise: SampleNoise, n_nodes: int, seed: int, fixed: bool) -> np.ndarray:
        """Samples, each completed by a component that what is known of it chooses."""
        closed, others = self._parts()
        n_draws, proposal = len(noise.normal) // len(X), self._closed()
        repeated = np.repeat(X, n_draws, axis=0)
        if not others:
            return self._drawn(proposal, repeated, noise, fixed)
        nodes, log_ratio = self._nodes(X, others, n_nodes, seed)
        of_others = proposal.log_prob(X)[:, None] + log_sum_exp(log_ratio, axis=1) - np.log(n_nodes)
        table = np.hstack([self._at(closed, X), of_others])
        shares = np.repeat(component_shares(table, self.component_weights, fixed), n_draws, axis=0)
        chosen, owner = choose_component(shares, noise.choice), np.repeat(np.arange(len(X)), n_draws)
        for k in np.unique(chosen):
            mine = np.flatnonzero(chosen == k)
            if k < len(closed):
                repeated[mine] = self._density(closed[k]).completed(repeated[mine], noise.take(mine))
                continue
            terms = log_ratio[:, :, k - len(closed)]
            share, own = np.exp(terms - log_sum_exp(terms, axis=1)[:, None]), noise.take(mine)
            repeated[mine] = nodes[owner[mine], choose_component(share[owner[mine]], own.uniform)]
        return repeated

    def _drawn(self, blend: Blend, X: np.ndarray, noise: SampleNoise, fixed: bool = False) -> np.ndarray:
        """Samples completed by a component that what is known of each chooses."""
        names = list(blend.densities)
        log_prob = np.stack([self._density(name).log_prob(X) for name in names], axis=1)
        with np.errstate(divide="ignore"):
            log_weights = np.log([blend.weights[name] for name in names])
        log_share = log_weights + (0.0 if fixed else log_prob)
        share = np.exp(log_share - log_sum_exp(log_share, axis=1)[:, None])
        assert noise.choice is not None
        chosen = choose_component(share, noise.choice)
        out = X.copy()
        for k, name in enumerate(names):
            mine = np.flatnonzero(chosen == k)
            if len(mine):
                out[mine] = self._density(name).completed(X[mine], noise.take(mine))
        return out


def _with_value(X: np.ndarray, category: Category, value: np.ndarray) -> np.ndarray:
    """Samples with one value of a category."""
    out = X.copy()
    out[:, category.features] = value
    return out
