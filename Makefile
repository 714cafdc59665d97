# Every target works as the first command after a clone: what it needs is set up in .venv, with uv where it is on the
# PATH, else with pip. Works with GNU make from 3.81 on.
#
#   PYTHON=python3.13   the interpreter for .venv (else the first one here that is new enough)
#   ARGS='-k worker'    more arguments for pytest
#   MAGE_PYTHON=...     the interpreter for .mage-venv, a Python 3.11 (else the python3.11 that uv or the PATH has)

VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
SPARK   := .spark
TOOLS   := .tools
IMAGE_EXTRAS := k8s aws gcp azure data otel
MAGE    := .mage-venv
MAGE_READY  := $(MAGE)/.ready
IMAGE   ?= runmesh:dev
MAGE_PYTHON ?= python3.11
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PROBE   := import sys; sys.version_info >= (3, 11) and print(sys.executable)

# Tests start interpreters by the hundred: none should compile again what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-k8s demo-ecs demo-gcp demo-azure demo-spark test test-container test-mage test-spark test-monitoring image lint types schemas nats-permissions lock audit sbom record bench model chaos soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s  %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Set up .venv (the others do it when they need it)

demo: $(READY) ## Watch a real pipeline go through the mesh
	@$(BIN)/python -m runmesh demo

demo-k8s: $(READY) ## Watch it go through Jobs, on an emulated Kubernetes cluster
	@$(BIN)/python -m tests.emulators.demo k8s

demo-ecs: $(READY) ## Watch it go through tasks of ECS, on an emulated AWS
	@$(BIN)/python -m tests.emulators.demo ecs

demo-gcp: $(READY) ## Watch it go through jobs of Cloud Run, on an emulated Google Cloud
	@$(BIN)/python -m tests.emulators.demo gcp_cloud_run

demo-azure: $(READY) ## Watch it go through container groups, on an emulated Azure
	@$(BIN)/python -m tests.emulators.demo azure_container_instance

# Tests wait more than they compute: five at a time are right for two cores.
test: $(READY) ## Run all tests
	$(BIN)/pytest -n 5 $(ARGS)

# Those that meet the session's server: see tests/container/nats.py.
test-container: $(READY) ## Run the integration tests against NATS in a container (docker or podman)
	tests/container/with-engine $(BIN)/pytest -n 4 tests/integration $(ARGS)

test-mage: $(READY) $(MAGE_READY) ## Run native and Mage's own blocks in one run, with the real Mage
	$(BIN)/pytest tests/mage/interop.py tests/mage/integration.py $(ARGS)

demo-spark: $(READY) $(SPARK)/.ready ## Watch a Spark pipeline run as a step of EMR, on an emulated AWS
	@$(BIN)/python -m tests.spark.demo

test-spark: $(READY) $(SPARK)/.ready ## Run blocks on a real Spark, and on all six types (half a gigabyte; skipped without Java)
	$(BIN)/pytest tests/spark/blocks.py tests/spark/everywhere.py $(ARGS)

image: ## Build an image (EXTRAS=k8s,data; IMAGE=name:tag; BASE=an image with Python; BUILD=more options)
	@set -e; engine=$$(docker info >/dev/null 2>&1 && echo docker || echo podman); \
	if [ "$$engine" = podman ]; then as=--format=docker; fi; \
	set -x; $$engine build $$as -f deploy/Dockerfile $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg EXTRAS=$(EXTRAS) \
		--build-arg REVISION=$$(git rev-parse HEAD) -t $(IMAGE) $(BUILD) .

test-monitoring: $(READY) ## Ask a real Prometheus all that the dashboard asks (skipped without one)
	$(BIN)/pytest -s tests/monitoring/live.py $(ARGS)

lint: $(READY) ## Check style, formatting and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(READY) ## Check types
	$(BIN)/mypy

schemas: $(READY) ## Write schemas/ from the code
	$(BIN)/python -m runmesh.schemas schemas

nats-permissions: $(READY) ## Write deploy/nats/accounts.conf from the code
	RUNMESH_POOLS=default $(BIN)/python -m runmesh permissions --project demo > deploy/nats/.new
	mv deploy/nats/.new deploy/nats/accounts.conf

