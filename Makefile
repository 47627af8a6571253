# Everything works on a fresh checkout with only Python 3.11+ and make: the first target that needs
# .venv makes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench

.PHONY: help demo test faults check format stubs bench wheel clean

help:
	@echo "make demo     a model that learns from a stream and answers over gRPC, in about a minute"
	@echo "make test     all tests"
	@echo "make faults   all fault tests: hundreds of kills, thousands of flipped bytes; prints the totals"
	@echo "make check    lint, format, types, import order, generated stubs"
	@echo "make bench    the benchmarks: table, train, quality, snapshot, cluster (benchmarks/)"
	@echo "make format   let ruff mend what it can"
	@echo "make stubs    compile proto/ into the committed stubs"
	@echo "make wheel    dist/*.whl, which is all that a machine of a cluster needs"
	@echo "make clean    remove .venv, caches and runs"

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Trilith needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(INSTALLED_BENCH): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/trilith demo --out runs/demo

# Tests that start many processes of their own, or whole machines; the others come first.
PROCESSES := tests/faults tests/cluster/fleet tests/cluster/test_demo.py tests/e2e

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PROCESSES:%=--ignore=%)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PROCESSES)

faults: $(INSTALLED_DEV)
	TRILITH_FAULTS=1 $(BIN)/python -m pytest tests/faults

check: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_stubs.py --check

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(INSTALLED_DEV)
	$(BIN)/python scripts/generate_stubs.py

bench: $(INSTALLED_BENCH)
	$(BIN)/python -m benchmarks.table --json runs/bench/table.json
	$(BIN)/python -m benchmarks.train --json runs/bench/train.json
	$(BIN)/python -m benchmarks.quality --json runs/bench/quality.json
	$(BIN)/python -m benchmarks.snapshot --json runs/bench/snapshot.json
	$(BIN)/python -m benchmarks.cluster --json runs/bench/cluster.json

# A build/ left behind would smuggle in modules that are gone.
wheel: $(INSTALLED)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build
	@ls dist

clean:
	rm -rf $(VENV) runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
