# Every target sets up what it needs. Of what it installs Python compiles only what is imported, which takes less time.
# `make` lists the targets; PYTHON=python3.13 chooses an interpreter, VENV=… a place.
PYTHON ?= python3
VENV ?= .venv
TESTS ?=
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --no-compile

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/lmgen ## train on the cities for half a minute, write 20 new ones, measure the model
	$(BIN)/lmgen train cities --budget 20s --output checkpoints/demo --force
	$(BIN)/lmgen sample demo --count 20 --novel
	$(BIN)/lmgen eval demo

test: $(VENV)/test ## run the tests (those that compare with PyTorch are skipped where it is missing; the longest are in make slow)
	$(BIN)/python -m pytest -n 2 -m "not slow" $(TESTS)

slow: $(VENV)/test ## run the tests that take longest: every example of the help pages, the tour of the README, builds, every cell (a quarter of an hour)
	$(BIN)/python -m pytest -n 2 -m slow

check: $(VENV)/test ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror native/*.h native/*.cc tests/nn/arm/*
	$(BIN)/mypy

faults: $(VENV)/test ## kill, damage, fill the disk, feed hostile files: the long level of what make test does quickly (an hour)
	LMGEN_LONG=1 $(BIN)/python -m pytest -n 2 tests/faults

fuzz: $(VENV)/test ## the tests of any input at all, at length: many thousand new ones of each kind (half an hour)
	LMGEN_LONG=1 $(BIN)/python -m pytest -n 2 tests/fuzz

arm: $(VENV)/test ## build the kernels for ARM and run all their tests under qemu (apt install g++-aarch64-linux-gnu qemu-user)
	$(BIN)/python -m pytest tests/nn/test_arm.py

scale: $(VENV)/test ## several processes on loopback, Open MPI, Slurm and Ray where they are, faults, figures (half an hour)
	LMGEN_LONG=1 $(BIN)/python -m pytest tests/training/test_parallel.py tests/system/test_launchers.py tests/faults/test_processes.py
	$(BIN)/python benchmarks/scale.py

docs: $(VENV)/test ## build the pages of docs/ as a site and as manual pages, into docs/_build
	$(PIP) --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b man docs docs/_build/man

browser: $(VENV)/test ## try the pages in Chromium, as their users do (apt install chromium)
	$(PIP) --editable '.[browser]'
	$(BIN)/python -m pytest -m browser

oracle: $(VENV)/bench ## compare with PyTorch and other implementations (installs PyTorch, and KenLM where it can be built)
	-$(PIP) --editable '.[kenlm]'
	LMGEN_OPTIMISE=1 $(BIN)/python -m pytest -n 2 -m oracle

bench: $(VENV)/bench ## measure again what benchmarks/RESULTS.md states (needs the corpora for measuring; installs PyTorch)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python benchmarks/trust.py
	$(BIN)/python benchmarks/fuzz.py
	$(BIN)/python benchmarks/first_hour.py
	$(PIP) --editable ".[plot]"
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/cells.py

masked: $(VENV)/test ## run the quick tests as if this were Windows, without kernels (a few minutes)
	LMGEN_TESTS_MASKED=1 LMGEN_NATIVE=off $(BIN)/python -m pytest -n 2 -m "not slow" --ignore tests/faults --ignore tests/fuzz $(TESTS)

wheel: ## build what is released, into dist/: a wheel for Linux on x86-64 (manylinux_2_28), one for all other systems, the source
	bash .ci/wheel

matrix: ## run the tests under every supported Python that is installed
	bash .ci/matrix

clean: ## remove what the targets above made
	rm -rf $(VENV) .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/lmgen: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/test: $(VENV)/lmgen
	$(PIP) --editable '.[test,check]'
	@touch $@

$(VENV)/bench: $(VENV)/test
	$(PIP) --editable '.[bench]'
	@touch $@

.PHONY: help demo test slow check faults fuzz arm scale docs browser oracle bench masked wheel matrix clean
.DEFAULT_GOAL := help
