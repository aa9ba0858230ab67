"""Distributions of one number, one for each sample: what a component says of the target given its inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, gammaln, ndtr, stdtr, stdtrit

from skdiffusion._utils.numerics import log_sum_exp
from skdiffusion.densities import choose_component

LOG_2PI = np.log(2 * np.pi)
MIN_MASS = 1e-10  # of a cell, by a difference of the distribution function; the density stands for less
N_GAUSS_HERMITE = 9  # nodes of a Gaussian: exact for polynomials of the seventeenth degree
MANY_PARTS, N_OF_MANY = 16, 5  # nodes of a Gaussian of a mixture of more parts
N_STUDENT = 64  # nodes of a Student-t, the middles of as many equal probabilities


class TargetNoise(NamedTuple):
    """Random numbers for one draw of every sample, arrays of shape (n_samples,)."""

    normal: np.ndarray
    uniform: np.ndarray
    choice: np.ndarray  # uniform, of the component of a blend
    others: tuple[TargetNoise, ...] = ()  # two, where some draws are order statistics of several

    def apply(self, function: Callable[[np.ndarray], np.ndarray]) -> TargetNoise:
        """A function of every array."""
        others = tuple(other.apply(function) for other in self.others)
        return TargetNoise(function(self.normal), function(self.uniform), function(self.choice), others)

    def take(self, samples: np.ndarray | slice) -> TargetNoise:
        """Those of some samples."""
        return self.apply(lambda numbers: numbers[samples])


class Distributions(ABC):
    """One distribution of a number for each of n samples."""

    @abstractmethod
    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log-densities, in nats, of one number for every sample (n,)."""

    @abstractmethod
    def cdf(self, z: np.ndarray) -> np.ndarray:
        """Distribution functions at several numbers for every sample (n, n_numbers)."""

    def fast_cdf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A function like `cdf` of numbers and the samples that they are of, for many calls; it may interpolate."""
        return lambda z, samples: self.take(samples).cdf(z)

    @abstractmethod
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of a quadrature of every distribution, each (n, n_nodes); the weights sum to 1."""

    @abstractmethod
    def sample(self, noise: TargetNoise) -> np.ndarray:
        """A draw for every sample, (n,)."""

    @abstractmethod
    def take(self, samples: np.ndarray) -> Distributions:
        """Those of some samples, by their numbers."""


@dataclass(frozen=True)
class NormalMixtures(Distributions):
    """Mixtures of normal distributions; all arrays have the shape (n_samples, n_parts)."""

    weights: np.ndarray  # of sum 1
    means: np.ndarray
    scales: np.ndarray

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        standard = (z[:, None] - self.means) / self.scales
        with np.errstate(divide="ignore"):
            parts = np.log(self.weights) - np.log(self.scales) - 0.5 * (LOG_2PI + standard**2)
        return log_sum_exp(parts, axis=1)

    def cdf(self, z: np.ndarray) -> np.ndarray:
        # Samples come last: loops over a few numbers of each would take longer than the distribution function.
        numbers, out = np.ascontiguousarray(z.T), np.zeros(z.shape[::-1])
        for weight, mean, scale in zip(*(np.ascontiguousarray(a.T) for a in (self.weights, self.means, self.scales))):
            part = numbers - mean
            part /= scale
            ndtr(part, out=part)
            part *= weight
            out += part
        return np.ascontiguousarray(out.T)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        n_nodes = N_GAUSS_HERMITE if self.means.shape[1] <= MANY_PARTS else N_OF_MANY
        codes, shares = np.polynomial.hermite_e.hermegauss(n_nodes)
        z = self.means[:, :, None] + self.scales[:, :, None] * codes
        weights = self.weights[:, :, None] * (shares / shares.sum())
        return z.reshape(len(z), -1), weights.reshape(len(z), -1)

    def sample(self, noise: TargetNoise) -> np.ndarray:
        part = choose_component(self.weights, noise.uniform)
        samples = np.arange(len(part))
        return self.means[samples, part] + self.scales[samples, part] * noise.normal

    def take(self, samples: np.ndarray) -> NormalMixtures:
        return NormalMixtures(self.weights[samples], self.means[samples], self.scales[samples])


@dataclass(frozen=True)
class StudentTs(Distributions):
    """Student-t distributions of the same degrees of freedom; locations and scales have the shape (n_samples,)."""

    locations: np.ndarray
    scales: np.ndarray
    degrees: float

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        nu = self.degrees
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
        standard = np.abs(z - self.locations) / self.scales
        # log(1 + standard^2 / nu) without squaring: this density bounds the cost of samples however far.
        bend = np.logaddexp(0.0, 2 * np.log(np.maximum(standard, 1e-300)) - np.log(nu))
        return constant - np.log(self.scales) - (nu + 1) / 2 * bend

    def cdf(self, z: np.ndarray) -> np.ndarray:
        return stdtr(self.degrees, (z - self.locations[:, None]) / self.scales[:, None])

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        codes = stdtrit(self.degrees, (np.arange(N_STUDENT) + 0.5) / N_STUDENT)
        z = self.locations[:, None] + self.scales[:, None] * codes
        return z, np.full(z.shape, 1 / N_STUDENT)

    def sample(self, noise: TargetNoise) -> np.ndarray:
        spread = np.sqrt(self.degrees / chdtri(self.degrees, noise.uniform))
        return self.locations + self.scales * noise.normal * spread

    def take(self, samples: np.ndarray) -> StudentTs:
        return StudentTs(self.locations[samples], self.scales[samples], self.degrees)
