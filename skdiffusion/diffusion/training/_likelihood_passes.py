"""The gradient of log-densities with respect to the parameters, through the steps of a solver, written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from skdiffusion.diffusion.networks import FilmEnsemble, FlowPasses, GaussianReference, LevelMatrices, times
from skdiffusion.diffusion.ode import solver_table


class LikelihoodPasses:
    """Minus the mean log-densities of samples of every member under its own flow, with their gradient.

    A solver places samples by sums of the velocities so far, with weights that depend on the grid alone: gradients go
    back through these sums and, level by level, through the network.

    Parameters
    ----------
    network : FilmEnsemble
        Of an architecture that `FlowPasses` can pass.
    reference : GaussianReference or None
    n_samples : int
        Of every member.
    stepper : str
        Key of `skdiffusion.diffusion.ode.STEPPERS`, of one evaluation a step.
    n_steps : int
        Most steps of a flow.
    """

    def __init__(
        self, network: FilmEnsemble, reference: GaussianReference | None, n_samples: int, stepper: str, n_steps: int
    ):
        self.reference, self.stepper = reference, stepper
        self._passes = FlowPasses(network, n_samples, n_steps)

    def losses_and_gradient(
        self, network: FilmEnsemble, x: Tensor, grid: Sequence[float], share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Losses (n_members,) of whitened samples x (n_members, n, d), in nats, and the gradient of their sum.

        `share` is that of these samples in those of which the mean is taken.
        """
        table, passes = solver_table(self.stepper, tuple(grid), ()), self._passes
        passes.begin(network, table.thetas)
        levels = self._levels(table.thetas, x)
        start = table.start.tolist()
        weights = torch.as_tensor(table.velocities, dtype=x.dtype, device=x.device)[..., None, None, None]
        n, weight = len(table.thetas), share / x.shape[1]
        velocities, change = x.new_empty(n, *x.shape), x.new_zeros(x.shape[:2])
        for k in range(n):
            z = _sum(weights[k, :k], velocities[:k]).add_(x, alpha=start[k])
            velocities[k], trace = self._forward(k, z, levels[k])
            change.add_(trace, alpha=float(table.traces[k]))
        end = _sum(weights[n], velocities).add_(x, alpha=start[n])
        losses = 0.5 * end.square().sum(2) + change
        gradients = x.new_empty(n + 1, *x.shape)  # by the samples where the field was asked, and at the end
        torch.mul(end, weight, out=gradients[n])
        for k in reversed(range(n)):
            by_velocity = _sum(weights[k + 1 :, k], gradients[k + 1 :])
            gradients[k] = self._backward(k, by_velocity, weight * float(table.traces[k]), levels[k])
        return share * (losses.mean(1) + 0.5 * x.shape[2] * np.log(2 * np.pi)), passes.gradient()

    def _levels(self, thetas: Sequence[float], x: Tensor) -> list[LevelMatrices | None]:
        """The matrices of the reference at every level."""
        if self.reference is None:
            return [None] * len(thetas)
        reference = copy(self.reference)  # these levels never come again: it keeps their matrices only for this call
        return [reference.matrices(theta, x) for theta in thetas]

    def _forward(self, k: int, w: Tensor, level: LevelMatrices | None) -> tuple[Tensor, Tensor]:
        """Velocities and divergences in coordinates of unit covariance."""
        if level is None or self.reference is None:
            return self._passes.forward(k, w)
        z = _times(w, level.root)
        velocity, trace = self._passes.forward(k, z)
        if not self.reference.relative:
            velocity, trace = velocity - _times(z, level.velocity), trace - level.trace
        return _times(velocity, level.inverse), trace

    def _backward(self, k: int, by_velocity: Tensor, by_trace: float, level: LevelMatrices | None) -> Tensor:
        """Derivatives by the samples in these coordinates."""
        if level is None or self.reference is None:
            return self._passes.backward(k, by_velocity, by_trace)
        by_velocity = _times(by_velocity, level.inverse)  # symmetric matrices
        by_sample = self._passes.backward(k, by_velocity, by_trace)
        if not self.reference.relative:
            by_sample = by_sample - _times(by_velocity, level.velocity)
        return _times(by_sample, level.root)


def _sum(weights: Tensor, values: Tensor) -> Tensor:
    """A weighted sum along the first axis: a sample's bits do not depend on the others."""
    return (weights * values).sum(0)


def _times(z: Tensor, matrix: Tensor) -> Tensor:
    """Samples (n_members, n, d) times a matrix of the reference."""
    return times(z.flatten(0, 1), matrix).view_as(z)
