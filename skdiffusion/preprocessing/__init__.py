"""Invertible maps from the user's columns to whitened rows, with exact log-determinants.

    X --resolution--> X' --bounds, marginal map (per column)--> U --whitening--> Z

The resolution step is for fitting only: it spreads tied values over the gap that ties leave.
"""

from skdiffusion.preprocessing._columns import Bounds, bounds_with_margins, column_resolution, spread_ties
from skdiffusion.preprocessing._preprocessor import Preprocessor
from skdiffusion.preprocessing._whitening import Whitening

__all__ = [
    "Bounds",
    "Preprocessor",
    "Whitening",
    "bounds_with_margins",
    "column_resolution",
    "spread_ties",
]
