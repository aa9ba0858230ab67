"""Calls of every public entry point with arguments of every kind: the `examples` of `benchmarks.robustness`.

A call passes if it returns without a NaN (from finite samples), or raises a ValueError or TypeError with a message from
this package or from scikit-learn's validation.
"""

import pickle
import tempfile
import traceback
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import skdiffusion
from benchmarks.any_rows import samples
from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    ManifoldDiffusionEstimator,
    Options,
    StackedDensityEstimator,
    compose,
    datasets,
    inspection,
    metrics,
    model_selection,
)
from skdiffusion.theory import besov, gaussian, subspace, wasserstein

TINY = {"hidden_layer_sizes": (4, 4), "n_estimators": 1, "max_iter": 1}
JUNK = [
    None, -1, 0, 1, 3, 2.5, 0.3, np.nan, np.inf, -np.inf, "auto", "bogus", "", (), (0,), (3, -1), (4, 4), [5], {},
    True, False, np.int64(2), np.float32(0.5), np.bool_(True), b"x", object, np.array([1.0, 2.0]), np.array(1.5), 1j,
]  # fmt: skip
# Options, and values of theirs that are junk.
OPTIONS = [
    Options(), Options(activation="relu", n_nonzero_weights=40, weight_bound=2.0), Options(activation="bogus"),
    Options(solver="heun"), Options(solver=3), Options(noise_intervals=3), Options(noise_intervals=(0.2, 0.5)),
    Options(noise_intervals=(0.5, 0.2)), Options(score_clip="auto"), Options(score_clip=-1), Options(sigma_min=0.3),
    Options(sigma_min=30.0), Options(sigma_max=np.nan), Options(n_folds=2), Options(learning_rate=0),
]  # fmt: skip
JUNK_VALUES = st.sampled_from(JUNK)
# What each parameter takes, besides junk.
VALID = {
    "feature_transform": ["auto", "yeo-johnson", "gaussianize", None],
    "components": [None, "auto", [], ["mixture"], ["student", "kernel"], ("regression",)],
    "bounds": [(0, 1), (-np.inf, 3.0), ([0, 0], [1, 1]), (2, 1), (np.nan, 1)],
    "options": OPTIONS, "support": ["auto", "linear", "nonlinear"],
    "contamination": [0.1, 0.5], "cv": [2, 5], "device": ["cpu", "cuda", "tpu"],
    "n_steps": [2, 5, 12], "n_components": [1, 2], "verbose": [0],
    "random_state": [0, np.random.RandomState(1)],
}  # fmt: skip


# -- what a call may do ------------------------------------------------------------------------------


class Campaign:
    """Counts of calls by entry point, and the ones that broke the promise."""

    def __init__(self):
        self.calls, self.refused, self.broken = Counter(), Counter(), {}

    def __call__(self, name, function, *arguments, **named):
        """The result of a call, or None if it was refused as promised."""
        self.calls[name] += 1
        try:
            result = function(*arguments, **named)
        except (ValueError, TypeError, AttributeError, OSError) as error:
            if self._promised(error):
                self.refused[name] += 1
            else:
                self._note(name, error, arguments, named)
            return None
        except Exception as error:
            self._note(name, error, arguments, named)
            return None
        values = result if isinstance(result, (float, np.ndarray)) else None
        if values is not None and np.asarray(values).dtype.kind == "f" and np.isnan(values).any():
            inputs = [a for a in (*arguments, *named.values()) if not _finite(a)]
            if not inputs:
                self._note(name, FloatingPointError("NaN"), arguments, named)
        return result

    @staticmethod
    def _promised(error):
        """Whether an error is meant for the user: raised on purpose, with a message, and no linear algebra's."""
        if isinstance(error, np.linalg.LinAlgError) or not str(error).strip():
            return False
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, OSError):
            return "persistence" in frames[-1].filename and error.filename is not None
        # A conversion that fails inside scikit-learn's validation is its own; so is a fit of its estimators.
        where = [f for f in frames if "/skdiffusion/" in f.filename or "/sklearn/" in f.filename]
        return bool(where) and ("/sklearn/" in where[-1].filename or "raise" in _statement(where[-1]))

    def _note(self, name, error, arguments, named):
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "any_calls" not in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        inside = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/skdiffusion/" in f.filename]
        key = (name, type(error).__name__, place)
        if key not in self.broken:
            shown = "; ".join(repr(a)[:300] for a in (*arguments, *named.items()))
            self.broken[key] = f"{error} | {' > '.join(inside[-3:])} | {shown}"


