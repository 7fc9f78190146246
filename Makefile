# The two commands of the README are `make up` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
FUZZ ?= 300
KILLS ?= 10000
FORKS ?= 10000
SOAK ?= 600
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra server --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
# Three workers for two cores, and never fewer: half of the suite's time is waiting for processes of its own.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); n=$$(((n * 3 + 1) / 2)); [ "$$n" -lt 3 ] && echo 3 || echo "$$n")

.PHONY: help up test check bench trials lock format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime  ## Install Strongroom into .venv, make a store and a key, show what is there
	@$(BIN)/strongroom up

# A machine that keeps no bytecode has each worker compile every test, and each process of theirs what changed.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev  ## Install what the tests need and run them all
	@scripts/system-packages
	@scripts/make-peers $(BIN)/python
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)
	@WORKERS=$(WORKERS) scripts/test-other-pythons

check: $(VENV)/.dev  ## Lint, types, import contracts, docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

bench: $(VENV)/.dev  ## Measure beside the peers, print a table, write bench/results.md
	@$(BIN)/python -m compileall -q src $(VENV)/lib
	@$(BIN)/python -m bench

trials: $(VENV)/.dev  ## The long trials: kill writers 10,000 times (KILLS=n for another number), a job that re-wraps 100,000 entries 40 times, attack the audit log 1,000 times, ask the API 20,000 times, fork 10,000 times (FORKS=n), soak an agent for 10 minutes (SOAK=seconds) and kill it 50 times under load, fuzz both ends of its socket (FUZZ=seconds each), walk the page before 100,000 entries, run whatever is marked `trial` (a whole Airflow 3 and 2, each regression brought back), ask every store from every Python
	@scripts/system-packages
	@scripts/make-peers $(BIN)/python trials
	@STRONGROOM_FUZZ_SECONDS=$(FUZZ) $(BIN)/python -m pytest -rP tests/agent/test_fuzz.py $(ARGS)
	@STRONGROOM_TRIALS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m trial $(ARGS)
	@STRONGROOM_FORKS=$(FORKS) STRONGROOM_SOAK=$(SOAK) STRONGROOM_AGENT_KILLS=50 $(BIN)/python -m pytest -rP \
		tests/agent/test_processes.py tests/agent/test_soak.py tests/agent/test_kills.py $(ARGS)
	@STRONGROOM_UI_ENTRIES=100000 $(BIN)/python -m pytest -rP tests/ui/test_many.py $(ARGS)
	@STRONGROOM_REWRAP_ENTRIES=100000 STRONGROOM_REWRAP_KILLS=40 \
		$(BIN)/python -m pytest -n $(WORKERS) -rP tests/faults/test_rewrap_kill.py $(ARGS)
	@STRONGROOM_KILLS=$(KILLS) STRONGROOM_ATTACKS=1000 STRONGROOM_FUZZ_CASES=20000 \
		$(BIN)/python -m pytest -n $(WORKERS) -rP \
		tests/faults/test_kill.py tests/faults/test_sql_kill.py tests/faults/test_backup_kill.py tests/audit/test_attacks.py tests/server/api/test_fuzz.py $(ARGS)
	@WORKERS=$(WORKERS) scripts/test-other-pythons trials

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# Universal locks with hashes and without addresses. No uv.lock: it names package hosts.
lock: $(VENV)/.venv  ## Resolve the dependencies anew into requirements*.lock
	$(PIP) install --quiet uv
	$(COMPILE) --group build pyproject.toml -o requirements.lock $(LOCK_ARGS)
	$(COMPILE) --group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/inside_airflow/airflow3.in -o tests/inside_airflow/airflow3.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/inside_airflow/airflow2.in -o tests/inside_airflow/airflow2.lock $(LOCK_ARGS)
	$(subst --extra server,--no-deps,$(COMPILE)) tests/inside_airflow/google.in -o tests/inside_airflow/google.lock $(LOCK_ARGS)
	$(subst --extra server,--no-deps,$(COMPILE)) tests/inside_airflow/clouds.in -o tests/inside_airflow/clouds.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/clients/airflow3.in -o tests/clients/airflow3.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/clients/airflow2.in -o tests/clients/airflow2.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/clients/workers.in -o tests/clients/workers.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/clients/clouds.in -o tests/clients/clouds.lock $(LOCK_ARGS)
	$(subst --extra server,,$(COMPILE)) tests/clients/go.in -o tests/clients/go.lock $(LOCK_ARGS)
	$(subst 3.10,3.11,$(subst --extra server,--extra agent,$(COMPILE))) pyproject.toml tests/clients/atheris.in -o tests/clients/atheris.lock $(LOCK_ARGS)

clean:  ## Remove what the targets made (never a store or a key)
	rm -rf $(VENV) .venv-* .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist

$(VENV)/.venv:
	@scripts/make-venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.venv requirements.lock pyproject.toml
	@echo "installing strongroom into $(VENV)"
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "installing what the tests need"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@
