# Everything runs from .venv, Label Studio from .venv-label-studio; both are made on first use.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_READY := $(LABEL_STUDIO)/.ready
ASSETS_READY := build/.assets
TYPE ?=
DATA ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt up down label-studio assets

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) $(LABEL_STUDIO_READY) $(ASSETS_READY) ## Set up, start the stack, train on sample images (TYPE=ocr: of text; or DATA=path/to/folder), deploy, predict
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m demo $(if $(TYPE),--type "$(TYPE)") $(if $(DATA),--data "$(DATA)")

test: $(READY) $(LABEL_STUDIO_READY) $(ASSETS_READY) ## Set up and run every test
	$(BIN)/python -m pytest

lint: $(READY) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fmt: $(READY) ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

up: $(READY) $(LABEL_STUDIO_READY) $(ASSETS_READY) ## Start the stack on this machine
	@$(BIN)/sightloop up

down: ## Stop the stack; its data stays
	@test -x $(BIN)/sightloop || { echo "Nothing is installed here, so nothing runs from here."; exit 0; }; \
		$(BIN)/sightloop down

assets: $(ASSETS_READY) ## Install the console's stylesheet and scripts (make demo, test and up do it too)

label-studio: $(LABEL_STUDIO_READY) ## Install Label Studio (make demo, test and up do it too)

$(READY): setup.cfg constraints.txt
	@found=$(BIN)/python; test -x $$found || found=$(PYTHON); \
		$$found -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Sightloop needs Python 3.11, 3.12 or 3.13, and $$found is another; remove .venv if it is there, then: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		echo "Python's venv module is missing; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Installing into .venv; the first time takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

# The template is a migrated, empty database: the first start copies it instead of migrating for 40 seconds.
$(LABEL_STUDIO_READY): constraints-label-studio.txt | $(READY)
	@test -x $(LABEL_STUDIO)/bin/python || $(PYTHON) -m venv $(LABEL_STUDIO)
	@echo "Installing Label Studio into $(LABEL_STUDIO); the first time takes some minutes (1 GB)."
	@$(LABEL_STUDIO)/bin/python -m pip install --quiet --disable-pip-version-check label-studio waitress \
		--constraint constraints-label-studio.txt
	@$(LABEL_STUDIO)/bin/python -P backend/cli/embedded/labelserver.py template >/dev/null
	@touch $@

$(ASSETS_READY): assets/package.json assets/package-lock.json backend/console/vendoring.py | $(READY)
	@echo "Installing the console's stylesheet and scripts from npm."
	@$(BIN)/python -m backend.console.vendoring
	@touch $@
