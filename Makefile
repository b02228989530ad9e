# Everything a newcomer or a CI machine needs is a target here; `make` alone lists them.
#
#   PYTHON=/path/to/python3.12   which Python makes the environments (else the first of 3.12 and 3.11 on PATH)
#   ARGS="-k store -x"           passed on to pytest (test, spark-cluster-test), uv (constraints) or the benches

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check apt lint format network-test spark-cluster-test bench bench-peers constraints clean

SUITABLE := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'
PYTHON ?= $(shell for candidate in python3.12 python3.11 python3; do \
	$$candidate $(SUITABLE) 2>/dev/null && echo $$candidate && break; done)
ARGS ?=
BIN := .venv/bin

# What Debian must provide and does not yet. Spark needs Java 17 or later, the report's test a real Chromium.
MISSING = $(shell \
	$(or $(PYTHON),false) -c 'import ensurepip' 2>/dev/null || echo python3-venv; \
	[ -x "$${JAVA_HOME:-}/bin/java" ] || command -v java >/dev/null || echo default-jre-headless; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| echo chromium)

# $(call environment,FOLDER,EXTRAS): an environment with the project in it, editable, at the pinned versions.
# uv is much faster than pip but does not read pip's configuration (a company's mirror): where it fails, pip does it.
define environment
	@$(or $(PYTHON),false) $(SUITABLE) 2>/dev/null || { echo "$(or $(PYTHON),What PATH offers) is no Python 3.11 or 3.12:" \
		"install one, or set PYTHON=/path/to/it." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make an environment:" \
		"the Debian package python3-venv is missing; run 'make apt' as root." >&2; exit 2; }
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	[ -x "$(1)/bin/python$$version" ] || $(PYTHON) -m venv --clear $(1)
	@echo "Installing into $(1) (needs the network) ..."
	@export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_SYSTEM_CERTS=1; \
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt uv \
	&& $(1)/bin/uv pip install --quiet --python $(1) --constraint constraints.txt --editable '.$(2)' \
	|| $(1)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.$(2)'
	@touch $(1)/.ready
endef

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: .venv/.ready ## make .venv with all that today's features and tests need; .venv/bin/winnow works afterwards

# No torch: nothing here uses a network yet. The extras clip and train bring it.
EXTRAS := [beam,gcp,spark,web,dev]
.venv/.ready: pyproject.toml constraints.txt
	$(call environment,.venv,$(EXTRAS))

.venv-demo/.ready: pyproject.toml constraints.txt
	$(call environment,.venv-demo,)

demo: DEMO := $(if $(wildcard .venv/.ready),.venv,.venv-demo)
demo: $(if $(wildcard .venv/.ready),.venv,.venv-demo)/.ready ## curate real web pages (core install only) and say where the report is
	$(DEMO)/bin/winnow sample demo/pages
	$(DEMO)/bin/winnow run image-text-light --input demo/pages --output demo/dataset
	@echo "Open the report in a browser: $(CURDIR)/demo/dataset/report.html"

test: check setup lint ## set up, then ruff, mypy, import-linter and pytest (ARGS="-k store" for some)
	$(BIN)/pytest --numprocesses=logical --maxprocesses=4 $(ARGS)

check: ## name what Debian must provide and does not
	@missing="$(strip $(MISSING))"; [ -z "$$missing" ] || \
	{ echo "Missing Debian packages that the tests need: $$missing. Run 'make apt' as root." >&2; exit 2; }

apt: ## as root: install what Debian must provide (python3-venv, Java for Spark, Chromium for the report's test)
	@missing="$(strip $(MISSING))"; [ -n "$$missing" ] || { echo "Nothing is missing."; exit 0; }; \
	[ "$$(id -u)" = 0 ] || { echo "Run as root: make apt (it installs $$missing)." >&2; exit 2; }; \
	apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $$missing

lint: setup ## ruff, mypy and the floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## let ruff format the code and sort its imports
	$(BIN)/ruff format
	$(BIN)/ruff check --select I --fix

network-test: setup ## the test that fetches the real documentation packages of the sample corpus
	$(BIN)/pytest -m network $(ARGS)

spark-cluster-test: setup ## the tests that start a real Spark cluster on loopback and kill an executor of it
	$(BIN)/pytest -m cluster $(ARGS)

bench: setup ## every measurement of bench/, one after the other
	@for file in bench/[a-z]*.py; do module=$${file%.py}; \
	echo "== $$module"; $(BIN)/python -m $${module//\//.} $(ARGS); done

bench-peers: .venv-peers/.ready ## make .venv-peers with the tools that bench/image_funnel.py compares with (6 GB)

.venv-peers/.ready: bench/peers/requirements.txt
	$(PYTHON) -m venv --clear .venv-peers
	@export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_SYSTEM_CERTS=1; \
	.venv-peers/bin/python -m pip install --quiet uv \
	&& .venv-peers/bin/uv pip install --quiet --python .venv-peers --requirement $< \
	|| .venv-peers/bin/python -m pip install --quiet --requirement $<
	@touch $@

# Keeps the pins that are there; ARGS=--upgrade moves all of them, ARGS="--upgrade-package NAME" one.
# uv.lock is not used: it would record the address of a package index.
constraints: .venv-uv/bin/uv ## write constraints.txt again after a change of the dependencies
	UV_SYSTEM_CERTS=1 .venv-uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header \
		--annotation-style line --all-extras $(ARGS) pyproject.toml --output-file constraints.txt

# Apart from .venv, which cannot be made while the pins contradict pyproject.toml.
.venv-uv/bin/uv:
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv

clean: ## remove caches, builds and the demo (not .venv)
	rm -rf .venv-demo .venv-uv demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
		spark-warehouse metastore_db derby.log
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
