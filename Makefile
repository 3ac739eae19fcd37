# Two commands do everything on a fresh machine with Python 3.10+ and make: `make demo` and `make test`.
# `make bench` prints speed as ratios of one run, `make accuracy` how far published measurements are missed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: demo test test-floor lint types tests bench accuracy calibrate-gpu accuracy-gpu clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	mkdir -p build
	$(BIN)/python examples/write_model.py build/model.pt
	$(BIN)/estimate build/model.pt --epochs 10 --samples 100000

test: lint types tests

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

tests: $(VENV)/installed
	$(BIN)/pytest -n $(JOBS)

# The oldest timm, transformers and diffusers that pyproject.toml allows, in an environment of their own.
FLOOR ?= .venv-floor
$(FLOOR)/installed: pyproject.toml
	$(PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet --upgrade pip
	$(FLOOR)/bin/python -m pip install --quiet --editable '.[search]' hypothesis pytest pytest-xdist \
		$$(sed -n 's/^zoo = //p' pyproject.toml | tr -d '[]",' | sed 's/>=/==/g')
	touch $@

test-floor: $(FLOOR)/installed
	$(FLOOR)/bin/pytest -n $(JOBS) tests/security tests/estimator/sources

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks

# The published rows are not part of this repository: DATA is the folder that holds them.
DATA ?= ../shared/data/measured
RUNS ?= build/gpu
accuracy: $(VENV)/installed
	$(BIN)/python -m calibration.proof.validate $(DATA) --out build

# Needs nothing but PyTorch, timm, transformers, scikit-learn, click, rich and NVML's bindings: about 8 and 9 minutes.
GPU_PYTHON ?= $(BIN)/python
calibrate-gpu:
	$(GPU_PYTHON) -m calibration calibrate --hardware cuda:0 --minutes 6 --name gpu --out $(RUNS)
accuracy-gpu:
	$(GPU_PYTHON) -m calibration.proof.validate --profile $(RUNS)/gpu.profile.json --rounds 2 --out $(RUNS)

clean:
	rm -rf build $(VENV) $(FLOOR)
