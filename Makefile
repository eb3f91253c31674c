# `make up` and `make test` are all that most people need. `make help` says what the rest does.

PYTHON ?= python3
DOCKER ?= docker
COMPOSE ?= $(shell $(DOCKER) compose version >/dev/null 2>&1 && echo $(DOCKER) compose || echo docker-compose)
T ?= tests/image
# Most of them wait for mail. In their order: the longest files have few tests, and would else be begun last.
TEST_IMAGE = $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
# What a relay is, once more as an ordinary user.
NONROOT = $(patsubst %,tests/image/test_%.py,access bad_input health image lifecycle log secrets settings supervision \
	topologies_outbound verbs without_shell)
# Where the dev stack listens on 127.0.0.1.
export POSTERN_SMTP_PORT ?= 2525
export POSTERN_HEALTH_PORT ?= 9154
export POSTERN_SINK_PORT ?= 8025

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
# The commit's date, in seconds: what the image says of its own date is then the same for everybody.
EPOCH = $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
# Without the user and token that such an address may hold.
SOURCE = $(or $(shell git config --get remote.origin.url 2>/dev/null | sed 's,//[^/]*@,//,'),unknown)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help up down test unit lint test-deploy test-image images bench chaos reference base image sink-image tools-image clients-image \
	servers-image browser-image podman-image screenshot bare-image clean need-compose need-ports need-python

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: need-compose base need-ports image sink-image ## start the relay and a sink, send a first mail through, show what arrived
	@scripts/first-mail $(COMPOSE)

down: need-compose ## end what `make up` started; mail that waits stays in its volume
	@$(COMPOSE) down

test: lint ## everything, from a bare checkout
	@# Building images waits for downloads, the unit tests wait for time.
	@$(MAKE) --no-print-directory -j 3 images unit test-deploy
	@$(TEST_IMAGE) tests/image
	@$(TEST_IMAGE) --nonroot $(NONROOT)

unit: $(BIN)/.ready ## unit tests: seconds, without Docker
	@$(BIN)/python -m pytest -q tests/unit

test-deploy: $(BIN)/.ready ## Kubernetes manifests and chart, without Docker
	@$(BIN)/python -m pytest -q -n 2 tests/deploy

lint: $(BIN)/.ready ## ruff, mypy, hadolint, the compose schema
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@# Versions of packages are not pinned: the image shall have today's security updates.
	@$(BIN)/hadolint --ignore DL3008 --failure-threshold warning $(shell find . -name '*Dockerfile' -not -path './.venv/*')
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose/*.yml

test-image: $(BIN)/.ready ## tests of the image; one file: make test-image T=tests/image/test_x.py; without root: T="--nonroot ..."
	@$(MAKE) --no-print-directory -j 2 images
	@$(TEST_IMAGE) $(T)

images: image browser-image servers-image clients-image tools-image podman-image bare-image sink-image

bench: $(BIN)/.ready image ## speed and size, as ratios to a bare Postfix image; options in ARGS, such as ARGS=--help
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(BIN)/.ready image sink-image tools-image ## everything fails while 100,000 messages go through, and none is lost; options in ARGS, such as ARGS=--help
	@$(BIN)/python -m tests.chaos $(ARGS)

reference: $(BIN)/.ready ## write the settings in README and chart, the chart's values and the golden configurations anew
	@$(BIN)/python -m pytest -q tests/unit/test_reference.py tests/unit/test_golden.py tests/deploy/test_chart_values.py --record

base: ## make sure of the base image: present, pulled, or made from Debian's packages
	@scripts/base-image

image: base ## build postern:latest
	@echo "building postern:latest (the first time takes about a minute)"
	@$(DOCKER) build -q -t postern:latest --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) \
		--build-arg SOURCE_DATE_EPOCH=$(EPOCH) . >/dev/null

sink-image: base ## build postern-sink:latest, the upstream of the dev stack and the tests
	@echo "building postern-sink:latest"
	@$(DOCKER) build -q -t postern-sink:latest tests/sink >/dev/null

tools-image: base ## build postern-test-tools:latest, the clients and the DNS server of the tests
	@echo "building postern-test-tools:latest"
	@$(DOCKER) build -q -t postern-test-tools:latest tests/image/tools >/dev/null

browser-image: base ## build postern-test-browser:latest, the browser that looks at the page
	@echo "building postern-test-browser:latest (the first time takes about two minutes)"
	@$(DOCKER) build -q -t postern-test-browser:latest tests/image/browser >/dev/null

screenshot: $(BIN)/.ready browser-image ## take the pictures of the page in docs/images anew
	@$(BIN)/python -m tests.page

clients-image: base ## build postern-test-clients:latest, the mail programs of docs/clients.md
	@echo "building postern-test-clients:latest (the first time takes about two minutes)"
	@$(DOCKER) build -q -t postern-test-clients:latest tests/image/clients >/dev/null

servers-image: base ## build postern-test-servers:latest, the servers that logins are checked by: LDAP, IMAP, SQL, Dovecot
	@echo "building postern-test-servers:latest (the first time takes about two minutes)"
	@$(DOCKER) build -q -t postern-test-servers:latest tests/image/servers >/dev/null

podman-image: base ## build postern-test-podman:latest, which runs Pods
	@echo "building postern-test-podman:latest (the first time takes about a minute)"
	@$(DOCKER) build -q -t postern-test-podman:latest tests/image/podman >/dev/null

bare-image: base ## build postern-bench-bare:latest, the bare Postfix that size and speed are compared with
	@echo "building postern-bench-bare:latest"
	@$(DOCKER) build -q -t postern-bench-bare:latest -f tests/bench/bare.Dockerfile tests/bench >/dev/null

clean: need-compose ## end the stack and delete its volumes (waiting mail too!), the virtual environment and caches
	@$(COMPOSE) down --volumes
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build

need-compose:
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "make: neither 'docker compose' nor 'docker-compose' works:" \
		"install one (Debian: apt-get install docker-compose)" >&2; exit 1; }

need-ports: need-compose
	@scripts/first-mail --check $(COMPOSE)

need-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) must be Python 3.11 or newer; choose another with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) cannot make a virtual environment, type: sudo apt-get install python3-venv" >&2; exit 1; }

# The list is read from pyproject.toml, so that nothing has to be built or installed but what the tests need.
$(BIN)/.ready: pyproject.toml | need-python
	@echo "preparing .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*p["dependencies"], *p["optional-dependencies"]["test"], sep="\n")' >.venv/requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check -r .venv/requirements.txt
	@touch $@
