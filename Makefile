# The doors of the repository. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CODE := cache tiers router jobs secondlook demo bench examples tests

.PHONY: help setup demo serve test chaos fuzz bench lint check format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..."
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), with what tests need ..."
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

setup: $(VENV)/.installed ## install everything into .venv

demo: setup ## ask real questions over HTTP and show the answers
	@$(BIN)/secondlook demo

serve: setup ## serve on port 8000 until Ctrl-C
	@$(BIN)/secondlook serve

test: $(VENV)/.installed-dev ## run every test: unit, real Redis, real Ray
	$(BIN)/python -m pytest

chaos: $(VENV)/.installed-dev ## test a running service under faults, each several times
	SECONDLOOK_CHAOS=long $(BIN)/python -m pytest tests/faults -s

fuzz: $(VENV)/.installed-dev ## send what nobody should, for an hour
	SECONDLOOK_FUZZ=long $(BIN)/python -m pytest tests/fuzz -s

bench: $(VENV)/.installed-dev ## measure layer by layer, as ratios to the floor
	$(BIN)/python -m bench

lint: $(VENV)/.installed-dev ## format, lint, types, imports
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## the same, and fast tests
	$(BIN)/python -m pytest tests/unit

format: $(VENV)/.installed-dev ## format and mend what can be mended
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
