# The two commands are `make demo [N=20]` and `make test`; they need python3 (3.11 or newer, with venv) and nothing else.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.8
N ?= 20
# Processes that run tests, each with servers of its own and whole files at a time; what kills and times whole stacks has the
# machine to itself meanwhile.
TEST_PROCESSES ?= 2
BIN := .venv/bin
UV := $(BIN)/uv
PYTEST := $(BIN)/pytest $(if $(filter-out 1,$(TEST_PROCESSES)),-n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder)

# Processes are started by the dozen: without bytecode on the disk each spends a third of its start on compiling it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo up test check format faults consultants bench lock clean

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST)

install: .venv/.installed ## create .venv with the locked dependencies

demo: .venv/.installed ## start everything, send N registrations, show what becomes of them
	@$(BIN)/anmei demo -n $(N)

up: .venv/.installed ## start everything and keep it up until Ctrl-C
	@exec $(BIN)/anmei up

test: .venv/.installed ## run all tests
	$(PYTEST) $(ARGS)

check: .venv/.installed ## formatting, lint, types, import rules, migrations, tests: what .ci/run runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m worker.check_migrations
	$(PYTEST)

format: .venv/.installed ## format and sort what can be
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

faults: .venv/.installed ## kill, empty and restart everything under load; writes docs/faults-table.md (n=1000 a fault)
	$(BIN)/python -m tests.faults --table docs/faults-table.md $(ARGS)

consultants: .venv/.installed ## sockets cut, claims at once, receivers that fail, ladders killed; WHAT=claims for one part
	$(BIN)/python -m tests.consultants_proof $(or $(WHAT),all) $(ARGS)

bench: .venv/.installed ## measure and write bench/results/latest.json; QUICK=1 in two minutes
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

lock: .venv/.uv ## resolve pyproject.toml anew into requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--upgrade pyproject.toml --group dev --group bench -o requirements.lock

clean: ## remove what this Makefile made; the data directory stays
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# uv lives inside the environment; nothing is installed outside the repository.
.venv/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) was found: install one, or name it with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv || \
		{ rm -rf .venv; echo "python3 cannot create environments here: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.installed: .venv/.uv requirements.lock pyproject.toml
	$(UV) pip install --quiet --require-hashes -r requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
