"""Invertible maps from the user's features to whitened samples, with exact log-determinants.

    X --dequantization--> X' --gaps, decades, bounds, feature transform (per feature)--> U --whitening--> Z

Before a fit, copies of samples become weights, and values that repeat are spread over the cells that they stand for.
Features with far groups of values, or with values over many decades, go through a map to one scale first; see
`first_maps_candidates`. A feature transform is a power map or a gaussianizing one; see `Preprocessor`.

Examples
--------
>>> import numpy as np
>>> from skdiffusion.preprocessing import Preprocessor
>>> incomes = np.exp(np.random.default_rng(0).normal(size=(500, 2)))
>>> whitening = Preprocessor(incomes, np.ones(500), "yeo-johnson")
>>> z, log_det = whitening.transform(incomes)
>>> bool(np.allclose(z.std(axis=0), 1))
True
>>> bool(np.allclose(whitening.inverse_transform(z), incomes))
True
"""

from skdiffusion.preprocessing._atoms import atoms_of, find_atoms
from skdiffusion.preprocessing._boundary import BoundaryRegion
from skdiffusion.preprocessing._bounds import Bounds, bounds_with_margins
from skdiffusion.preprocessing._columns import UNKNOWN, Category, Columns
from skdiffusion.preprocessing._completed import CompletedSamples
from skdiffusion.preprocessing._copies import WeightedSamples, merged_copies, numbered, originals, together_with_copies
from skdiffusion.preprocessing._data import MappedData, TrainingData
from skdiffusion.preprocessing._first_maps import FirstMaps, first_maps_candidates, without_logarithms
from skdiffusion.preprocessing._folds import MAX_VALIDATION, random_folds
from skdiffusion.preprocessing._left_out import LeftOutOfStream
from skdiffusion.preprocessing._one_hot import OneHotGroup, one_hot_groups
from skdiffusion.preprocessing._one_hot_gaps import alternatives, contradicts, settled, whole_groups
from skdiffusion.preprocessing._preprocessor import FeatureTransform, Preprocessor
from skdiffusion.preprocessing._present_maps import TRANSFORMS, PresentMaps, fit_present_maps
from skdiffusion.preprocessing._range_map import ranges_beyond
from skdiffusion.preprocessing._reservoir import RESERVOIR_SAMPLES, Kept, OwnPart, Reservoir, ReservoirSampling
from skdiffusion.preprocessing._resolution import Resolution
from skdiffusion.preprocessing._table_resolution import TableResolution
from skdiffusion.preprocessing._ties import Ties, nearest, without_round_off
from skdiffusion.preprocessing._whitening import Whitening

__all__ = [
    "OneHotGroup",
    "whole_groups",
    "settled",
    "one_hot_groups",
    "contradicts",
    "alternatives",
    "Category",
    "MAX_VALIDATION",
    "RESERVOIR_SAMPLES",
    "TRANSFORMS",
    "UNKNOWN",
    "BoundaryRegion",
    "Bounds",
    "Columns",
    "CompletedSamples",
    "FeatureTransform",
    "FirstMaps",
    "Kept",
    "LeftOutOfStream",
    "MappedData",
    "OwnPart",
    "Preprocessor",
    "PresentMaps",
    "Reservoir",
    "ReservoirSampling",
    "Resolution",
    "TableResolution",
    "Ties",
    "TrainingData",
    "WeightedSamples",
    "Whitening",
    "atoms_of",
    "bounds_with_margins",
    "find_atoms",
    "first_maps_candidates",
    "fit_present_maps",
    "merged_copies",
    "numbered",
    "nearest",
    "originals",
    "random_folds",
    "ranges_beyond",
    "together_with_copies",
    "without_round_off",
    "without_logarithms",
]
