"""Files of fitted estimators that hold numbers only: safetensors with a JSON description, and no code.

A file is one safetensors container. Its metadata describe the estimator: every object by the name of its class,
which must be one of `CLASSES`, and its attributes; arrays are tensors of the container. Loading makes these
objects and sets their attributes, and runs nothing else. A digest over all of it tells a damaged file.
"""

import hashlib
import inspect
import json
import os
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

FORMAT = 1
KEY = "skdiffusion"
ESTIMATORS = (
    "DiffusionDensityEstimator", "ManifoldDiffusionEstimator", "DiffusionOutlierDetector", "DiffusionTransformer",
    "DistilledDensityEstimator",
)  # fmt: skip
CLASSES = {
    "DiffusionDensityEstimator": "skdiffusion.estimators._density",
    "ManifoldDiffusionEstimator": "skdiffusion.estimators._manifold",
    "DiffusionOutlierDetector": "skdiffusion.estimators._outliers",
    "DiffusionTransformer": "skdiffusion.estimators._transformer",
    "DistilledDensityEstimator": "skdiffusion.estimators._distilled",
    "Preprocessor": "skdiffusion.preprocessing._preprocessor",
    "ComposedMap": "skdiffusion.preprocessing._feature_map",
    "AffineMap": "skdiffusion.preprocessing._feature_map",
    "BoxMap": "skdiffusion.preprocessing._bound_maps",
    "HalfLineMap": "skdiffusion.preprocessing._bound_maps",
    "YeoJohnsonMap": "skdiffusion.preprocessing._power_map",
    "GaussianizeMap": "skdiffusion.preprocessing._gaussianize_map",
    "Whitening": "skdiffusion.preprocessing._whitening",
    "ScoreModel": "skdiffusion.diffusion.score_model",
    "NetworkField": "skdiffusion.diffusion.networks._field",
    "GaussianReference": "skdiffusion.diffusion.networks._reference",
    "FilmEnsemble": "skdiffusion.diffusion.networks._film",
    "SwitchedNetworks": "skdiffusion.diffusion.networks._switched",
    "MaskedNetwork": "skdiffusion.diffusion.networks._masked",
    "AutoregressiveDensity": "skdiffusion.diffusion.autoregressive",
    "VP": "skdiffusion.diffusion.schedules",
    "VE": "skdiffusion.diffusion.schedules",
    "SubVP": "skdiffusion.diffusion.schedules",
    "FlowPath": "skdiffusion.diffusion.schedules",
    "TransformedDensity": "skdiffusion.densities._transformed",
    "ProbabilityFlow": "skdiffusion.diffusion.flow",
    "GaussianMixtureDensity": "skdiffusion.densities._mixture",
    "RegressionDensity": "skdiffusion.densities._regression",
    "AutoregressiveRegression": "skdiffusion.densities._regression",
    "RegressionBasis": "skdiffusion.densities._regression",
    "ResidualDistribution": "skdiffusion.densities._residuals",
    "StudentTDensity": "skdiffusion.densities._student",
    "GaussianKernelDensity": "skdiffusion.densities._kernel",
    "LocalPolynomials": "skdiffusion.manifold._local_polynomials",
    "IntrinsicDensity": "skdiffusion.manifold._intrinsic_density",
}
FUNCTIONS = {name: "skdiffusion.diffusion.ode._grids" for name in ("power_grid", "angle_grid", "log_snr_grid")}
TRANSIENT = ("_skl_callbacks", "_parent_callback_ctx")


class _Encoder:
    """Values to JSON; arrays and objects go to tables, each once."""

    def __init__(self):
        self.objects, self.tensors, self._seen = [], {}, {}

    def _tensor(self, array):
        name = f"t{len(self.tensors)}"
        # The order in memory is kept: products of matrices round by it.
        fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
        self.tensors[name] = np.array(array.T if fortran else array, order="C")
        return {"array": name, "transposed": True} if fortran else {"array": name}

    def _array(self, array):
        if array.dtype == object or array.dtype.kind in "US":
            values = array.ravel().tolist()
            if not all(isinstance(v, str) for v in values):
                raise TypeError("Cannot save an array of Python objects other than strings.")
            return {"strings": values, "shape": list(array.shape), "object": array.dtype == object}
        if array.dtype.kind not in "biuf":
            raise TypeError(f"Cannot save an array of dtype {array.dtype}.")
        return self._tensor(array)

    def _shared(self, value, encode):
        if id(value) not in self._seen:
            # The value is kept beside its code, so that its id is not given to another.
            self._seen[id(value)] = (encode(), value)
        return self._seen[id(value)][0]

    def _object(self, value):
        name = type(value).__name__
        if CLASSES.get(name) != type(value).__module__:
            raise TypeError(
                f"Cannot save an object of {type(value).__module__}.{name}: a file holds the classes of skdiffusion "
                "only. Use joblib.dump, whose files run code when they are loaded."
            )
        state = value.__getstate__() or {}
        items = {k: self(v) for k, v in state.items() if k not in TRANSIENT}
        self.objects.append({"class": name, "state": items})
        return {"ref": len(self.objects) - 1}

    def __call__(self, value):
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value))}
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, np.ndarray):
            return self._shared(value, lambda: self._array(value))
        if isinstance(value, (list, tuple)):
            return {type(value).__name__: [self(v) for v in value]}
        if isinstance(value, dict):
            return {"dict": [[self(k), self(v)] for k, v in value.items()]}
        if isinstance(value, np.random.RandomState):
            return {"RandomState": self(value.get_state(legacy=True))}
        if type(value).__module__.startswith("torch"):
            return {"tensor": self._shared(value, lambda: self._tensor(value.detach().cpu().numpy()))}
        if callable(value) and FUNCTIONS.get(getattr(value, "__name__", None)) == getattr(value, "__module__", 0):
            return {"function": value.__name__}
        return self._shared(value, lambda: self._object(value))


