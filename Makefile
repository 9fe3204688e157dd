# `make` alone prints this list. Everything installs itself into .venv; nothing needs to be set up by hand.
PYTHON ?= python3.11
PIPARGS ?=
WORKERS ?= 2
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help: ## print this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: .venv/.ok ## simulate a market, measure it, plan the next quarter, write the report (about 4 minutes)
	@$(PY) -m liftwise demo --workspace demo

test: .venv/.ok ## run every test
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile

check: .venv/.ok ## style, types, import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/pyright
	@.venv/bin/lint-imports

bench: .venv/.ok ## measure against peers (installed in their own environments) and write benchmarks/RESULTS.md
	@$(PY) benchmarks/run.py

clean: ## remove the environment, the demo and the benches' environments
	rm -rf .venv .bench demo .ruff_cache .import_linter_cache .hypothesis

# torch first: asked for alone, pip takes the build that PIPARGS' index offers (see README), and the rest keeps it
.venv/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet $(PIPARGS) -c constraints.txt torch
	$(PY) -m pip install --quiet $(PIPARGS) -c constraints.txt -e '.[server,general,dev]'
	@touch $@
