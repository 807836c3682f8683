# Needs Python 3.11 or newer, make and a network. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
PINS := pyproject.toml setup.py constraints.txt clients/python/pyproject.toml
IMAGE ?= whispergpt:local

# Tests start hundreds of processes that import the same modules, which would be compiled in each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lowest measures peers lint gpu-check gpu docs docs-serve pictures web serve image lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Start a server, continue the bundled prompt, write demo.wav and demo.png
	$(BIN)/python -m whispergpt.cli.demo
	@echo "Next: play demo.wav, then run \`source $(BIN)/activate\` and \`whispergpt serve\`, and open the address that it prints."

# MINUTES limits each half of the tests, which together take about eleven; pyproject.toml limits each test. With ARGS there
# is no limit for the whole and no other process group, so that a debugger can read from the terminal. Most tests of
# servers wait more than they compute, hence more processes than processors, and tests that wait first. Tests that measure
# how soon something comes have the machine to themselves but for tests that only compute, at the lowest priority.
MINUTES ?= 25
PYTEST := $(BIN)/python -m pytest
# No higher than any other process, the attackers of the tests included, which have the idle class of Linux.
LOWEST_PRIORITY := $(if $(shell command -v chrt),chrt --idle 0,nice -n 19)
LIMITED := exec $(BIN)/python tests/support/within.py $(MINUTES)

test: $(VENV)/.installed-dev ## Run every test (ARGS="tests/unit -k mel" for some, MINUTES=60 on a slow machine)
ifdef ARGS
	$(PYTEST) $(ARGS)
else
	$(LIMITED) $(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not alone" tests/faults tests/e2e tests/unit
	$(LIMITED) sh -c '$(LOWEST_PRIORITY) $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder tests/training tests/parity & computed=$$!; \
	  $(PYTEST) -m alone tests/faults tests/e2e; told=$$?; wait $$computed && exit $$told'
endif

# Packages that are not in the list, such as torch and the tests' tools, come from the usual environment, which is last on
# the path. tests/unit/test_image.py is about the usual environment alone.
LOWEST := build/lowest

lowest: $(VENV)/.installed-dev ## Run tests/unit and tests/training with the lowest versions that pyproject.toml allows (not part of CI)
	$(BIN)/python -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --only-binary :all: -r constraints-lowest.txt
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > "$$($(LOWEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz-beside.pth"
	PYTHONPATH=$(CURDIR):$(CURDIR)/clients/python $(LOWEST)/bin/python -m pytest \
	  $(or $(ARGS),tests/unit tests/training --ignore tests/unit/test_image.py)

measures: $(VENV)/.installed-dev ## Install the packages of `whispergpt train measure` (large; needs a C compiler)
	$(PIP_INSTALL) -e '.[measures]'

peers: $(VENV)/.installed-dev ## Install the peers of `whispergpt bench`
	$(PIP_INSTALL) -e '.[bench]'
	$(PIP_INSTALL) --no-deps --upgrade --target "$${WHISPERGPT_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whispergpt}/bench-peers" moshi==0.2.13 sentencepiece==0.2.3

lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

gpu-check: $(VENV)/.installed-dev ## Check the GPU's kernels without a GPU: build/gpu-check.json (ARGS="--all --frames 200" for everything)
	$(BIN)/python -m whispergpt.benchmarks.gpu_check $(ARGS)

# Installs nothing: a machine with a GPU has a PyTorch of its own, and perhaps no network. The environment is used if it
# is there. ARGS="--only parity steps" for some parts.
gpu: ## Measure this machine's GPU in less than four minutes: build/gpu.json (PYTHON=python3.12)
	PYTHONPATH=$(CURDIR):$$PYTHONPATH $(or $(wildcard $(BIN)/python),$(PYTHON)) -m whispergpt.benchmarks.gpu $(ARGS)

docs: $(VENV)/.installed-docs ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site is in build/site; open build/site/index.html."

docs-serve: $(VENV)/.installed-docs ## Serve the documentation on http://127.0.0.1:8001 and reload it on changes
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8001

pictures: $(VENV)/.installed-dev ## Make the sounds and pictures of the pages (needs Chromium, Firefox and Prometheus)
	$(BIN)/python -m docs.illustrate $(ARGS)

web: ## Build the browser files of the server from clients/web (needs Node)
	cd clients/web && npm ci --ignore-scripts --no-audit --no-fund && npm run build

serve: $(VENV)/.installed ## Serve on http://127.0.0.1:8000 (ARGS="--port 9000")
	$(BIN)/whispergpt serve $(ARGS)

# BASE_IMAGE=python:3.11-slim-bookworm@sha256:… builds on exactly that base. The image's own Python lists its parts, with
# the program on standard input.
BUILDER ?= docker
SBOM ?= build/sbom.json

image: ## Build the container image and list its parts in build/sbom.json (IMAGE=name:tag, ACCELERATOR=cuda, BUILDER=podman, BASE_IMAGE=…)
	$(BUILDER) build --build-arg ACCELERATOR=$(or $(ACCELERATOR),cpu) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t $(IMAGE) .
	@mkdir -p $(dir $(SBOM))
	$(BUILDER) run --rm -i --network none --read-only --entrypoint python $(IMAGE) - < deploy/image/sbom.py > $(SBOM).partial
	mv $(SBOM).partial $(SBOM)

lock: ## Write the image's requirements with their hashes from constraints.txt (needs uv)
	$(PYTHON) deploy/image/lock.py

clean: ## Remove the environment, caches and the demo's files
	rm -rf $(VENV) build dist *.egg-info clients/python/build clients/python/*.egg-info demo.wav demo.png
	rm -rf clients/web/node_modules clients/web/build
	rm -rf .mypy_cache .ruff_cache .pytest_cache engine/native/built
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(PINS) | $(BIN)/python
	@echo "Installing into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP_INSTALL) -e clients/python -e '.[demo]'
	@touch $@

# Where everything is installed already, nothing is left to do.
$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

# encodec, the reference of the parity tests, requires torchaudio, which does not load beside a CPU torch: hence
# --no-deps. The `test` extra has its other dependencies; engine/checkpoints/encodec_reference.py avoids the rest.
$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what tests and checks need into $(VENV); the first time takes some minutes."
	$(PIP_INSTALL) -e clients/python -e '.[dev]'
	$(PIP_INSTALL) --no-deps encodec
	@touch $@
