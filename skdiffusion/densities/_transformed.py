"""The density behind a preprocessor: any density of whitened samples, in the units of the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import in_blocks, whole_vectors
from skdiffusion._utils.numerics import samples_times_matrices, samples_times_matrix
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import ClosedFormDensity, Density, LatentDensity, SampleNoise
from skdiffusion.densities._boundary import BoundaryNodes, redrawn
from skdiffusion.preprocessing import Preprocessor


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
        return nodes.log_prob(in_blocks(self._mapped_log_prob, nodes.X))

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
        log_prob, score = self._mapped_log_prob_and_score(nodes.X)
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
        patterns = Patterns.of(X)
        n_known = patterns.known.sum(1)
        for n in np.unique(n_known):
            group = np.flatnonzero(n_known == n)
            samples = np.flatnonzero(n_known[patterns.which] == n)
            features = np.nonzero(whole_vectors(patterns.known[group]))[1].reshape(-1, n)
            axes, roots = self.preprocessor.whitening.axes_of_many(features)
            which = np.searchsorted(group, patterns.which[samples])
            known = np.take_along_axis(U[samples], features[which], axis=1)
            given = samples_times_matrices(known, np.linalg.inv(roots), which)
            log_det = np.log(np.abs(np.diagonal(roots, axis1=1, axis2=2))).sum(1)
            out[samples] += self.density.marginal_log_prob(axes, given, which) - log_det[which]
        return self._covered(out)

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
        if not len(features):
            return self.sample(noise)
        preprocessor, others = self.preprocessor, np.setdiff1d(np.arange(X.shape[1]), features)
        marginal, given = self.marginal(features), X[:, features]
        if marginal.preprocessor.regions:
            assert noise.boundary is not None, "The samples near bounds take uniform random numbers."
            given = marginal._before_redrawing(given, noise.boundary[:, features[0]])
        out = preprocessor.inverse_transform(
            self._whitened_given(marginal.preprocessor.transform(given)[0], features, noise)
        )
        if regions := [region for region in preprocessor.regions if region.feature in others]:
            assert noise.boundary is not None, "The samples near bounds take uniform random numbers."
            out = redrawn(regions, out, noise.boundary)
        out[:, features] = X[:, features]
        return out

    def known_completed(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Samples with NaN in unknown features, at least one known, completed each by its random numbers."""
        out = X.copy()
        for samples, features in Patterns.of(X).parts():
            out[samples] = self.completed(X[samples], features, noise.take(samples))
        return out

    def _whitened_given(self, given: np.ndarray, features: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Whitened samples, of which coordinates of given features, those of their `marginal`, are known."""
        assert isinstance(self.density, ClosedFormDensity)
        axes, others = (
            self.preprocessor.whitening.axes(features),
            np.setdiff1d(np.arange(noise.normal.shape[1]), features),
        )
        drawn = self.density.sample_given(axes, given, noise._replace(normal=noise.normal[:, others]))
        return samples_times_matrix(given, axes.given.T) + samples_times_matrix(drawn, axes.others.T)

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
