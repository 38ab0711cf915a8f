# Two commands do everything: `make demo` and `make test`. Whichever comes first sets the project up.

PYTHON ?= python3
ARGS ?=
# More than there are cores: many tests wait, for real sockets and processes.
WORKERS ?= 4

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_PROJECT_ENVIRONMENT := $(VENV)
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench docs clean

help:
	@echo "make demo    backtest, simulate and replay the sample data, and prove them identical"
	@echo "make test    run all tests; ARGS=\"-k journal\" runs some"
	@echo "make lint    check style, types, layers and the lock file"
	@echo "make bench   measure against other libraries; ARGS=--help shows the options"
	@echo "make docs    build the documentation as a site, into build/site"
	@echo "make setup   only install, into $(VENV); PYTHON=python3.13 chooses the interpreter"
	@echo "make clean   remove what setup, tests and benchmarks made; runs and journals stay"

setup: $(READY)

# uv is installed by pip into the project's own environment and then kept there by the lock file,
# so that nothing is needed beforehand but Python and make.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	    "Onefold needs Python 3.11 or newer; choose one with: make setup PYTHON=python3.12")'
	@test -x $(BIN)/uv || { \
	    echo "Setting up $(VENV); this takes a minute the first time."; \
	    $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet "uv>=0.9"; }
	@$(BIN)/uv sync --frozen --quiet --extra live --extra learn --extra cluster --extra ops --extra postgres --python $(BIN)/python
	@touch $@

demo: $(READY)
	@$(BIN)/onefold demo $(ARGS)

test: $(READY)
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/uv lock --check --quiet

bench: $(READY)
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	@rm -rf $(VENV) .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache \
	    .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
