# Every target does its own set-up: the virtual environment is made, or brought up to date, as needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Tests at a time. Many of them start servers and processes of their own, and some judge how soon these answer.
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check format lint types imports docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev,training,bench]'
	@touch $@ $(VENV)/.run

setup: $(VENV)/.dev  ## install everything, development tools included

run: $(VENV)/.run  ## run the daemon with ./config.toml until Ctrl-C
	$(BIN)/monitor run

demo: $(VENV)/.run  ## show the whole chain on loopback: one mail, one webhook
	$(BIN)/monitor demo

test: $(VENV)/.dev  ## run the tests
	$(BIN)/pytest -n $(JOBS) --dist worksteal

check: format lint types imports test  ## all of it: format, lint, types, imports, tests

format: $(VENV)/.dev  ## is everything formatted?
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev  ## ruff's rules
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev  ## who may import whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## write the generated parts of the README anew
	$(BIN)/python -m tests.docs

clean:  ## remove the virtual environment and caches; data stays
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
