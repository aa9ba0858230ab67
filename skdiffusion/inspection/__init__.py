"""Reports and pictures of fitted estimators; pictures follow scikit-learn's Display protocol and need matplotlib."""

from skdiffusion.inspection._curves import DimensionSpectrumDisplay, NoiseLossDisplay, TrainingDisplay
from skdiffusion.inspection._density import CalibrationDisplay, DensityDisplay
from skdiffusion.inspection._predictive import ConditionalDensityDisplay
from skdiffusion.inspection._report import Estimate, FitReport
from skdiffusion.inspection._samples import PairDisplay, TrajectoryDisplay

__all__ = [
    "CalibrationDisplay", "ConditionalDensityDisplay", "DensityDisplay", "DimensionSpectrumDisplay", "Estimate",
    "FitReport", "NoiseLossDisplay",
    "PairDisplay", "TrainingDisplay", "TrajectoryDisplay",
]  # fmt: skip
