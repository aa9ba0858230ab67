"""Weights of the components in the blend, and which components more work pays for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from skdiffusion.densities._component import Component
from skdiffusion.densities._options import DEFAULT_OPTIONS, ComponentOptions
from skdiffusion.densities._stacking import stacking_weights


def blend_weights(
    components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
) -> np.ndarray:
    """Stacking weights of the components, each at least its `min_weight`; negligible ones are zero.

    Parameters
    ----------
    components : sequence of Component
    sample_weight : array of shape (n_validated,)
        Of the samples of the out-of-fold log-densities.
    options : ComponentOptions

    Returns
    -------
    ndarray of shape (n_components,)
        Non-negative, sum 1.
    """
    table = np.stack([c.held_out_log_prob for c in components], 1)
    weights = stacking_weights(table, sample_weight, np.array([c.min_weight for c in components]))
    weights[weights < options.negligible_weight] = 0.0
    return weights / weights.sum()


def improved(
    components: Sequence[Component], sample_weight: np.ndarray, options: ComponentOptions = DEFAULT_OPTIONS
) -> list[Component]:
    """The components, those whose kind has some weight in the blend fitted again with more work.

    A kind is weighed as a whole: components of one kind serve the same samples, and one may hide another.

    Parameters
    ----------
    components, sample_weight, options : as for `blend_weights`

    Returns
    -------
    list of Component
    """
    share: defaultdict[str, float] = defaultdict(float)
    for component, weight in zip(components, blend_weights(components, sample_weight, options)):
        share[component.kind] += weight
    return [
        c.improve() if c.improve is not None and share[c.kind] > options.min_improved_weight else c for c in components
    ]
