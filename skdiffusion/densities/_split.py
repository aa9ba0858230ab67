"""The densities of a split flow behind a preprocessor: of any features given any others, direct and normalized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.blocks import whole_vectors
from skdiffusion._utils.patterns import Patterns
from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._transformed import SharedTransforms, TransformedDensity
from skdiffusion.diffusion.networks import Split
from skdiffusion.diffusion.split import SplitFlow


@dataclass(frozen=True)
class SplitDensity(TransformedDensity):
    """A split flow behind a preprocessor to centered features of unit variance.

    Its marginal densities are those of splits in which the other features are absent, and its conditional ones those
    of splits in which all others are given. No two splits need agree: what `log_prob` says of complete samples may
    differ from the sum of a marginal and a conditional log-density, which is what the density `given` some features is.
    """

    density: SplitFlow

    @property
    def in_closed_form(self) -> bool:
        """Its marginals and conditionals are known, by networks of their own."""
        return True

    def marginal(self, features: np.ndarray) -> TransformedDensity:
        """The density of some features, by their numbers."""
        preprocessor = self.preprocessor.of_features(features).unwhitened()
        return TransformedDensity(preprocessor, FlowOfFeatures(self.density, np.asarray(features)))

    def _mapped_known_log_prob(self, X: np.ndarray) -> np.ndarray:
        U, log_slope = self.preprocessor.centered_known(X)
        scale = self.preprocessor.whitening.scale
        log_det = log_slope - np.where(np.isnan(X), 0.0, np.log(scale)).sum(1)
        return self._covered(_known_log_prob(self.density, U / scale) + log_det)

    def _whitened_given(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        patterns = Patterns.of(X)
        z = np.nan_to_num(self.preprocessor.centered_known(whole_vectors(X))[0][: len(X)])
        z /= self.preprocessor.whitening.scale
        splits = [Split.of(np.flatnonzero(~own), np.flatnonzero(own)) for own in patterns.known]
        return z + self.density.draws(z, splits, patterns.which, noise.normal)

    def given(self, features: np.ndarray) -> GivenSplitDensity:
        """The density of complete samples as that of some features times that of the others given these."""
        return GivenSplitDensity(self.preprocessor, self.density, np.asarray(features))


@dataclass(frozen=True)
class GivenSplitDensity(SplitDensity):
    """The density of complete samples of which some features are given: their marginal one times the conditional one.

    Parameters
    ----------
    preprocessor, density : as of `SplitDensity`
    features : array of int
        Numbers of the given features.
    """

    features: np.ndarray

    def _mapped_log_prob(self, X: np.ndarray, shared: SharedTransforms | None = None) -> np.ndarray:
        features, others = self.features, np.setdiff1d(np.arange(X.shape[1]), self.features)
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = (shared or SharedTransforms(X)).of(self.preprocessor)
            of_given = FlowOfFeatures(self.density, features).log_prob(z[:, features])
            of_others = self.density.conditional_log_prob(z, Split.of(others, features))
            return self._covered(of_given + of_others + log_det)


@dataclass(frozen=True)
class FlowOfFeatures(Density):
    """The density of some features of a split flow, the others absent.

    Parameters
    ----------
    flow : SplitFlow
    features : array of int
    """

    flow: SplitFlow
    features: np.ndarray

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X (n, n_features_in_question), in nats, shape (n,)."""
        z = np.full((len(X), self.flow.field.n_targets), np.nan)
        z[:, self.features] = X
        return _known_log_prob(self.flow, z)


def _known_log_prob(flow: SplitFlow, z: np.ndarray) -> np.ndarray:
    """Log-densities of what is known of samples of a flow, NaN elsewhere, by one solution for all."""
    # Many samples may share what is known.
    distinct, owner = np.unique(np.hstack([np.nan_to_num(z), np.isnan(z)]), axis=0, return_inverse=True)
    samples, unknown = np.hsplit(distinct, 2)
    patterns = Patterns.of(np.where(unknown == 1, np.nan, samples))
    splits = [Split.of(np.flatnonzero(known), np.array([], dtype=int)) for known in patterns.known]
    return flow.conditional_log_probs(samples, splits, patterns.which)[owner.ravel()]
