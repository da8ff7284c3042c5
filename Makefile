# Everything runs from .venv, which is made on first use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DATA ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt up down

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Set up, start the stack, train on sample images (or DATA=path/to/folder), deploy, predict
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m demo $(if $(DATA),--data "$(DATA)")

test: $(READY) ## Set up and run every test
	$(BIN)/python -m pytest

lint: $(READY) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fmt: $(READY) ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

up: $(READY) ## Start the stack on this machine
	@$(BIN)/sightloop up

down: $(READY) ## Stop the stack; its data stays
	@$(BIN)/sightloop down

$(READY): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sightloop needs Python 3.11 or newer, and $(PYTHON) is not; name one with: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Installing into .venv; the first time takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@
