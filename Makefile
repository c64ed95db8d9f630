# The virtual environment is made here, so every path is relative and the checkout may lie anywhere, spaces included.

# The first interpreter that is new enough; looked for only when the environment is made.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$each" && break; done)
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.made-by-setup
MYPY := MYPYPATH=.types $(BIN)/python -m mypy --namespace-packages --explicit-package-bases

.DEFAULT_GOAL := help
.PHONY: help setup demo test torture coverage mutants lint types docs bench clean

help: ## show this list
	@echo "make TARGET, with PYTHON=python3.12 or the like to choose the interpreter of the environment:"
	@sed -n 's/^\([a-z]*\):.*## /  \1 /p' Makefile | awk '{ name = $$1; $$1 = ""; printf "  %-10s%s\n", name, $$0 }'

setup: $(STAMP) ## make the virtual environment .venv with everything that dlc and its tests need

$(STAMP): pyproject.toml
	@python="$(PYTHON)"; [ -n "$$python" ] && command -v "$$python" >/dev/null || { echo "make: found no Python 3.11 or later: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python 3.11 or later is needed, %s is %s: say make PYTHON=python3.12 or the like" % (sys.executable, sys.version.split()[0]))'
	@echo "installing dlc and what it needs into $(VENV): one to three minutes"
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	mkdir -p .types/dlc
	for package in dsl compiler runtime; do ln -sfn ../../$$package .types/dlc/$$package; done
	touch $(STAMP)

demo: setup ## train LeNet-5 on real digits, evaluate it, export it, run it on a picture
	$(BIN)/python docs/demo.py

test: setup ## run the tests
	$(BIN)/python -m pytest -n 2

torture: setup ## kill runs and fill disks at 200 points; 10,000 programs and graphs, 5,000 spoilt models: hours
	DLC_TORTURE=200 DLC_FUZZ=10000 $(BIN)/python -m pytest tests/torture tests/fuzz

# Without torture and fuzz: they limit seconds, which tracing stretches, and kill what is traced.
coverage: setup ## report the branches of dsl and compiler that the tests take (without fuzz): fails below 90 per cent
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[coverage]'
	mkdir -p build
	COVERAGE_FILE=build/coverage $(BIN)/python -m pytest -n 2 --ignore tests/torture --ignore tests/fuzz --ignore tests/end_to_end/test_demo.py \
		--cov=dlc.dsl --cov=dlc.compiler --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=90

mutants: setup ## make mistakes in every gradient rule and pass and see that a test catches each: half an hour or so
	OMP_NUM_THREADS=1 nice $(BIN)/python tests/mutants/mutants.py

lint: setup ## check style
	$(BIN)/python -m ruff check .

types: setup ## check types: strictly in dsl and compiler
	$(MYPY) --strict --cache-dir .mypy_cache/strict -p dlc.dsl -p dlc.compiler
	$(MYPY) --config-file= --check-untyped-defs --ignore-missing-imports --cache-dir .mypy_cache/plain -p dlc.runtime

docs: setup ## write the documentation of the Python packages to build/docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python docs/api.py build/docs

bench: setup ## measure against the peers (they are installed first)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	$(BIN)/python -m bench

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) .types demo build dist docs/node/node_modules *.egg-info .pytest_cache .ruff_cache .mypy_cache
