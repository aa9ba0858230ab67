r"""Isotropic noise on features of unit variance, whatever their correlations, beside a Gaussian of their covariance.

Samples y of covariance C get noise of the same size in every direction, :math:`z = y\cos\theta + e\sin\theta`.
Directions in which they hardly vary vanish under the noise first, which suits directions that few samples determine
poorly. The Gaussian of this covariance has the linear velocity

.. math:: F_C(z,\theta) = \sin\theta\cos\theta\,(C - I)\,C_\theta^{-1} z ,\quad
    C_\theta = C\cos^2\theta + I\sin^2\theta .

The flow runs in :math:`w = C_\theta^{-1/2} z`, of unit covariance at every level: from whitened samples to the standard
normal distribution, whatever the horizon, with velocity :math:`C_\theta^{-1/2}(F - F_C)`, which is zero for Gaussian
samples. A network may learn F, or only its departure from F_C.

References
----------
Cole and Lu (2024): complexity relative to a Gaussian.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdiffusion._utils.protocols import VelocityField

MAX_LEVELS = 256  # noise levels whose matrices are kept
MULTIPLE = 4  # of features: in products of such widths a sample's bits do not depend on how many samples there are


def times(z: Tensor, matrix: Tensor) -> Tensor:
    """Samples z (n, d) times one of `GaussianReference.matrices`."""
    d, width = z.shape[1], matrix.shape[1]
    return z @ matrix if d == width else (torch.constant_pad_nd(z, (0, width - d)) @ matrix)[:, :d]


class LevelMatrices(NamedTuple):
    """What a Gaussian reference is at one angle, in matrices padded for `times`."""

    velocity: Tensor  # of the linear velocity
    trace: float  # of this matrix
    root: Tensor  # square root of the noised covariance
    inverse: Tensor  # of the root


class GaussianReference:
    """The Gaussian distribution of samples before noise, with its linear velocity.

    Parameters
    ----------
    covariance : array of shape (d, d)
    relative : bool
        Whether networks learn the departure from its velocity, or all of the velocity.
    """

    _saved = ("values", "axes", "relative")

    def __init__(self, covariance: np.ndarray, relative: bool):
        self.values, self.axes = np.linalg.eigh(covariance)
        self.relative = relative
        self._levels: dict[tuple, LevelMatrices] = {}

    def function(self, values: np.ndarray) -> np.ndarray:
        """The symmetric matrix of these eigenvalues on the axes of the covariance."""
        return (self.axes * values) @ self.axes.T

    @property
    def root(self) -> np.ndarray:
        """Whitened samples @ root have the covariance."""
        return self.function(np.sqrt(self.values))

    @property
    def narrowest(self) -> float:
        """Smallest standard deviation in any direction."""
        return float(np.sqrt(self.values[0]))

    def at_angle(self, theta: float) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues of the linear velocity, and standard deviations of noised samples, along the axes."""
        cos, sin = math.cos(theta), math.sin(theta)
        noised = self.values * cos**2 + sin**2
        return sin * cos * (self.values - 1) / noised, np.sqrt(noised)

    def matrices(self, theta: float, like: Tensor) -> LevelMatrices:
        """The matrices at one angle, of the type and on the device of a tensor."""
        key = float(theta), like.dtype, like.device
        level = self._levels.get(key)
        if level is None:
            if len(self._levels) >= MAX_LEVELS:
                self._levels.clear()
            slopes, deviations = self.at_angle(theta)
            padding = (0, -len(slopes) % MULTIPLE)
            velocity, root, inverse = (
                torch.as_tensor(np.pad(self.function(v), (padding, padding)), dtype=like.dtype, device=like.device)
                for v in (slopes, deviations, 1 / deviations)
            )
            # Another thread may clear the levels, or make the same one.
            level = self._levels[key] = LevelMatrices(velocity, float(slopes.sum()), root, inverse)
        return level

    def velocity(self, z: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Linear velocity of samples z (..., members, levels, n_samples, d) at levels of these cosines and sines."""
        values, axes = (torch.as_tensor(a, dtype=z.dtype, device=z.device) for a in (self.values, self.axes))
        cos, sin = cos[..., None, None], sin[..., None, None]
        # Member by member: a sample's bits do not depend on the other members.
        by_member = z.flatten(-3, -2).flatten(0, -3)
        axes = axes.expand(len(by_member), -1, -1)
        along = torch.bmm(by_member, axes).view_as(z) * (sin * cos * (values - 1) / (values * cos**2 + sin**2))
        return torch.bmm(along.view_as(by_member), axes.transpose(1, 2)).view_as(z)

    def __getstate__(self) -> dict[str, Any]:
        return {"values": self.values, "axes": self.axes, "relative": self.relative}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _levels={})


class WhitenedField(VelocityField):
    """A field on tensors where the noise is isotropic, in the coordinates of unit covariance, where the flow runs.

    The velocity of the field is the whole one, or only the `departure` from that of the reference.
    """

    def __init__(self, field: VelocityField, reference: GaussianReference, departure: bool = False):
        self.field, self.gaussian, self.departure = field, reference, departure
        self.edges = field.edges

    def at(self, theta: float) -> WhitenedField:
        return WhitenedField(self.field.at(theta), self.gaussian, self.departure)

    def __call__(self, w: Tensor, theta: float, divergence: bool = False) -> tuple[Tensor, Tensor | None]:
        level = self.gaussian.matrices(theta, w)
        z = times(w, level.root)
        velocity, trace = self.field(z, theta, divergence)
        if not self.departure:
            velocity = velocity - times(z, level.velocity)
            trace = None if trace is None else trace - level.trace
        return times(velocity, level.inverse), trace

    def pull_back(self, w: Tensor, theta: float, by_velocity: Tensor, by_trace: Tensor) -> Tensor:
        level = self.gaussian.matrices(theta, w)  # symmetric matrices
        by_velocity = times(by_velocity, level.inverse)
        out = self.field.pull_back(times(w, level.root), theta, by_velocity, by_trace)
        return times(out if self.departure else out - times(by_velocity, level.velocity), level.root)
