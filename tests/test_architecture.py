"""The rooms of the house: imports point down, no room reaches into another's private modules, functions stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdiffusion

# From top to bottom. A module may import from its own room and from those below.
ROOMS = [
    "dask",
    "testing",
    "model_selection",
    "theory",
    "inspection",
    "estimators",
    "metrics",
    "compose",
    "datasets",
    "densities",
    "diffusion",
    "manifold",
    "preprocessing",
    "exceptions",
    "_utils",
]
RANK = {name: i for i, name in enumerate(ROOMS)}
ROOT = Path(skdiffusion.__file__).parent
MAX_LINES, MAX_PARAMETERS = 70, 7


def modules():
    return [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def edges():
    """File, its room, the module that it imports from."""
    for path in modules():
        source = path.relative_to(ROOT).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                members = [a.name for a in node.names if a.name.startswith("_") or a.name in RANK]
                names = [node.module, *(f"{node.module}.{name}" for name in members)]
                if node.module == "skdiffusion":  # public names, which come from their rooms
                    names += [skdiffusion._PUBLIC[a.name] for a in node.names if a.name in skdiffusion._PUBLIC]
            for name in names:
                if name.startswith("skdiffusion."):
                    yield path.relative_to(ROOT).as_posix(), source, name


def functions():
    """File, qualified name and node of every function."""
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf8"))
        owners = {child: node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path.relative_to(ROOT).as_posix(), owners.get(node), node


def lines_of_code(node):
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(node, clean=False)
    first = node.body[0]
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if docstring else 0)


def n_parameters(node):
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named = [a for a in named if a.arg not in ("self", "cls")]
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


def test_every_module_has_a_room():
    found = {
        p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize(("path", "source", "target"), sorted(set(edges())))
def test_imports_point_down_and_at_open_doors(path, source, target):
    room = target.split(".")[1]
    assert RANK[source] <= RANK[room], f"{path} imports from skdiffusion.{room}, which stands above it"
    package = ".".join(["skdiffusion", *Path(path).parent.parts])
    owner, _, private = target.partition("._")
    if private and room != "_utils":
        assert owner == package, f"{path} imports {target}, a private module of another package"


def test_nothing_imports_the_theory():
    assert {
        path for path, source, target in edges() if target.split(".")[1] == "theory" and source != "theory"
    } == set()


def test_functions_are_short():
    found = {f"{path}: {node.name}": lines_of_code(node) for path, _, node in functions()}
    assert {name: n for name, n in found.items() if n > MAX_LINES} == {}


def test_functions_have_few_parameters():
    found = {
        f"{path}: {owner}.{node.name}": n_parameters(node)
        for path, owner, node in functions()
        if not (path.startswith(("estimators/", "dask/")) and node.name == "__init__")
    }
    assert {name: n for name, n in found.items() if n > MAX_PARAMETERS} == {}


def test_importing_the_package_loads_no_torch():
    code = "import sys, skdiffusion; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
