"""Files of fitted estimators: the same numbers back, whole or not at all, and no code."""

import dataclasses
import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as to_bytes
from sklearn.base import BaseEstimator

import skdiffusion
from skdiffusion import (
    DiffusionDensityEstimator,
    DiffusionImputer,
    DiffusionOutlierDetector,
    DiffusionTransformer,
    DistilledDensityEstimator,
    ManifoldDiffusionEstimator,
    Options,
    StackedDensityEstimator,
    load,
)
from skdiffusion._utils.persistence import KEY, digest
from skdiffusion._utils.saved_classes import CLASSES, saved_object, schema
from skdiffusion.datasets import Sphere
from skdiffusion.exceptions import InconsistentVersionWarning

SMALL = {"hidden_layer_sizes": (8, 8), "max_iter": 3, "n_estimators": 2, "random_state": 0}


def samples():
    return np.random.default_rng(0).gamma(2.0, size=(90, 2))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "model.skd"
    est = DiffusionDensityEstimator(**SMALL).fit(samples())
    est.save(path)
    return est, path


CASES = {
    "default": DiffusionDensityEstimator(**SMALL),
    "bounded": DiffusionDensityEstimator(**SMALL, bounds=(0, [np.inf, 50.0]), options=Options(activation="tanh")),
    "gaussianized": DiffusionDensityEstimator(**SMALL, feature_transform="gaussianize", n_steps=6),
    "three layers": DiffusionDensityEstimator(**SMALL | {"hidden_layer_sizes": (8, 8, 8)}),
    "noise intervals": DiffusionDensityEstimator(**SMALL, options=Options(noise_intervals=[0.1, np.float64(1.0)])),
    "random state": DiffusionDensityEstimator(**SMALL | {"random_state": np.random.RandomState(3)}),
    "linear": ManifoldDiffusionEstimator(support="linear", **SMALL),
    "outliers": DiffusionOutlierDetector(DiffusionDensityEstimator(**SMALL), contamination=0.1),
    "imputer": DiffusionImputer(DiffusionDensityEstimator(**SMALL), random_state=0),
    "transformer": DiffusionTransformer(DiffusionDensityEstimator(**SMALL)),
    "distilled": DistilledDensityEstimator(
        DiffusionDensityEstimator(**SMALL), n_draws=500, n_training_steps=5, random_state=0
    ),
}


