r"""Components, and their blend :math:`p(x) = \sum_k w_k p_k(x)` with weights from out-of-fold log-densities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import BLOCK_SAMPLES, slices, values_in_parts
from skdiffusion._utils.collective import collective
from skdiffusion._utils.numerics import best_blend
from skdiffusion._utils.processes import begin, n_helpers, results
from skdiffusion._utils.protocols import Density, NoiseStream, SampleNoise
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.densities._stacking import blend_log_density, choose_component, stacking_weights
from skdiffusion.densities._transformed import SharedTransforms, TransformedDensity

Gain = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Component:
    """A density of the blend, fitted to all samples, and what fits without some of them say of these.

    Parameters
    ----------
    name : str
        Key in the blend, such as "mapped_mixture".
    density : Density
        In the units of the features.
    held_out_log_prob : array of shape (n_validated,)
        Log-densities, in nats, of the samples of the validation folds under densities that were fitted without them.
    kind : str
        What it is in whatever coordinates: "mapped_mixture" and "mixture" are of the kind "mixture".
    min_weight : float, default=0.0
        Least weight in the blend.
    prior_samples : float, default=0.0
        Samples that it is known to explain beforehand: few samples weigh components by chance.
    improve : callable, optional
        ``improve(gain) -> Component`` fits it again in more runs, which pays only for a component of some weight.
        ``gain(later, earlier)`` says what the blend may gain, in nats a sample, by later log-densities in the place of
        earlier ones.
    """

    name: str
    density: Density
    held_out_log_prob: np.ndarray
    kind: str
    min_weight: float = 0.0
    prior_samples: float = 0.0
    improve: Callable[[Gain], Component] | None = None


def blend_weights(
    components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
) -> np.ndarray:
    """Stacking weights of the components, each at least its `min_weight`; negligible ones are zero.

    Parameters
    ----------
    components : sequence of Component
    sample_weight : array of shape (n_validated,)
        Of the samples of the validation folds.
    options : ComponentOptions

    Returns
    -------
    ndarray of shape (n_components,)
        Non-negative, sum 1.
    """
    table = np.stack([c.held_out_log_prob for c in components], axis=1)
    min_weights, prior = np.array([(c.min_weight, c.prior_samples) for c in components]).T
    weights = stacking_weights(table, sample_weight, min_weights, prior)
    weights[weights < options.negligible_weight] = 0.0
    return weights / weights.sum()


def out_of_fold_log_prob(
    components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
) -> np.ndarray:
    """Log-densities of the blend of components at the validation samples, in nats, shape (n_validated,)."""
    table = np.stack([c.held_out_log_prob for c in components], axis=1)
    return blend_log_density(table, blend_weights(components, sample_weight, options))


def validation_score(
    components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
) -> float:
    """Mean log-density of the blend of components at the validation samples, in nats."""
    return float(np.average(out_of_fold_log_prob(components, sample_weight, options), weights=sample_weight))


def improved(
    components: Sequence[Component],
    sample_weight: np.ndarray,
    options: ComponentOptions = DEFAULT_OPTIONS,
    deadline: float = np.inf,
) -> list[Component]:
    """The components, those whose kind has some weight in the blend fitted again with more work.

    A kind is weighed as a whole: components of one kind serve the same samples, and one may hide another. After the
    deadline, a moment of `Collective.clock`, no work is begun, and nothing gains any more by that which has begun.
    """
    processes = collective()  # whose machines may differ by round-off, and must take the same work
    weights = processes.first(blend_weights(components, sample_weight, options))
    share: defaultdict[str, float] = defaultdict(float)
    for component, weight in zip(components, weights):
        share[component.kind] += weight
    table = np.stack([c.held_out_log_prob for c in components], axis=1)
    sample_share = sample_weight / sample_weight.sum()

    def gain_beside(place: int) -> BesideGain:
        others = np.where(np.arange(len(weights)) == place, 0.0, weights)
        beside = blend_log_density(table, others / others.sum()) if others.any() else np.full(len(table), -np.inf)
        return BesideGain(beside, sample_share, deadline)

    def pays(component: Component) -> bool:
        return share[component.kind] > options.min_improved_weight and processes.clock() <= deadline

    tasks = {
        place: begin(c.improve, gain_beside(place), shared=_parts_of(c))
        for place, c in enumerate(components)
        if c.improve and pays(c)
    }
    better = dict(zip(tasks, results([*tasks.values()])))
    return [better.get(place, c) for place, c in enumerate(components)]


def _parts_of(component: Component) -> list:
    """What a component of more work has in common with others."""
    density = component.density
    return [density.preprocessor] if isinstance(density, TransformedDensity) else []


@dataclass(frozen=True)
class BesideGain:
    """What a blend may gain, in nats a sample, by later log-densities of a component in the place of earlier ones.

    Parameters
    ----------
    beside : array of shape (n_validated,)
        Log-densities of the other components.
    sample_share : array of shape (n_validated,)
        Weights of sum 1.
    deadline : float
        Moment of `Collective.clock` after which nothing gains any more.
    """

    beside: np.ndarray
    sample_share: np.ndarray
    deadline: float

    def __call__(self, later: np.ndarray, earlier: np.ndarray) -> float:
        processes, share = collective(), self.sample_share
        if processes.clock() > self.deadline:
            return -np.inf
        by_sample = np.subtract(*(best_blend(held_out, self.beside, share) for held_out in (later, earlier)))
        mean = float(share @ by_sample)
        # A standard error more: few samples must not end the work by chance.
        return processes.first(mean + float(np.sqrt(share**2 @ (by_sample - mean) ** 2)))


def worthwhile_runs(held_out_log_prob: Callable[[int], np.ndarray], most: int, gain: Gain, min_gain: float) -> int:
    """How many runs to average, of which those that are left would together gain less than `min_gain`.

    The mean of k densities that differ by chance gains in proportion to 1 - 1/k, so that the gain by all runs but the
    first shows what the others will: the latest one alone may gain nothing by chance.

    Parameters
    ----------
    held_out_log_prob : callable
        Out-of-fold log-densities of the mean of so many runs.
    most : int
    gain : callable
        ``gain(later, earlier)``: nats a sample by which the blend may gain; minus infinity ends the runs.
    min_gain : float
        Nats a sample.
    """
    first = held_out_log_prob(1)
    for k in range(2, most):
        if gain(held_out_log_prob(k), first) * (1 / k - 1 / most) / (1 - 1 / k) < min_gain:
            return k
    return most


@dataclass(frozen=True)
class Blend(Density):
    """A mixture of densities with fixed weights.

    Parameters
    ----------
    densities : dict of str to Density
        Components by name.
    weights : dict of str to float
        Of the same names; non-negative, sum 1. A component of weight zero is never evaluated.
    """

    densities: dict[str, Density]
    weights: dict[str, float]

    @classmethod
    def of(
        cls, components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
    ) -> Blend:
        """The blend of components by their `blend_weights`."""
        weights = blend_weights(components, sample_weight, options)
        return cls({c.name: c.density for c in components}, {c.name: float(w) for c, w in zip(components, weights)})

    @property
    def _weights(self) -> np.ndarray:
        return np.array(list(self.weights.values()))

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the chi-square numbers that samples take."""
        found = {d.degrees for d in self.densities.values() if d.degrees is not None}
        if len(found) > 1:
            raise ValueError(f"Components of {sorted(found)} degrees of freedom cannot share their random numbers.")
        return found.pop() if found else None

    def component_log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of every component, shape (n_samples, n_components); -inf for those of weight zero."""
        out, shared = np.full((len(X), len(self.densities)), -np.inf), SharedTransforms(X)
        for k, (name, density) in enumerate(self.densities.items()):
            if self.weights[name] > 0:
                if isinstance(density, TransformedDensity):
                    out[:, k] = density.log_prob_of(shared)
                else:
                    out[:, k] = density.log_prob(X)
        return out

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X, in nats, shape (n_samples,)."""
        return self.combined(self.component_log_prob(X))

    def combined(self, component_log_prob: np.ndarray) -> np.ndarray:
        """Log-density of the blend, shape (n_samples,), from those of its components."""
        return blend_log_density(component_log_prob, self._weights)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        weights = self._weights
        used = np.flatnonzero(weights)
        densities, shared = list(self.densities.values()), SharedTransforms(X)

        def of(density: Density) -> tuple[np.ndarray, np.ndarray]:
            if isinstance(density, TransformedDensity):
                return density.log_prob_and_score_of(shared)
            return density.log_prob_and_score(X)

        log_prob, scores = zip(*(of(densities[k]) for k in used))
        L = np.full((len(X), len(densities)), -np.inf)
        L[:, used] = np.stack(log_prob, axis=1)
        share = weights * np.exp(L - blend_log_density(L, weights)[:, None])
        return sum(share[:, [k]] * score for k, score in zip(used, scores))

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, of which `choice` chooses the component."""
        choice = choose_component(self._weights, noise.choice)
        out = np.empty_like(noise.normal)
        for k, density in enumerate(self.densities.values()):
            mine = choice == k
            if mine.any():
                out[mine] = density.sample(noise.take(mine))
        return out

    def restricted(self, names: Collection[str]) -> tuple[Blend, float]:
        """The blend of some components alone, their weights scaled to sum 1, and their share of the whole."""
        share = sum(self.weights[name] for name in names)
        weights = {name: self.weights[name] / share if share else 1 / len(names) for name in names}
        return Blend({name: self.densities[name] for name in names}, weights), share

    def replaced(self, name: str, density: Density) -> Blend:
        """The same blend with another density in the place of a component."""
        return Blend({**self.densities, name: density}, self.weights)

    def draw(self, n_samples: int, n_features: int, seed: int) -> np.ndarray:
        """Samples from a seed; fewer of them are a prefix of more."""
        out, size = np.empty((n_samples, n_features)), BLOCK_SAMPLES * (1 + 3 * n_helpers())
        for block, samples in zip(slices(n_samples, size), self.draws(n_samples, n_features, seed, size)):
            out[block] = samples
        return out

    def draws(self, n_samples: int, n_features: int, seed: int, size: int) -> Iterator[np.ndarray]:
        """The samples of `draw`, at most `size` of them at a time."""
        stream = NoiseStream(seed, n_features, self.degrees)
        for block in slices(n_samples, size):
            noise = stream.take(block.stop - block.start)
            samples = np.empty_like(noise.normal)
            values_in_parts(self.sample, noise.take, samples, few_parts=True)
            yield samples
