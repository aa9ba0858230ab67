"""A component of the blend: a density and its out-of-fold log-densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skdiffusion._utils.protocols import Density


@dataclass(frozen=True)
class Component:
    """A density of the blend, fitted to all samples, and what fits without some of them say of these.

    Parameters
    ----------
    name : str
        Key in the blend, such as "mapped_mixture".
    density : Density
        In the units of the features.
    held_out_log_prob : array of shape (n_validated,)
        Log-densities, in nats, of the samples of the validation folds under densities that were fitted without them.
    kind : str
        What it is in whatever coordinates: "mapped_mixture" and "mixture" are of the kind "mixture".
    min_weight : float, default=0.0
        Least weight in the blend.
    improve : callable, optional
        Fits it again with more work, which pays only for a component of some weight.
    """

    name: str
    density: Density
    held_out_log_prob: np.ndarray
    kind: str
    min_weight: float = 0.0
    improve: Callable[[], Component] | None = None
