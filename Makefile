# Every target makes what it needs: a virtual environment in .venv, then an editable install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo examples test lint format bench guard chaos clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): pyproject.toml setup.cfg setup.py
	$(PYTHON) -c 'import sys; sys.exit("mosaik_actors needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@# setuptools warns of every editable install; there is nothing in it for our users.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

install: $(STAMP)  ## make the virtual environment in .venv

demo: $(STAMP)  ## watch five processes find each other and stream real readings
	$(BIN)/mosaik-actors demo $(ARGS)

examples: $(STAMP)  ## run all examples in short form, and show what each proved
	$(BIN)/python examples/run_all.py $(ARGS)

# One worker for each core, but two at least, since many tests wait for processes of their own.
WORKERS := $(shell $(PYTHON) -c 'import os; print(max(2, os.cpu_count() or 1))')
CHECKED := -X dev -W error

# The allocator's own checks, which -X dev turns on, find faults of extensions in C. Nothing
# here is in C, and they take a quarter of the time.
test: export PYTHONMALLOC := pymalloc
test: $(STAMP)  ## run the whole test suite
	$(BIN)/python $(CHECKED) -m pytest --dist worksteal --tx '$(WORKERS)*popen//python=$(BIN)/python $(CHECKED)' $(ARGS)

lint: $(STAMP)  ## ruff (lint and format) and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(STAMP)  ## measure, with both sides of every ratio in one run, and keep it in .cache
	$(BIN)/python -m benchmarks $(ARGS)

guard: $(STAMP)  ## fail when a hot path is slower than recorded, by CPU time
	$(BIN)/python -m benchmarks.guard $(ARGS)

chaos: $(STAMP)  ## run a scenario with many seeds: make chaos ARGS="FILE::TEST --seeds 500"
	$(BIN)/mosaik-actors chaos $(ARGS)

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
