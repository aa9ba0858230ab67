"""Imports go one way: a layer never imports from a layer above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdiffusion

# From top to bottom. A module may import from its own line and from lines below.
LAYERS = [
    ["testing", "model_selection", "inspection"],
    ["compose", "metrics"],
    ["estimators"],
    ["datasets", "geometry"],
    ["companions"],
    ["stacking"],
    ["training"],
    ["preprocessing"],
    ["autoregressive", "likelihood"],
    ["theory"],
    ["ode"],
    ["score_model"],
    ["networks"],
    ["closed_form"],
    ["processes"],
    ["drawing"],
    ["jacobians"],
    ["exceptions", "_validation", "_threads", "_numerics", "_k_means", "_progress", "_frames", "persistence"],
]
RANK = {name: i for i, names in enumerate(LAYERS) for name in names}
ROOT = Path(skdiffusion.__file__).parent


def edges():
    for path in sorted(ROOT.rglob("*.py")):
        source = path.relative_to(ROOT).with_suffix("").parts[0]
        if source == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names = [node.module]
            for name in names:
                if name.startswith("skdiffusion."):
                    yield path.relative_to(ROOT).as_posix(), source, name.split(".")[1]


def test_every_module_has_a_layer():
    found = {
        p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert found - {"__init__"} == set(RANK)


@pytest.mark.parametrize(("path", "source", "target"), sorted(set(edges())))
def test_no_import_points_up(path, source, target):
    assert RANK[source] <= RANK[target], f"{path} imports from skdiffusion.{target}, which stands above it"


def test_importing_the_package_loads_no_torch():
    code = "import sys, skdiffusion; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "layer",
    ["networks", "closed_form", "ode", "processes", "training", "preprocessing", "likelihood", "autoregressive"],
)
def test_nothing_below_the_estimators_knows_scikit_learn(layer):
    files = [ROOT / f"{layer}.py"] if (ROOT / f"{layer}.py").exists() else (ROOT / layer).rglob("*.py")
    for path in files:
        assert "sklearn" not in path.read_text(encoding="utf8"), path
