# Every target does the set-up it needs. SCENARIO=online/p2p-external runs one scenario; JOBS=n runs n at once.
PYTHON ?= python3
SCENARIO ?= --all
JOBS ?= 1
DURATION ?= 15s
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WIRE := $(VENV)/.wire-built

.PHONY: setup setup-test run test lint calibrate bench mutations catalogue clean

setup: $(STAMP) $(WIRE)

$(STAMP): requirements.lock pyproject.toml setup/packages.txt setup/install-packages
	@PYTHON=$(PYTHON) setup/install-packages run aloud
	@echo "setup: Python packages: installing $$(grep -c '==' requirements.lock) into $(VENV), a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(WIRE): $(STAMP) setup/build-wire testbed/emulation/wire_core.c
	@setup/build-wire
	@test ! -e testbed/emulation/libwire_core.so || touch $@

setup-test: setup
	@PYTHON=$(PYTHON) setup/install-packages test

run: setup
	$(BIN)/testbed run $(SCENARIO) --jobs $(JOBS) --duration $(DURATION)

test: setup-test
	$(BIN)/python -m pytest --require-emulation

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A hundred seeded mutations of the network, each probed with real packets and held against the prediction.
mutations: setup-test
	MUTATIONS=100 $(BIN)/python -m pytest --require-emulation tests/emulation/test_mutations.py

calibrate: setup
	$(BIN)/testbed doctor --calibrate

bench: setup-test
	$(BIN)/python -m benchmarks

# docs/catalogue.md and its pictures, from runs in which every scenario passed: make catalogue RUNS="results/A results/B"
catalogue: setup
	$(BIN)/python -m testbed.report.catalogue_page docs $(or $(RUNS),results/latest)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache testbed/emulation/libwire_core.so
