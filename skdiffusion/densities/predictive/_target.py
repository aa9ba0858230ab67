"""The distribution of a target, in its own units, given inputs: a blend behind a map, beside probabilities of atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.validation import without_overshoot
from skdiffusion.densities.predictive._atoms import AtomProbabilities
from skdiffusion.densities.predictive._blend import BlendedDistributions, PredictiveBlend
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
    blend : PredictiveBlend
    atoms : AtomProbabilities or None
    """

    target_map: Preprocessor
    blend: PredictiveBlend
    atoms: AtomProbabilities | None

    def given(self, X: np.ndarray) -> TargetDistributions:
        """The distributions given inputs X (n, n_inputs)."""
        shares = None if self.atoms is None else self.atoms(X)
        return TargetDistributions(self, self.blend.given(X), shares)


@dataclass(frozen=True)
class TargetDistributions:
    """Distributions of a target in its own units, one for each sample.

    Parameters
    ----------
    model : TargetModel
    continuous : BlendedDistributions
        Of the mapped target where it is no atom.
    shares : array of shape (n_samples, n_atoms + 1) or None
        Probabilities of the atoms, and last that the target is none.
    """

    model: TargetModel
    continuous: BlendedDistributions
    shares: np.ndarray | None

    def __len__(self) -> int:
        return len(self.continuous)

    @property
    def _bounds(self) -> tuple[float, float]:
        return float(self.model.target_map.low[0]), float(self.model.target_map.high[0])

    def _mapped(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets of any shape, mapped, and the logarithms of the slope."""
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.model.target_map.transform(np.clip(y, *self._bounds).reshape(-1, 1))
        return z.reshape(y.shape), log_det.reshape(y.shape)

    def _from_mapped(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            y = self.model.target_map.inverse_transform(z.reshape(-1, 1)).reshape(z.shape)
        return np.clip(y, *self._bounds)

    def log_prob(self, y: np.ndarray) -> np.ndarray:
        """Log-densities, in nats, of one target for every sample (n,); of an atom the log of its probability."""
        low, high = self._bounds
        y = without_overshoot(y, np.array(low), np.array(high), np.finfo(np.float64).eps)
        z, log_det = self._mapped(y)
        out = self.continuous.log_prob(z) + log_det
        out = np.where((y < low) | (y > high), -np.inf, out)
        if self.shares is None:
            return out
        assert self.model.atoms is not None
        atom, last = self.model.atoms.of(y), self.shares.shape[1] - 1
        with np.errstate(divide="ignore"):
            log_share = np.log(self.shares[np.arange(len(y)), atom])
        return np.where(atom == last, log_share + out, log_share)

    def cdf(self, y: np.ndarray) -> np.ndarray:
        """Distribution functions at several targets for every sample (n, n_targets)."""
        low, high = self._bounds
        out = np.where(y < low, 0.0, np.where(y >= high, 1.0, self.continuous.cdf(self._mapped(y)[0])))
        if self.shares is None:
            return out
        assert self.model.atoms is not None
        below = (self.model.atoms.values <= y[:, :, None]) * self.shares[:, None, :-1]
        return below.sum(2) + self.shares[:, -1:] * out

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1)."""
        if self.shares is None:
            return self._from_mapped(self.continuous.quantiles(probabilities))
        assert self.model.atoms is not None
        continuous = self.shares[:, -1:]
        values = self.model.atoms.values
        # The continuous part reaches an atom at a level of its own; before it and after it the atom has its share.
        at = self.continuous.cdf(self._mapped(np.repeat(values[None], len(continuous), axis=0))[0])
        before = np.concatenate([np.zeros((len(at), 1)), np.cumsum(self.shares[:, :-1], axis=1)], axis=1)
        starts = continuous * at + before[:, :-1]
        passed = (probabilities[:, :, None] > starts[:, None]).sum(2)
        mass = np.take_along_axis(before, passed, axis=1)
        own = np.clip((probabilities - mass) / np.maximum(continuous, CONTINUOUS_SHARE), 1e-15, 1 - 1e-15)
        ends = np.concatenate([[-np.inf], values, [np.inf]])
        y = np.clip(self._from_mapped(self.continuous.quantiles(own)), ends[passed], ends[passed + 1])
        last = np.maximum(passed - 1, 0)
        stops = np.take_along_axis(starts + self.shares[:, :-1], last, axis=1)
        return np.where((passed > 0) & (probabilities <= stops), values[last], y)

    def mean(self) -> np.ndarray:
        """Means, shape (n,)."""
        z, weights = self.continuous.nodes()
        mean = (np.where(weights > 0, self._from_mapped(z), 0.0) * weights).sum(1)
        if self.shares is None:
            return mean
        assert self.model.atoms is not None
        return self.shares[:, -1] * mean + (self.shares[:, :-1] * self.model.atoms.values).sum(1)

    def sample(self, noise: TargetNoise) -> np.ndarray:
        """A draw for every sample, (n,)."""
        if self.shares is None:
            return self._from_mapped(self.continuous.sample(noise))
        assert self.model.atoms is not None
        ends = np.cumsum(self.shares[:, :-1], axis=1)
        atom = (noise.choice[:, None] >= ends).sum(1)
        last = self.shares.shape[1] - 1
        left = (noise.choice - ends[:, -1]) / np.maximum(self.shares[:, -1], CONTINUOUS_SHARE)
        y = self._from_mapped(self.continuous.sample(noise._replace(choice=np.clip(left, 0.0, 1.0 - 1e-12))))
        return np.where(atom == last, y, self.model.atoms.values[np.minimum(atom, last - 1)])

    def take(self, samples: np.ndarray) -> TargetDistributions:
        """Those of some samples, by their numbers."""
        shares = None if self.shares is None else self.shares[samples]
        return TargetDistributions(self.model, self.continuous.take(samples), shares)
