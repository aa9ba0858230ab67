"""StackedDensityEstimator: a blend of any density estimators by held-out likelihood."""
class StackedDensityEstimator: pass
