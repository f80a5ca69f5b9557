# Every target sets up .venv by itself and is quick when .venv is already right.
#   make demo    the whole service on sample traffic, nothing else to install    (ARGS=--exit)
#   make test    the test suite                                                  (ARGS="-k cap")
#   make check   format, lint, types, import direction, migration drift
#   make mutants the code broken on purpose, to see that a test notices          (ARGS="refund")
#   make bench   the numbers, as ratios, in ten minutes                          (ARGS="flush")
#   make bench-full   how they grow, to ten million events; hours                (ARGS="--only due")
#   make bench-quick  whether any of them fell below half of what it was         (ARGS=--keep)
#   make torture the whole service under every fault at once, and a judge        (ARGS="--seed 7")
#   make lock    resolve the dependencies anew
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ARGS ?=

.PHONY: help demo test check mutants torture bench bench-full bench-quick lock clean
help:
	@sed -n 's/^#   //p' Makefile

# The environment is right when it was made from the lock and the pyproject that stand here now.
$(READY): requirements-dev.txt pyproject.toml
	@echo "setting up $(VENV) (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Pinfold needs Python 3.11 or newer; name one with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "python3 cannot make a venv; on Debian: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/pinfold demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_directions.py tests/integration/test_migrations.py

mutants: $(READY)
	@$(BIN)/python -m tests.mutants $(ARGS)

bench: $(READY)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-full: $(READY)
	@$(BIN)/python -m tests.benchmarks.full $(ARGS)

bench-quick: $(READY)
	@$(BIN)/python -m tests.benchmarks.kept $(ARGS)

torture: $(READY)
	@$(BIN)/python -m tests.faults.torture $(ARGS)

lock: $(READY)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet -o requirements.txt
	@$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra embedded --group dev \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-dev.txt
	@echo hatchling | $(BIN)/uv pip compile - --universal --python-version 3.11 -c requirements-dev.txt \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-build.txt

clean:
	rm -rf $(VENV) .pinfold dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
