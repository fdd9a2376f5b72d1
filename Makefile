# Two commands are all that a newcomer needs: `make run` and `make test`.
# The first Python here that is new enough and really runs (a version manager's shim may not).
PYTHON  ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
             $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$name && break; done)
VENV    := .venv
PY      := $(VENV)/bin/python
# http-ece alone has no wheel; it is plain Python.
INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: --no-binary http-ece

.PHONY: help run demo test test-long lint bench package deploy-local pictures lock sbom audit clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: $(VENV)/.run  ## relay and agent, paired, on this machine's own transcripts and trackers
	@$(PY) -m tools.run

demo: $(VENV)/.run  ## the same on generated sample data
	@$(PY) -m tools.run --demo

test: $(VENV)/.test  ## every test that this machine can run; says what was skipped and why
	@$(PY) -m pytest -n 2 --dist worksteal -m "not slow"

LONG ?= 1
test-long: $(VENV)/.test  ## everything, the nightly figures too (hours; LONG=0.02 for a fiftieth of them), and their table
	@rm -rf build/long
	@LONG=$(LONG) $(PY) -m pytest -n 2 --dist worksteal; $(PY) -m tests.long

lint: $(VENV)/.test  ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m mypy

bench: $(VENV)/.test  ## measure, compare with peers, write the table that the README shows
	@$(PY) -m bench

package: $(VENV)/.test  ## the Lambda zip and the CloudFormation template, offline
	@$(PY) -m tools.package

deploy-local: $(VENV)/.test  ## deploy to an emulated AWS on loopback and run the journey through it
	@$(PY) -m tools.deploy_local

pictures: $(VENV)/.test  ## the pictures of the page in docs/pictures, anew
	@$(PY) -m tests.dashboard.pictures

lock: $(VENV)/.test  ## pin requirements.in and requirements-dev.in with hashes
	@for name in requirements requirements-dev; do \
	  $(VENV)/bin/uv pip compile -q --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-header $$name.in -o $$name.txt; done

sbom: $(VENV)/.test  ## the list of parts (CycloneDX JSON), from the lock files
	@$(PY) -m tools.sbom

audit: $(VENV)/.test  ## ask whether any pinned part is known to be vulnerable; says so where nobody can be asked
	@$(PY) -m tools.audit

clean:  ## forget everything that was made
	rm -rf $(VENV) build var .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Session Relay needs Python 3.11 or newer: install it, or run make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) (once) ..." >&2
	@$(PYTHON) -m venv $(VENV) || { echo "python venv is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	@echo "Installing what runs ..." >&2
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.test: requirements-dev.txt $(VENV)/.run
	@echo "Installing what tests ..." >&2
	@$(INSTALL) -r requirements-dev.txt
	@touch $@