def _statement(frame):
    lines = Path(frame.filename).read_text().splitlines()
    return " ".join(lines[frame.lineno - 1 : frame.end_lineno])


def _finite(value):
    try:
        return bool(np.isfinite(np.asarray(value, dtype=float)).all())
    except (TypeError, ValueError):
        return True


# -- the entry points --------------------------------------------------------------------------------

ESTIMATORS = {
    kind.__name__: kind
    for kind in (
        DiffusionDensityEstimator,
        ManifoldDiffusionEstimator,
        StackedDensityEstimator,
        DiffusionTransformer,
        DiffusionOutlierDetector,
    )
}


def _tiny(name):
    """Parameters with which an estimator of this name is fitted in a blink."""
    inner = DiffusionDensityEstimator(**TINY, n_steps=3, random_state=0)
    return {
        "DiffusionDensityEstimator": TINY | {"n_steps": 3},
        "ManifoldDiffusionEstimator": dict(TINY),
        "StackedDensityEstimator": {"estimators": [("a", inner), ("b", _mixture())], "cv": 2},
    }.get(name, {"estimator": inner})


QUERIES = [
    "score_samples", "score", "to_latent", "transform", "predict", "decision_function", "log_density_error",
    "intrinsic_log_density", "project", "score_function", "partial_fit",
]  # fmt: skip


@st.composite
def estimator_case(draw):
    """An estimator, samples to fit, and calls to make: unusual in one respect, in all or in none.

    Were everything unusual at once, hardly any call would get past the first check.
    """
    unusual = draw(st.sampled_from(["parameters", "rows", "weights", "calls", "calls", "valid", "all"]))
    name = draw(st.sampled_from(list(ESTIMATORS)))
    kind, parameters = ESTIMATORS[name], _tiny(name)
    names = [p for p in kind().get_params(deep=False) if p != "max_fit_seconds"]
    junk = unusual in ("parameters", "all")
    for _ in range(draw(st.integers(1, 2)) if junk or unusual == "valid" else 0):
        key = draw(st.sampled_from(names if junk else [p for p in names if p in VALID]))
        parameters[key] = draw(
            JUNK_VALUES if junk and (key not in VALID or draw(st.booleans())) else st.sampled_from(VALID[key])
        )
        if key in TINY and isinstance(parameters[key], str):
            parameters[key] = TINY[key]  # whole defaults take seconds, and are tested elsewhere
    plain = np.random.default_rng(draw(st.integers(0, 999))).random(size=(14, draw(st.integers(1, 3))))
    X = draw(samples()) if unusual in ("rows", "all") else plain[:12]
    d = X.shape[1] if getattr(X, "ndim", 0) == 2 else None
    odd = unusual in ("calls", "all")
    calls = []
    for _ in range(draw(st.integers(1, 3))):
        what = draw(st.sampled_from([*QUERIES, "sample", "from_latent", "inverse_transform", "pickle", "save"]))
        if what in QUERIES or what in ("from_latent", "inverse_transform"):
            calls.append((what, (draw(samples(d)) if odd else np.resize(plain, (5, d or 2)),), {}))
        elif what == "sample":
            frame = draw(st.sampled_from(["auto", True, False, "yes"]))
            given_count, given_state = ([1, 2, 7, *JUNK], [0, None, *JUNK]) if odd else ([1, 5], [0, None])
            calls.append((what, (draw(st.sampled_from(given_count)), draw(st.sampled_from(given_state))), {}))
            calls.append((what, (2,), {"as_frame": frame}))
        else:
            calls.append((what, (), {}))
    weights = None
    if unusual in ("weights", "all"):
        weights = draw(st.sampled_from(["ones", "zeros", "negative", "nan", "short", "huge"]))
    return name, kind, parameters, X, weights, calls


def _mixture():
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(1, random_state=0)


def _weights(kind, X):
    n = X.shape[0] if getattr(X, "shape", ()) else 5
    return {
        "ones": np.ones(n), "zeros": np.zeros(n), "negative": -np.ones(n), "nan": np.full(n, np.nan),
        "short": np.ones(max(n - 1, 0)), "huge": np.full(n, 1e308),
    }[kind]  # fmt: skip


