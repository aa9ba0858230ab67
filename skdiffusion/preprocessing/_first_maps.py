"""What features go through first where their values lie far apart: maps to one scale, which later maps can resolve.

Everything after them looks at a feature as a whole, by its mean and standard deviation. Far groups of values, or a tail
over many decades, then leave nothing of what is dense. Ordinary features have no such map.
"""

from __future__ import annotations

import numpy as np

from skdiffusion.preprocessing._bounds import Bounds
from skdiffusion.preprocessing._feature_map import FeatureMap
from skdiffusion.preprocessing._gap_map import GapMap
from skdiffusion.preprocessing._signed_log_map import SignedLogMap, spans_decades

FirstMaps = tuple[tuple[FeatureMap, ...], ...]  # of every feature, mostly none


def first_maps_candidates(
    X: np.ndarray, weights: np.ndarray, bounds: Bounds | tuple[np.ndarray, np.ndarray] | None = None
) -> list[FirstMaps]:
    """Maps that narrow the empty gaps of the features, and the same with logarithms where features span decades.

    There are no logarithms, and so one candidate, where no unbounded feature spans decades; bounded ones have their own
    maps.
    """
    open_ends = np.full(X.shape[1], True) if bounds is None else np.isinf(bounds[0]) & np.isinf(bounds[1])
    gaps, logs = [], []
    for j, x in enumerate(X.T):
        gap = GapMap.fit(x)
        maps: tuple[FeatureMap, ...] = () if gap is None else (gap,)
        gaps.append(maps)
        if open_ends[j] and spans_decades(*((x, weights) if gap is None else gap.largest_group(x, weights))):
            maps = (*maps, SignedLogMap.fit(x if gap is None else gap.forward(x), weights))
        logs.append(maps)
    return [tuple(gaps)] if logs == gaps else [tuple(gaps), tuple(logs)]


def without_logarithms(first: FirstMaps) -> FirstMaps:
    """The same maps but for the logarithms: behind these a heavy tail has no mean."""
    return tuple(tuple(m for m in maps if not isinstance(m, SignedLogMap)) for maps in first)
