r"""Isotropic noise on features of unit variance, whatever their correlations, beside a Gaussian of their covariance.

Samples y of covariance C get noise of the same size in every direction, :math:`z = y\cos\theta + e\sin\theta`, so that
directions in which they hardly vary drown first: few samples tell little about them. The Gaussian of this covariance has
the linear velocity

.. math:: F_C(z,\theta) = \sin\theta\cos\theta\,(C - I)\,C_\theta^{-1} z ,\quad
    C_\theta = C\cos^2\theta + I\sin^2\theta .

The flow runs in :math:`w = C_\theta^{-1/2} z`, of unit covariance at every level: from whitened samples to the standard
normal distribution, whatever the horizon, with velocity :math:`C_\theta^{-1/2}(F - F_C)`, which is zero for Gaussian samples.
A network may learn F, or only its departure from F_C.

References
----------
Cole and Lu (2024): complexity relative to a Gaussian.
"""

import math

import numpy as np
import torch

MAX_LEVELS = 256  # noise levels whose matrices are kept
MULTIPLE = 4  # of features: in products of such widths a sample's bits do not depend on how many samples there are


def times(z, matrix):
    """Samples z (n, d) times one of `GaussianReference.matrices`."""
    d = z.shape[1]
    return (torch.nn.functional.pad(z, (0, len(matrix) - d)) @ matrix)[:, :d]


class GaussianReference:
    """A Gaussian distribution of the samples before noise, as a field.

    Parameters
    ----------
    covariance : array of shape (d, d)
        Positive definite.
    relative : bool
        Whether networks learn the departure from its velocity, or all of the velocity.
    """

    _saved = ("values", "axes", "relative")

    def __init__(self, covariance, relative):
        self.values, self.axes = np.linalg.eigh(covariance)
        self.relative = relative
        self._levels = {}

    def function(self, values):
        """The symmetric matrix of these eigenvalues on the axes of the covariance."""
        return (self.axes * values) @ self.axes.T

    @property
    def root(self):
        """Whitened samples @ root have the covariance."""
        return self.function(np.sqrt(self.values))

    @property
    def narrowest(self):
        """Smallest standard deviation in any direction."""
        return float(np.sqrt(self.values[0]))

    def matrices(self, theta, like):
        """At one angle: matrix of the linear velocity and its trace, root of the noised covariance and its inverse.

        The matrices are padded for `times`.
        """
        key = float(theta), like.dtype, like.device
        if key not in self._levels:
            if len(self._levels) >= MAX_LEVELS:
                self._levels.clear()
            cos, sin = math.cos(theta), math.sin(theta)
            noised = self.values * cos**2 + sin**2
            gains = sin * cos * (self.values - 1) / noised
            padding = (0, -len(noised) % MULTIPLE)
            velocity, root, inverse = (
                torch.as_tensor(np.pad(self.function(v), (padding, padding)), dtype=like.dtype, device=like.device)
                for v in (gains, np.sqrt(noised), 1 / np.sqrt(noised))
            )
            self._levels[key] = velocity, float(gains.sum()), root, inverse
        return self._levels[key]

    def whitened(self, evaluate, departure=False):
        """A field in the coordinates of unit covariance, where the flow runs; for tensors.

        Parameters
        ----------
        evaluate : callable
            ``evaluate(z, theta, divergence) -> (velocity, divergence or None)`` where the noise is isotropic.
        departure : bool
            Whether its velocity is only the departure from this distribution's.
        """

        def field(w, theta, divergence=False):
            matrix, trace_of_matrix, root, inverse = self.matrices(theta, w)
            z = times(w, root)
            velocity, trace = evaluate(z, theta, divergence)
            if not departure:
                velocity = velocity - times(z, matrix)
                trace = None if trace is None else trace - trace_of_matrix
            return times(velocity, inverse), trace

        return field

    def velocity(self, z, cos, sin):
        """Linear velocity of samples z (members, levels, n_samples, d) at levels of these cosines and sines (levels,)."""
        values, axes = (torch.as_tensor(a, dtype=z.dtype, device=z.device) for a in (self.values, self.axes))
        cos, sin = cos[:, None, None], sin[:, None, None]
        return ((z @ axes) * (sin * cos * (values - 1) / (values * cos**2 + sin**2))) @ axes.T

    def __getstate__(self):
        return {"values": self.values, "axes": self.axes, "relative": self.relative}

    def __setstate__(self, state):
        self.__dict__.update(state, _levels={})


class WhitenedField:
    """A field with a reference, in the coordinates of unit covariance: what the flow follows.

    Parameters
    ----------
    field : NetworkField
        With a `reference`.
    """

    def __init__(self, field):
        self.field = field

    @property
    def edges(self):
        """Angles at which one network takes over from another."""
        return self.field.edges

    def at(self, theta):
        """The field of the networks of the interval of an angle, at all angles; for blocks of tensors."""
        return self.field.reference.whitened(self.field.at(theta))

    def __call__(self, w, theta, divergence=False):
        """Velocity (n, d) and divergence (n,) or None, for blocks of tensors."""
        return self.field.reference.whitened(self.field)(w, theta, divergence)
