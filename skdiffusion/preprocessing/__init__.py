"""Invertible maps from the user's features to whitened samples, with exact log-determinants.

    X --dequantization--> X' --gaps, decades, bounds, feature transform (per feature)--> U --whitening--> Z

Dequantization is for fitting only: it spreads tied values over the gap that ties leave. Features with far groups of
values, or with values over many decades, go through a map to one scale first; see `first_maps_candidates`. A feature
transform is a power map or a gaussianizing one; see `Preprocessor`.
"""

from skdiffusion.preprocessing._data import MappedData, TrainingData
from skdiffusion.preprocessing._dequantization import Bounds, bounds_with_margins, dequantize, feature_resolution
from skdiffusion.preprocessing._first_maps import FirstMaps, first_maps_candidates
from skdiffusion.preprocessing._preprocessor import FeatureTransform, Preprocessor
from skdiffusion.preprocessing._whitening import Whitening

__all__ = [
    "Bounds",
    "FeatureTransform",
    "FirstMaps",
    "MappedData",
    "Preprocessor",
    "TrainingData",
    "Whitening",
    "bounds_with_margins",
    "dequantize",
    "feature_resolution",
    "first_maps_candidates",
]
