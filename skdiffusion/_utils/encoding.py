"""Objects as JSON with tables of arrays and of objects, and back; whatever is not in `saved_classes` is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skdiffusion._utils.saved_classes import CLASSES, FUNCTIONS, difference, parameter_defaults, saved_object

TRANSIENT = ("_skl_callbacks", "_parent_callback_ctx")  # scikit-learn's callbacks, which belong to a running program
MERSENNE_WORDS = 624
NOT_ENCODED = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, OverflowError)


class SchemaError(ValueError):
    """An object in a file has other attributes than its class states."""


class Encoder:
    """Values to JSON. Arrays go to the table `tensors`, objects to the table `objects`, each once.

    It raises TypeError for a value that is neither a plain one nor of a class of skdiffusion.
    """

    def __init__(self) -> None:
        self.objects: list[dict] = []
        self.tensors: dict[str, np.ndarray] = {}
        self._seen: dict[int, tuple[dict, object]] = {}

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value))}
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, np.ndarray):
            return self._once(value, lambda: self._array(value))
        if isinstance(value, (list, tuple)):
            return {type(value).__name__: [self(v) for v in value]}
        if isinstance(value, dict):
            return {"dict": [[self(k), self(v)] for k, v in value.items()]}
        if isinstance(value, np.random.RandomState):
            if not isinstance(state := value.get_state(legacy=True), tuple):
                raise TypeError("Cannot save a RandomState of another bit generator than MT19937.")
            return {"RandomState": self(state)}
        if type(value).__module__.startswith("torch"):
            return {"tensor": self._once(value, lambda: self._tensor(value.detach().cpu().numpy()))}
        if inspect.isfunction(value) and FUNCTIONS.get(value.__name__) == value.__module__:
            return {"function": value.__name__}
        return self._once(value, lambda: self._object(value))

    def _once(self, value: object, encode: Callable[[], dict]) -> dict:
        if id(value) not in self._seen:
            # The value is kept beside its code, so that its id is not given to another.
            self._seen[id(value)] = (encode(), value)
        return self._seen[id(value)][0]

    def _tensor(self, array: np.ndarray) -> dict:
        name = f"t{len(self.tensors)}"
        # The order in memory is kept: products of matrices round by it.
        fortran = array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous
        self.tensors[name] = np.array(array.T if fortran else array, order="C")
        return {"array": name, "transposed": True} if fortran else {"array": name}

    def _array(self, array: np.ndarray) -> dict:
        if array.dtype == object or array.dtype.kind in "US":
            values = array.ravel().tolist()
            if not all(isinstance(v, str) for v in values):
                raise TypeError("Cannot save an array of Python objects other than strings.")
            return {"strings": values, "shape": list(array.shape), "object": array.dtype == object}
        if array.dtype.kind not in "biuf":
            raise TypeError(f"Cannot save an array of dtype {array.dtype}.")
        return self._tensor(array)

    def _object(self, value: Any) -> dict:
        cls = type(value)
        if CLASSES.get(cls.__name__) != cls.__module__:
            raise TypeError(
                f"Cannot save an object of {cls.__module__}.{cls.__name__}: a file has no description of it, as of "
                "estimators of other libraries. Use joblib.dump, whose files run code when they are loaded."
            )
        if issubclass(cls, BaseEstimator):
            state = {name: v for name, v in vars(value).items() if name not in TRANSIENT}
        else:
            state = value.__getstate__() or {}
        if wrong := difference(cls, state):
            raise TypeError(f"Cannot save an object that does not match the schema of its class: {wrong}.")
        self.objects.append({"class": cls.__name__, "state": {name: self(v) for name, v in state.items()}})
        return {"ref": len(self.objects) - 1}


class Decoder:
    """The inverse of `Encoder`. It makes objects and sets the attributes of their schemas, and runs nothing else.

    It raises SchemaError if an object has other attributes than its class states, and one of `NOT_ENCODED` for
    anything else that `Encoder` does not write.
    """

    def __init__(self, objects: list[dict], tensors: dict[str, np.ndarray]) -> None:
        self.tensors, self.built = tensors, []
        self._arrays: dict[str, np.ndarray] = {}
        for entry in objects:
            self.built.append(self._object(entry["class"], entry["state"]))

    def __call__(self, code: Any) -> Any:
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
        if kind == "function":
            return saved_object(value, FUNCTIONS, "function")
        if kind == "RandomState":
            return self._random_state(self(value))
        raise ValueError(f"unknown value {code!r}")

    def _object(self, name: str, state: dict) -> Any:
        cls = saved_object(name)
        if wrong := difference(cls, state):
            raise SchemaError(wrong)
        values = {key: self(code) for key, code in state.items()}
        made: Any = object.__new__(cls)
        if issubclass(cls, BaseEstimator):  # parameters that came after the file have their defaults
            vars(made).update(parameter_defaults(cls) | values)
        elif hasattr(made, "__setstate__"):
            made.__setstate__(values)
        else:
            vars(made).update(values)
        return made

    def _array(self, code: dict) -> np.ndarray:
        if "strings" in code:
            values = np.array(code["strings"], dtype=object if code["object"] else str)
            return values.reshape(code["shape"])
        name = code["array"]
        if name not in self._arrays:
            array = self.tensors[name]
            self._arrays[name] = array.T if code.get("transposed") else array
        return self._arrays[name]

    def _random_state(self, values: Any) -> np.random.RandomState:
        _, words, position, *_ = values
        # NumPy does not check the position, and would read beyond the words.
        if np.shape(words) != (MERSENNE_WORDS,) or not 0 <= position <= MERSENNE_WORDS:
            raise ValueError("it holds a RandomState that none can be in")
        state = np.random.RandomState()
        state.set_state(values)
        return state