# Each file of an extra holds what base.txt doesn't: an image installs them together.
lock: ## Write deploy/requirements/ from pyproject.toml and constraints.txt (with uv)
	@set -e; cd deploy/requirements; \
	lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$$@"; }; \
	lock ../../pyproject.toml --extra speed -c ../../constraints.txt -o base.txt; \
	base=$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' base.txt); \
	for extra in $(IMAGE_EXTRAS); do \
		lock ../../pyproject.toml --extra $$extra -c ../../constraints.txt $$base -o $$extra.txt; \
	done; \
	printf 'hatchling\nsetuptools\n' | lock - -o build.txt

audit: $(TOOLS)/.ready ## Look up what is pinned among known vulnerabilities (SERVICE=osv: not at PyPI)
	@.ci/audit $(TOOLS)/bin/pip-audit

sbom: $(TOOLS)/.ready ## Write dist/sbom/: what each file of deploy/requirements/ installs, as CycloneDX
	@mkdir -p dist/sbom
	@for lock in deploy/requirements/*.txt; do \
		sbom=dist/sbom/$$(basename $$lock .txt).cdx.json; \
		PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o $$sbom $$lock || exit; \
		echo $$sbom; \
	done

record: $(READY) ## Record what this version says on the wire, for all later ones to read (once for each release)
	@$(BIN)/python -m tests.wire

bench: $(READY) ## Measure
	@$(BIN)/python -m tests.bench

model: $(READY) ## Check the claim protocol in larger worlds than the tests do
	@$(BIN)/python -m tests.model

chaos: $(READY) ## Kill everything at every point, and show that nothing is lost (CHAOS_RUNS, CHAOS_SECONDS, CHAOS_SEED)
	RUNMESH_CHAOS=long $(BIN)/pytest -n 2 tests/chaos $(ARGS)
	@$(BIN)/python -m tests.chaos.proof
	@CHAOS_RUNS=200 CHAOS_SECONDS=40 $(BIN)/python -m tests.chaos.proof control

soak: $(READY) ## Kill something every ten seconds for an hour, and see that nothing grows (CHAOS_SECONDS, CHAOS_RATE)
	@$(BIN)/python -m tests.chaos.soak

clean: ## Remove .venv, .mage-venv and every cache
	rm -rf $(VENV) $(MAGE) $(SPARK) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find services tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@python=$$(for name in $(PYTHONS); do $$name -c '$(PROBE)' 2>/dev/null; done | head -n 1); \
	if [ -z "$$python" ]; then \
		echo "Runmesh needs Python 3.11 or later; looked for: $(PYTHONS)" >&2; \
		echo "Install one, or say where it is: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	set -e; \
	if command -v uv >/dev/null; then \
		echo "==> Setting up $(VENV) with uv and $$python"; \
		uv venv --quiet --allow-existing --python "$$python" $(VENV); \
		uv pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
		echo "==> Setting up $(VENV) with pip and $$python"; \
		"$$python" -m venv $(VENV); \
		$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	fi
	@touch $(READY)

$(SPARK)/.ready: tests/spark/requirements.txt
	@if command -v uv >/dev/null; then \
		uv pip install --python $(BIN)/python --target $(SPARK) -r $<; \
	else \
		$(BIN)/python -m pip install --disable-pip-version-check --upgrade --target $(SPARK) -r $<; \
	fi
	@touch $@

$(TOOLS)/.ready: .ci/tools.txt | $(READY)
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(BIN)/python $(TOOLS); \
		uv pip install --quiet --python $(TOOLS)/bin/python -r $<; \
	else \
		$(BIN)/python -m venv $(TOOLS); \
		$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<; \
	fi
	@touch $@

$(MAGE_READY): tests/mage/requirements.txt tests/mage/constraints.txt
	@set -e; \
	if command -v uv >/dev/null; then \
		echo "==> Setting up $(MAGE) with uv and $(MAGE_PYTHON)"; \
		uv venv --quiet --allow-existing --python "$(MAGE_PYTHON)" $(MAGE); \
		uv pip install --python $(MAGE)/bin/python -r tests/mage/requirements.txt; \
	elif command -v "$(MAGE_PYTHON)" >/dev/null; then \
		echo "==> Setting up $(MAGE) with pip and $(MAGE_PYTHON)"; \
		"$(MAGE_PYTHON)" -m venv $(MAGE); \
		$(MAGE)/bin/python -m pip install --disable-pip-version-check -r tests/mage/requirements.txt; \
	else \
		echo "Mage 0.9.79 needs Python 3.11, and there is no $(MAGE_PYTHON): make test-mage MAGE_PYTHON=/path" >&2; \
		exit 1; \
	fi
	@touch $(MAGE_READY)
