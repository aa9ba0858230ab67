"""What a fit begins with, whatever the kinds of its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdiffusion.diffusion.training import Checkpoint
from skdiffusion.preprocessing import Reservoir, WeightedSamples


@dataclass
class FitInput:
    """Checked samples, and what belongs to a fit as a whole.

    Parameters
    ----------
    samples : WeightedSamples
        NaN in unknown values.
    bounds : (low, high) or None
    rng : numpy Generator
        Of every random number of the fit.
    started : float
        Moment of `Collective.clock`.
    reservoir : Reservoir or None
        Where the samples were drawn from more.
    checkpoint : Checkpoint or None
    """

    samples: WeightedSamples
    bounds: tuple[np.ndarray, np.ndarray] | None
    rng: np.random.Generator
    started: float
    reservoir: Reservoir | None = None
    checkpoint: Checkpoint | None = None

    @property
    def n_samples(self) -> int:
        """All samples that were read."""
        return len(self.samples.X) if self.reservoir is None else self.reservoir.n_samples
