# Every target makes the virtual environment that it needs; only the first time takes long.

# Another Python needs another environment: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := gaq_twisted tests twisted benchmarks browser e2e deploy docs
# Most tests wait for other processes most of the time. The one that measures itself runs
# alone, and shows what it prints.
JOBS ?= 4
ALONE := tests.live.test_stress
# These look at what is in deploy/ with programs of Debian.
DEPLOY := tests.deploy
DEPLOY_PACKAGES := haproxy nginx prometheus systemd
TESTS := $(filter-out $(ALONE) tests.deploy.%,$(subst /,.,$(basename $(wildcard tests/test_*.py tests/*/test_*.py tests/*/*/test_*.py))))
TRIAL := -m twisted.trial $(TRIAL_ARGS)

# What is measured, how much of each at least (in pyproject.toml: fail_under), and by which tests:
# those that need no other process, and those of Redis's commands.
COVERED := access core net streams
COVERING := $(subst /,.,$(basename $(wildcard tests/test_service.py \
	$(patsubst %,tests/%/test_*.py,access config core net ops streams web) \
	tests/live/test_streams_commands.py)))

# The tests with a client of Node.js skip where there is none.
NPM := $(shell command -v npm)
PEERS := $(if $(NPM),tests/support/peers/node_modules/ready)

# A Chromium takes more than other processes do. These print how long charts took, so not
# side by side with others.
BROWSERS ?= 2
REALTIME := browser.test_realtime
BROWSING := $(filter-out $(REALTIME),$(subst /,.,$(basename $(wildcard browser/test_*.py))))

# How many times as many inputs `make fuzz` tries as `make test`.
FUZZ_TIMES ?= 20

# Which loads are measured; all ordinary ones if empty.
LOADS ?=
# How often each load is measured; medians count.
ROUNDS ?= 3
# The command of Superset's Node.js server, to measure it in turns with this one.
NODE ?=
BESIDE = $(if $(NODE),--beside 'node=$(NODE)')
RESULTS ?= benchmarks/results.jsonl
FIGURES := docs/benchmarks/latest.jsonl

# Which scenarios `make e2e` shows, by number; all if empty.
SCENARIOS ?=
# Which release of Superset it installs; each has an environment of its own.
SUPERSET_VERSION ?= 6.1.0
SUPERSET := .venv-e2e-$(SUPERSET_VERSION)
SHOW := $(BIN)/python -m e2e --superset $(CURDIR)/$(SUPERSET) --home $(CURDIR)/$(SUPERSET)/home
CHROMIUM := /usr/bin/chromium

.PHONY: help demo test test-lowest test-prereleases test-deploy coverage fuzz bench crowd figures browser screenshots e2e docs reference lint format package changelog clean

help:
	@echo "make demo         try it: a page to break connections, Redis and the server on"
	@echo "make test         run all tests, JOBS=$(JOBS) at a time"
	@echo "                  with another Python: make test PYTHON=python3.13 VENV=.venv-3.13"
	@echo "make test-lowest  run all tests with the lowest versions that are allowed, and on Redis 6.2"
	@echo "make test-prereleases"
	@echo "                  run all tests with the newest pre-releases of Twisted and Autobahn"
	@echo "make test-deploy  test what is in deploy/ with Debian's nginx, haproxy, prometheus and systemd"
	@echo "make coverage     measure which branches of $(COVERED) the tests take"
	@echo "make fuzz         try much more odd input than make test does"
	@echo "make bench        measure the server under load"
	@echo "make crowd        hold 97,500 sockets with five processes, and see that nothing is lost"
	@echo "make figures      measure this server and Superset's (NODE=COMMAND), and write the figures"
	@echo "                  into the documentation"
	@echo "make e2e          show the charts of a real Superset in a real browser, in all kinds of trouble"
	@echo "make browser      check the server, the demo's page and a page of Superset 7 with a"
	@echo "                  headless Chromium"
	@echo "make screenshots  make the pictures of pages for the documentation"
	@echo "make docs         build the documentation in build/docs, and check all links in it"
	@echo "make reference    write settings, metrics and commands into the documentation"
	@echo "make lint         check format, style and types"
	@echo "make format       format the sources"
	@echo "make package      build wheel and sdist, check them, install the wheel and try it"
	@echo "make changelog    show what the changelog will say of the next release"
	@echo "make clean        remove what the other targets made"

# Needs far less than the tests do; where their environment exists, it is used.
DEMO := $(if $(wildcard $(VENV)/ready),$(VENV),.venv-demo)

demo: $(DEMO)/ready
	@echo "Starting the server and its own Valkey ..."
	@$(DEMO)/bin/gaq-ws demo

test: $(VENV)/ready $(PEERS)
	$(BIN)/python $(TRIAL) -j $(JOBS) $(TESTS)
	$(BIN)/python $(TRIAL) $(ALONE)

