"""The wheel holds the whole package, and works in an environment that has never seen the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

USE = """
import pkgutil
from importlib import import_module

import numpy as np
import skdiffusion

for module in pkgutil.walk_packages(skdiffusion.__path__, "skdiffusion."):
    import_module(module.name)

X = np.random.default_rng(0).normal(size=(60, 2))
est = skdiffusion.DiffusionDensityEstimator((8, 8), max_iter=2, random_state=0).fit(X)
est.save("fit.skd")
assert np.array_equal(skdiffusion.load("fit.skd").score_samples(X), est.score_samples(X))
print(skdiffusion.__file__)
"""


def run(*command, **given):
    """Standard output of a command, in whose environment no path leads to the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, so that no earlier build is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(CHECKOUT / "skdiffusion", folder / "skdiffusion", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", "dist", ".", cwd=folder)
    return next((folder / "dist").glob("*.whl"))


def test_the_wheel_holds_every_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("skdiffusion/")}
    sources = [*(CHECKOUT / "skdiffusion").rglob("*.py"), CHECKOUT / "skdiffusion" / "py.typed"]
    assert packed == {path.relative_to(CHECKOUT).as_posix() for path in sources}


def test_the_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", "--no-index", wheel)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # The dependencies are those of the environment of the tests; its own skdiffusion comes later on the path.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(python, "-c", USE, cwd=tmp_path)
    assert Path(where.strip()).parent == packages / "skdiffusion"
