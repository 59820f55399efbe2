# make train        a virtual environment, the installation, and the quickstart
# make test         the tests (no torch needed)
# make test-peers   the tests against torch and other libraries; TORCH_PIP_ARGS chooses torch's build
# make lint         ruff
#
# PYTHON, VENV and TORCH_PIP_ARGS can be set: make test PYTHON=python3.12 VENV=.venv-312

PYTHON ?= python3
VENV ?= .venv
# On Linux a plain torch from the package index brings a CUDA build of some gigabytes; see pytorch.org
# for the arguments of the CPU build.
TORCH_PIP_ARGS ?= torch==2.13.0

BIN := $(VENV)/bin
CONSTRAINTS = constraints/py$(shell $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])').txt
PIP = $(BIN)/python -m pip --disable-pip-version-check install $(if $(wildcard $(CONSTRAINTS)),-c $(CONSTRAINTS))

.PHONY: train test test-peers smoke lint clean

train: $(VENV)/.train
	$(BIN)/python -m scripts.train --preset=memorization/quickstart --workdir=runs/quickstart

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not peers"

test-peers: $(VENV)/.peers
	$(BIN)/python -m pytest -rs -m peers tests/peers

smoke: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_cells.py tests/test_linen.py tests/test_nnx.py tests/test_checkpointing.py
	$(BIN)/python -m scripts.train --preset=memorization/quickstart --num_steps=100 --workdir=$(VENV)/smoke

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is Python %d.%d; accepted is 3.11 or newer, as in make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: setup.py $(wildcard constraints/*.txt) | $(BIN)/python
	$(PIP) -q -e .[train]
	@touch $@

$(VENV)/.test: setup.py $(wildcard constraints/*.txt) | $(BIN)/python
	$(PIP) -q -e .[test]
	@touch $@ $(VENV)/.train

# One by one, so that a library that does not install is left out, and its tests are skipped; and without
# the programs in PATH, lest one of them compile CUDA code where there is a nvcc.
$(VENV)/.peers: tests/peers/requirements.txt $(VENV)/.test
	$(BIN)/python -m pip --disable-pip-version-check install -q $(TORCH_PIP_ARGS) "setuptools>=70.1"
	@sed 's/ *#.*//; /^$$/d' $< | while read -r library; do \
	  PATH=/nowhere $(BIN)/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation "$$library" \
	    || echo "not installed, and so not compared with: $$library"; done
	@touch $@
