# Needs Python 3.11 or later, git and make. Everything is installed into .venv in this folder.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-oldest test-slow lint docs clean

$(VENV)/runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[plot,bench]"
	touch $@

$(VENV)/tests: $(VENV)/runtime
	$(PIP) --editable ".[plot,bench,test]"
	touch $@

demo: $(VENV)/runtime
	$(VENV)/bin/python -m benchmarks.demo

test: $(VENV)/tests
	$(VENV)/bin/ruff check skdiffusion tests benchmarks examples
	OMP_NUM_THREADS=1 SCIPY_ARRAY_API=1 $(VENV)/bin/python -m pytest -q -n 2 -m "not slow"

test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[plot,bench,test]"
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/python -m pytest -q -n 2 -m "not slow"

test-slow: $(VENV)/tests
	OMP_NUM_THREADS=1 SCIPY_ARRAY_API=1 $(VENV)/bin/python -m pytest -q -n 2 -m slow

lint: $(VENV)/tests
	$(VENV)/bin/ruff check skdiffusion tests benchmarks examples
	$(VENV)/bin/ruff format --check skdiffusion tests benchmarks examples
	$(VENV)/bin/mypy

docs: $(VENV)/runtime
	$(PIP) --editable ".[plot,bench,dask,docs]"
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(VENV)-oldest
