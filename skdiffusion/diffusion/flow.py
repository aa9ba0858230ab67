r"""Log-densities, codes and samples along the probability flow, sample by sample independent of the batch.

The density of a whitened sample x is that of the flow stopped at :math:`\theta_{min}`, the distribution of
:math:`z = x\cos\theta_{min} + \varepsilon\sin\theta_{min}`. With the standard normal prior of whitened data,

.. math:: \log p(x) = \log N(z_T; 0, I) - \int_{\theta_{min}}^{\theta_T}\nabla\cdot F\,d\theta .

A zero field gives the fitted Gaussian exactly, and samples have this very density. Few explicit steps put mass between
separated modes, where no validation sample shows it. So a sample whose error indicator is large is solved again with
doubled steps until its log-density stops changing. The decision depends on that sample alone.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.densities import GaussianMixtureDensity
>>> from skdiffusion.diffusion.flow import ProbabilityFlow
>>> exact = GaussianMixtureDensity([0.5, 0.5], [[-0.9], [0.9]], [[[0.19]], [[0.19]]])
>>> flow = ProbabilityFlow(exact, np.arctan(1e-3), np.arctan(100.0), density_steps=32)
>>> x = np.linspace(-2, 2, 9)[:, None]
>>> bool(np.abs(flow.log_prob(x) - exact.log_prob(x)).max() < 0.01)  # nats
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch

from skdiffusion._utils.blocks import last_repeated, padded_blocks, slices, without_last_repeats, write
from skdiffusion._utils.parallel import side_by_side
from skdiffusion._utils.protocols import Array, LatentDensity, SampleNoise, VelocityField
from skdiffusion.diffusion.networks import NetworkField
from skdiffusion.diffusion.ode import (
    GRIDS,
    STEPPERS,
    RecordedField,
    SolverTable,
    grid_with_edges,
    pull_back,
    solve,
    solver_table,
)

LOG_2PI = np.log(2 * np.pi)
MAX_STEPS = 256
MAX_REFINED_STEPS = 1024
FINER_STEPS = 8  # times the steps of a sample, where its error is estimated
PATH_SAMPLES = 1024  # whose paths are in memory at a time, for gradients
MANY_STEPS = 24  # from which on samples gain by a method of higher order


@dataclass(frozen=True)
class ProbabilityFlow(LatentDensity):
    """The density of a velocity field on whitened samples, with its flow between data and noise.

    Parameters
    ----------
    field : VelocityField
        A trained network or a closed-form density.
    theta_min, theta_max : float
        Angles of the data end and of the horizon.
    stepper : str, default="abm4"
        Key of `skdiffusion.diffusion.ode.STEPPERS`, for log-densities and codes.
    sample_stepper : str or None, default=None
        The same for samples. None is "abm3", which is more stable, below `MANY_STEPS` steps, `stepper` from there on.
    density_steps, sample_steps : int
        Steps from end to end.
    tolerance : float, default=0.02
        Change of a log-density, in nats, below which a sample is no longer refined; 0 never refines.
    grid : callable or None, default=None
        One of `skdiffusion.diffusion.ode.GRIDS`; None is that of each stepper.
    """

    field: VelocityField
    theta_min: float
    theta_max: float
    stepper: str = "abm4"
    sample_stepper: str | None = None
    density_steps: int = 16
    sample_steps: int = 8
    tolerance: float = 0.02
    grid: Callable[[int, float, float], np.ndarray] | None = None

    @property
    def network_field(self) -> NetworkField:
        """The field, where it is a trained network."""
        assert isinstance(self.field, NetworkField)
        return self.field

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-density of whitened samples x (n, d), in nats, shape (n,)."""
        return last_repeated(self.refined_log_density(without_last_repeats(x))[0], len(x))

    def refined_log_density(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and the steps of the last solution of every sample, both of shape (n,)."""
        return self._refined(x, *self._plain_log_density(x, self.density_steps))

    def _refined(self, x: np.ndarray, log_p: np.ndarray, indicator: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same from the log-density by `density_steps` and the indicator of its error; overwrites the first."""
        taken = np.full(len(x), self.density_steps)
        if not self.tolerance > 0:
            return log_p, taken
        # The indicator adds up the gaps of the steps, most of which cancel: nearly all errors above the tolerance have
        # an indicator above ten times as much.
        suspect, steps = np.flatnonzero(~(indicator < 10.0 * self.tolerance)), self.density_steps
        while len(suspect) and steps < MAX_REFINED_STEPS:
            steps *= 2
            finer, indicator = self._plain_log_density(x[suspect], steps)
            moved = np.abs(finer - log_p[suspect])
            log_p[suspect], taken[suspect] = finer, steps
            # Far below the bulk an error of a few per cent of the depth carries no mass. Two wrong solutions may agree
            # by chance: the indicator tells.
            allowed = self.tolerance * (1 + np.maximum(0.0, -finer - 2.0 * x.shape[1] - 10.0))
            suspect = suspect[~((moved < allowed) & (indicator < 10.0 * allowed))]
        return log_p, taken

    def _plain_log_density(
        self, x: np.ndarray, n_steps: int, path: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-density by so many steps and the indicator of its error, both of shape (n,).

        Where samples are when the field is asked, and at the end, goes to `path` (n, n_evaluations + 1, d) if given.
        """
        x = np.asarray(x, dtype=float)
        z, change, error = np.empty(x.shape), np.empty(len(x)), np.empty(len(x))
        thetas, field = self._knots(n_steps, self.stepper), self.field.flow_field

        def follow(where: slice | np.ndarray, block: Array) -> None:
            recorded = RecordedField(field)
            with np.errstate(over="ignore", invalid="ignore"):  # a far sample may overflow, which its value tells
                end = solve(field if path is None else recorded, block, thetas, self.stepper, divergence=True)
            if path is not None:
                for k, place in enumerate([*recorded.places, end.z]):
                    write(path[:, k], where, place)
            write(z, where, end.z)
            write(change, where, end.log_density_change)
            write(error, where, 0.0 * end.z[:, 0] if end.error is None else end.error)

        with torch.no_grad():
            side_by_side([partial(follow, *block) for block in self.field.blocks(x)])
        prior = -0.5 * (z**2).sum(1) - 0.5 * x.shape[1] * LOG_2PI
        return prior - change, error

    def log_density_error(self, x: np.ndarray) -> np.ndarray:
        """Estimated absolute numerical error of `log_prob` per sample, by one doubling of the steps, shape (n,)."""
        finer = replace(self, density_steps=2 * self.density_steps)
        return np.abs(self.log_prob(x) - finer.log_prob(x))

    def score(self, x: np.ndarray) -> np.ndarray:
        """Gradient of `log_prob` at whitened samples x, shape (n, d)."""
        return self.log_prob_and_score(x)[1]

    def log_prob_and_score(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and its gradient, by following the solver's own steps back from the end."""
        n, x = len(x), np.asarray(without_last_repeats(x), dtype=float)
        log_p, score = np.empty(len(x)), np.empty(x.shape)
        for part in slices(len(x), PATH_SAMPLES):
            log_p[part], score[part] = self._value_and_gradient(x[part])
        return last_repeated(log_p, n), last_repeated(score, n)

    def _value_and_gradient(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and gradient of samples whose paths fit into memory."""
        path, score = self._empty_path(x, self.density_steps), np.empty(x.shape)
        log_p, taken = self._refined(x, *self._plain_log_density(x, self.density_steps, path))
        for n_steps in np.unique(taken):
            mine = taken == n_steps
            own = path[mine]
            if n_steps != self.density_steps:
                own = self._empty_path(x[mine], n_steps)
                self._plain_log_density(x[mine], n_steps, own)
            score[mine] = self._gradient(own, n_steps)
        return log_p, score

    def _table(self, n_steps: int) -> SolverTable:
        """The weights of the solver for log-densities by so many steps."""
        return solver_table(self.stepper, tuple(self._knots(n_steps, self.stepper).tolist()), self.field.edges)

    def _empty_path(self, x: np.ndarray, n_steps: int) -> np.ndarray:
        return np.empty((len(x), len(self._table(n_steps).thetas) + 1, x.shape[1]))

    def _gradient(self, path: np.ndarray, n_steps: int) -> np.ndarray:
        """Gradient of the log-density by so many steps, shape (n, d), from the path of the samples."""
        table, field = self._table(n_steps), self.network_field.array_flow_field
        out = np.empty((len(path), path.shape[2]))
        with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            for where, block in padded_blocks(path.reshape(len(path), -1), self.network_field.block_sizes):
                places = block.reshape(len(block), *path.shape[1:]).transpose(1, 0, 2)
                # log p = log N(z; 0, I) - change, of which the gradients by the end and by the change are -z and -1.
                write(out, where, pull_back(table, field, places[:-1], -places[-1], -1.0))
        return out

    def to_latent(self, x: np.ndarray) -> np.ndarray:
        """Standard normal codes of whitened samples x, shape (n, d)."""
        return self._follow(x, self._knots(self.density_steps, self.stepper), self.stepper)

    def from_latent(self, codes: np.ndarray, n_steps: int | None = None) -> np.ndarray:
        """Whitened samples of codes (n, d): the inverse of `to_latent` at the order of the stepper."""
        return self._decode(codes, n_steps or self.density_steps, self.stepper)

    def sample(self, noise: SampleNoise) -> np.ndarray:
        """Whitened samples from random numbers, of which the normal ones are the codes."""
        return self.draw(noise.normal)

    def draw(self, normal: np.ndarray, n_steps: int | None = None) -> np.ndarray:
        """Whitened samples from standard normal noise (n, d)."""
        n_steps = n_steps or self.sample_steps
        return self._decode(normal, n_steps, self._sampler(n_steps))

    def sample_error(self, normal: np.ndarray, place: Callable[[np.ndarray], np.ndarray] | None = None) -> float:
        """RMS distance of samples to those of the exact flow from the same standard normal noise (n, d).

        It bounds the W2 distance of the two distributions. The exact flow is estimated by `FINER_STEPS` times as many
        steps, and the stepper's order makes up for the error that these still have. `place` maps whitened samples to
        the units in which the distance is wanted.
        """
        stepper = self._sampler(self.sample_steps)
        coarse, fine = (self._decode(normal, k * self.sample_steps, stepper) for k in (1, FINER_STEPS))
        if place is not None:
            coarse, fine = place(coarse), place(fine)
        left = FINER_STEPS ** -STEPPERS[stepper].order
        return float(np.sqrt(((coarse - fine) ** 2).sum(1).mean()) / (1 - left))

    def _sampler(self, n_steps: int) -> str:
        """Stepper of samples by so many steps."""
        return self.sample_stepper or ("abm3" if n_steps < MANY_STEPS else self.stepper)

    def _decode(self, codes: np.ndarray, n_steps: int, stepper: str) -> np.ndarray:
        """Samples of codes by so many steps, from noise to data."""
        return self._follow(codes, self._knots(n_steps, stepper)[::-1], stepper)

    def _knots(self, n_steps: int, stepper: str) -> np.ndarray:
        """Angles of so many steps from data to noise."""
        grid = GRIDS[STEPPERS[stepper].grid] if self.grid is None else self.grid
        return np.array(_knots(grid, int(n_steps), self.theta_min, self.theta_max, self.field.edges))

    def _follow(self, x: np.ndarray, thetas: Sequence[float] | np.ndarray, stepper: str) -> np.ndarray:
        """Where the flow takes samples from the first angle to the last, shape (n, d)."""
        x, field = np.asarray(x, dtype=float), self.field.flow_field
        out = np.empty(x.shape)
        with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            for where, block in self.field.blocks(x):
                write(out, where, solve(field, block, thetas, stepper).z)
        return out


@lru_cache(maxsize=64)
def _knots(grid: Callable, n_steps: int, start: float, stop: float, edges: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(grid_with_edges(grid, n_steps, start, stop, edges).tolist())
