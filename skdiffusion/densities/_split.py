"""The densities of a split flow behind a preprocessor: of any features given any others, direct and normalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.densities._boundary import BoundaryNodes
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

    def given(self, features: np.ndarray) -> GivenSplitDensity:
        """The density of complete samples as that of some features times that of the others given these."""
        return GivenSplitDensity(self.preprocessor, self.density, np.asarray(features))

    def _whitened_given(self, given: np.ndarray, features: np.ndarray, noise: SampleNoise) -> np.ndarray:
        z = np.zeros((len(given), self.preprocessor.n_features))
        z[:, features] = given
        others = np.setdiff1d(np.arange(z.shape[1]), features)
        return z + self.density.draw(z, Split.of(others, features), noise.normal)


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
        return _log_probs_of_features([self], [X])[0]


def _log_probs_of_features(densities: Sequence[FlowOfFeatures], samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log-densities of features of one flow, each at samples of its own, by one solution for all."""
    flow, lengths = densities[0].flow, [len(X) for X in samples]
    z = np.zeros((sum(lengths), 1 + flow.field.n_targets))
    ends = np.cumsum(lengths)
    for k, (density, X, end) in enumerate(zip(densities, samples, ends)):
        rows = slice(end - len(X), end)
        z[rows, 0], z[rows, 1 + density.features] = k, X
    # Many samples may share what is known.
    distinct, owner = np.unique(z, axis=0, return_inverse=True)
    splits = [Split.of(density.features, np.array([], dtype=int)) for density in densities]
    log_prob = flow.conditional_log_probs(distinct[:, 1:], splits, distinct[:, 0].astype(int))
    return np.split(log_prob[owner.ravel()], ends[:-1])


def marginal_log_probs(marginals: Sequence[TransformedDensity], samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log-densities of marginals of one `SplitDensity`, each at samples of its own, as `log_prob` of each of them."""
    nodes, z, log_dets, flows = [], [], [], []
    for marginal, X in zip(marginals, samples):
        assert isinstance(marginal.density, FlowOfFeatures)
        regions = marginal.preprocessor.regions
        nodes.append(BoundaryNodes.of(regions, X) if regions else None)
        mapped, log_det = marginal.preprocessor.transform(X if nodes[-1] is None else nodes[-1].X)
        z.append(mapped)
        log_dets.append(log_det)
        flows.append(marginal.density)
    out = []
    for value, log_det, own in zip(_log_probs_of_features(flows, z), log_dets, nodes):
        log_prob = TransformedDensity._covered(value + log_det)
        out.append(log_prob if own is None else own.log_prob(log_prob))
    return out