def try_estimator(campaign, name, kind, parameters, X, weights, calls, folder):
    """One example: construct, fit, then the calls."""
    est = campaign(name, kind, **parameters)
    if isinstance(X, type(iter(np.ones(1)))):
        X = np.asarray(list(X))
    given_weights = {} if weights is None or kind is not DiffusionDensityEstimator else _weights(weights, X)
    named = {"sample_weight": given_weights} if len(given_weights) else {}
    fitted = campaign(f"{name}.fit", est.fit, X, **named)
    for i, (what, arguments, named) in enumerate(calls):
        if fitted is None and i == 1:
            # One call of an estimator that is not fitted is enough; the others meet a fitted one.
            est = fitted = _plain_fit(kind, d=getattr(X, "shape", (0, 2))[1:2])
        if what == "pickle":
            pickle.loads(pickle.dumps(est))
        elif what == "save":
            if fitted is not None and hasattr(est, "save"):
                path = Path(folder) / "model"
                if campaign(f"{name}.save", _save, est, path):
                    campaign("load", skdiffusion.load, path)
        elif hasattr(est, what):
            campaign(f"{name}.{what}", getattr(est, what), *arguments, **named)


def _plain_fit(kind, d):
    """An estimator of this kind after a fit of plain samples."""
    n_features = d[0] if d and 0 < d[0] < 5 else 2
    return kind(**_tiny(kind.__name__)).fit(np.random.default_rng(0).random((14, n_features)))


def _save(est, path):
    est.save(path)
    return True


def _after_fit(function):
    """A function of a fitted estimator, as one of samples."""
    return lambda X: function(_fitted(), X)


@cache
def _fitted():
    return DiffusionDensityEstimator(**TINY, random_state=0).fit(np.random.default_rng(0).normal(size=(40, 2)))


TWO_SETS = ["classifier_two_sample_test", "energy_distance", "maximum_mean_discrepancy", "sliced_wasserstein_1"]
TWO_SETS += ["wasserstein_1", "wasserstein_2", "memorized_fraction", "density_comparability", "subspace_error"]
THREE_SETS = ["delta_coverage", "memorized_excess", "novelty"]
OF_ESTIMATOR = ["mean_log_likelihood", "neg_c2st", "neg_sliced_wasserstein_1", "neg_wasserstein_1"]
OF_ESTIMATOR += ["highest_density_coverage"]
# Functions of numbers, with the number of positional arguments that are drawn.
OF_NUMBERS = {
    "besov.rate_tv": (besov.rate_tv, 3), "besov.rate_w1": (besov.rate_w1, 3), "besov.design": (besov.design, 3),
    "besov.effective_size": (besov.effective_size, 3), "besov.stopping_level": (besov.stopping_level, 3),
    "besov.clipping_level": (besov.clipping_level, 2), "besov.time_partition": (besov.time_partition, 2),
    "subspace.score_rate": (subspace.score_rate, 2), "subspace.stopping_time": (subspace.stopping_time, 2),
    "subspace.projection_rate": (subspace.projection_rate, 2), "subspace.coarse_level": (subspace.coarse_level, 2),
    "wasserstein.gaussian_regularity": (wasserstein.gaussian_regularity, 1),
    "wasserstein.mixture_regularity": (wasserstein.mixture_regularity, 3),
    "wasserstein.bounded_regularity": (wasserstein.bounded_regularity, 2),
    "wasserstein.suggest_steps": (wasserstein.suggest_steps, 2),
    "gaussian.unit_mixture_tilt": (gaussian.unit_mixture_tilt, 3),
    "datasets.BesovDensity": (lambda *a: datasets.BesovDensity(*a).sample(3, 0), 3),
    "datasets.Sphere": (lambda *a: datasets.Sphere(*a).sample(3, 0), 3),
    "datasets.Subspace": (lambda *a: datasets.Subspace(*a).sample(3, 0), 2),
    "datasets.SwissRoll": (lambda *a: datasets.SwissRoll(*a).sample(3, 0), 2),
    "datasets.Torus": (lambda *a: datasets.Torus(*a).sample(3, 0), 2),
    "model_selection.param_distributions": (model_selection.param_distributions, 2),
    "metrics.make_sample_scorer": (metrics.make_sample_scorer, 1),
    "compose.make_density_pipeline": (compose.make_density_pipeline, 2),
    "load": (skdiffusion.load, 1),
}  # fmt: skip


@st.composite
def spread_mixture(draw):
    """Weights, means and a common covariance, mostly valid and of any scale."""
    d, k = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sizes = st.one_of(st.floats(0, 10), st.floats(-1e3, 1e3), st.sampled_from([0.0, 1e-200, 1e200, np.nan]))
    means = np.array(draw(st.lists(st.lists(sizes, min_size=d, max_size=d), min_size=k, max_size=k)))
    factor = np.tril(np.array(draw(st.lists(sizes, min_size=d * d, max_size=d * d))).reshape(d, d))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(draw(st.lists(st.floats(0, 1), min_size=k, max_size=k))), means, factor @ factor.T