def same(one, two, X):
    for name in ("score_samples", "transform", "intrinsic_log_density"):
        if hasattr(one, name):
            np.testing.assert_array_equal(getattr(one, name)(X), getattr(two, name)(X))
    if hasattr(one, "sample"):
        np.testing.assert_array_equal(one.sample(40, random_state=1), two.sample(40, random_state=1))
    assert repr(one).partition("RandomState")[0] == repr(two).partition("RandomState")[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.FullDimensionWarning")
def test_the_same_numbers_come_back(name, tmp_path):
    est, X = CASES[name].fit(samples()), samples()
    est.save(tmp_path / "file")
    same(est, load(tmp_path / "file"), X)
    same(est, pickle.loads(pickle.dumps(est)), X)
    joblib.dump(est, tmp_path / "joblib")
    same(est, joblib.load(tmp_path / "joblib"), X)


def test_a_curved_support_comes_back(tmp_path):
    X = Sphere(1).sample(200, 0)
    est = ManifoldDiffusionEstimator(1, "nonlinear", **SMALL).fit(X)
    est.save(tmp_path / "file")
    again = load(tmp_path / "file")
    same(est, again, X[:50])
    np.testing.assert_array_equal(est.project(1.1 * X), again.project(1.1 * X))


def test_a_loaded_estimator_can_be_fitted_on(saved):
    again = load(saved[1]).set_params(warm_start=True)
    assert again.fit(samples()).score(samples()) > -10


def test_samples_in_a_frame_come_back_in_a_frame(tmp_path):
    pd = pytest.importorskip("pandas")
    est = DiffusionDensityEstimator(**SMALL).fit(pd.DataFrame(samples(), columns=["a", "b"]))
    est.save(tmp_path / "file")
    again = load(tmp_path / "file")
    pd.testing.assert_frame_equal(again.sample(5, random_state=0), est.sample(5, random_state=0))
    assert list(again.feature_names_in_) == ["a", "b"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_truncated_files_are_named(saved, tmp_path, share):
    data = saved[1].read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut is not a whole file of skdiffusion"):
        load(tmp_path / "cut")


def test_other_files_are_named(tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "other").write_bytes(to_bytes({"a": np.zeros(3)}))
    joblib.dump({"a": 1}, tmp_path / "joblib")
    for name in ("text", "other", "joblib"):
        with pytest.raises(ValueError, match=f"{name} is not a"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError) as missing:
        load(tmp_path / "absent")
    assert missing.value.filename


def rewritten(path, change, sign=True):
    """The file with its description changed by a function, and signed anew."""
    data = path.read_bytes()
    tensors = tensors_of(data)
    length = int.from_bytes(data[:8], "little")
    document = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    document = change(document) or document
    if sign:
        document.pop("digest", None)
        document["digest"] = digest(document, tensors)
    return to_bytes(tensors, metadata={KEY: json.dumps(document)})


def test_newer_and_hostile_files_are_refused(saved, tmp_path):
    def newer(document):
        document["format"] = 99

    def earlier(document):
        document["format"] = 1

    def foreign(document):
        document["objects"][0]["class"] = "system"

    def function(document):
        document["objects"][-1]["state"]["verbose"] = {"function": "system"}

    def forward(document):
        state = document["objects"][0]["state"]
        state[next(iter(state))] = {"ref": len(document["objects"]) - 1}

    def not_an_estimator(document):
        document["root"] = 3

    cases = {
        newer: "newer than this version reads", earlier: "format 1, which .* no longer reads: fit the estimator again",
        foreign: "a class that is not skdiffusion's", function: "a function that is not skdiffusion's",
        forward: "describe", not_an_estimator: "hold an estimator",
    }  # fmt: skip
    for change, message in cases.items():
        (tmp_path / "bad").write_bytes(rewritten(saved[1], change))
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "bad")
    (tmp_path / "bad").write_bytes(rewritten(saved[1], lambda d: d.update(version="8"), sign=False))
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "bad")
    (tmp_path / "bad").write_bytes(to_bytes({"a": np.zeros(1)}, metadata={KEY: "[" * 100_000}))
    with pytest.raises(ValueError, match="not a whole file"):
        load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("name", "attribute", "message"),
    [
        ("DiffusionDensityEstimator", "score_samples", r"DiffusionDensityEstimator has \['score_samples'\]"),
        ("DiffusionDensityEstimator", "__class__", r"has \['__class__'\]"),
        ("Whitening", "width", r"Whitening has \['width'\]"),
        ("ProbabilityFlow", "log_prob", r"ProbabilityFlow has \['log_prob'\]"),
    ],
)
def test_other_attributes_than_those_of_the_schema_are_refused(saved, tmp_path, name, attribute, message):
    def add(document):
        for entry in document["objects"]:
            if entry["class"] == name:
                entry["state"][attribute] = 1

    (tmp_path / "bad").write_bytes(rewritten(saved[1], add))
    with pytest.raises(ValueError, match=f"does not match the classes of this version.*{message}.*Fit the estimator"):
        load(tmp_path / "bad")


def test_a_missing_attribute_is_refused(saved, tmp_path):
    def remove(document):
        for entry in document["objects"]:
            entry["state"].pop("scale", None)

    (tmp_path / "bad").write_bytes(rewritten(saved[1], remove))
    with pytest.raises(ValueError, match=r"lacks \['scale'\]"):
        load(tmp_path / "bad")


def test_a_parameter_that_came_after_the_file_has_its_default(saved, tmp_path):
    def remove(document):
        del document["objects"][-1]["state"]["max_fit_seconds"]

    (tmp_path / "before").write_bytes(rewritten(saved[1], remove))
    same(saved[0], load(tmp_path / "before"), samples())


def test_an_attribute_that_no_schema_states_is_not_saved(saved, tmp_path):
    est = load(saved[1])
    est.note_ = "mine"
    with pytest.raises(TypeError, match=r"schema of its class: DiffusionDensityEstimator has \['note_'\]"):
        est.save(tmp_path / "file")


@pytest.mark.parametrize("position", [-1, 625, 10**9])
def test_a_random_state_that_none_can_be_in_is_refused(position, tmp_path):
    """NumPy would read memory that is not its own."""
    est = DiffusionDensityEstimator(**SMALL | {"random_state": np.random.RandomState(3)}).fit(samples())
    est.save(tmp_path / "file")

    def move(document):
        document["objects"][-1]["state"]["random_state"]["RandomState"]["tuple"][2] = position

    (tmp_path / "bad").write_bytes(rewritten(tmp_path / "file", move))
    with pytest.raises(ValueError, match="RandomState that none can be in"):
        load(tmp_path / "bad")