class _Decoder:
    """The inverse; raises ValueError for anything that `_Encoder` does not write."""

    def __init__(self, objects, tensors):
        self.tensors, self.built, self._arrays = tensors, [], {}
        for entry in objects:
            self.built.append(self._object(entry["class"], entry["state"]))

    def _object(self, name, state):
        if name not in CLASSES:
            raise ValueError(f"it names a class that is not skdiffusion's: {name!r}")
        cls = getattr(import_module(CLASSES[name]), name)
        fields = getattr(cls, "__dataclass_fields__", {})
        values = {}
        for key, code in state.items():
            of_class = getattr(cls, key, None)
            hides = key not in fields and (callable(of_class) or isinstance(of_class, property))
            if not key.isidentifier() or key.startswith("__") or hides:
                raise ValueError(f"it sets an attribute that {name} does not have: {key!r}")
            values[key] = self(code)
        if name in ESTIMATORS:  # parameters that came after the file have their defaults
            parameters = inspect.signature(cls).parameters.values()
            values = {p.name: p.default for p in parameters if p.default is not p.empty} | values
        made = cls.__new__(cls)
        if hasattr(made, "__setstate__"):
            made.__setstate__(values)
        else:
            made.__dict__.update(values)
        return made

    def _array(self, code):
        if "strings" in code:
            values = np.array(code["strings"], dtype=object if code["object"] else str)
            return values.reshape(code["shape"])
        name = code["array"]
        if name not in self._arrays:
            array = self.tensors[name]
            self._arrays[name] = array.T if code.get("transposed") else array
        return self._arrays[name]

    def __call__(self, code):
        if code is None or isinstance(code, (bool, int, str)):
            return code
        if not isinstance(code, dict) or not code:
            raise ValueError(f"unknown value {code!r}")
        kind, value = next(iter(code.items()))
        if kind in ("array", "strings"):
            return self._array(code)
        if kind == "ref":
            return self.built[value] if 0 <= value else self.built[len(self.built)]
        if kind == "float":
            return float.fromhex(value)
        if kind == "scalar":
            return self._array(value)[()]
        if kind in ("list", "tuple"):
            return {"list": list, "tuple": tuple}[kind](self(v) for v in value)
        if kind == "dict":
            return {self(k): self(v) for k, v in value}
        if kind == "tensor":
            import torch

            return torch.from_numpy(np.array(self._array(value)))
        if kind == "function" and value in FUNCTIONS:
            return getattr(import_module(FUNCTIONS[value]), value)
        if kind == "RandomState":
            state = np.random.RandomState()
            state.set_state(self(value))
            return state
        raise ValueError(f"unknown value {code!r}")


def _digest(document, tensors):
    h = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        h.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        h.update(tensors[name].tobytes())
    return h.hexdigest()


def save(estimator, path):
    """Write a fitted estimator to a file that runs no code when it is loaded.

    The file appears under its name only when it is complete: an interrupted save leaves an earlier file as it was.

    Parameters
    ----------
    estimator : fitted estimator of skdiffusion
    path : str or path-like

    Raises
    ------
    TypeError
        If a part of the estimator is not skdiffusion's, as a `process` of your own: use joblib.
    NotFittedError
        If the estimator is not fitted.
    """
    from safetensors.numpy import save as to_bytes
    from sklearn.utils.validation import check_is_fitted

    import skdiffusion

    check_is_fitted(estimator)
    encoder = _Encoder()
    document = {"format": FORMAT, "version": skdiffusion.__version__, "root": encoder(estimator)}
    document["objects"] = encoder.objects
    document["digest"] = _digest(document, encoder.tensors)
    data = to_bytes(encoder.tensors, metadata={KEY: json.dumps(document)})
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path):
    """Read an estimator that `save` wrote. Runs no code of the file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    estimator
        With the same densities and samples, bit for bit; on the CPU, wherever it was fitted.

    Raises
    ------
    ValueError
        If the file is truncated, damaged, not one of skdiffusion's, or written by a newer version.
    FileNotFoundError
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"The 'path' must be a string or a path. Got {path!r} instead.")
    with open(path, "rb"):  # a missing file, a folder or a lack of rights is told as Python tells it
        pass
    try:
        with safe_open(str(path), framework="numpy") as file:
            document = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not a whole file of skdiffusion: truncated, damaged, or another kind.") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise ValueError(f"{path} is not a file of skdiffusion.")
    if document["format"] > FORMAT:
        raise ValueError(
            f"{path} was written by skdiffusion {document.get('version')}, in a format newer than this version reads: "
            "upgrade skdiffusion to load it."
        )
    digest = document.pop("digest", None)
    if digest != _digest(document, tensors):
        raise ValueError(f"{path} is damaged: its contents do not match their digest.")
    try:
        estimator = _Decoder(document["objects"], tensors)(document["root"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path} does not describe an estimator of skdiffusion: {error}.") from error
    if type(estimator).__name__ not in ESTIMATORS:
        raise ValueError(f"{path} does not hold an estimator of skdiffusion.")
    return estimator
