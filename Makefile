# Two commands set everything up: `make demo` and `make test`. Both make .venv when it is missing
# or a requirements file has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/demo
PYTEST_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-long check format clean

help:  ## List the commands.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.runtime  ## Run the whole road on the embedded digits (WORKDIR=runs/demo).
	$(BIN)/python -m vidpretrain.main --config configs/demo.py --workdir $(WORKDIR)

test: $(VENV)/.dev  ## Run the tests (PYTEST_ARGS="-k name" to choose).
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(PYTEST_ARGS)

test-long: $(VENV)/.dev  ## Run the slow tests that `make test` leaves out.
	$(BIN)/python -m pytest -m long -v $(PYTEST_ARGS)

check: $(VENV)/.dev  ## Format, lint, types, tests: cheap checks first.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(VENV)/.dev  ## Rewrite the files in the house format.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove the environment, caches and the demo's results.
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vidpretrain needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	touch $@
