"""Golden files: small fits of every savable estimator and part, with the numbers that they gave when they were saved.

They show that a file of an earlier commit is still read, and means the same. A change of the schema of a class breaks
some of them on purpose; these are then written anew, and the commit says so:

    python -m tests.golden regression ...

The numbers of all others are recorded again, as their files give them on the machine at hand.
"""

import json
from pathlib import Path

import numpy as np

from skdiffusion import (
    DiffusionClassifier,
    DiffusionDensityEstimator,
    DiffusionImputer,
    DiffusionOutlierDetector,
    DiffusionRegressor,
    DiffusionTransformer,
    DistilledDensityEstimator,
    ManifoldDiffusionEstimator,
    Options,
    load,
)
from skdiffusion.datasets import Sphere
from skdiffusion.densities import Blend, ChainedMixture, GaussianMixtureDensity

FOLDER = Path(__file__).parent
RECORD = FOLDER / "scores.json"
SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 5, "n_estimators": 2, "random_state": 0}


def plane(n=60):
    """Samples in two features, of which the first is positive."""
    return np.random.default_rng(0).gamma(2.0, size=(n, 2))


def density():
    X = plane()
    return DiffusionDensityEstimator(**SMALL, bounds=([0.0, -np.inf], np.inf)).fit(X), X


def components():
    """Near copies for a kernel, a formula for a regression, features within bounds on both sides."""
    rng = np.random.default_rng(0)
    a = rng.uniform(0.01, 0.99, 40)
    b = a + 0.02 * rng.standard_normal(40) * (0.2 + a)
    X = np.column_stack([a, b, 4 * a**2 + 0.05 * rng.standard_normal(40) * (0.1 + a)])
    X = np.concatenate([X, X + 1e-5 * rng.standard_normal(X.shape)])
    return DiffusionDensityEstimator(**SMALL, bounds=([0.0, -np.inf, -np.inf], [1.0, np.inf, np.inf])).fit(X), X


def intervals():
    """Networks by noise level, and noise that is isotropic in features of unit variance: two correlated clusters."""
    rng = np.random.default_rng(0)
    center = np.where(rng.random(200) < 0.5, -1, 1) + 0.1 * rng.standard_normal(200)
    X = center[:, None] + 0.5 * rng.standard_normal((200, 6))
    options = Options(noise_intervals=2, n_pilot_steps=200)
    return DiffusionDensityEstimator(**SMALL, components=None, feature_transform=None, options=options).fit(X), X


def manifold():
    X = Sphere(1, n_features=3).sample(80, 0)
    return ManifoldDiffusionEstimator(1, "nonlinear", **SMALL).fit(X), X


def outliers():
    X = plane()
    return DiffusionOutlierDetector(DiffusionDensityEstimator(**SMALL), contamination=0.1).fit(X), X


def transformer():
    X = plane()
    return DiffusionTransformer(DiffusionDensityEstimator(**SMALL, components=None)).fit(X), X


def distilled():
    X = plane()
    teacher = DiffusionDensityEstimator(**SMALL)
    student = DistilledDensityEstimator(
        teacher, hidden_layer_sizes=(16, 16), n_draws=500, n_training_steps=20, random_state=0
    )
    return student.fit(X), X


def decades():
    """Far groups, values over many decades and values that come near to a bound."""
    rng = np.random.default_rng(0)
    far = rng.standard_normal(160) + np.where(np.arange(160) < 80, 0.0, 1e5)
    X = np.column_stack([far, np.exp(5 * rng.standard_normal(160)), rng.exponential(size=160)])
    bounds = ([-np.inf, -np.inf, 0.0], np.inf)
    return DiffusionDensityEstimator(**SMALL, bounds=bounds).fit(X), X


def one_feature():
    """A single feature, which has a density between steps in its blend."""
    X = plane()[:, :1]
    return DiffusionDensityEstimator(**SMALL).fit(X), X


