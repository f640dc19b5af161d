# The commands of this project. `make help` lists them.

PYTHON ?= python3
ARGS ?=
GPU ?=
UV ?= uv
export PYTHON

SLIM ?=
POSTGRESQL ?=
REMOTE ?=
REDIS ?=
RAY ?=
ifneq ($(filter-out 0 no,$(GPU)),)
VENV := .venv-gpu
LOCK := requirements/gpu.lock
else ifneq ($(filter-out 0 no,$(SLIM)),)
VENV := .venv-slim
LOCK := requirements/slim.lock
else
VENV := .venv
LOCK := requirements/run.lock
endif

PREPARED := $(VENV)/.prepared
.DEFAULT_GOAL := help
.NOTPARALLEL:
PREFIX ?= /opt/imageserver
DESTDIR ?=
.PHONY: help run environment graphs dev check test test-long faults fuzz soak lint docs site pictures display bench bench-check simulation simulation-check simulation-redis-check lock install-service wheel sbom clean distclean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

run: environment $(PREPARED)  ## start the server; ARGS="-p 9000 -a" passes options, SLIM=1 has no TensorFlow, GPU=1 has CUDA, POSTGRESQL=1 its driver, REDIS=1 its client, REMOTE=1 gRPC, RAY=1 its client
	@exec $(VENV)/bin/python src/ImageServer.py $(ARGS)

environment:
	@scripts/environment.sh $(VENV) $(LOCK)
ifneq ($(filter-out 0 no,$(POSTGRESQL)),)
	@scripts/environment.sh $(VENV) requirements/postgresql.lock
endif
ifneq ($(filter-out 0 no,$(REDIS)),)
	@scripts/environment.sh $(VENV) requirements/redis.lock
endif
ifneq ($(filter-out 0 no,$(REMOTE)),)
	@scripts/environment.sh $(VENV) requirements/remote.lock
endif
ifneq ($(filter-out 0 no,$(RAY)),)
	@scripts/environment.sh $(VENV) requirements/ray.lock
endif

# Converting a model takes seconds: once for each state of their folders. The shipped ones need it no more (graphs).
$(PREPARED): $(LOCK) src/inference/prepare.py $(wildcard models/*/*.*) | environment
	@$(VENV)/bin/python src/inference/prepare.py
	@touch $@

pictures: dev $(PREPARED)  ## take the pictures of README.md anew: imageserver demo in Chromium
	@$(VENV)/bin/python -m tests.pages.pictures

# After a change of their code, or of what it is made of. A test says when they are not what would be made.
graphs: environment  ## convert the shipped networks, so that they run without TensorFlow
	@$(VENV)/bin/python src/inference/prepare.py --graph $(patsubst models/%/graph.zip,%,$(wildcard models/*/graph.zip))

display:  ## install what the windows of -d need, into an environment of their own
	@scripts/environment.sh .venv-display requirements/display.lock

dev: environment
	@[ $(VENV) != .venv-slim ] || { echo "Tests and tools need TensorFlow: leave SLIM=1 out." >&2; exit 2; }
	@scripts/environment.sh $(VENV) requirements/dev.lock

# Whole files are handed out to the workers, in the order of tests/conftest.py: what is expensive to set up is so once.
# Two more than there are processors, since many tests wait for a server.
AT_ONCE := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder

check: lint  ## lint, and the tests that start no process: a minute, for between two edits
	@$(VENV)/bin/python -m pytest -m "not slow and not long" -n 2 $(SIDE_BY_SIDE) $(ARGS)

test: dev $(PREPARED)  ## run all tests that a suite should; ARGS="-k users" passes options to pytest, "-p randomly" shuffles
	@tests/environments.sh
	@echo "This takes about six minutes on two processors. Quicker: make check. The long tests: make test-long."
	@$(VENV)/bin/python -m pytest -n $(AT_ONCE) $(SIDE_BY_SIDE) $(ARGS)

test-long: dev $(PREPARED)  ## run the tests that take longer, before a release
	@tests/environments.sh
	@scripts/environment.sh build/ray requirements/ray.lock
	@scripts/environment.sh build/mlserver tests/inference/mlserver.lock
	@echo "This takes about an hour."
	@$(VENV)/bin/python -m pytest -m long --timeout 7200 -n 2 $(SIDE_BY_SIDE) $(ARGS)

TIMES ?= 1

faults: dev $(PREPARED)  ## do each fault of docs/reliability.md to a real server and tell what it kept; TIMES=3 does so three times
	@tests/environments.sh
	@for time in $$(seq $(TIMES)); do \
	    $(VENV)/bin/python -m pytest -q -m fault --timeout 1200 $(ARGS) tests/faults || exit; \
	done

