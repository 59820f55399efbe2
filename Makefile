# make train        a virtual environment, the installation, and the quickstart
# make test         the tests (no torch needed), without the slow ones
# make test-slow    the slow ones: more models and settings, several devices, longer trainings; PART=1/2 is half of them, 2/2 the other
# make test-peers   the tests against torch and other libraries; TORCH_PIP_ARGS chooses torch's build
# make test-accelerators   compiles every model for a GPU and a TPU that you need not have; ONLY chooses tests
# make docs         the site, in docs/_build/html; no network is needed once its libraries are installed
# make lint         ruff
#
# PYTHON, VENV, TORCH_PIP_ARGS, ONLY and PART can be set: make test PYTHON=python3.12 VENV=.venv-312

PYTHON ?= python3
VENV ?= .venv
# On Linux the package index's torch is a CUDA build of some gigabytes; see pytorch.org for the
# arguments of the CPU build.
TORCH_PIP_ARGS ?= torch==2.13.0
# Of the tests that compile for accelerators, as pytest's -k has it: "figures or footprint".
ONLY ?=
PART ?= 1/1

BIN := $(VENV)/bin
CONSTRAINTS = constraints/py$(shell $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])').txt
PIP = $(BIN)/python -m pip --disable-pip-version-check install $(if $(wildcard $(CONSTRAINTS)),-c $(CONSTRAINTS))

.PHONY: train test test-slow test-peers test-accelerators smoke docs lint clean

train: $(VENV)/.train
	$(BIN)/python -m scripts.train --preset=memorization/quickstart --workdir=runs/quickstart

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not peers and not accelerators"

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow and not peers and not accelerators" --part=$(PART)

test-peers: $(VENV)/.peers
	$(BIN)/python -m pytest -rs -m peers tests/peers

# In an environment of its own: with its libraries, JAX complains at every start about those that
# are missing.
test-accelerators: $(VENV)-accelerators/.accelerators
	$(VENV)-accelerators/bin/python -m pytest -rs -n auto -m accelerators -k "$(ONLY)" tests/accelerators

smoke: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" tests/test_cells.py tests/test_linen.py tests/test_nnx.py tests/test_checkpointing.py
	$(BIN)/python -m scripts.train --preset=memorization/quickstart --num_steps=100 --workdir=$(VENV)/smoke

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -b html -E -j auto -n -W --keep-going docs docs/_build/html

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(VENV)-accelerators build *.egg-info docs/_build docs/gallery docs/reference

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is Python %d.%d; accepted is 3.11 or newer, as in make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: setup.py $(wildcard constraints/*.txt) | $(BIN)/python
	$(PIP) -q -e .[train]
	@touch $@

$(VENV)/.test: setup.py $(wildcard constraints/*.txt) | $(BIN)/python
	$(PIP) -q -e .[test]
	@touch $@ $(VENV)/.train

$(VENV)/.docs: setup.py $(wildcard constraints/*.txt) | $(BIN)/python
	$(PIP) -q -e .[docs]
	@touch $@ $(VENV)/.train

# One by one, so that what does not install is left out, and its tests are skipped.
%/.accelerators: setup.py $(wildcard constraints/*.txt)
	$(MAKE) VENV=$* $*/.test
	@for extra in aot-cuda aot-tpu; do \
	  $(subst $(BIN),$*/bin,$(PIP)) -q -e .[$$extra] \
	    || echo "not installed, and so not compiled for: $$extra"; done
	@touch $@

# One by one, so that a library that does not install is left out, and its tests are skipped; and
# without the programs in PATH, so that none compiles CUDA code where there is an nvcc.
$(VENV)/.peers: tests/peers/requirements.txt $(VENV)/.test
	$(BIN)/python -m pip --disable-pip-version-check install -q $(TORCH_PIP_ARGS) "setuptools>=70.1"
	@sed 's/ *#.*//; /^$$/d' $< | while read -r library; do \
	  PATH=/nowhere $(BIN)/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation "$$library" \
	    || echo "not installed, and so not compared with: $$library"; done
	@touch $@
