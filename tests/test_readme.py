"""The code of the README and of the documentation's first pages runs; the README is short and true to the records."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import skdiffusion
from benchmarks import compare

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
MAX_WORDS, MAX_RESULTS = 900, 10


def run(name, pattern):
    """Run the blocks of code of a page one after another; returns the names that they leave."""
    names = {}
    for code in re.findall(pattern, (ROOT / name).read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE):
        exec(compile(textwrap.dedent(code), name, "exec"), names)
    return names


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """`run` for a page of the documentation, in a folder of its own for the files that it writes."""
    monkeypatch.chdir(tmp_path)
    return lambda page: run(page, r"^\.\. code-block:: python\n\n((?: {4}[^\n]*\n|\n)*)")


def test_the_code_of_the_readme_runs():
    names = run("README.md", r"```python\n(.*?)```")
    est, test = names["est"], names["test"]
    assert np.isfinite(est.score(test))
    assert est.sample(1000).shape == (1000, 13)
    assert list(est.sample(5).columns) == list(test.columns)
    assert est.to_latent(test).shape == test.shape
    assert sum(est.component_weights_.values()) == pytest.approx(1)


def test_the_code_of_the_quickstart_runs(run_page):
    names = run_page("docs/quickstart.rst")
    assert np.array_equal(names["again"].score_samples(names["test"]), names["est"].score_samples(names["test"]))
    assert set(names["diffusion"].component_weights_) == {"diffusion"}


def test_the_code_of_the_guide_runs(run_page):
    names = run_page("docs/guide.rst")
    assert names["manifold"].intrinsic_dimension_ == 2
    assert np.median(names["torus"].distance(names["manifold"].sample(500))) < 1e-3
    assert np.isfinite(names["search"].best_score_)
    assert names["pressure"].unknown_features_.tolist() == [2]


def test_the_code_of_the_page_of_tables_runs(run_page):
    names = run_page("docs/tables.rst")
    assert names["est"].atoms_ == {1: [0.0]}
    assert names["est"].sample(5).dtypes.equals(names["weather"].dtypes)


def test_the_code_of_the_pages_on_single_questions_runs(run_page):
    names = run_page("docs/coming_from.rst")
    kernel, mixture, ours = (names[name].score(names["test"]) for name in ("kernel", "mixture", "ours"))
    assert np.isfinite([kernel, mixture, ours]).all()
    names = run_page("docs/fit_quality.rst")
    assert names["report"].verdict[0] == "The density says more than a Gaussian."
    names = run_page("docs/nats.rst")
    level = names["est"].tail_level(names["X"])
    assert level.min() >= 0
    assert level.max() <= 1


def test_the_code_of_the_page_of_regression_runs(run_page):
    names = run_page("docs/regression.rst")
    assert names["reg"].predict_interval(names["X"], 0.9).shape == (300, 2)
    assert list(names["insured"].atoms_) == [0]


def test_the_readme_is_short():
    prose = re.sub(r"```.*?```|^ {4}.*?$", "", README, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) <= MAX_WORDS


def test_the_readme_names_no_commit():
    assert not re.findall(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,40}\b", README)


def test_the_reference_lists_every_public_name():
    listed = (ROOT / "docs" / "api.rst").read_text(encoding="utf8").split()
    public = [name for name in skdiffusion.__all__ if name != "__version__"]
    assert [name for name in public if f"skdiffusion.{name}" not in listed] == []


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_results_of_the_readme_are_those_of_the_records(capsys):
    compare.report([ROOT / "benchmarks" / "results" / "n2000.jsonl"], brief=True)
    printed = capsys.readouterr().out.partition("| estimator |")[2].splitlines()[2:]
    # Estimator, sets, nats below the best, W1 ratio, C2ST; seconds of the fit come after two further columns.
    recorded = [cells(line)[1:5] + [cells(line)[7]] for line in printed if line.startswith("|")]
    table = [cells(line) for line in README.partition("| estimator |")[2].splitlines()[2:] if line.startswith("|")]
    assert len(table) <= MAX_RESULTS
    assert [line[1:] for line in table] == recorded
