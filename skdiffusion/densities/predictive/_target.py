"""The distribution of a target, in its own units, given inputs: a blend behind a map, beside probabilities of atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.validation import without_overshoot
from skdiffusion.densities.predictive._atoms import AtomProbabilities
from skdiffusion.densities.predictive._blend import PredictiveBlend
from skdiffusion.densities.predictive._cells import EvenInCells, MappedDistributions
from skdiffusion.densities.predictive._distributions import TargetNoise
from skdiffusion.preprocessing import Preprocessor

CONTINUOUS_SHARE = 1e-12  # of the probability, below which the continuous part has no quantiles of its own


@dataclass(frozen=True)
class TargetModel:
    """The distribution of one target given inputs.

    Parameters
    ----------
    target_map : Preprocessor
        Of the target, to the number that the blend is of.
    reach : pair of float
        Least and greatest value for means.
    blend : PredictiveBlend
    atoms : AtomProbabilities or None
    edges : array of shape (n_cells + 1,)
        Rising ends of the cells of a coarse grid, within which the density is even; empty without one.
    """

    target_map: Preprocessor
    reach: tuple[float, float]
    blend: PredictiveBlend
    atoms: AtomProbabilities | None
    edges: np.ndarray

    def given(self, X: np.ndarray) -> TargetDistributions:
        """The distributions given inputs X (n, n_inputs)."""
        shares = None if self.atoms is None else self.atoms(X)
        blend = self.blend.given(X)
        if len(self.edges):
            return TargetDistributions(self.atoms, EvenInCells(blend, self.target_map, self.reach, self.edges), shares)
        return TargetDistributions(self.atoms, MappedDistributions(blend, self.target_map, self.reach), shares)


@dataclass(frozen=True)
class TargetDistributions:
    """Distributions of a target in its own units, one for each sample.

    Parameters
    ----------
    atoms : AtomProbabilities or None
    continuous : MappedDistributions
        Of the target where it is no atom.
    shares : array of shape (n_samples, n_atoms + 1) or None
        Probabilities of the atoms, and last that the target is none.
    """

    atoms: AtomProbabilities | None
    continuous: MappedDistributions
    shares: np.ndarray | None

    def __len__(self) -> int:
        return len(self.continuous)

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        """Log-densities, in nats, of one target for every sample (n,); of an atom the log of its probability."""
        low, high = (np.array(end) for end in self.continuous.bounds)
        y = without_overshoot(y, low, high, np.finfo(np.float64).eps)
        out = self.continuous.log_prob(y)
        if self.shares is None:
            return out
        assert self.atoms is not None
        atom, last = self.atoms.of(y), self.shares.shape[1] - 1
        with np.errstate(divide="ignore"):
            log_share = np.log(self.shares[np.arange(len(y)), atom])
        return np.where(atom == last, log_share + out, log_share)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Distribution functions at several targets for every sample (n, n_targets)."""
        out = self.continuous.cdf(y)
        if self.shares is None:
            return out
        assert self.atoms is not None
        below = (self.atoms.values <= y[:, :, None]) * self.shares[:, None, :-1]
        return below.sum(2) + self.shares[:, -1:] * out

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1)."""
        if self.shares is None:
            return self.continuous.quantiles(probabilities)
        assert self.atoms is not None
        continuous = self.shares[:, -1:]
        values = self.atoms.values
        # The continuous part reaches an atom at a level of its own; before it and after it the atom has its share.
        at = self.continuous.cdf(np.repeat(values[None], len(continuous), axis=0))
        before = np.concatenate([np.zeros((len(at), 1)), np.cumsum(self.shares[:, :-1], axis=1)], axis=1)
        starts = continuous * at + before[:, :-1]
        passed = (probabilities[:, :, None] > starts[:, None]).sum(2)
        mass = np.take_along_axis(before, passed, axis=1)
        own = np.clip((probabilities - mass) / np.maximum(continuous, CONTINUOUS_SHARE), 1e-15, 1 - 1e-15)
        ends = np.concatenate([[-np.inf], values, [np.inf]])
        y = np.clip(self.continuous.quantiles(own), ends[passed], ends[passed + 1])
        last = np.maximum(passed - 1, 0)
        stops = np.take_along_axis(starts + self.shares[:, :-1], last, axis=1)
        return np.where((passed > 0) & (probabilities <= stops), values[last], y)

    def mean(self) -> np.ndarray:
        """Means, shape (n,)."""
        mean = self.continuous.mean()
        if self.shares is None:
            return mean
        assert self.atoms is not None
        return self.shares[:, -1] * mean + (self.shares[:, :-1] * self.atoms.values).sum(1)

    def sample(self, noise: TargetNoise) -> np.ndarray:
        """A draw for every sample, (n,)."""
        if self.shares is None:
            return self.continuous.sample(noise)
        assert self.atoms is not None
        ends = np.cumsum(self.shares[:, :-1], axis=1)
        atom = (noise.choice[:, None] >= ends).sum(1)
        last = self.shares.shape[1] - 1
        left = (noise.choice - ends[:, -1]) / np.maximum(self.shares[:, -1], CONTINUOUS_SHARE)
        y = self.continuous.sample(noise._replace(choice=np.clip(left, 0.0, 1.0 - 1e-12)))
        return np.where(atom == last, y, self.atoms.values[np.minimum(atom, last - 1)])

    def take(self, samples: np.ndarray) -> TargetDistributions:
        """Those of some samples, by their numbers."""
        shares = None if self.shares is None else self.shares[samples]
        return TargetDistributions(self.atoms, self.continuous.take(samples), shares)
