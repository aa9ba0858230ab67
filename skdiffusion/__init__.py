"""Diffusion models as scikit-learn density estimators.

The public names are loaded on first use, so that ``import skdiffusion`` does not import torch.
"""

from importlib import import_module

__version__ = "0.2.0"

_PUBLIC = {
    "DiffusionClassifier": "skdiffusion.estimators",
    "DiffusionDensityEstimator": "skdiffusion.estimators",
    "DiffusionImputer": "skdiffusion.estimators",
    "DiffusionOutlierDetector": "skdiffusion.estimators",
    "DiffusionRegressor": "skdiffusion.estimators",
    "DiffusionTransformer": "skdiffusion.estimators",
    "DistilledDensityEstimator": "skdiffusion.estimators",
    "ManifoldDiffusionEstimator": "skdiffusion.estimators",
    "Options": "skdiffusion.estimators",
    "StackedDensityEstimator": "skdiffusion.estimators",
    "find_atoms": "skdiffusion.preprocessing",
    "load": "skdiffusion._utils.persistence",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