test-lowest: .venv-lowest/ready $(PEERS)
	TEST_REDIS=oldest .venv-lowest/bin/python $(TRIAL) -j $(JOBS) $(TESTS)
	TEST_REDIS=oldest .venv-lowest/bin/python $(TRIAL) $(ALONE)

# Asks for the newest versions each time, and is the same as `make test` while these are releases.
test-prereleases: .venv-prereleases/ready $(PEERS)
	.venv-prereleases/bin/python -m pip install --quiet --upgrade --pre Twisted autobahn
	.venv-prereleases/bin/python -m pip list | grep -i -E "^(twisted|autobahn) "
	.venv-prereleases/bin/python $(TRIAL) -j $(JOBS) $(TESTS)
	.venv-prereleases/bin/python $(TRIAL) $(ALONE)

# Shows the lines and branches that are missing, then how much of each folder is there, in percent.
coverage: $(VENV)/ready
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run $(TRIAL) -j $(JOBS) $(COVERING)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=0
	@passed=true; for folder in $(COVERED); do \
		printf "%-8s" $$folder; \
		$(BIN)/coverage report --format=total --include="gaq_twisted/$$folder/*" || passed=false; \
	done; $$passed

# Installs what is missing, as root.
test-deploy: $(VENV)/ready
	dpkg --status $(DEPLOY_PACKAGES) >/dev/null 2>&1 || \
		{ apt-get update --quiet && apt-get install --quiet --yes $(DEPLOY_PACKAGES); }
	$(BIN)/python $(TRIAL) -j $(JOBS) $(DEPLOY)

fuzz: $(VENV)/ready
	FUZZ_TIMES=$(FUZZ_TIMES) $(BIN)/python -m tests.test_fuzz

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(LOADS) --rounds $(ROUNDS) --json $(RESULTS) $(BESIDE)

crowd: $(VENV)/ready
	$(BIN)/python -m benchmarks crowd --json $(RESULTS)

# All that the documentation shows, or LOADS of it; the rest stays as it was measured before.
figures: $(VENV)/ready
	$(if $(NODE),,$(error the documentation shows the Node.js server beside this one: set NODE))
	$(BIN)/python -m benchmarks $(or $(LOADS),ordinary steady heard) --rounds $(ROUNDS) \
		--json $(FIGURES) $(BESIDE)
	$(if $(LOADS),,$(BIN)/python -m benchmarks crowd --json $(FIGURES))
	$(BIN)/python -m benchmarks.documents $(FIGURES)

e2e: $(VENV)/ready $(SUPERSET)/home/fixtures.json | $(CHROMIUM)
	$(SHOW) $(SCENARIOS)

browser: $(VENV)/ready | $(CHROMIUM)
	$(BIN)/python $(TRIAL) -j $(BROWSERS) $(BROWSING)
	$(BIN)/python $(TRIAL) $(REALTIME)

screenshots: $(VENV)/ready | $(CHROMIUM)
	$(BIN)/python $(TRIAL) browser.screenshots browser.status_screenshots

docs: $(VENV)/ready
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env \
		--conf-dir docs --doctree-dir build/doctrees . build/docs
	@echo "the documentation is in build/docs/index.html"

reference: $(VENV)/ready
	$(BIN)/python -m gaq_twisted.tools.reference configuration > docs/configuration.md
	$(BIN)/python -m gaq_twisted.tools.reference schema > docs/config.schema.json
	$(BIN)/python -m gaq_twisted.tools.reference example > config.example.json
	$(BIN)/python -m gaq_twisted.tools.reference metrics > docs/metrics.md
	$(BIN)/python -m gaq_twisted.tools.reference commands > docs/commands.md

lint: $(VENV)/ready
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

package: $(VENV)/ready
	.ci/package $(CURDIR)/$(BIN)/python

changelog: $(VENV)/ready
	$(BIN)/towncrier build --draft --version Upcoming

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache _trial_temp* build dist \
		tests/support/peers/node_modules

.venv/ready: INSTALL := $(addprefix --group ,lint package browser docs deploy)
.venv-lowest/ready: INSTALL := --constraint tests/lowest.txt
.venv-lowest/ready: tests/lowest.txt

$(addsuffix /ready,$(sort $(VENV) .venv .venv-lowest .venv-prereleases)): pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --editable . --group test $(INSTALL)
	touch $@

.venv-demo/ready: pyproject.toml
	@echo "Creating the environment .venv-demo (about 80 MB, once, up to a minute) ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[demo]'
	@touch $@

tests/support/peers/node_modules/ready: tests/support/peers/package-lock.json
	$(NPM) --prefix $(<D) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# Superset has dependencies that would not go together with ours.
$(SUPERSET)/ready: e2e/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet apache-superset==$(SUPERSET_VERSION) --requirement $<
	touch $@

$(SUPERSET)/home/fixtures.json: $(SUPERSET)/ready e2e/superset_config.py e2e/fixtures.py | $(VENV)/ready
	$(SHOW) --prepare

$(CHROMIUM):
	apt-get update --quiet=2
	apt-get install --quiet=2 --no-install-recommends chromium
