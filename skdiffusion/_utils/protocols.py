"""What every density and every velocity field can do, and the random numbers that become samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from skdiffusion._utils.blocks import whole_vectors

Array: TypeAlias = Any  # a numpy array or a torch tensor: what takes both returns the kind that it was given
OptionalArray: TypeAlias = Any  # the same, or None


class SampleNoise(NamedTuple):
    """Random numbers that a density turns into samples, one set for each sample."""

    normal: np.ndarray  # standard normal, shape (n_samples, n_features)
    uniform: np.ndarray | None = None  # (n_samples,): the component of a mixture, the kernel, the order of a regression
    chi2: np.ndarray | None = (
        None  # (n_samples,), with the degrees of freedom of a Student-t: the radius of its samples
    )
    choice: np.ndarray | None = None  # (n_samples,), uniform: the component of a blend
    boundary: np.ndarray | None = None  # (n_samples, n_features), uniform: features near their bounds that are redrawn

    def take(self, which: np.ndarray | slice) -> SampleNoise:
        """The numbers of some of the samples."""
        return SampleNoise._make(None if part is None else part[which] for part in self)


class NoiseStream:
    """Endless random numbers for samples: fewer of them are a prefix of more."""

    def __init__(self, seed: int, n_features: int, degrees: float | None = None):
        self.n_features, self.degrees = n_features, degrees
        # A stream for each kind of number: none depends on how many samples are drawn at a time.
        self._streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)]

    def take(self, n_samples: int) -> SampleNoise:
        """The numbers of the next samples."""
        normal, choice, uniform, chi2, boundary = self._streams
        return SampleNoise(
            normal.standard_normal((n_samples, self.n_features)),
            uniform.random(n_samples),
            None if self.degrees is None else chi2.chisquare(self.degrees, n_samples),
            choice.random(n_samples),
            boundary.random((n_samples, self.n_features)),
        )


class Density:
    """Base of every density: closed forms, the flow, the density behind a preprocessor and the blend.

    A density of its own gives `log_prob`, `score` and `sample`. It never looks at the other samples of a call: the
    value of a sample has the same bits in every batch.
    """

    degrees: float | None = None  # of freedom of the chi-square numbers in `SampleNoise`; None needs none
    narrowest: float = 1.0  # smallest standard deviation of a part that carries data, in the units of the samples

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Log-density of samples X (n_samples, n_features), in nats, shape (n_samples,)."""
        raise NotImplementedError

    def score(self, X: np.ndarray) -> np.ndarray:
        """Gradient of the log-density, shape (n_samples, n_features)."""
        raise NotImplementedError

    def log_prob_and_score(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both at once, where they share most of the work."""
        return self.log_prob(X), self.score(X)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Samples from random numbers, shape (n_samples, n_features)."""
        raise NotImplementedError


class AxesSplit(NamedTuple):
    """Orthonormal axes of a space, split into those of given coordinates and the others; or those of many splits."""

    given: np.ndarray  # (..., n_features, n_given)
    others: np.ndarray  # (..., n_features, n_features - n_given)


class ClosedFormDensity(Density):
    """A density whose marginals and conditionals along any orthonormal axes are known in closed form."""

    def marginal(self, axes: np.ndarray) -> ClosedFormDensity:
        """The density of the coordinates of samples along some axes (n_features, n_axes)."""
        raise NotImplementedError

    def marginal_log_prob(self, axes: np.ndarray, given: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Log-densities of coordinates along axes of several patterns, each of its own, in nats, shape (n_samples,).

        Parameters
        ----------
        axes : array of shape (n_patterns, n_features, n_given)
        given : array of shape (n_samples, n_given)
        which : array of shape (n_samples,)
            The pattern of each sample, by its number.
        """
        out = np.empty(len(given))
        for k, own in enumerate(axes):
            mine = which == k
            out[mine] = self.marginal(own).log_prob(whole_vectors(given[mine]))[: np.count_nonzero(mine)]
        return out

    def sample_given(self, axes: AxesSplit, given: np.ndarray, which: np.ndarray, noise: SampleNoise) -> np.ndarray:
        """Coordinates of samples along the other axes, (n_samples, n_others), given those along the rest of them.

        Parameters
        ----------
        axes : AxesSplit
            Of several patterns, of as many given coordinates each.
        given : array of shape (n_samples, n_given)
            Of each sample its own.
        which : array of shape (n_samples,)
            The pattern of each sample, by its number.
        noise : SampleNoise
            Random numbers for each sample; the normal ones for the other axes alone, (n_samples, n_others).
        """
        raise NotImplementedError


class LatentDensity(Density):
    """A density with a map to independent standard normal codes, and back."""

    def to_latent(self, X: np.ndarray) -> np.ndarray:
        """Codes of samples, shape (n_samples, n_features)."""
        raise NotImplementedError

    def from_latent(self, codes: np.ndarray) -> np.ndarray:
        """Samples of codes, the inverse of `to_latent`."""
        raise NotImplementedError


class VelocityField:
    r"""Base of the fields that the probability flow follows: trained networks and diffused closed-form densities.

    A field is the function :math:`F(z, \theta) = E[x_0\sin\theta - \varepsilon\cos\theta \mid z]` of noised samples
    :math:`z = x_0\cos\theta + \varepsilon\sin\theta`, the negative of the v-prediction of Salimans and Ho (2022) in the
    angle of TrigFlow (Lu and Song, 2024). A field of its own gives `__call__`; what else it inherits is right for a
    field of numpy arrays that is smooth in the angle.

    References
    ----------
    Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models, arXiv 2202.00512.
    Lu and Song (2024), Simplifying, stabilizing and scaling continuous-time consistency models, arXiv 2410.11081.
    """

    edges: tuple[float, ...] = ()  # rising angles at which one network takes over from another
    reference: Any = None  # GaussianReference of the samples before noise; None is the standard normal distribution

    def __call__(self, z: Array, theta: float, divergence: bool = False) -> tuple[Array, OptionalArray]:
        """Velocity (n, d) at samples z (n, d) and one angle, and its divergence (n,) if asked, else None."""
        raise NotImplementedError

    def pull_back(self, z: Array, theta: float, by_velocity: Array, by_trace: Array) -> Array:
        """Gradient (n, d) in z of by_velocity (n, d) times the velocity plus by_trace (n,) times its divergence.

        This one differentiates a field of tensors; a field may know a faster way.
        """
        import torch

        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            velocity, trace = self(z, theta, True)
            return torch.autograd.grad([velocity, trace], z, [by_velocity, by_trace])[0]

    def jacobian(self, z: Array, theta: float) -> Array:
        """Jacobian dF_i/dz_j of the velocity at every sample, shape (n, d, d)."""
        raise NotImplementedError

    def place(self, z: np.ndarray) -> np.ndarray:
        """Whitened samples in the coordinates of the field, where the noise is isotropic."""
        return z

    def at(self, theta: float) -> VelocityField:
        """The field without edges that is this one in the interval of an angle."""
        return self

    @property
    def flow_field(self) -> VelocityField:
        """The same flow in coordinates of unit covariance, those of whitened samples; for `blocks` of samples."""
        return self

    def blocks(self, samples: np.ndarray) -> Iterator[tuple[slice | np.ndarray, Array]]:
        """Samples in the blocks in which the field takes them, each with the samples that it holds, as for `write`."""
        yield slice(0, len(samples)), samples
