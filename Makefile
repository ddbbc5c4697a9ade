# `make demo` and `make test` are all the set-up there is: the first of them makes .venv and installs into it.
# A machine needs Python 3.11 or newer, pip and make.

PYTHON ?= python3
EXTRAS := torch,dev
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-short soak cuda-check clean redis-server c-compiler

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done

demo: $(STAMP) ## Train a small model on real shards, stop it, resume it.
	$(BIN)/headrace demo

test: $(STAMP) redis-server c-compiler ## Run the whole suite, the documented examples included.
	$(BIN)/python -m pytest -n 2 --dist loadscope

check: $(STAMP) ## Lint, formatting, types, import directions and house rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/python -m pytest --quiet tests/test_architecture.py tests/test_house_rules.py tests/test_import.py

format: $(STAMP) ## Format the code and mend what can be mended safely.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure streams, arrays, selections, indexes, components, duplicates, caches, augmentation and jobs at full size; takes an hour.
	$(BIN)/python benchmarks/stream_parquet.py
	$(BIN)/python benchmarks/arrays.py
	$(BIN)/python benchmarks/indexes.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/reduce.py
	$(BIN)/python benchmarks/dedup.py
	$(BIN)/python benchmarks/cached.py
	$(BIN)/python benchmarks/cached.py --images
	$(BIN)/python benchmarks/augment_cpu.py
	$(BIN)/python benchmarks/jobs.py

bench-short: $(STAMP) ## Measure all on little data.
	$(BIN)/python benchmarks/stream_parquet.py --short
	$(BIN)/python benchmarks/arrays.py --short
	$(BIN)/python benchmarks/indexes.py --short
	$(BIN)/python benchmarks/selection.py --short
	$(BIN)/python benchmarks/prepare.py --short
	$(BIN)/python benchmarks/reduce.py --short
	$(BIN)/python benchmarks/dedup.py --short
	$(BIN)/python benchmarks/cached.py --short
	$(BIN)/python benchmarks/cached.py --images --short
	$(BIN)/python benchmarks/augment_cpu.py --short
	$(BIN)/python benchmarks/jobs.py --short

soak: $(STAMP) ## Run the tests marked slow.
	$(BIN)/python -m pytest -m slow --timeout 3600

cuda-check: $(STAMP) ## Install CuPy with NVRTC and compile the GPU's kernels; needs no GPU, but 450 MB.
	@$(PIP) --editable '.[$(EXTRAS),cuda]'
	$(BIN)/python -m pytest -m nvrtc

clean: ## Remove the environment and all caches.
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The tests of the Redis store run a server of their own, on a free port. Root gets the program from apt, which must not
# start it (RUNLEVEL=1); others are told.
redis-server:
	@command -v $@ >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { \
		echo 'Installing $@'; export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive; \
		apt-get install --yes --no-install-recommends $@ >/dev/null 2>&1 || { apt-get update >/dev/null && \
		apt-get install --yes --no-install-recommends $@ >/dev/null; }; }; } || { \
		echo 'The tests need $@: run `apt-get install $@` as root (on macOS `brew install redis`).'; exit 1; } >&2

# The tests compile the bodies of GPU kernels with the host's compiler.
c-compiler:
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { \
		echo 'Installing gcc'; export DEBIAN_FRONTEND=noninteractive; \
		apt-get install --yes --no-install-recommends gcc libc6-dev >/dev/null 2>&1 || { apt-get update >/dev/null && \
		apt-get install --yes --no-install-recommends gcc libc6-dev >/dev/null; }; }; } || { \
		echo 'The tests need a C compiler: run `apt-get install gcc libc6-dev` as root.'; exit 1; } >&2

# The stamp is older than pyproject.toml or constraints.txt when one of them changed: install again, into the same
# environment if it still works. torch goes in first and alone, so that nothing else chooses its build.
# A Python without ensurepip (Debian's, without python3-venv) gets pip from the one that is on the machine.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'headrace needs Python 3.11 or newer, but `$(PYTHON)` is '"$$($(PYTHON) --version 2>&1)."; \
		echo 'Name another one, as in: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12'; exit 1; } >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo 'Making $(VENV) with '"$$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
			$(PYTHON) -m venv --clear --without-pip $(VENV) && \
			$(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet pip; }; }
	@echo 'Installing torch, then headrace with what it needs; the first time this takes a minute or more'
	@$(PIP) torch
	@$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@
