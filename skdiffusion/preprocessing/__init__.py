"""Invertible maps from the user's features to whitened samples, with exact log-determinants.

    X --dequantization--> X' --bounds, feature transform (per feature)--> U --whitening--> Z

Dequantization is for fitting only: it spreads tied values over the gap that ties leave. A feature transform is a power
map or a gaussianizing one; see `Preprocessor`.
"""

from skdiffusion.preprocessing._boundary import BoundaryRegion
from skdiffusion.preprocessing._data import MappedData, TrainingData
from skdiffusion.preprocessing._dequantization import Bounds, bounds_with_margins, dequantize, feature_resolution
from skdiffusion.preprocessing._preprocessor import FeatureTransform, Preprocessor
from skdiffusion.preprocessing._whitening import Whitening

__all__ = [
    "BoundaryRegion",
    "Bounds",
    "FeatureTransform",
    "MappedData",
    "Preprocessor",
    "TrainingData",
    "Whitening",
    "bounds_with_margins",
    "dequantize",
    "feature_resolution",
]
