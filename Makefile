# The few commands a person types. `make repro` and `make test` set everything up by themselves.
PYTHON ?= python3
TORCH ?= locked
LOCK ?= requirements.lock
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Idle OpenMP threads sleep instead of spinning: on a small, shared machine spinning costs up to 10x.
export OMP_WAIT_POLICY := PASSIVE

# Two processes; the tests of one file stay together and share what it makes. No test measures time against a limit that
# a busy neighbour breaks, binds a fixed port or writes outside its own folder.
IN_TWO := -n 2 --dist loadfile

.PHONY: help repro quick compare experiments test test-fast lint setup lock ui docs audit test-faults

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

repro: $(VENV)/.ready  ## set up if needed, then run the whole pipeline (dvc repro)
	@python -m pipeline.preflight.check
	@python -m pipeline.preflight.guard
	@python -m pipeline.preflight.outlook
	dvc repro

# A tenth of the steps, one sample of each held-out photograph, no timing and none of the slower figures.
QUICK := train.max_steps=300 train.val_interval=100 synthesize.test.photograph=1 'cost.images=[]' evaluate.lpips=false \
  evaluate.routing.per_recipe=0 evaluate.examples.affinity=0

quick: $(VENV)/.ready  ## a first look in minutes, as an experiment; e.g. ARGS="-S model.rank=16" (docs/experiments.md)
	@python -m pipeline.preflight.guard
	dvc exp run $(foreach setting,$(QUICK),-S $(setting)) $(ARGS)

SHOW := gain_psnr$$|model.rank|train.max_steps

compare: $(VENV)/.ready  ## every adapter x seed, then one table; e.g. ARGS="--jobs 2 --steps 1000" (docs/comparison.md)
	@python -m pipeline.preflight.check
	@python -m pipeline.preflight.guard
	@python -m pipeline.comparison.compare $(ARGS)

test: lint  ## set up if needed, then lint and all tests (two processes)
	python -m pytest $(IN_TWO)

test-fast: $(VENV)/.ready  ## the tests that take no time, while working (two processes)
	python -m pytest -m "not slow" $(IN_TWO)

lint: $(VENV)/.ready  ## style, types, import directions
	ruff format --check .
	ruff check .
	mypy
	lint-imports

test-faults: $(VENV)/.ready  ## kills, full disks, damaged files; in full with ARGS="--kills 60 --fuzz 100000" (docs/pipeline.md)
	python -m pytest -m faults -s $(ARGS)

setup: $(VENV)/.ready  ## only set up (TORCH=system keeps the machine's own PyTorch, e.g. for a GPU)

experiments: $(VENV)/.ready  ## dvc exp show, narrow: gain, rank, steps; e.g. SHOW="gain_psnr$$|model" for other columns
	@dvc exp show --only-changed --drop '^(?!Experiment).*' --keep '^(summary.json:)?($(SHOW))' $(ARGS)

ui: $(VENV)/.ready  ## the list of training runs in the browser, best first
	@python -m cea.cli ui

docs: $(VENV)/.ready  ## write the documentation as a site: docs/_build/index.html
	sphinx-build -q --fail-on-warning --keep-going docs docs/_build

audit: $(VENV)/.ready  ## look every locked version up among known vulnerabilities, and write sbom.json (needs the network)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet 'pip-audit>=2.9,<3'
	sed 's/+cpu//' requirements.lock > $(VENV)/audit/requirements.txt
	$(VENV)/audit/bin/pip-audit --requirement $(VENV)/audit/requirements.txt --no-deps --disable-pip \
	  --format cyclonedx-json --output sbom.json
	$(VENV)/audit/bin/pip-audit --requirement $(VENV)/audit/requirements.txt --no-deps --disable-pip --strict

lock: $(VENV)/.ready  ## write requirements.lock from what is installed, and requirements.sha256 from the index
	@{ head -1 requirements.lock; \
	  { pip freeze --exclude-editable; pip list --format=freeze | grep '^setuptools=='; } \
	  | sed 's/+cpu$$//' | sort -f; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@pip install --dry-run --quiet --no-deps --ignore-installed --report $(VENV)/report.json -r requirements.lock
	@{ echo "# requirements.lock with the SHA-256 of each file: CPython 3.11 on Linux x86-64, torch for the CPU. Made with 'make lock'."; \
	  python .ci/hashes.py < $(VENV)/report.json; } > requirements.sha256.new
	@mv requirements.sha256.new requirements.sha256

$(VENV)/.ready: requirements.lock pyproject.toml setup.py cea/degradations/exact/kernels.c $(wildcard cea/models/fused/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: expected Python 3.11 or newer; run 'make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)'"; \
	  exit 2; }
	$(PYTHON) -m venv $(if $(filter system,$(TORCH)),--system-site-packages) $(VENV)
	grep -v $(if $(filter system,$(TORCH)),'^torch==','^#') $(LOCK) > $(VENV)/requirements.txt
	pip install --quiet $(if $(findstring sha256,$(LOCK)),--require-hashes --no-deps) --requirement $(VENV)/requirements.txt
	pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
