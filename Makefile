# Every target sets itself up. Needs nothing but Python 3.11 or later, make and a C compiler.

# The Python a new environment is made from, and where it goes.
PYTHON ?= python3
VENV ?= .venv
DOCS_VENV ?= .venv-docs
DIST_VENV ?= .venv-dist
LOWEST_VENV ?= .venv-lowest
# The Pythons that `make constraints` pins for, and `make dist` installs the wheel for.
PYTHONS ?= 3.11 3.12 3.13
# What `make lowest` runs.
TESTS ?= tests
# The tag of a release, as v0.1.0, for `make dist` to check.
TAG ?=
# Test processes.
WORKERS ?= 2

BIN := $(VENV)/bin
# An environment that exists keeps its Python, whatever PYTHON says.
VERSION := $(shell for p in '$(BIN)/python' '$(PYTHON)'; do \
	"$$p" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null && break; done)
PINS := constraints/python$(VERSION).txt
# No build isolation: it would fetch a setuptools of its own, which no pin reaches.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq \
	--no-build-isolation --constraint $(PINS)

.PHONY: help train test lint docs dist newcomer archives lowest bench report notebooks constraints clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

train: $(VENV)/.runtime ## train a small network on scikit-learn's digits
	$(BIN)/rso train --dataset digits

test: lint ## lint, then run the tests
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## ruff check, ruff format --check, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DOCS_VENV)/.installed ## build the documentation into site/, warnings as errors
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

dist: archives ## build the release into dist/ and try it out, for every Python there is
	$(DIST_VENV)/bin/twine check --strict dist/*
	TAG='$(TAG)' $(DIST_VENV)/bin/python release/check.py $(PYTHONS)

newcomer: archives ## build the release, and go the way of a newcomer in a clean folder, timed
	$(PYTHON) release/newcomer.py

archives: $(DIST_VENV)/.installed
	rm -rf dist
	TAG='$(TAG)' $(DIST_VENV)/bin/python release/archives.py

# pip has no such resolution; uv does not keep an environment that exists.
lowest: $(DIST_VENV)/.installed ## run TESTS with the lowest versions that setup.cfg allows
	$(DIST_VENV)/bin/uv venv --quiet --clear --python $(PYTHON) $(LOWEST_VENV)
	$(DIST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python \
		--resolution lowest-direct --editable '.[dev]'
	$(LOWEST_VENV)/bin/pytest -n $(WORKERS) --dist worksteal $(TESTS)

bench: $(VENV)/.runtime ## run every script of experiments/benchmarks
	@ls experiments/benchmarks/[!_]*.py >/dev/null 2>&1 || echo "No benchmarks yet."
	@for script in $(wildcard experiments/benchmarks/[!_]*.py); do \
		echo "$$script"; $(BIN)/python "$$script" || exit 1; done

report: $(VENV)/.runtime ## write the report from experiments/results
	$(BIN)/python experiments/report

notebooks: $(VENV)/.dev ## run every notebook again, in place
	$(BIN)/pytest --nbmake --nbmake-timeout=3600 --overwrite notebooks

# Not from .dev: this must work when setup.cfg asks for what the old pins do not allow.
constraints: $(BIN)/pip ## pin again for every Python; UPGRADE=1 takes the newest versions
	@$(BIN)/pip install -qq uv $(if $(wildcard $(PINS)),--constraint $(PINS))
	@for v in $(PYTHONS); do echo "constraints/python$$v.txt"; \
		printf 'pip\nsetuptools\nwheel\n' | $(BIN)/uv pip compile --quiet setup.cfg - --all-extras \
		$(if $(UPGRADE),--upgrade) --no-annotate --custom-compile-command 'make constraints' \
		--python-version $$v --python-platform x86_64-manylinux_2_31 \
		--output-file constraints/python$$v.txt || exit 1; done
	@for folder in docs/site release; do echo "$$folder/requirements.txt"; \
		(cd $$folder && $(abspath $(BIN))/uv pip compile --quiet requirements.in --universal \
		$(if $(UPGRADE),--upgrade) --no-annotate --custom-compile-command 'make constraints' \
		--python-version $(firstword $(PYTHONS)) --output-file requirements.txt) || exit 1; done

clean: ## remove caches and build output; the environment stays
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path '*/.venv*' -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -m venv $(VENV)

# The two stamps: a second call installs nothing until setup.cfg or the pins change.
$(VENV)/.runtime: setup.cfg $(PINS) | $(BIN)/pip
	@echo "Installing rso_jax into $(VENV), as pinned in $(PINS): about a minute from nothing."
	@$(INSTALL) pip setuptools wheel
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing what tests and notebooks need into $(VENV): about half a minute from nothing."
	@$(INSTALL) --editable '.[dev]'
	@touch $@

# Environments of their own: the site is made from the text of the package, without importing it, and
# a release is tried out where nothing else is.
$(DOCS_VENV)/.installed: docs/site/requirements.txt
$(DIST_VENV)/.installed: release/requirements.txt
%/.installed:
	@echo "Installing $< into $*: about half a minute from nothing."
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip --disable-pip-version-check install -qq --requirement $<
	@touch $@

# Reached only when this Python has no pins.
constraints/%.txt:
	@echo "$(PYTHON) is $(or $(VERSION),missing); there are pins for Python $(PYTHONS): add PYTHON=python3.N with one of these" >&2
	@exit 1
