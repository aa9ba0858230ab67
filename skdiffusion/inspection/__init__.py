"""Pictures of fitted estimators, by scikit-learn's Display protocol; they need matplotlib."""

from skdiffusion.inspection._densities import DensityDisplay, PairDisplay, TrajectoryDisplay
from skdiffusion.inspection._diagnostics import (
    CalibrationDisplay,
    DimensionSpectrumDisplay,
    NoiseLossDisplay,
    TrainingDisplay,
)

__all__ = [
    "CalibrationDisplay",
    "DensityDisplay",
    "DimensionSpectrumDisplay",
    "NoiseLossDisplay",
    "PairDisplay",
    "TrainingDisplay",
    "TrajectoryDisplay",
]
