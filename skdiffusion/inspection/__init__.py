"""Pictures of fitted estimators, by scikit-learn's Display protocol; they need matplotlib."""

from skdiffusion.inspection._calibration import CalibrationDisplay
from skdiffusion.inspection._curves import DimensionSpectrumDisplay, NoiseLossDisplay, TrainingDisplay
from skdiffusion.inspection._density import DensityDisplay
from skdiffusion.inspection._pairs import PairDisplay
from skdiffusion.inspection._trajectories import TrajectoryDisplay

__all__ = [
    "CalibrationDisplay",
    "DensityDisplay",
    "DimensionSpectrumDisplay",
    "NoiseLossDisplay",
    "PairDisplay",
    "TrainingDisplay",
    "TrajectoryDisplay",
]
