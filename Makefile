# `make demo` and `make test` work on a fresh machine: they make the environment if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONLY ?=
# What the tests may cost on two quiet cores; above it they fail. A machine that is measured to be slower may take
# more: see tests/support/budget.py.
TEST_CPU_SECONDS ?= 1200
SOAK_SECONDS ?= 2100
# Of `make coverage`, which ends without a verdict then.
COVERAGE_SECONDS ?= 1500

# One thread a worker: two threads on two shared cores can be ten times slower. No telemetry, no update check.
export OMP_NUM_THREADS = 1
export PYTHONSAFEPATH = 1
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1
export HF_HUB_OFFLINE = 1

.PHONY: demo test soak coverage week mutants check bench format environment clean

environment: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m common.installation
	touch $@

demo: environment
	$(BIN)/wardround demo

test: environment
	WARDROUND_TESTS_CPU_SECONDS=$(TEST_CPU_SECONDS) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

soak: environment
	WARDROUND_TESTS_WALL_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m soak

# Branches, also of the processes that tests start; without the tests that serve gRPC, which a tracer was seen to stop.
coverage: environment
	PYTHONPATH=. $(BIN)/python -m tests.support.coverage $(COVERAGE_SECONDS)

week: environment
	$(BIN)/python -m pytest -q -m week tests/federation/test_survival_week.py

mutants: environment
	$(BIN)/python -m pytest -q -n 2 -m mutants tests/privacy/test_mutants.py

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: environment
	PYTHONPATH=. $(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY))

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
