"""Pictures of fitted estimators, by scikit-learn's Display protocol; they need matplotlib."""

from skdiffusion.inspection._curves import DimensionSpectrumDisplay, NoiseLossDisplay, TrainingDisplay
from skdiffusion.inspection._density import CalibrationDisplay, DensityDisplay
from skdiffusion.inspection._predictive import ConditionalDensityDisplay
from skdiffusion.inspection._samples import PairDisplay, TrajectoryDisplay

__all__ = [
    "CalibrationDisplay", "ConditionalDensityDisplay", "DensityDisplay", "DimensionSpectrumDisplay", "NoiseLossDisplay",
    "PairDisplay", "TrainingDisplay", "TrajectoryDisplay",
]  # fmt: skip
