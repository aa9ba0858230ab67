"""Public docstrings are whole: a sentence first, parameters, what is returned and raised, and an example that runs."""

import ast
import importlib
import inspect
import textwrap

import pytest

from skdiffusion import DiffusionDensityEstimator

NumpyDocString = pytest.importorskip("numpydoc.docscrape").NumpyDocString
MODULES = [
    "skdiffusion", "skdiffusion.compose", "skdiffusion.dask", "skdiffusion.datasets", "skdiffusion.inspection",
    "skdiffusion.metrics", "skdiffusion.model_selection", "skdiffusion.testing", "skdiffusion.theory.besov",
    "skdiffusion.theory.gaussian", "skdiffusion.theory.subspace", "skdiffusion.theory.wasserstein",
]  # fmt: skip
BUILDING_BLOCKS = [
    "skdiffusion.preprocessing", "skdiffusion.densities", "skdiffusion.densities.predictive",
    "skdiffusion.diffusion.schedules", "skdiffusion.diffusion.networks", "skdiffusion.diffusion.training",
    "skdiffusion.diffusion.ode", "skdiffusion.diffusion.score_model", "skdiffusion.diffusion.flow",
    "skdiffusion.manifold",
]  # fmt: skip
TWO_SCREENS = 105  # lines


def exported(module):
    """Classes and functions that a module offers."""
    module = importlib.import_module(module)
    names = getattr(module, "__all__", [n for n, v in vars(module).items() if module_of(v) == module.__name__])
    objects = [getattr(module, name) for name in names if not name.startswith("_")]
    return [o for o in objects if inspect.isclass(o) or inspect.isfunction(o)]


def module_of(value):
    return getattr(value, "__module__", None)


OBJECTS = {f"{o.__module__}.{o.__qualname__}": o for module in MODULES for o in exported(module)}


def methods(cls):
    """Public methods of a class that this package defines."""
    found = inspect.getmembers(cls, inspect.isfunction)
    return {name: m for name, m in found if not name.startswith("_") and m.__module__.startswith("skdiffusion")}


METHODS = {
    f"{name}.{method}": (cls, function)
    for name, cls in OBJECTS.items()
    if inspect.isclass(cls)
    for method, function in methods(cls).items()
}


def raises(function):
    """Whether the body of a function raises an error itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def missing(function):
    """The parts that the docstring of a function or class lacks."""
    doc = NumpyDocString(inspect.getdoc(function) or "")
    lacks = []
    if not " ".join(doc["Summary"]).rstrip().endswith((".", ":")):
        lacks.append("a sentence first")
    parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    described = {name.strip(" *") for p in doc["Parameters"] for name in p.name.split(",")}
    lacks += [f"parameter {name}" for name in parameters if name not in described]
    if inspect.isfunction(function):
        returned = inspect.signature(function).return_annotation
        if not doc["Returns"] and not doc["Yields"] and returned not in (None, "None"):
            lacks.append("what it returns")
        if raises(function) and not doc["Raises"]:
            lacks.append("what it raises")
    return lacks


def examples_of(cls):
    """Lines of code in the docstrings of a class, its bases and their methods."""
    bases = [c for c in cls.__mro__ if c.__module__.startswith("skdiffusion")]
    found = bases + [function for base in bases for function in methods(base).values()]
    lines = [line.strip() for o in found for line in (inspect.getdoc(o) or "").splitlines()]
    return [line for line in lines if line.startswith((">>>", "..."))]


@pytest.mark.parametrize("name", OBJECTS)
def test_a_docstring_is_whole_and_has_an_example(name):
    lacks = missing(OBJECTS[name])
    if ">>>" not in inspect.getdoc(OBJECTS[name]):
        lacks.append("an example")
    assert lacks == []


@pytest.mark.parametrize("name", METHODS)
def test_the_docstring_of_a_method_is_whole_and_an_example_calls_it(name):
    cls, function = METHODS[name]
    lacks = missing(function)
    if not any(f".{function.__name__}(" in line for line in examples_of(cls)):
        lacks.append("an example that calls it")
    assert lacks == []


def test_the_docstring_of_the_main_estimator_fits_two_screens():
    assert len(inspect.getdoc(DiffusionDensityEstimator).splitlines()) <= TWO_SCREENS


@pytest.mark.parametrize("name", BUILDING_BLOCKS)
def test_the_page_of_a_building_block_opens_with_an_example(name):
    assert ">>>" in importlib.import_module(name).__doc__
