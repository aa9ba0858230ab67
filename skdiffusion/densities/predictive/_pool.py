"""Linear pools: blends, of the same weights for all samples, of distributions of one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from skdiffusion.densities import blend_log_density, choose_component
from skdiffusion.densities.predictive._distributions import Distributions, TargetNoise

MAX_ROOT_STEPS = 60
ROOT_TOLERANCE = 1e-8  # in standard normal scores of probabilities
MAX_SCORE = 8.0
GRID_SCORES = np.linspace(-3.5, 3.5, 15)  # normal scores of places between which quantiles are sought


@dataclass(frozen=True)
class BlendedDistributions(Distributions):
    """Blends, of the same weights for all samples, of distributions."""

    n_samples: int
    weights: np.ndarray
    parts: list[Distributions]

    def __len__(self) -> int:
        return self.n_samples

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        return blend_log_density(np.stack([part.log_prob(z) for part in self.parts], axis=1), self.weights)

    def cdf(self, z: np.ndarray) -> np.ndarray:
        return sum(weight * part.cdf(z) for weight, part in zip(self.weights, self.parts))

    def fast_cdf(self) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        functions = [part.fast_cdf() for part in self.parts]
        return lambda z, samples: sum(weight * cdf(z, samples) for weight, cdf in zip(self.weights, functions))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        z, shares = zip(*(part.nodes() for part in self.parts))
        weighted = [weight * share for weight, share in zip(self.weights, shares)]
        return np.concatenate(z, axis=1), np.concatenate(weighted, axis=1)

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles of every sample at its own probabilities (n, n_probabilities) within (0, 1).

        Roots of the distribution function on the scale of normal scores, where it is nearly straight, between places
        of a grid that all quantiles of a sample share.
        """
        cdf = self.fast_cdf()
        wanted = np.clip(ndtri(probabilities), -MAX_SCORE, MAX_SCORE)

        def score(z: np.ndarray, samples: np.ndarray) -> np.ndarray:
            return np.clip(ndtri(np.clip(cdf(z, samples), 0.0, 1.0)), -MAX_SCORE, MAX_SCORE)

        grid = self._places_of_scores()
        heights = score(grid, np.arange(len(self)))
        place = (heights[:, None] < wanted[:, :, None]).sum(2)
        ends = [np.clip(place - k, 0, grid.shape[1] - 1) for k in (1, 0)]
        low, high = (np.take_along_axis(grid, end, axis=1) for end in ends)
        below, above = (np.take_along_axis(heights, end, axis=1) - wanted for end in ends)
        step = grid[:, -1:] - grid[:, :1] + 1e-12
        return _roots(lambda z, samples: score(z, samples) - wanted[samples], (low, high), (below, above), step)

    def _places_of_scores(self) -> np.ndarray:
        """Rising numbers of every sample, near those of some normal scores, (n_samples, n_scores)."""
        z, shares = self.nodes()
        # A stable sort takes twice as long, and nodes that are equal stand for one place in any order.
        order = np.argsort(z, axis=1) + z.shape[1] * np.arange(len(z))[:, None]
        mass = np.cumsum(shares.take(order), axis=1)
        mass[:, -1] = 1.0
        which = np.stack([np.argmax(mass >= level, axis=1) for level in ndtr(GRID_SCORES)], axis=1)
        return z.take(np.take_along_axis(order, which, axis=1))

    def sample(self, noise: TargetNoise) -> np.ndarray:
        which, out = choose_component(self.weights, noise.choice), np.empty(len(noise.choice))
        for k, part in enumerate(self.parts):
            mine = np.flatnonzero(which == k)
            if len(mine):
                out[mine] = part.take(mine).sample(noise.take(mine))
        return out

    def take(self, samples: np.ndarray) -> BlendedDistributions:
        return BlendedDistributions(len(samples), self.weights, [part.take(samples) for part in self.parts])


def _roots(
    excess: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ends: tuple[np.ndarray, np.ndarray],
    values: tuple[np.ndarray, np.ndarray],
    step: np.ndarray,
) -> np.ndarray:
    """Roots of rising functions, one for each entry, by regula falsi with the Illinois rule between ends of known
    values, which are moved apart until they enclose the roots. Samples whose roots are all found are left out of what
    follows, and an entry does not depend on the others."""
    (low, high), (below, above), left = ends, values, np.arange(len(step))
    for k in range(MAX_ROOT_STEPS):
        short, over = below > 0, above < 0
        if not (short.any() or over.any()):
            break
        low, high = np.where(short, low - 2.0**k * step, low), np.where(over, high + 2.0**k * step, high)
        below = np.where(short, excess(low, left), below)
        above = np.where(over, excess(high, left), above)
    root, side, out = (low + high) / 2, np.zeros(low.shape, dtype=int), (low + high) / 2
    done = np.zeros(low.shape, dtype=bool)
    for k in range(MAX_ROOT_STEPS):
        run = above - below
        secant = low - below * (high - low) / np.where(run > 0, run, 1.0)
        middle = (k % 4 == 3) | ~(run > 0) | ~((secant > low) & (secant < high))
        root = np.where(done, root, np.where(middle, (low + high) / 2, secant))
        value, out[left] = excess(root, left), root
        done |= (np.abs(value) < ROOT_TOLERANCE) | (high - low <= ROOT_TOLERANCE * step[left])
        open_ = ~done.all(1)
        if not open_.any():
            break
        rises, falls = (value < 0) & ~done, (value >= 0) & ~done
        above = np.where(rises & (side == 1), above / 2, above)
        below = np.where(falls & (side == -1), below / 2, below)
        low, below = np.where(rises, root, low), np.where(rises, value, below)
        high, above = np.where(falls, root, high), np.where(falls, value, above)
        side = np.where(rises, 1, np.where(falls, -1, side))
        left, low, high, below, above, side, root, done = (
            a[open_] for a in (left, low, high, below, above, side, root, done)
        )
    return out