def imputer():
    """Samples of which a tenth of the values is missing."""
    X = plane()
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
    return DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0).fit(gaps), gaps


def gaps():
    """A density fitted to incomplete samples, which are asked about."""
    X = plane()
    incomplete = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
    return DiffusionDensityEstimator(**SMALL, fit_conditionals=False).fit(incomplete), incomplete


def heads():
    """A regression whose first features have two mixtures one after another, as few tables need them."""
    est, X = components()
    first = GaussianMixtureDensity(np.ones(1), np.zeros((1, 1)), np.eye(1)[None])
    joint = GaussianMixtureDensity(np.ones(1), np.zeros((1, 2)), np.array([[[1.0, 0.9], [0.9, 1.0]]]))
    density = est.blend_.densities["power_regression"].density
    density.regressions[0] = density.regressions[0].with_head(ChainedMixture(first, joint))
    weights = dict.fromkeys(est.component_weights_, 0.0) | {"power_regression": 0.9, "student": 0.1}
    est.blend_, est.component_weights_ = Blend(est.blend_.densities, weights), weights
    return est, X


def conditionals():
    """Networks for all splits of the features, asked of samples with unknown features."""
    X = plane()
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)
    return DiffusionDensityEstimator(**SMALL, fit_conditionals=True).fit(X), gaps


def tables():
    """A category that a number follows, and zeros beside a positive part."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 80)
    amount = np.where(rng.random(80) < 0.5, 0.0, rng.gamma(2.0, size=80))
    X = np.column_stack([group, group + rng.normal(size=80), amount])
    return DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={2: [0.0]}).fit(X), X


def regression():
    """A target with zeros, of a category and a number."""
    (_, X), rng = tables(), np.random.default_rng(1)
    y = np.where(rng.random(80) < 0.3, 0.0, X[:, 0] + rng.gamma(2.0, size=80))
    options = Options(n_folds=2)
    reg = DiffusionRegressor(**SMALL, categorical_features=[0], atoms=[0.0], options=options)
    return reg.fit(X[:, :2], y), X[:, :2]


def classes():
    """Classes of text beside an atom."""
    _, X = tables()
    y = np.where(X[:, 1] > 1, "high", "low")
    model = DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms={2: [0.0]})
    return DiffusionClassifier(model).fit(X, y), X


def ranges():
    """A feature that ends where its values are dense, beside a category."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(2, size=400), rng.random(400)])
    return DiffusionDensityEstimator(**SMALL, categorical_features=[0], atoms=None).fit(X), X


CASES = {
    case.__name__: case
    for case in (
        density,
        components,
        intervals,
        manifold,
        outliers,
        transformer,
        distilled,
        decades,
        one_feature,
        imputer,
        gaps,
        heads,
        conditionals,
        tables,
        regression,
        classes,
        ranges,
    )
}


def measured(estimator, X):
    """What an estimator says of samples, and samples of its own, as lists of floats."""
    out = {}
    for name in ("score_samples", "transform", "project", "sample_y", "predict_proba"):
        if hasattr(estimator, name):
            out[name] = getattr(estimator, name)(X).tolist()
    if hasattr(estimator, "sample"):
        out["sample"] = estimator.sample(4, random_state=1).tolist()
    return out


def path(name):
    """The file of a case."""
    return FOLDER / f"{name}.skd"


def write(machine, names):
    """Fit the cases of these names and save them; record the numbers of all files, and the machine that gave them."""
    fits = {}
    for name, case in CASES.items():
        if name in names:
            estimator, X = case()
            estimator.save(path(name))
            X = X[:5]
        else:
            X = np.array(json.loads(RECORD.read_text(encoding="utf8"))["fits"][name]["X"])
        fits[name] = {"X": X.tolist(), **measured(load(path(name)), X)}
    RECORD.write_text(json.dumps({"machine": machine, "fits": fits}, indent=1) + "\n")
