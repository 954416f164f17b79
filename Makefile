# One command each. Everything happens in .venv and .insights; nothing is installed outside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Python keeps what it has compiled: every process of the tests would compile the project anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo ui test test-all browser simulate fuzz bench check lint types imports lock clean

setup: $(STAMP)  ## Make the virtual environment and install the locked dependencies.

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## Run the pipeline on the local org, from an empty one to pushed scores; ends by itself.
	$(BIN)/python -m demo

ui: setup  ## Dagster's UI and daemon with the local org, sensor and schedule on; Ctrl-C ends everything.
	$(BIN)/python -m demo.ui

# One process more than there are cores, four at the most.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: setup browser  ## Run the tests that are meant for every commit.
	$(PYTEST) -m "not slow"

test-all: test  ## Run them, and then those that take longer.
	$(PYTEST) -m slow

browser: setup  ## Make sure that there is a browser for the tests of the UI.
	@.ci/install-browser $(BIN)/python

simulate: setup  ## Random schedules of edits, faults and crashes; SCHEDULES=2000 SEED=1.
	$(BIN)/python -m tests.simulation --schedules $(or $(SCHEDULES),2000) --seed $(or $(SEED),1) --workers $(or $(WORKERS),2) --hunt

fuzz: setup  ## Look for inputs that break what parses; SECONDS_EACH=60 for each target.
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS_EACH),60)

bench: setup  ## Measure speed and thrift; writes docs/benchmarks.md.
	$(BIN)/python -m benchmarks

check: lint types imports test-all  ## Everything that CI runs.

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

lock:  ## Resolve the dependencies again (needs uv).
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-strip-extras \
		--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--upgrade --output-file requirements.lock

clean:  ## Forget the demo's state; the virtual environment stays.
	rm -rf .insights