fuzz: MINUTES ?= 10
fuzz: dev  ## feed every parser with bytes by chance; MINUTES=30 in all, ARGS="websocket-frames" chooses
	@$(VENV)/bin/python tests/fuzz/run.py --minutes $(MINUTES) $(ARGS)

soak: MINUTES ?= 60
soak: dev $(PREPARED)  ## every door, every attack and a fault each minute, for an hour; MINUTES=3 is a short one
	@tests/environments.sh
	@$(VENV)/bin/python bench/soak.py --minutes $(MINUTES) $(ARGS)

lint: dev  ## ruff (rules, lines of 120, format) and mypy
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .
	@mkdir -p build/typing && ln -sfn ../../src build/typing/imageserver && ln -sfn ../../src/bootstrap.py build/typing/bootstrap.py
	@$(VENV)/bin/python -m mypy -p imageserver
	@$(VENV)/bin/python -m mypy clients

docs: environment  ## write the reference pages that come from the code
	@$(VENV)/bin/python src/bootstrap.py config.table --markdown > docs/settings.md.tmp
	@mv docs/settings.md.tmp docs/settings.md
	@$(VENV)/bin/python src/bootstrap.py monitoring.prometheus > docs/metrics.md.tmp
	@mv docs/metrics.md.tmp docs/metrics.md
	@$(VENV)/bin/python src/bootstrap.py accounts.reference docs/users.md

site:  ## make a site of README.md and docs/ in build/site: open build/site/index.html, no network needed
	@scripts/environment.sh .venv-docs requirements/docs.lock
	@rm -rf build/site
	@.venv-docs/bin/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going -c docs/site -d build/site-pages \
	    . build/site
	@echo "The site is in build/site: open build/site/index.html."

bench: dev $(PREPARED)  ## run the measurements and print their figures
	@tests/environments.sh
	@for file in $(filter-out bench/soak.py bench/everything.py,$(wildcard bench/*.py)); do $(VENV)/bin/python $$file || exit; done

bench-check: dev $(PREPARED)  ## run the measurements and compare their ratios with the marks
	@tests/environments.sh
	@failed=0; for file in $$(grep -l -e '"--check"' $(filter-out bench/everything.py,$(wildcard bench/*.py))); do $(VENV)/bin/python $$file --check || failed=1; done; exit $$failed

simulation: dev  ## what the simulation says of 100,000 cameras; ARGS=--draw writes the plots of docs/scale.md: 4 min
	@$(VENV)/bin/python -m bench.simulation.scale $(ARGS)

simulation-check: dev $(PREPARED)  ## compare the simulation with real runs on this machine; ARGS=--keep feeds it: ten minutes
	@tests/environments.sh
	@$(VENV)/bin/python -m bench.simulation.check --check $(ARGS)

simulation-redis-check: dev  ## the same of what goes over Redis, with redis-server on this machine: ten minutes
	@$(VENV)/bin/python -m bench.simulation.relay.check --check $(ARGS)

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
UPGRADE ?=

# dev.lock goes into the same environment as run.lock, so it takes over the versions chosen there.
lock:  ## compile pyproject.toml into requirements/*.lock with hashes; UPGRADE=--upgrade takes newer versions
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) pyproject.toml --extra tensorflow -o requirements/run.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml -o requirements/slim.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra tensorflow --extra postgresql --extra redis --extra remote --group dev -o requirements/dev.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra postgresql -o requirements/postgresql.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra redis -o requirements/redis.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra postgresql --extra redis -o requirements/front-ends.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra remote -o requirements/remote.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra ray -o requirements/ray.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) -c requirements/run.lock pyproject.toml --extra gpu -o requirements/gpu.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) --group display -o requirements/display.lock
	$(UV) pip compile $(LOCK_OPTIONS) $(UPGRADE) --group docs -o requirements/docs.lock

wheel: dev  ## build the wheels of the server and of the clients' library into build/wheels
	@$(VENV)/bin/python -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --no-index \
	    --wheel-dir build/wheels . ./clients
	@$(VENV)/bin/python scripts/sbom.py requirements/slim.lock --into build/wheels
	@ls build/wheels/*.whl

sbom: environment  ## write what is in it, with hashes and licences, as CycloneDX into build/sbom: slim and with TensorFlow
	@for lock in slim run; do $(VENV)/bin/python scripts/sbom.py requirements/$$lock.lock --into build/sbom || exit; done

install-service:  ## install into PREFIX (/opt/imageserver) as a service of systemd that starts on boot; or below DESTDIR; SLIM=1 too
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' LOCK='$(LOCK)' scripts/install-service.sh

clean:  ## remove what tools leave behind, but not the environments
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## remove the environments as well
	rm -rf .venv .venv-gpu .venv-slim .venv-display .venv-docs
