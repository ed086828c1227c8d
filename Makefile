# make test    lint, types, tests/, integration/ (the last as root); make test ARGS='-k bird' narrows pytest
# make dev     the whole story in front of you: two namespaces, BIRD, Consul, the daemon; ONCE=1 plays it without keys
# make bench   how fast it is, against the floor and at a thousand apps: MEASURES='critical rest' plays some (bench/README.md)
# make fuzz    whatever comes from others: TARGET='tags http' N=100000 (docs/security-testing.md)
# make chaos   random faults against the whole of it: SEED=7 N=300 (docs/reliability.md)
# make audit   known vulnerabilities of the locked packages (SECURITY.md); needs a network
# make docs    docs/configuration.md and the JSON Schema anew, from consulcast/schema.py and config.example.yaml
# make lock    resolve the lock files anew from pyproject.toml
#
# Each installs what it lacks (integration/setup.sh, .venv) and nothing else; a second run needs no network.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := requirements.txt requirements-dev.txt
# The venv is made anew when a lock file or the interpreter is another one.
KEY     = { cat $(LOCKS); $(PYTHON) -c 'import sys; print(sys.version, sys.executable)'; } 2>/dev/null | sha256sum | cut -c1-16
STAMP  := $(VENV)/made-$(shell $(KEY))
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
PIP    := $(BIN)/python -m pip -q --disable-pip-version-check

.PHONY: test lint types unit integration dev bench bench-page screenshots fuzz chaos audit docs lock clean setup base-image
.DEFAULT_GOAL := test

$(STAMP):
	@PYTHON=$(PYTHON) integration/setup.sh build
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@# setuptools first: what has only an sdist is then built with the locked one, not with one fetched for the build
	@awk '/^setuptools==/ { p = 1 } p { print } p && !/\\$$/ { exit }' requirements-dev.txt >$(VENV)/build.txt
	$(PIP) install --require-hashes --no-deps -r $(VENV)/build.txt
	$(PIP) install --require-hashes --no-deps --no-build-isolation --use-pep517 -r requirements-dev.txt
	@touch $@ $(VENV)/made-$$($(KEY)) # the second where this run has installed the interpreter itself

$(VENV)/package: $(STAMP) pyproject.toml
	$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

setup: $(VENV)/package
	@PYTHON=$(PYTHON) integration/setup.sh lab

lint: $(VENV)/package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/package
	$(BIN)/mypy

# Two halves at once, of about the same time; gevent's patching keeps pytest-xdist out. 5: nothing matched ARGS in that half.
HALF := tests/cli tests/fuzz tests/monitors tests/web
unit: $(VENV)/package
	@$(BIN)/pytest $(HALF) $(ARGS) >$(VENV)/unit.log 2>&1 & other=$$!; \
	$(BIN)/pytest tests $(HALF:%=--ignore %) $(ARGS); one=$$?; wait $$other; two=$$?; cat $(VENV)/unit.log; \
	case $$one:$$two in 0:0 | 0:5 | 5:0) ;; *) exit 1 ;; esac

# What integration/test_image.py builds the Docker image from.
base-image: setup
	@integration/setup.sh image

integration: setup base-image
ifeq ($(shell id -u),0)
	@# What failed beside three others is named, and played once more by itself: they wait for real programs, and four at
	@# once have two processors here. What fails again, fails.
	$(BIN)/pytest integration -n 4 --dist loadfile --no-loadscope-reorder --durations 30 $(ARGS) || { \
		status=$$?; [ $$status -eq 1 ] || exit $$status; \
		echo 'once more, by themselves:'; $(BIN)/pytest integration --last-failed --last-failed-no-failures none $(ARGS); }
else
	@echo 'not root: integration/ is left out (it makes network namespaces); run `make test` as root for all of it'
endif

# In this order, stopping at the first that fails: the quick ones first, pytest's own summary last. The base image, which
# waits for the network, is made meanwhile.
STEP := $(MAKE) --no-print-directory
test: setup
	@$(STEP) base-image >$(VENV)/image.log 2>&1 & image=$$!; \
	$(STEP) lint && $(STEP) types && $(STEP) unit; status=$$?; \
	wait $$image || { cat $(VENV)/image.log; exit 1; }; exit $$status
	@$(STEP) integration

dev: setup
	@$(BIN)/python -m integration.demo $(if $(ONCE),--once)

# The pictures of docs/images, from a real daemon in a real Chromium.
screenshots: setup
	@$(BIN)/python -m integration.status_page

# How late the daemon's hub is with a thousand apps and ten open browsers: docs/page.md
bench-page: setup
	@$(BIN)/python -m bench.page $(ARGS)

# Random faults from a seed (the clock's, if none is given); counts go to .cache/chaos.json. docs/reliability.md
chaos: setup
	@$(BIN)/python -m integration.chaos.run $(if $(SEED),--seed $(SEED)) --number $(or $(N),300) $(ARGS)

# Guided by coverage where atheris can be had. What ends badly is kept in .cache/fuzz. docs/security-testing.md
fuzz: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --require-hashes --no-deps \
		-r tests/fuzz/requirements.txt || echo 'without atheris: hypothesis alone makes the cases'
	@$(BIN)/python -m tests.fuzz.run $(TARGET) --cases $(or $(N),100000) $(if $(SEED),--seed $(SEED)) $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(MEASURES) $(ARGS)

# In a venv of its own, which is not locked: what it says is only as good as today's. --strict: a package that the
# service does not know is a failure, not a line in a list that ends with "no vulnerabilities". AUDIT='-s osv' asks another.
audit:
	@rm -rf .audit && $(PYTHON) -m venv .audit && .audit/bin/python -m pip -q --disable-pip-version-check install pip-audit
	@.audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(AUDIT) $(LOCKS:%=-r %); \
	status=$$?; rm -rf .audit; exit $$status

docs: $(VENV)/package
	$(BIN)/python -m consulcast.reference

lock:
	@rm -rf .lock && $(PYTHON) -m venv .lock && .lock/bin/python -m pip -q --disable-pip-version-check install uv
	.lock/bin/uv pip compile -q $(LOCK_FLAGS) -o requirements.txt pyproject.toml
	.lock/bin/uv pip compile -q $(LOCK_FLAGS) --extra dev -o requirements-dev.txt pyproject.toml
	@rm -rf .lock
lock: LOCK_FLAGS := --upgrade --python-version 3.11 --python-platform linux --generate-hashes --no-header --no-emit-index-url --no-emit-find-links

clean:
	rm -rf $(VENV) .lock .audit .cache .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
