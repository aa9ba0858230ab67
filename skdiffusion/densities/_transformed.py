"""The density behind a preprocessor: any density of whitened samples, in the units of the features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.blocks import in_blocks, slices, whole_vectors
from skdiffusion._utils.numerics import samples_times_matrices
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import AxesSplit, ClosedFormDensity, Density, LatentDensity, SampleNoise
from skdiffusion.densities._boundary import BoundaryNodes, redrawn
from skdiffusion.preprocessing import Preprocessor

MAX_AXES_NUMBERS = 2_000_000  # of the axes of patterns that are worked on at a time


class PatternsTogether(NamedTuple):
    """Samples of several patterns of as many known features each, and the axes along which these are coordinates."""

    samples: np.ndarray  # (n_samples,), their numbers
    which: np.ndarray  # (n_samples,), the pattern of each
    known: np.ndarray  # bool array of shape (n_patterns, n_features)
    axes: AxesSplit
    inverses: np.ndarray  # (n_patterns, n_known, n_known), of the roots that turn coordinates into features
    log_det: np.ndarray  # (n_patterns,), log-determinants of the roots

    def numbers(self, known: bool) -> np.ndarray:
        """The numbers of the known or of the other features of every pattern, (n_patterns, n_known or n_others)."""
        mask = self.known == known
        return np.nonzero(mask)[1].reshape(len(mask), -1)

    def along_axes(self, U: np.ndarray) -> np.ndarray:
        """Coordinates of the samples among all by their centered features, (n_samples, n_known)."""
        known = np.take_along_axis(U[self.samples], self.numbers(True)[self.which], axis=1)
        return samples_times_matrices(known, self.inverses, self.which)


class SharedTransforms:
    """What preprocessors make of the samples X of one call, each of them once."""

    def __init__(self, X: np.ndarray):
        self.X = X
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, preprocessor: Preprocessor) -> tuple[np.ndarray, np.ndarray]:
        """Whitened samples and log-determinants, as `Preprocessor.transform`; not to be written to."""
        if id(preprocessor) not in self._known:
            self._known[id(preprocessor)] = preprocessor.transform(self.X)
        return self._known[id(preprocessor)]


@dataclass(frozen=True)
class TransformedDensity(LatentDensity):
    """A density of whitened samples behind a preprocessor, with the shapes of its regions near bounds."""

    preprocessor: Preprocessor
    density: Density  # of the whitened samples

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the chi-square numbers that samples take."""
        return self.density.degrees

    @property
    def narrowest(self) -> float:  # type: ignore[override]
        """Smallest standard deviation of a part that carries data, in whitened units."""
        return self.density.narrowest

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X within the bounds, in nats, shape (n_samples,)."""
        return self.log_prob_of(SharedTransforms(X))

    def log_prob_of(self, shared: SharedTransforms) -> np.ndarray:
        """Log-density of samples whose transforms may be known from another density."""
        X = shared.X
        if not self.preprocessor.regions:
            return self._mapped_log_prob(X, shared)
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        places, which = nodes.distinct()
        return nodes.log_prob(in_blocks(self._mapped_log_prob, places)[which])

    def _mapped_log_prob(self, X: np.ndarray, shared: SharedTransforms | None = None) -> np.ndarray:
        """Log-density of samples without regard to the regions near bounds."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = (shared or SharedTransforms(X)).of(self.preprocessor)
            log_prob = self.density.log_prob(z) + log_det
        return self._covered(log_prob)

    @staticmethod
    def _covered(log_prob: np.ndarray) -> np.ndarray:
        """Zero density where a sample is so far out that a map or the flow overflows: the Student-t covers it."""
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        return self.log_prob_and_score(X)[1]

    def log_prob_and_score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once."""
        return self.log_prob_and_score_of(SharedTransforms(X))

    def log_prob_and_score_of(self, shared: SharedTransforms) -> tuple[np.ndarray, np.ndarray]:
        """Both of samples whose transforms may be known from another density."""
        X = shared.X
        if not self.preprocessor.regions:
            return self._mapped_log_prob_and_score(X, shared)
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        places, which = nodes.distinct()
        log_prob, score = (values[which] for values in self._mapped_log_prob_and_score(places))
        return nodes.log_prob(log_prob), nodes.score(log_prob, score)

    def _mapped_log_prob_and_score(
        self, X: np.ndarray, shared: SharedTransforms | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and its gradient without regard to the regions near bounds."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = (shared or SharedTransforms(X)).of(self.preprocessor)
            log_prob, score = self.density.log_prob_and_score(z)
            return self._covered(log_prob + log_det), self.preprocessor.pull_back(X, score)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, shape (n_samples, n_features)."""
        X, regions = self.preprocessor.inverse_transform(self.density.sample(noise)), self.preprocessor.regions
        if not regions:
            return X
        assert noise.boundary is not None, "The samples near bounds take uniform random numbers."
        return redrawn(regions, X, noise.boundary)

    @property
    def in_closed_form(self) -> bool:
        """Whether its marginals and conditionals are known."""
        return isinstance(self.density, ClosedFormDensity)

    def given(self, features: np.ndarray) -> TransformedDensity:
        """The density whose difference to the marginal one of some features is conditional on these: itself."""
        return self

    def marginal(self, features: np.ndarray) -> TransformedDensity:
        """The density of some features, by their numbers."""
        assert isinstance(self.density, ClosedFormDensity)
        axes = self.preprocessor.whitening.axes(features)
        return TransformedDensity(self.preprocessor.of_features(features), self.density.marginal(axes.given))

    def known_log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-densities of what is known of samples with NaN in unknown features, at least one known, in nats.

        As `log_prob` of their `marginal`, for many patterns of unknown features together. The bits of a sample do not
        depend on the others.
        """
        n, X, regions = len(X), whole_vectors(X), self.preprocessor.regions
        with np.errstate(over="ignore", invalid="ignore"):
            if not regions:
                return self._mapped_known_log_prob(X)[:n]
            nodes = BoundaryNodes.of(regions, X)
            of_nodes = self._mapped_known_log_prob(whole_vectors(nodes.X))[: len(nodes.X)]
            return nodes.log_prob(of_nodes)[:n]

    def _mapped_known_log_prob(self, X: np.ndarray) -> np.ndarray:
        """The same without regard to the regions near bounds."""
        assert isinstance(self.density, ClosedFormDensity)
        U, out = self.preprocessor.centered_known(X)
        for part in self._parts(Patterns.of(X)):
            given = part.along_axes(U)
            log_prob = self.density.marginal_log_prob(part.axes.given, given, part.which)
            out[part.samples] += log_prob - part.log_det[part.which]
        return self._covered(out)

    def _parts(self, patterns: Patterns) -> Iterator[PatternsTogether]:
        """The samples by the number of their known features, at least one."""
        n_known, d = patterns.known.sum(1), self.preprocessor.n_features
        for n in np.unique(n_known[n_known > 0]):
            group = np.flatnonzero(n_known == n)
            for block in slices(len(group), max(1, MAX_AXES_NUMBERS // d**2)):
                own = group[block]
                samples = np.flatnonzero(np.isin(patterns.which, own))
                known = whole_vectors(patterns.known[own])
                axes, roots = self.preprocessor.whitening.axes_of_many(np.nonzero(known)[1].reshape(-1, n))
                log_det = np.log(np.abs(np.diagonal(roots, axis1=1, axis2=2))).sum(1)
                which = np.searchsorted(own, patterns.which[samples])
                yield PatternsTogether(samples, which, known, axes, np.linalg.inv(roots), log_det)

    def completed(self, X: np.ndarray, features: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Samples whose features of some numbers are given, the others drawn from their conditional distribution.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Of which only the given features are read.
        features : array of int
            Numbers of the given features.
        noise : SampleNoise

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The given features to the bit.
        """
        return self.known_completed(np.where(np.isin(np.arange(X.shape[1]), features), X, np.nan), noise)

    def known_completed(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Samples with NaN in unknown features completed each by its random numbers, as `completed` does."""
        known, out = ~np.isnan(X), X.copy()
        some, none = np.flatnonzero(known.any(1)), np.flatnonzero(~known.any(1))
        if len(none):
            out[none] = self.sample(noise.take(none))
        if len(some):
            out[some] = self._completed(X[some], noise.take(some))
        return np.where(known, X, out)

    def _completed(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """The same of samples each with at least one known feature, which may not come back to the bit."""
        regions, given = self.preprocessor.regions, X.copy()
        if not regions:
            return self.preprocessor.inverse_transform(self._whitened_given(given, noise))
        assert noise.boundary is not None, "The samples near bounds take uniform random numbers."
        parts = list(Patterns.of(X).parts())
        for samples, features in parts:
            marginal, own = self.marginal(features), np.ix_(samples, features)
            if marginal.preprocessor.regions:
                given[own] = marginal._before_redrawing(X[own], noise.boundary[samples, features[0]])
        out = self.preprocessor.inverse_transform(self._whitened_given(given, noise))
        for samples, features in parts:
            if others := [region for region in regions if region.feature not in features]:
                out[samples] = redrawn(others, out[samples], noise.boundary[samples])
        return out

    def _whitened_given(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Whitened samples with the known features of X, of which the others, NaN, are drawn."""
        assert isinstance(self.density, ClosedFormDensity)
        U, out = self.preprocessor.centered_known(whole_vectors(X))[0], np.empty(X.shape)
        for part in self._parts(Patterns.of(X)):
            normal = noise.normal[part.samples[:, None], part.numbers(False)[part.which]]
            given, own = part.along_axes(U), noise.take(part.samples)._replace(normal=normal)
            drawn = self.density.sample_given(part.axes, given, part.which, own)
            out[part.samples] = sum(
                samples_times_matrices(z, axes.transpose(0, 2, 1), part.which)
                for z, axes in zip((given, drawn), part.axes)
            )
        return out

    def _before_redrawing(self, X: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Samples as they may have been before their features near bounds were drawn anew."""
        nodes = BoundaryNodes.of(self.preprocessor.regions, X)
        return nodes.chosen(in_blocks(self._mapped_log_prob, nodes.X), uniform)

    def to_latent(self, X: np.ndarray) -> np.ndarray:
        """Codes of samples, where the density has a latent map."""
        assert isinstance(self.density, LatentDensity)
        return self.density.to_latent(self.preprocessor.transform(X)[0])

    def from_latent(self, codes: np.ndarray) -> np.ndarray:
        """Samples of codes, the inverse of `to_latent`."""
        assert isinstance(self.density, LatentDensity)
        return self.preprocessor.inverse_transform(self.density.from_latent(codes))
