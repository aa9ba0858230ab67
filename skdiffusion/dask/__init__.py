"""A density estimator that is fitted, and asked, where the partitions of a Dask collection lie."""

from skdiffusion.dask._estimator import DaskDiffusionDensityEstimator

__all__ = ["DaskDiffusionDensityEstimator"]
