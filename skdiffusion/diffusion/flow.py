r"""Log-densities, codes and samples along the probability flow, sample by sample independent of the batch.

The density of a whitened sample x is that of the flow stopped at :math:`\theta_{min}`, the distribution of
:math:`z = x\cos\theta_{min} + \varepsilon\sin\theta_{min}`, which has the covariance of x. With the
standard normal prior of whitened data at the horizon,

.. math:: \log p(x) = \log N(z_T; 0, I) - \int_{\theta_{min}}^{\theta_T}\nabla\cdot F\,d\theta .

A field whose noise is isotropic in other coordinates than those of whitened samples has a `flow_field`, the same flow in
coordinates of unit covariance. A zero field gives the fitted Gaussian exactly, and samples have exactly this density.

Few explicit steps put mass between separated modes, where no held-out sample shows it, so a sample whose
free error indicator is large is solved again with doubled steps until it stops changing. The decision
looks at the sample alone.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from skdiffusion._utils.protocols import LatentDensity
from skdiffusion.diffusion.ode import GRIDS, STEPPERS, grid_with_edges, solve

LOG_2PI = np.log(2 * np.pi)
MAX_STEPS = 256
MAX_REFINED_STEPS = 1024
FINER_STEPS = 8  # times the steps of a sample, where its error is estimated
MANY_STEPS = 24  # from which on samples gain by a method of higher order


@dataclass(frozen=True)
class ProbabilityFlow(LatentDensity):
    """The flow of a field between data and noise, on whitened samples.

    Parameters
    ----------
    field : callable
        ``field(z, theta, divergence)``. If it has `run_blocks`, that method feeds it fixed-size blocks.
    theta_min, theta_max : float
        Angles of the data end and of the horizon.
    stepper : str
        Key of `skdiffusion.diffusion.ode.STEPPERS`, for log-densities and codes.
    sample_stepper : str or None
        The same for samples. None is "ab2", which is more stable, below `MANY_STEPS` steps, `stepper` from there on.
    density_steps, sample_steps : int
        Steps from end to end.
    tolerance : float
        Change of a log-density, in nats, below which a sample is no longer refined; 0 never refines.
    grid : callable or None
        One of `skdiffusion.diffusion.ode.GRIDS`; None is that of each stepper.
    """

    field: object
    theta_min: float
    theta_max: float
    stepper: str = "ab4"
    sample_stepper: str | None = None
    density_steps: int = 24
    sample_steps: int = 12
    tolerance: float = 0.02
    grid: object = None

    @property
    def _followed(self):
        return getattr(self.field, "flow_field", self.field)

    def _run(self, function, *arrays):
        run = getattr(self.field, "run_blocks", None)
        return function(*arrays) if run is None else run(function, *arrays)

    def _knots(self, n_steps, stepper):
        grid = GRIDS[STEPPERS[stepper].grid] if self.grid is None else self.grid
        return grid_with_edges(grid, int(n_steps), self.theta_min, self.theta_max, getattr(self.field, "edges", ()))

    def _encode(self, x, n_steps, divergence):
        grid = self._knots(n_steps, self.stepper)

        def flow(z):
            s = solve(self._followed, z, grid, self.stepper, divergence)
            error = s.error if s.error is not None else 0.0 * z[:, 0]
            return (s.z, s.log_density_change, error) if divergence else (s.z,)

        return self._run(flow, np.asarray(x, dtype=float))

    def _plain_log_density(self, x, n_steps):
        z, change, error = self._encode(x, n_steps, divergence=True)
        d = x.shape[1]
        prior = -0.5 * (z**2).sum(1) - 0.5 * d * LOG_2PI
        return prior - change, error

    def log_prob(self, x):
        """Log-density of whitened samples x (n, d), nats, shape (n,)."""
        return self.refined_log_density(x)[0]

    def refined_log_density(self, x):
        """Log-density and the steps of the last solution of every sample, both of shape (n,)."""
        log_p, indicator = self._plain_log_density(x, self.density_steps)
        taken = np.full(len(x), self.density_steps)
        if self.tolerance > 0:
            suspect = np.flatnonzero(~(indicator < self._indicator_limit()))
            steps = self.density_steps
            while len(suspect) and steps < MAX_REFINED_STEPS:
                steps *= 2
                finer, _ = self._plain_log_density(x[suspect], steps)
                moved = np.abs(finer - log_p[suspect])
                log_p[suspect], taken[suspect] = finer, steps
                # Far below the bulk an error of a few per cent of the depth carries no mass.
                depth = np.maximum(0.0, -finer - 2.0 * x.shape[1] - 10.0)
                suspect = suspect[~(moved < self.tolerance * (1 + depth))]
        return log_p, taken

    def _indicator_limit(self):
        # The indicator adds up the steps' gaps, most of which cancel: nearly all errors of 0.02 have one above 0.2.
        return 10.0 * self.tolerance

    def log_density_error(self, x):
        """Estimated absolute numerical error of `log_density` per sample, by one doubling of the steps."""
        finer = replace(self, density_steps=2 * self.density_steps)
        return np.abs(self.log_prob(x) - finer.log_prob(x))

    def sample_error(self, noise, place=None):
        """Numerical error of samples: their RMS distance to those of the exact flow from the same noise.

        It bounds the W2 distance of the two distributions. The exact flow is estimated by `FINER_STEPS` times as many steps,
        and the stepper's order makes up for the error that these still have. `place` maps whitened samples to the units
        wanted.
        """
        stepper = self._sampler(self.sample_steps)
        coarse, fine = (self._decode(noise, k * self.sample_steps, stepper) for k in (1, FINER_STEPS))
        if place is not None:
            coarse, fine = place(coarse), place(fine)
        left = FINER_STEPS ** -STEPPERS[stepper].order
        return float(np.sqrt(((coarse - fine) ** 2).sum(1).mean()) / (1 - left))

    def score(self, x):
        """Gradient of `log_density` at whitened samples x, by reverse differentiation through the solver."""
        _, taken = self.refined_log_density(x)
        out = np.empty_like(x)
        for n_steps in np.unique(taken):
            samples = taken == n_steps
            grid = self._knots(n_steps, self.stepper)

            def gradient(z, grid=grid):
                with torch.enable_grad():
                    z = z.requires_grad_(True)
                    s = solve(self._followed, z, grid, self.stepper, divergence=True)
                    total = (-0.5 * s.z.square().sum(1) - s.log_density_change).sum()
                    (slope,) = torch.autograd.grad(total, z)
                return (slope,)

            (out[samples],) = self._run(gradient, x[samples])
        return out

    def to_latent(self, x):
        """Standard normal codes of whitened samples x."""
        return self._encode(x, self.density_steps, divergence=False)[0]

    def from_latent(self, codes, n_steps=None):
        """Whitened samples of codes; the inverse of `to_latent` at the order of the stepper."""
        return self._decode(codes, n_steps or self.density_steps, self.stepper)

    def sample(self, noise):
        """Whitened samples from random numbers, of which the normal ones are the codes."""
        return self.draw(noise.normal)

    def draw(self, noise, n_steps=None):
        """Whitened samples from standard normal noise (n, d)."""
        n_steps = n_steps or self.sample_steps
        return self._decode(noise, n_steps, self._sampler(n_steps))

    def _sampler(self, n_steps):
        return self.sample_stepper or ("ab2" if n_steps < MANY_STEPS else self.stepper)

    def _decode(self, codes, n_steps, stepper):
        grid = self._knots(n_steps, stepper)[::-1]
        (z,) = self._run(lambda z: (solve(self._followed, z, grid, stepper).z,), np.asarray(codes, dtype=float))
        return z