def mutations(path, n, rng):
    """Damaged bytes: flips, cuts, insertions, swaps; half of them in the description."""
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for _ in range(n):
        out = bytearray(data)
        end = header if rng.random() < 0.5 else len(data)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(0, end))
            kind = rng.integers(4)
            if kind == 0:
                out[min(at, len(out) - 1)] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del out[at : at + int(rng.integers(1, 50))]
            elif kind == 2:
                out[at:at] = rng.bytes(int(rng.integers(1, 20)))
            else:
                other = int(rng.integers(0, len(out) - 9))
                out[at : at + 8] = out[other : other + 8]
        if bytes(out) != data:
            yield bytes(out)


def refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="skdiffusion|damaged"):
        load(path)


def test_damaged_files_are_refused(saved, tmp_path):
    for data in mutations(saved[1], 150, np.random.default_rng(0)):
        refused(tmp_path / "bad", data)


@pytest.mark.slow
def test_two_thousand_damaged_files_are_refused(saved, tmp_path):
    for data in mutations(saved[1], 2000, np.random.default_rng(1)):
        refused(tmp_path / "bad", data)


def scrambled(node, rng, depth=0):
    """One value of a description replaced by another kind."""
    if isinstance(node, dict) and node and (depth == 0 or rng.random() < 0.8):
        key = list(node)[int(rng.integers(len(node)))]
        return {**node, key: scrambled(node[key], rng, depth + 1)}
    if isinstance(node, list) and node and rng.random() < 0.9:
        i = int(rng.integers(len(node)))
        return [*node[:i], scrambled(node[i], rng, depth + 1), *node[i + 1 :]]
    odd = [None, -1, 10**30, "x", [], {}, {"ref": 0}, {"array": "t0"}, {"list": 3}, {"float": "zz"}, {"dict": [[1]]}]
    return odd[int(rng.integers(len(odd)))]


@pytest.mark.filterwarnings("ignore::skdiffusion.exceptions.InconsistentVersionWarning")
def test_signed_nonsense_raises_nothing_else(saved, tmp_path):
    """A forger can sign what he likes: it loads as numbers, or it is refused."""
    rng, refusals = np.random.default_rng(0), 0
    for _ in range(200):
        (tmp_path / "bad").write_bytes(rewritten(saved[1], lambda d: scrambled(d, rng)))
        try:
            assert isinstance(load(tmp_path / "bad"), DiffusionDensityEstimator)
        except ValueError:
            refusals += 1
    assert refusals > 20


def test_foreign_parts_are_refused_on_saving(tmp_path):
    blend = StackedDensityEstimator(random_state=0).fit(samples())
    with pytest.raises(TypeError, match="joblib"):
        blend.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_files_states_its_schema(name):
    cls = saved_object(name)
    assert cls.__module__ == CLASSES[name]
    must, may = schema(cls)
    if issubclass(cls, BaseEstimator):
        assert set(inspect.signature(cls).parameters) <= must | may
    elif dataclasses.is_dataclass(cls):  # files of earlier versions may lack what the class has by default
        assert must | may == {field.name for field in dataclasses.fields(cls)}
        assert all(hasattr(cls, name) for name in may)
    else:
        assert not may


SAVER = """
import sys
from skdiffusion import load
est = load(sys.argv[1])
print("ready", flush=True)
while True:
    est.save(sys.argv[2])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_save_leaves_a_whole_file(saved, tmp_path):
    target = tmp_path / "model"
    target.write_bytes(saved[1].read_bytes())
    for delay in (0.0, 0.013, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(saved[1]), str(target)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        same(saved[0], load(target), samples())


def test_a_version_apart_is_said(saved, tmp_path):
    here = skdiffusion.__version__
    there = here.translate(str.maketrans("0123456789", "9999999999"))
    with pytest.warns(InconsistentVersionWarning, match=f"saved by skdiffusion {there} and is read by {here}"):
        pickle.loads(pickle.dumps(saved[0]).replace(here.encode(), there.encode()))
    (tmp_path / "other").write_bytes(rewritten(saved[1], lambda document: document.update(version=there)))
    with pytest.warns(InconsistentVersionWarning, match=f"saved by skdiffusion {there}") as caught:
        load(tmp_path / "other")
    assert [w.filename for w in caught] == [__file__]
