"""Invertible maps from the user's features to whitened samples, with exact log-determinants.

    X --resolution--> X' --bounds, marginal map (per feature)--> U --whitening--> Z

The resolution step is for fitting only: it spreads tied values over the gap that ties leave.
"""

from skdiffusion.preprocessing._data import MappedData, TrainingData
from skdiffusion.preprocessing._dequantization import Bounds, bounds_with_margins, dequantize, feature_resolution
from skdiffusion.preprocessing._preprocessor import Preprocessor
from skdiffusion.preprocessing._whitening import Whitening

__all__ = [
    "Bounds",
    "MappedData",
    "Preprocessor",
    "TrainingData",
    "Whitening",
    "bounds_with_margins",
    "feature_resolution",
    "dequantize",
]
