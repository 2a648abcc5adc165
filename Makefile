# A bare `make` prints what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MYPYPATH := .types

.PHONY: help run test lint check bench format constraints clean

help:  ## print this
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "forebay needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(BIN)/.installed  ## start the Power BI emulator and forebay on it; Ctrl-C stops both
	@$(BIN)/python examples/demo.py

test: $(BIN)/.installed  ## run the whole test suite
	$(BIN)/python -m pytest -n auto

lint: $(BIN)/.installed  ## format check, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p forebay
	$(BIN)/lint-imports

check: lint  ## everything that CI runs: lint and the tests with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90

bench: $(BIN)/.installed  ## run the benchmarks and print a table of ratios
	$(BIN)/python -m benchmarks

format: $(BIN)/.installed  ## format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(BIN)/.installed  ## pin what is installed now
	$(BIN)/pip freeze --exclude-editable | grep -v '^forebay' > constraints.txt

clean:  ## remove the virtual environment and what tests leave behind
	rm -rf $(VENV) build dist .run .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
