"""The classes that a file may hold, and the schema of each.

A class is added by one line in `CLASSES`, and by its schema: that of a dataclass are its fields; another class lists in
`_saved` the attributes of its state. An estimator (or its options) has its parameters as well.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sklearn.base import BaseEstimator

# A file has the names only: where a class moves, its line follows it. These may be the whole of a file:
ESTIMATORS = {
    "DiffusionDensityEstimator": "skdiffusion.estimators._density",
    "ManifoldDiffusionEstimator": "skdiffusion.estimators._manifold",
    "DiffusionImputer": "skdiffusion.estimators._imputer",
    "DiffusionClassifier": "skdiffusion.estimators._classifier",
    "DiffusionOutlierDetector": "skdiffusion.estimators._outliers",
    "DiffusionRegressor": "skdiffusion.estimators._regressor",
    "DiffusionTransformer": "skdiffusion.estimators._transformer",
    "DistilledDensityEstimator": "skdiffusion.estimators._distilled",
}
# These may be parts of it:
CLASSES = {
    **ESTIMATORS,
    "Options": "skdiffusion.estimators._options",
    "ReplayBuffer": "skdiffusion.estimators._replay",
    "Preprocessor": "skdiffusion.preprocessing._preprocessor",
    "Resolution": "skdiffusion.preprocessing._resolution",
    "BoundaryRegion": "skdiffusion.preprocessing._boundary",
    "ComposedMap": "skdiffusion.preprocessing._feature_map",
    "AffineMap": "skdiffusion.preprocessing._feature_map",
    "BoxMap": "skdiffusion.preprocessing._feature_map",
    "HalfLineMap": "skdiffusion.preprocessing._feature_map",
    "YeoJohnsonMap": "skdiffusion.preprocessing._feature_map",
    "GaussianizeMap": "skdiffusion.preprocessing._gaussianize_map",
    "GapMap": "skdiffusion.preprocessing._gap_map",
    "SignedLogMap": "skdiffusion.preprocessing._signed_log_map",
    "RangeMap": "skdiffusion.preprocessing._range_map",
    "Whitening": "skdiffusion.preprocessing._whitening",
    "NetworkField": "skdiffusion.diffusion.networks._field",
    "GaussianReference": "skdiffusion.diffusion.networks._reference",
    "FilmEnsemble": "skdiffusion.diffusion.networks._film",
    "SwitchedNetworks": "skdiffusion.diffusion.networks._switched",
    "MaskedNetwork": "skdiffusion.diffusion.networks._masked",
    "AutoregressiveDensity": "skdiffusion.diffusion.autoregressive",
    "ProbabilityFlow": "skdiffusion.diffusion.flow",
    "SplitField": "skdiffusion.diffusion.networks._split_field",
    "SplitFlow": "skdiffusion.diffusion.split",
    "StateFlow": "skdiffusion.diffusion.state_flow",
    "StateRegression": "skdiffusion.diffusion.state_flow",
    "Table": "skdiffusion.estimators._table_kinds",
    "TablePreprocessor": "skdiffusion.estimators._table_fit",
    "Columns": "skdiffusion.preprocessing._columns",
    "TableResolution": "skdiffusion.preprocessing._table_resolution",
    "PresentMaps": "skdiffusion.preprocessing._present_maps",
    "TableDensity": "skdiffusion.densities._table_density",
    "ProductMixture": "skdiffusion.densities._products",
    "StudentTables": "skdiffusion.densities._state_tables",
    "StateDiffusion": "skdiffusion.densities._state_diffusion",
    "StateChain": "skdiffusion.densities._state_chain",
    "ChainStep": "skdiffusion.densities._state_chain",
    "Blend": "skdiffusion.densities._blend",
    "TransformedDensity": "skdiffusion.densities._transformed",
    "SplitDensity": "skdiffusion.densities._split",
    "GaussianMixtureDensity": "skdiffusion.densities._mixture",
    "ChainedMixture": "skdiffusion.densities._chained_mixture",
    "RegressionDensity": "skdiffusion.densities._regression",
    "AutoregressiveRegression": "skdiffusion.densities._regression",
    "RegressionBasis": "skdiffusion.densities._regression",
    "ResidualDistribution": "skdiffusion.densities._residuals",
    "StepDensity": "skdiffusion.densities._steps",
    "StudentTDensity": "skdiffusion.densities._student",
    "GaussianKernelDensity": "skdiffusion.densities._kernel",
    "TargetModel": "skdiffusion.densities.predictive._target",
    "AtomProbabilities": "skdiffusion.densities.predictive._atoms",
    "PredictiveBlend": "skdiffusion.densities.predictive._blend",
    "Sharpening": "skdiffusion.densities.predictive._sharpening",
    "BoostedTrees": "skdiffusion.densities.predictive._boosting",
    "Forest": "skdiffusion.densities.predictive._forest",
    "MeanOfTrees": "skdiffusion.densities.predictive._trees",
    "Trees": "skdiffusion.densities.predictive._trees",
    "Categories": "skdiffusion.densities.predictive._trees",
    "Design": "skdiffusion.densities.predictive._design",
    "JointMixture": "skdiffusion.densities.predictive._joint",
    "JointStudentT": "skdiffusion.densities.predictive._joint",
    "TargetFlow": "skdiffusion.densities.predictive._flow",
    "MixtureNetworks": "skdiffusion.densities.predictive._network",
    "KernelSources": "skdiffusion.densities._kernel_sources",
    "LocalPolynomials": "skdiffusion.manifold._local_polynomials",
    "IntrinsicDensity": "skdiffusion.manifold._intrinsic_density",
}
FUNCTIONS = {name: "skdiffusion.diffusion.ode._grids" for name in ("power_grid", "angle_grid", "log_snr_grid")}


def saved_object(name: str, table: dict[str, str] = CLASSES, kind: str = "class") -> Any:
    """The class or function of a name in a file; ValueError if the table does not have it."""
    if name not in table:
        raise ValueError(f"it names a {kind} that is not skdiffusion's: {name!r}")
    return getattr(import_module(table[name]), name)


def parameter_defaults(cls: type) -> dict[str, Any]:
    """Parameters of an estimator by name, with their defaults; `inspect.Parameter.empty` where there is none."""
    return {p.name: p.default for p in inspect.signature(cls).parameters.values()}


def schema(cls: type) -> tuple[set[str], set[str]]:
    """Attributes that a file must hold of an object of a class, and those that it may hold."""
    if dataclasses.is_dataclass(cls):
        # A field with a default may have come after the file: the class has the default.
        fields = dataclasses.fields(cls)
        must = {field.name for field in fields if field.default is dataclasses.MISSING}
        return must, {field.name for field in fields} - must
    saved = set(cls._saved)  # type: ignore[attr-defined]
    if not issubclass(cls, BaseEstimator):
        return saved, set()
    # An estimator within another may not be fitted, and a parameter may have come after the file.
    defaults = parameter_defaults(cls)
    return {name for name, default in defaults.items() if default is inspect.Parameter.empty}, saved | set(defaults)


def difference(cls: type, names: Iterable[str]) -> str | None:
    """How these attributes differ from the schema of a class, in words; None if they do not."""
    must, may = schema(cls)
    missing, unknown = sorted(must - set(names)), sorted(set(names) - must - may)
    parts = [f"lacks {missing}"] * bool(missing) + [f"has {unknown}, which it should not have,"] * bool(unknown)
    return f"{cls.__name__} {' and '.join(parts).rstrip(',')}" if parts else None
