# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# uv installs exactly the lock file, removes what is not in it, and compiles as it goes.
UV_VERSION := 0.13.9
# Who builds images: docker, podman or buildah.
BUILDER ?= docker
TAG ?= 0.1.0

.PHONY: demo demo-profiles test up set-up lint types contracts compiler prometheus hypervisors tools helm images unit integration \
	bench lock clean

demo: set-up
	$(BIN)/vgpu-serve demo --json demo.json --picture demo.png

demo-profiles: set-up
	$(BIN)/vgpu-serve demo-profiles --json demo-profiles.json --picture demo-profiles.png

up: set-up
	$(BIN)/vgpu-serve up

test: lint types contracts unit integration

set-up: $(STAMP)

# The lock file is installed whole and exactly: no resolution, so a new machine gets what CI got.
# UV_COMPILE_BYTECODE: Ray starts more than twice as fast from compiled files.
$(STAMP): requirements.lock pyproject.toml Makefile
	@bash .ci/make-venv "$(PYTHON)" "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . \
		--config-setting editable_mode=compat
	@touch $@

lint: set-up
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: set-up
	$(BIN)/mypy

contracts: set-up
	$(BIN)/lint-imports

unit: set-up compiler tools prometheus hypervisors
	$(BIN)/python -m pytest tests --ignore=tests/integration --ignore=tests/bench -n auto --dist loadfile

# The tests of the emulated libnvidia-ml compile it; without a compiler they would be left out.
compiler:
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || .ci/debian gcc libc6-dev

# promtool, and the server that the dashboards' queries are asked of.
prometheus:
	@command -v promtool >/dev/null || .ci/debian prometheus

# The vCenter simulator's compiler, libvirt with a small real guest, and libvirt-python, built here.
hypervisors: set-up
	@.ci/hypervisors "$(BIN)"

# Helm of both majors, kept in .tools.
tools: set-up
	@$(BIN)/python .ci/tools

# What is computed of the chart (the values' schema, README tables, dashboards, rules) and of the images (what each
# installs). `make test` fails where it is old.
helm: set-up
	$(BIN)/python -m helm.generate
	$(BIN)/python -m images.packages

# Every image, for the chart's `image.registry`: make images REGISTRY=registry.example.com TAG=0.1.0. LIBVIRT=true compiles
# the libvirt provider into the switcher's.
images:
	@for name in $(notdir $(patsubst %/,%,$(dir $(wildcard images/*/Dockerfile)))); do \
		$(BUILDER) build --file images/$$name/Dockerfile --tag $(REGISTRY:%=%/)vgpu-serve/$$name:$(TAG) \
			--build-arg VERSION=$(TAG) $(LIBVIRT:%=--build-arg LIBVIRT=%) . || exit 1; \
	done

integration: set-up tools prometheus
	$(BIN)/python -m pytest tests/integration

bench: set-up
	$(BIN)/python -m tests.bench

# Re-resolves every dependency; review the difference before committing it.
lock: set-up
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links \
		--quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .run demo.json demo.png demo-profiles.json demo-profiles.png
