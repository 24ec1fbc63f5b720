# `make help` lists what there is; ARGS passes arguments on: make demo ARGS="--once --json"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help install run demo test faults soak mutations lint bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with every dependency, by its hash

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is not (set PYTHON=python3.13)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' can not make virtual environments: install its venv package" \
		     "(Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(STAMP) ## Run everything, with Postgres and Valkey of its own unless URLs are set
	@exec $(BIN)/notifier up $(ARGS)

demo: $(STAMP) ## Show the product at work
	@exec $(BIN)/notifier demo $(ARGS)

test: $(STAMP) ## Run the tests, on a real Postgres and Valkey
	@exec $(BIN)/python -m tests $(ARGS)

faults: $(STAMP) ## Break everything, case by case, over 20 seeds (ARGS="redis --seeds 3")
	@exec $(BIN)/python -m tests.faults $(ARGS)

soak: $(STAMP) ## Kill something every 30 to 90 s under load (MINUTES=10)
	@exec $(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

mutations: $(STAMP) ## Break the engine on purpose; a named test must notice (ARGS="--jobs 2")
	@exec $(BIN)/python -m tests.mutations $(ARGS)

lint: $(STAMP) ## Check format, style, types and the floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## Measure (ARGS="null --json")
	@exec $(BIN)/notifier bench $(ARGS)

lock: $(STAMP) ## Resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra embedded --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header -q \
		-c requirements.lock -o requirements-production.lock

clean: ## Remove what was built; data in .notifier are kept
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
