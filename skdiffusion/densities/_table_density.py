"""Densities of tables: of the states and the present values of samples, behind the maps of the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skdiffusion._utils.protocols import Density, SampleNoise
from skdiffusion.preprocessing import Columns, PresentMaps


class StateNoise(NamedTuple):
    """Random numbers that a state density turns into samples, one set for each sample."""

    normal: np.ndarray  # standard normal, shape (n_samples, n_numeric)
    states: np.ndarray  # uniform, (n_samples, n_stated): the states
    uniform: np.ndarray  # uniform, (n_samples,): the component of a mixture
    chi2: np.ndarray | None = None  # (n_samples,), with the degrees of freedom of a Student-t

    def take(self, which: np.ndarray | slice) -> StateNoise:
        """The numbers of some of the samples."""
        return StateNoise._make(None if part is None else part[which] for part in self)


class StateDensity:
    """Base of the densities of states and mapped present values; see `Columns` for what these are.

    A density of its own gives `log_prob` and `sample`. The value of a sample has the same bits in every batch.
    """

    degrees: float | None = None  # of freedom of the chi-square numbers that samples take
    in_closed_form: bool = False  # whether unknown states and values are summed and integrated over exactly

    def log_prob(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Log-density in nats, shape (n_samples,), of states (n_samples, n_stated) and mapped values (n_samples,
        n_numeric), NaN where there is none."""
        raise NotImplementedError

    def sample(self, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        """States and mapped values from random numbers. Values at an atom need not be NaN."""
        raise NotImplementedError

    def completed(self, states: np.ndarray, z: np.ndarray, noise: StateNoise) -> tuple[np.ndarray, np.ndarray]:
        """States and mapped values with the unknown ones drawn given the known ones."""
        raise NotImplementedError

    def state_table(self, k: int) -> np.ndarray:
        """Probabilities of the states of one column, by its place among them, whatever the others are; (n_states,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class TableDensity(Density):
    """A state density behind the maps of the numeric features, in the values of the table.

    Parameters
    ----------
    columns : Columns
    maps : PresentMaps
    density : StateDensity
    """

    columns: Columns
    maps: PresentMaps
    density: StateDensity

    @property
    def degrees(self) -> float | None:  # type: ignore[override]
        """Degrees of freedom of the chi-square numbers that samples take."""
        return self.density.degrees

    @property
    def in_closed_form(self) -> bool:
        """Whether the densities of incomplete samples are known."""
        return self.density.in_closed_form

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X, in nats, shape (n_samples,); NaN marks what is unknown."""
        states, x = self.columns.split(X)
        with np.errstate(over="ignore", invalid="ignore"):
            z, log_det = self.maps.transform(x)
            log_prob = self.density.log_prob(states, z) + log_det
        return np.where(np.isnan(log_prob), -np.inf, log_prob)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, shape (n_samples, n_features)."""
        return self._placed(*self.density.sample(self._state_noise(noise)))

    def completed(self, X: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Samples with their unknown features drawn given the known ones, which come back to the bit."""
        states, x = self.columns.split(X)
        drawn = self._placed(*self.density.completed(states, self.maps.transform(x)[0], self._state_noise(noise)))
        return np.where(np.isnan(X), drawn, X)

    def _placed(self, states: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Samples of states and mapped values."""
        x = self.maps.inverse_transform(z)
        return self.columns.joined(states, np.where(self.columns.present(states), x, np.nan))

    def _state_noise(self, noise: SampleNoise) -> StateNoise:
        assert noise.uniform is not None, "The samples of a table take uniform random numbers."
        assert noise.boundary is not None, "The states of samples take uniform random numbers."
        columns = self.columns
        normal, states = noise.normal[:, columns.numeric], noise.boundary[:, columns.stated]
        return StateNoise(normal, states, noise.uniform, noise.chi2)
