# Needs Python 3.11 or later, git and make. Everything is installed into .venv in this folder.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 SCIPY_ARRAY_API=1 $(VENV)/bin/python -m pytest -q -n 2
SPHINX := OMP_NUM_THREADS=1 $(VENV)/bin/python -m sphinx -W --keep-going -b html
SOURCES := skdiffusion tests benchmarks examples docs
PAGES := README.md CHANGELOG.md CONTRIBUTING.md

.PHONY: demo test test-oldest test-slow lint docs docs-check clean

$(VENV)/runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[plot,bench]"
	touch $@

$(VENV)/tests: $(VENV)/runtime
	$(PIP) --editable ".[plot,bench,test,docs]"
	touch $@

demo: $(VENV)/runtime
	$(VENV)/bin/python -m benchmarks.demo

# Linter, formatter, types, the pages of the documentation, then the tests.
test: lint docs-check
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/tests
	$(PYTEST) -m slow

test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[plot,bench,test]"
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/python -m pytest -q -n 2 -m "not slow"

lint: $(VENV)/tests
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell -D - -D docs/words.txt $(SOURCES) $(PAGES)
	$(VENV)/bin/proselint check --config docs/prose.json $(PAGES) docs/*.rst docs/theory/*.rst

# The site, with its examples run; docs-check builds the same pages without running an example.
docs: $(VENV)/tests
	rm -rf docs/generated docs/auto_examples docs/sg_execution_times.rst
	$(SPHINX) docs docs/_build/html

docs-check: $(VENV)/tests
	rm -rf docs/generated docs/auto_examples docs/sg_execution_times.rst docs/_build/check
	SPHINX_GALLERY=0 $(SPHINX) -q docs docs/_build/check

clean:
	rm -rf $(VENV) $(VENV)-oldest