@st.composite
def steps_wanted(draw):
    """An error to reach, and a distribution."""
    scale = draw(st.one_of(st.floats(0.05, 5.0), st.floats(1e-3, 1e3)))
    density = draw(
        st.sampled_from([wasserstein.gaussian_regularity, lambda c: wasserstein.bounded_regularity(scale, c)])
    )
    return draw(st.one_of(st.floats(1e-3, 1.0), st.floats())), density(scale**2 * np.eye(draw(st.integers(1, 3))))


# Arguments that are mostly valid, where independent draws hardly ever are.
MATCHED = {
    "wasserstein.gaussian_regularity": spread_mixture().map(lambda mixture: mixture[2:]),
    "wasserstein.mixture_regularity": spread_mixture(),
    "wasserstein.suggest_steps": steps_wanted(),
}
DISPLAYS = ["DensityDisplay", "PairDisplay", "TrajectoryDisplay", "CalibrationDisplay", "TrainingDisplay"]
DISPLAYS += ["NoiseLossDisplay", "DimensionSpectrumDisplay"]


@st.composite
def function_case(draw):
    """A function and its arguments."""
    table = {f"metrics.{m}": (getattr(metrics, m), 2) for m in TWO_SETS}
    table |= {f"metrics.{m}": (getattr(metrics, m), 3) for m in THREE_SETS}
    table |= {f"metrics.{m}": (_after_fit(getattr(metrics, m)), 1) for m in OF_ESTIMATOR}
    table["metrics.gaussian_wasserstein_2"] = (metrics.gaussian_wasserstein_2, 4)
    table["metrics.fidelity"] = (lambda X: metrics.fidelity(X, lambda Z: np.abs(Z).sum(1)), 1)
    table["metrics.two_sample_floor"] = (lambda X: metrics.two_sample_floor(metrics.wasserstein_1, X, n_repeats=2), 1)
    table["metrics.importance_mass"] = (lambda X: metrics.importance_mass(_log_normal, X, _log_normal), 1)
    for name in ("kl_divergence", "total_variation"):
        function = getattr(metrics, name)
        table[f"metrics.{name}"] = (lambda X, f=function: f(_log_normal, _log_normal, samples=X), 1)
    for name in DISPLAYS:
        table[f"inspection.{name}"] = (_after_fit(_display(name)), 1)
    if draw(st.booleans()):
        name = draw(st.sampled_from(list(OF_NUMBERS)))
        function, count = OF_NUMBERS[name]
        if name in MATCHED and draw(st.booleans()):
            return name, function, draw(MATCHED[name])
        numbers = st.one_of(st.floats(), st.integers(-5, 40), st.floats(0.1, 5.0), JUNK_VALUES)
        return name, function, tuple(draw(numbers) for _ in range(count))
    name = draw(st.sampled_from(list(table)))
    function, count = table[name]
    d = draw(st.integers(1, 3))
    return name, function, tuple(draw(samples(d)) for _ in range(count))


def _log_normal(X):
    return -0.5 * (np.asarray(X) ** 2).sum(1)


def _display(name):
    def draw_it(est, X):
        from matplotlib import pyplot as plt

        try:
            kind = getattr(inspection, name)
            if name in ("PairDisplay", "CalibrationDisplay", "DensityDisplay"):
                kind.from_estimator(est, X)
            else:
                kind.from_estimator(est)
        finally:
            plt.close("all")

    return draw_it


def examples(n, number):
    """`n` examples, half of estimators and half of functions."""
    campaign = Campaign()
    shared = settings(
        max_examples=n // 2,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    done = Counter()
    with tempfile.TemporaryDirectory() as folder:

        @seed(number)
        @shared
        @given(estimator_case())
        def of_estimators(case):
            done["estimators"] += 1
            try_estimator(campaign, *case, folder)

        @seed(number)
        @shared
        @given(function_case())
        def of_functions(case):
            done["functions"] += 1
            name, function, arguments = case
            campaign(name, function, *arguments)

        of_estimators()
        of_functions()
    print(f"{sum(done.values())} examples ({dict(done)}), {sum(campaign.calls.values())} calls of")
    print(f"{len(campaign.calls)} entry points; {sum(campaign.refused.values())} refused with a clear error;")
    print(f"{len(campaign.broken)} kinds of broken promise.")
    for name, count in sorted(campaign.calls.items()):
        print(f"  {name}: {count} calls, {campaign.refused[name]} refused")
    for key, text in campaign.broken.items():
        print("BROKEN", *key, "|", text)
    return not campaign.broken
